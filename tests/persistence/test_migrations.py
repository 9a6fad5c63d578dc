"""The migration runner, on files of its own in a schema of its own."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from persistence.migrations import MigrationError, migrate

SCHEMA = "migrations_test"


@pytest.fixture
async def connection(postgres_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(postgres_dsn)
    await connection.execute(f"CREATE SCHEMA {SCHEMA}")
    yield connection
    await connection.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
    await connection.close()


async def connect(dsn: str) -> asyncpg.Connection:
    return await asyncpg.connect(dsn, server_settings={"search_path": SCHEMA})


@pytest.fixture
def sql(tmp_path: Path) -> Path:
    (tmp_path / "0001_seats.sql").write_text("CREATE TABLE seats (id int); SELECT 1;")
    (tmp_path / "0002_rows.sql").write_text("ALTER TABLE seats ADD row_name text;")
    return tmp_path


async def test_each_file_is_applied_once_in_order(
    connection: asyncpg.Connection, sql: Path
) -> None:
    assert await migrate(connection, sql) == ["0001_seats.sql", "0002_rows.sql"]
    assert await migrate(connection, sql) == []
    (sql / "0003_more.sql").write_text("INSERT INTO seats VALUES (1, 'A');")
    assert await migrate(connection, sql) == ["0003_more.sql"]
    assert await connection.fetchval("SELECT row_name FROM seats") == "A"


async def test_nodes_that_start_together_apply_each_file_once(
    connection: asyncpg.Connection, postgres_dsn: str, sql: Path
) -> None:
    other = await connect(postgres_dsn)
    applied = await asyncio.gather(migrate(connection, sql), migrate(other, sql))
    await other.close()
    assert sorted(applied) == [[], ["0001_seats.sql", "0002_rows.sql"]]


async def test_applied_file_that_was_changed_is_refused(
    connection: asyncpg.Connection, sql: Path
) -> None:
    await migrate(connection, sql)
    (sql / "0002_rows.sql").write_text("ALTER TABLE seats ADD row_name int;")
    with pytest.raises(MigrationError, match=r"0002_rows\.sql was changed"):
        await migrate(connection, sql)


async def test_database_ahead_of_the_program_is_refused(
    connection: asyncpg.Connection, sql: Path
) -> None:
    await migrate(connection, sql)
    (sql / "0002_rows.sql").unlink()
    with pytest.raises(MigrationError, match="too old"):
        await migrate(connection, sql)


async def test_file_that_fails_leaves_nothing_of_itself(
    connection: asyncpg.Connection, sql: Path
) -> None:
    (sql / "0003_fails.sql").write_text("CREATE TABLE half (id int); SELECT 1 / 0;")
    with pytest.raises(MigrationError, match=r"0003_fails\.sql: division by zero"):
        await migrate(connection, sql)
    assert await connection.fetchval("SELECT to_regclass('half')") is None
    assert await connection.fetchval("SELECT max(version) FROM schema_migrations") == 2
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
    assert await connection.fetchval(held) == 0


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("0004_gap.sql", "0004_gap.sql stands where number 0003 should"),
        ("0002_twice.sql", "0002_twice.sql stands where number 0003 should"),
        ("notes.sql", "notes.sql is not called NNNN_name.sql"),
    ],
)
async def test_file_out_of_its_place_is_refused(
    connection: asyncpg.Connection, sql: Path, name: str, complaint: str
) -> None:
    (sql / name).write_text("SELECT 1;")
    with pytest.raises(MigrationError, match=complaint):
        await migrate(connection, sql)


async def test_folder_without_migrations_is_refused(
    connection: asyncpg.Connection, tmp_path: Path
) -> None:
    with pytest.raises(MigrationError, match="no migrations"):
        await migrate(connection, tmp_path)
