"""A backup holds the truth of one instant, and a restore makes everything else from it again."""

import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
from tests.persistence.books import SHARDS, Books, opened


def _silent(what: str, done: int, total: int) -> None:
    pass


@pytest_asyncio.fixture
async def books(postgres_dsn: str, redis_url: str) -> AsyncIterator[Books]:
    async with opened(postgres_dsn, redis_url) as made:
        yield made


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
    written = await backup(books.dsn, file, _silent)
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]
    assert await restore(empty, empty_redis, file, _silent) == written
    report = await fsck(empty, empty_redis, shards=SHARDS)
    assert report.clean, report.lines()
    for table in ("journal", "personal_keys", "orders", "tickets", "checkins", "tier_counters"):
        whole = f"SELECT * FROM {table} ORDER BY 1, 2"
        assert await _rows(empty, whole) == await _rows(books.dsn, whole), table


async def test_no_epoch_of_before_is_granted_again(
    books: Books, empty: str, empty_redis: str, tmp_path: Path
) -> None:
    await backup(books.dsn, tmp_path / "backup.tar", _silent)
    await restore(empty, empty_redis, tmp_path / "backup.tar", _silent)
    assert await _rows(empty, "SELECT DISTINCT epoch, owner FROM shards") == [
        (1 + EPOCHS_APART, None)
    ]


async def test_a_backup_never_overwrites(books: Books, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar"
    file.write_text("dear")
    with pytest.raises(ToolError, match="exists"):
        await backup(books.dsn, file, _silent)
    assert file.read_text() == "dear"


async def test_what_can_not_be_written_leaves_no_file(empty: str, tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="empty"):
        await backup(empty, tmp_path / "backup.tar", _silent)
    with pytest.raises(ToolError, match="not written"):
        await backup(empty, tmp_path / "no" / "backup.tar", _silent)
    assert list(tmp_path.iterdir()) == []


async def test_a_database_that_is_not_empty_is_refused(
    books: Books, empty_redis: str, tmp_path: Path
) -> None:
    file = tmp_path / "backup.tar"
    await backup(books.dsn, file, _silent)
    with pytest.raises(ToolError, match="the database is not empty"):
        await restore(books.dsn, empty_redis, file, _silent)


async def test_a_redis_that_is_not_empty_is_refused(
    books: Books, empty: str, tmp_path: Path
) -> None:
    file = tmp_path / "backup.tar"
    await backup(books.dsn, file, _silent)
    with pytest.raises(ToolError, match="Redis is not empty"):
        await restore(empty, books.redis_url, file, _silent)


@pytest.mark.parametrize("table", ["shards", "journal", "personal_keys"])
async def test_a_damaged_backup_leaves_the_database_empty_and_a_good_one_fills_it(
    books: Books, empty: str, empty_redis: str, tmp_path: Path, table: str
) -> None:
    good, bad = tmp_path / "good.tar", tmp_path / "bad.tar"
    await backup(books.dsn, good, _silent)
    content = bytearray(good.read_bytes())
    with tarfile.open(good) as archive:
        member = archive.getmember(f"{table}.copy")
    content[member.offset_data + member.size // 2] ^= 1
    bad.write_bytes(content)
    with pytest.raises(ToolError):
        await restore(empty, empty_redis, bad, _silent)
    await restore(empty, empty_redis, good, _silent)
    assert (await fsck(empty, empty_redis, shards=SHARDS)).clean


async def test_a_backup_that_was_cut_short_is_refused(
    books: Books, empty: str, empty_redis: str, tmp_path: Path
) -> None:
    file = tmp_path / "backup.tar"
    await backup(books.dsn, file, _silent)
    file.write_bytes(file.read_bytes()[:10_000])
    with pytest.raises(ToolError):
        await restore(empty, empty_redis, file, _silent)
    assert await _rows(empty, "SELECT to_regclass('journal')") == [(None,)]
