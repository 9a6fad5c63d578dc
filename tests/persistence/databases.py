"""A database of its own for a test, on the run's Postgres."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg

from persistence.migrations import migrate

_MIGRATED = "migrated"  # made once: to copy it takes a quarter of the time


@asynccontextmanager
async def empty_database(postgres_dsn: str, template: str = "template1") -> AsyncIterator[str]:
    """The DSN; the database is dropped afterwards."""
    name = f"test_{uuid4().hex[:12]}"
    admin = await asyncpg.connect(postgres_dsn)
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield _named(postgres_dsn, name)
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


@asynccontextmanager
async def fresh_database(postgres_dsn: str) -> AsyncIterator[str]:
    """The same, migrated."""
    admin = await asyncpg.connect(postgres_dsn)
    made = await admin.fetchval("SELECT true FROM pg_database WHERE datname = $1", _MIGRATED)
    if not made:
        await admin.execute(f"CREATE DATABASE {_MIGRATED}")
        connection = await asyncpg.connect(_named(postgres_dsn, _MIGRATED))
        await migrate(connection)
        await connection.close()
    await admin.close()
    async with empty_database(postgres_dsn, _MIGRATED) as dsn:
        yield dsn


def _named(dsn: str, name: str) -> str:
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))
