"""Brings a database to the schema this program was written for.

Rules of this file:

- Migrations are `sql/NNNN_name.sql`, numbered from 0001 without gaps; each is one transaction.
- What has been applied never changes: it is known by version and SHA-256 in `schema_migrations`.
- Only forward. A database that is ahead of this program is refused, not touched.
- Nodes that start together wait for each other (advisory lock), so each file is applied once.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import asyncpg

SQL_FOLDER = Path(__file__).parent / "sql"

# Any number that no other advisory lock of ours uses: "stampede" in ASCII.
ADVISORY_LOCK = 0x7374616D70656465

_FILE_NAME = re.compile(r"(?P<version>\d{4})_[a-z0-9_]+\.sql")


class MigrationError(Exception):
    """The database and this program's migrations do not fit together."""


@dataclass(frozen=True, kw_only=True)
class _Migration:
    version: int
    name: str
    sql: str
    checksum: str


async def migrate(
    connection: asyncpg.Connection, folder: Path = SQL_FOLDER, newest: int | None = None
) -> list[str]:
    """Apply what is missing, no further than to version `newest`; the file names applied, in order.

    Raises `MigrationError`; the files before the one it names then stay applied.
    """
    migrations = _read(folder)[:newest]
    await connection.execute("SELECT pg_advisory_lock($1)", ADVISORY_LOCK)
    try:
        applied = await _applied(connection)
        _check(migrations, applied)
        missing = [migration for migration in migrations if migration.version not in applied]
        for migration in missing:
            await _apply(connection, migration)
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", ADVISORY_LOCK)
    return [migration.name for migration in missing]


def _read(folder: Path) -> list[_Migration]:
    migrations = [_parse(path) for path in sorted(folder.glob("*.sql"))]
    if not migrations:
        raise MigrationError(f"no migrations in {folder}")
    for expected, migration in enumerate(migrations, start=1):
        if migration.version != expected:
            raise MigrationError(f"{migration.name} stands where number {expected:04} should")
    return migrations


def _parse(path: Path) -> _Migration:
    match = _FILE_NAME.fullmatch(path.name)
    if match is None:
        raise MigrationError(f"{path.name} is not called NNNN_name.sql")
    content = path.read_bytes()
    return _Migration(
        version=int(match["version"]),
        name=path.name,
        sql=content.decode(),
        checksum=sha256(content).hexdigest(),
    )


async def _applied(connection: asyncpg.Connection) -> dict[int, str]:
    """Checksum by version."""
    await connection.execute("""
        CREATE TABLE IF NOT EXISTS schema_migrations (
            version integer PRIMARY KEY,
            checksum text NOT NULL,
            applied_at timestamptz NOT NULL DEFAULT now()
        )
    """)
    return await _checksums(connection)


async def _checksums(connection: asyncpg.Connection) -> dict[int, str]:
    rows = await connection.fetch("SELECT version, checksum FROM schema_migrations")
    return {row["version"]: row["checksum"] for row in rows}


def _check(migrations: Sequence[_Migration], applied: dict[int, str]) -> None:
    known = len(migrations)
    newest = max(applied, default=0)
    if newest > known:
        raise MigrationError(
            f"the database has migration {newest:04}, this program knows {known}: it is too old"
        )
    for migration in migrations:
        if applied.get(migration.version, migration.checksum) != migration.checksum:
            raise MigrationError(f"{migration.name} was changed after it had been applied")


async def _apply(connection: asyncpg.Connection, migration: _Migration) -> None:
    try:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO schema_migrations (version, checksum) VALUES ($1, $2)",
                migration.version,
                migration.checksum,
            )
    except asyncpg.PostgresError as error:
        raise MigrationError(f"{migration.name}: {error}") from error


async def assert_migrated(connection: asyncpg.Connection, folder: Path = SQL_FOLDER) -> None:
    """For who only looks: raises MigrationError unless nothing is missing, and changes nothing."""
    migrations = _read(folder)
    if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
        raise MigrationError("the database is empty: nothing has been sold here")
    applied = await _checksums(connection)
    _check(migrations, applied)
    if len(applied) < len(migrations):
        raise MigrationError("the database is older than this program: start that, it migrates")


async def prepare(dsn: str, shards: int) -> None:
    """A database of this program's schema and number of shards. Raises MigrationError."""
    try:
        connection = await asyncpg.connect(dsn, timeout=10)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise MigrationError(f"can't reach the database at DATABASE_URL: {error}") from None
    try:
        await migrate(connection)
        await settle_shards(connection, shards)
    finally:
        await connection.close()


async def settle_shards(connection: asyncpg.Connection, shards: int) -> None:
    """Sales are placed by the number of shards, for good: all are made by who comes first.

    Raises MigrationError where it was another number.
    """
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", ADVISORY_LOCK)
        await connection.execute(
            "INSERT INTO shards (shard_id) SELECT generate_series(0, $1 - 1)"
            " WHERE NOT EXISTS (SELECT FROM shards)",
            shards,
        )
        made = await connection.fetchval("SELECT count(*) FROM shards")
    if made != shards:
        raise MigrationError(
            f"this database was set up with {made} shards, not {shards}: set STAMPEDE_SHARDS={made}"
        )
