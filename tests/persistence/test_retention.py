"""The old part of the journal moves to files; what is left, with the snapshots, is still all."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from engine.runtime.faults import JournalUnavailable
from engine.runtime.ports import Grant, Snapshot
from persistence.durable_snapshots import PostgresSnapshots
from persistence.journal import NodeName, PostgresJournal, decode
from persistence.retention import Retention, archived
from persistence.snapshots import RedisSnapshots, Snapshots
from tests.persistence.databases import fresh_database
from tests.runtime.journal_contract import OTHER_SALE, SALE, SHARD, batch, history, placed

NOW = timedelta(0)
ROWS = 6  # of the journal: SALE in the odd ones, OTHER_SALE in the even ones


@pytest_asyncio.fixture
async def dsn(postgres_dsn: str) -> AsyncIterator[str]:
    async with fresh_database(postgres_dsn) as made:
        yield made


@pytest_asyncio.fixture
async def pool(dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(dsn, min_size=1) as made:
        yield made


@pytest_asyncio.fixture
async def journal(dsn: str, pool: asyncpg.Pool) -> AsyncIterator[PostgresJournal]:
    made = PostgresJournal(dsn, pool, NodeName("one", "1"))
    (grant,) = await made.acquire([SHARD])
    for seq in range(1, ROWS + 1):
        sale_id = SALE if seq % 2 else OTHER_SALE
        await made.append([batch(grant, seq, placed((seq + 1) // 2, sale_id))])
    yield made
    await made.close()


async def kept(pool: asyncpg.Pool, sale_id: str, journal_seq: int) -> None:
    snapshot = Snapshot(sale_id, SHARD, 1, journal_seq, journal_seq, {}, incremental=False)
    await PostgresSnapshots(pool).keep(snapshot)


async def projected(pool: asyncpg.Pool, seq: int) -> None:
    await pool.execute("INSERT INTO projection_offsets VALUES ($1, $2)", SHARD, seq)


async def archive(pool: asyncpg.Pool, folder: Path, older_than: timedelta = NOW) -> int:
    async with pool.acquire() as connection:
        return await Retention(connection, folder, older_than).step()  # type: ignore[arg-type]


async def left(pool: asyncpg.Pool) -> list[int]:
    rows = await pool.fetch("SELECT seq FROM journal ORDER BY seq")
    return [row["seq"] for row in rows]


async def test_what_is_snapshotted_projected_and_old_enough_moves(
    journal: PostgresJournal, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    before = [row async for row in journal.suffix(SHARD, SALE, 0)]
    await kept(pool, SALE, 5)
    await kept(pool, OTHER_SALE, 6)
    await projected(pool, 6)
    assert await archive(pool, tmp_path) == ROWS
    assert await left(pool) == []
    rows = list(archived(tmp_path, SHARD))
    assert [row.seq for row in rows] == list(range(1, ROWS + 1))
    of_sale = [row for row in rows if SALE in row.sale_ids]
    assert [decode(row.batch, row.crc) for row in of_sale] == [b.entries for b in before]


@pytest.mark.parametrize(
    ("of_sale", "of_other", "offset", "stays"),
    [
        (5, 6, 3, [4, 5, 6]),  # the projector has not read it
        (3, 6, 6, [5, 6]),  # a sale's snapshot is older
        (0, 6, 6, [1, 2, 3, 4, 5, 6]),  # or is not there
        (5, 0, 6, [2, 3, 4, 5, 6]),
    ],
)
async def test_what_is_needed_stays_and_all_behind_it(
    journal: PostgresJournal,
    pool: asyncpg.Pool,
    tmp_path: Path,
    of_sale: int,
    of_other: int,
    offset: int,
    stays: list[int],
) -> None:
    if of_sale:
        await kept(pool, SALE, of_sale)
    if of_other:
        await kept(pool, OTHER_SALE, of_other)
    await projected(pool, offset)
    await archive(pool, tmp_path)
    assert await left(pool) == stays


async def test_what_is_young_stays(
    journal: PostgresJournal, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    await kept(pool, SALE, 5)
    await kept(pool, OTHER_SALE, 6)
    await projected(pool, 6)
    assert await archive(pool, tmp_path, timedelta(hours=1)) == 0


async def test_the_shard_goes_on_where_it_ended(
    journal: PostgresJournal, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    await kept(pool, SALE, 5)
    await kept(pool, OTHER_SALE, 6)
    await projected(pool, 6)
    await archive(pool, tmp_path)
    (grant,) = await journal.acquire([SHARD])
    assert grant.last_seq == ROWS
    assert await journal.append([batch(grant, ROWS + 1, placed(4))]) == {SHARD}
    assert [b.seq async for b in journal.suffix(SHARD, SALE, 5)] == [ROWS + 1]


async def test_a_sale_is_never_loaded_without_what_was_archived(
    journal: PostgresJournal, pool: asyncpg.Pool, redis_url: str, tmp_path: Path
) -> None:
    """Whoever began with less is refused, and the durable snapshot is taken."""
    await kept(pool, SALE, 5)
    await kept(pool, OTHER_SALE, 6)
    await projected(pool, 6)
    await archive(pool, tmp_path)
    with pytest.raises(JournalUnavailable):
        await history(journal)
    with pytest.raises(JournalUnavailable):
        [b async for b in journal.suffix(SHARD, SALE, 3)]
    redis = Redis.from_url(redis_url)
    snapshots = Snapshots(RedisSnapshots(redis), PostgresSnapshots(pool))
    found = await snapshots.load(Grant(SHARD, 1, ROWS), SALE)
    assert found is not None
    assert found.journal_seq == 5
    await redis.aclose()
