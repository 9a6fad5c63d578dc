"""A database of its own for a test, on the run's Postgres."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg

from persistence.migrations import migrate


@asynccontextmanager
async def empty_database(postgres_dsn: str) -> AsyncIterator[str]:
    """The DSN; the database is dropped afterwards."""
    name = f"test_{uuid4().hex[:12]}"
    admin = await asyncpg.connect(postgres_dsn)
    await admin.execute(f"CREATE DATABASE {name}")
    try:
        yield urlunsplit(urlsplit(postgres_dsn)._replace(path=f"/{name}"))
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


@asynccontextmanager
async def fresh_database(postgres_dsn: str) -> AsyncIterator[str]:
    """The same, migrated."""
    async with empty_database(postgres_dsn) as dsn:
        connection = await asyncpg.connect(dsn)
        await migrate(connection)
        await connection.close()
        yield dsn
