"""The fence on Postgres: own epochs, places in the stream, and several writers at once."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest_asyncio
from msgspec.structs import replace

from engine.runtime.ports import Batch, Consumed, Grant
from persistence.journal import NodeName, PostgresJournal
from tests.persistence.databases import fresh_database
from tests.runtime.journal_contract import (
    OTHER_SALE,
    OTHER_SHARD,
    SHARD,
    audit,
    batch,
    history,
    placed,
)

PLACE = Consumed("1700000000000-4", (("1700000000000-6", (0, 2)),))
LATER = Consumed("1700000000000-9")


@pytest_asyncio.fixture
async def journals(postgres_dsn: str) -> AsyncIterator[tuple[PostgresJournal, PostgresJournal]]:
    async with (
        fresh_database(postgres_dsn) as dsn,
        asyncpg.create_pool(dsn, min_size=1, max_size=4) as pool,
    ):
        opened = [PostgresJournal(dsn, pool, NodeName(name, "1")) for name in ("one", "two")]
        yield opened[0], opened[1]
        for journal in opened:
            await journal.close()


Journals = tuple[PostgresJournal, PostgresJournal]


async def _grant(journal: PostgresJournal, shard_id: int = SHARD) -> Grant:
    (granted,) = await journal.acquire([shard_id])
    return granted


def _only_consumed(grant: Grant, consumed: Consumed | None) -> Batch:
    return Batch(grant.shard_id, grant.epoch, grant.last_seq, (), consumed=consumed)


# -- own epochs ----------------------------------------------------------------------------


async def test_an_epoch_is_bumped_by_who_holds_it_alone(journals: Journals) -> None:
    journal, rival = journals
    mine = await _grant(journal)
    (again,) = await journal.reacquire([mine])
    assert (again.epoch, again.last_seq) == (mine.epoch + 1, mine.last_seq)
    assert await journal.reacquire([mine]) == []  # that one is spent
    taken = await _grant(rival)
    assert await journal.reacquire([again]) == []
    assert await rival.append([batch(taken, 1, placed(1))]) == {SHARD}


async def test_of_several_those_that_still_hold_come_back(journals: Journals) -> None:
    journal, rival = journals
    mine, lost = await _grant(journal), await _grant(journal, OTHER_SHARD)
    await rival.acquire([OTHER_SHARD])
    assert [g.shard_id for g in await journal.reacquire([mine, lost])] == [SHARD]


# -- how far the stream is decided -----------------------------------------------------------


async def test_the_place_comes_with_the_facts_and_back_with_the_next_grant(
    journals: Journals,
) -> None:
    journal, rival = journals
    grant = await _grant(journal)
    assert grant.consumed == Consumed()
    await journal.append([replace(batch(grant, 1, placed(1)), consumed=PLACE)])
    assert (await _grant(rival)).consumed == PLACE


async def test_without_facts_only_the_place_moves(journals: Journals) -> None:
    journal, rival = journals
    grant = await _grant(journal)
    await journal.append([batch(grant, 1, placed(1))])
    now = replace(grant, last_seq=1)
    assert await journal.append([_only_consumed(now, PLACE)]) == {SHARD}
    assert await journal.append([_only_consumed(now, LATER)]) == {SHARD}
    assert await journal.append([batch(now, 2, placed(2))]) == {SHARD}
    taken = await _grant(rival)
    assert (taken.last_seq, taken.consumed) == (2, LATER)
    assert [b.seq for b in await history(rival)] == [1, 2]


async def test_a_batch_that_says_nothing_of_the_place_leaves_it(journals: Journals) -> None:
    journal, rival = journals
    grant = await _grant(journal)
    await journal.append([_only_consumed(grant, PLACE)])
    await journal.append([batch(grant, 1, placed(1))])
    await journal.append([_only_consumed(replace(grant, last_seq=1), None)])
    assert (await _grant(rival)).consumed == PLACE


async def test_who_was_taken_over_moves_no_place_either(journals: Journals) -> None:
    journal, rival = journals
    grant = await _grant(journal)
    await journal.append([_only_consumed(grant, PLACE)])
    taken = await _grant(rival)
    assert await journal.append([_only_consumed(grant, LATER)]) == frozenset()
    assert (await _grant(rival)).consumed == PLACE
    assert taken.consumed == PLACE


async def test_a_place_behind_the_journals_end_is_not_taken(journals: Journals) -> None:
    journal, _ = journals
    grant = await _grant(journal)
    await journal.append([batch(grant, 1, placed(1))])
    assert await journal.append([_only_consumed(grant, PLACE)]) == frozenset()


# -- several at once -------------------------------------------------------------------------


async def test_appends_and_takeovers_of_other_shards_do_not_disturb_each_other(
    journals: Journals,
) -> None:
    journal, rival = journals
    grant = await _grant(journal)

    async def write() -> None:
        for seq in range(1, 101):
            assert await journal.append([batch(grant, seq, placed(seq))]) == {SHARD}

    async def take() -> list[int]:
        return [(await _grant(rival, OTHER_SHARD)).epoch for _ in range(50)]

    _, epochs = await asyncio.gather(write(), take())
    assert epochs == list(range(1, 51))
    audit(await history(journal))


async def test_two_nodes_write_their_own_shards_at_once(journals: Journals) -> None:
    journal, rival = journals

    async def write(writer: PostgresJournal, shard_id: int, sale_id: str) -> None:
        grant = await _grant(writer, shard_id)
        for seq in range(1, 101):
            assert await writer.append([batch(grant, seq, placed(seq, sale_id))]) == {shard_id}

    await asyncio.gather(
        write(journal, SHARD, "evt_00000000000000aa"), write(rival, OTHER_SHARD, OTHER_SALE)
    )
    audit(await history(journal))
    audit(await history(journal, OTHER_SALE, OTHER_SHARD))


async def test_a_takeover_among_appends_loses_none_and_lets_none_in_afterwards(
    journals: Journals,
) -> None:
    journal, rival = journals
    for _ in range(10):
        grant = await _grant(journal)
        written = asyncio.create_task(_write_until_fenced(journal, grant))
        taken = await _grant(rival)
        last_seq = await written
        assert taken.last_seq == last_seq
    audit(await history(journal))


async def _write_until_fenced(journal: PostgresJournal, grant: Grant) -> int:
    """The last that was taken."""
    seq = grant.last_seq
    while await journal.append([batch(grant, seq + 1, placed(seq + 1))]):
        seq += 1
    return seq
