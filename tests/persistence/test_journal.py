"""The journal in Postgres keeps the contract; and what only Postgres can do to it."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from engine.runtime.faults import JournalUnavailable, OutcomeUnknown
from engine.runtime.ports import Journal
from persistence.journal import CorruptJournal, NodeName, PostgresJournal
from persistence.migrations import MigrationError, settle_shards
from tests.persistence.databases import fresh_database
from tests.runtime.journal_contract import SHARD, JournalContract, batch, history, placed


class UnfencedJournal(PostgresJournal):
    """The fence as it is often written: it looks at the epoch, but not where it writes."""

    append_one_statement = None
    append_statement = """
        WITH batches AS (
            SELECT * FROM unnest($1::int[], $2::bigint[], $3::bigint[], $4::text[], $5::bytea[],
                                 $6::bigint[], $7::bytea[])
                AS b (shard_id, epoch, seq, sale_ids, batch, crc, inbox)
        ), moved AS (
            UPDATE shards s SET last_seq = greatest(s.last_seq, b.seq)
            FROM batches b WHERE s.shard_id = b.shard_id RETURNING s.shard_id
        ), written AS (
            INSERT INTO journal (shard_id, seq, epoch, sale_ids, batch, crc)
            SELECT shard_id, seq, epoch, string_to_array(sale_ids, ','), batch, crc FROM batches
        ), keys AS (
            SELECT unnest($8::int[]), unnest($9::text[]), unnest($10::bytea[]), unnest($11::bytea[])
        )
        SELECT shard_id FROM moved
        """


@pytest_asyncio.fixture
async def dsn(postgres_dsn: str) -> AsyncIterator[str]:
    async with fresh_database(postgres_dsn) as made:
        yield made


@pytest_asyncio.fixture
async def pool(dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=4) as made:
        yield made


@pytest_asyncio.fixture
async def opened(dsn: str, pool: asyncpg.Pool) -> AsyncIterator[list[PostgresJournal]]:
    """Four journals over one database, the last two without the fence; closed at the end."""
    kinds = (
        (PostgresJournal, "one"),
        (PostgresJournal, "two"),
        (UnfencedJournal, "one"),
        (UnfencedJournal, "two"),
    )
    journals = [kind(dsn, pool, NodeName(name, "1")) for kind, name in kinds]
    yield journals
    for journal in journals:
        await journal.close()


class TestPostgresJournal(JournalContract):
    @pytest.fixture
    def journal(self, opened: list[PostgresJournal]) -> Journal:
        return opened[0]

    @pytest.fixture
    def rival(self, opened: list[PostgresJournal]) -> Journal:
        return opened[1]

    @pytest.fixture
    def unfenced(self, opened: list[PostgresJournal]) -> tuple[Journal, Journal]:
        return opened[2], opened[3]

    async def personal_keys(self, journal: Journal) -> list[tuple[str, bytes]]:
        assert isinstance(journal, PostgresJournal)
        rows = await journal.pool.fetch("SELECT order_id, key FROM personal_keys ORDER BY 1")
        return [(row["order_id"], row["key"]) for row in rows]


class TestTheStatementForManyShards(TestPostgresJournal):
    """Also for one shard, which has a leaner one."""

    @pytest.fixture
    def journal(self, opened: list[PostgresJournal]) -> Journal:
        opened[0].append_one_statement = None
        return opened[0]


async def test_a_lost_connection_leaves_the_outcome_unknown_and_a_new_grant_settles_it(
    dsn: str, pool: asyncpg.Pool
) -> None:
    journal = PostgresJournal(dsn, pool, NodeName("one", "1"))
    (grant,) = await journal.acquire([SHARD])
    first = batch(grant, 1, placed(1))
    await journal.append([first])
    await pool.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'stampede journal' AND datname = current_database()"
    )
    second = batch(grant, 2, placed(2))
    with pytest.raises((OutcomeUnknown, JournalUnavailable)):
        await journal.append([second])
    (again,) = await journal.reacquire([grant])
    assert (again.epoch, again.last_seq) == (grant.epoch + 1, 1)
    assert await journal.landed(first)
    assert not await journal.landed(second)
    await journal.close()


async def test_a_changed_batch_is_found_by_its_checksum(dsn: str, pool: asyncpg.Pool) -> None:
    journal = PostgresJournal(dsn, pool, NodeName("one", "1"))
    (grant,) = await journal.acquire([SHARD])
    await journal.append([batch(grant, 1, placed(1))])
    await pool.execute("UPDATE journal SET batch = set_byte(batch, 5, 0)")
    with pytest.raises(CorruptJournal):
        await history(journal)
    await journal.close()


async def test_a_journal_that_lost_its_end_is_not_written_on(dsn: str, pool: asyncpg.Pool) -> None:
    journal = PostgresJournal(dsn, pool, NodeName("one", "1"))
    (grant,) = await journal.acquire([SHARD])
    await journal.append([batch(grant, 1, placed(1))])
    await pool.execute("DELETE FROM journal")
    with pytest.raises(CorruptJournal):
        await journal.acquire([SHARD])
    await journal.close()


async def test_who_comes_first_settles_the_number_of_shards(dsn: str, pool: asyncpg.Pool) -> None:
    """Also where a node takes some of them before the next one looks."""
    connection = await asyncpg.connect(dsn)
    await settle_shards(connection, 16)
    journal = PostgresJournal(dsn, pool, NodeName("one", "1"))
    assert [(g.epoch, g.last_seq) for g in await journal.acquire([SHARD])] == [(1, 0)]
    await settle_shards(connection, 16)
    with pytest.raises(MigrationError, match="16 shards, not 8"):
        await settle_shards(connection, 8)
    await connection.close()
    await journal.close()
