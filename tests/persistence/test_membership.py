"""Leases and ownership in a real Postgres: by its clock alone, and never two owners at a time."""

import asyncio
import os
import signal
import time
from asyncio import create_subprocess_exec
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from engine.runtime.faults import JournalUnavailable
from engine.runtime.ports import Grant
from persistence.journal import NodeName, PostgresJournal
from persistence.membership import PostgresMembership
from tests.persistence.databases import fresh_database
from tests.waiting import until

SHARD, OTHER_SHARD = 3, 5
TTL_S = 30.0  # nothing runs out while a test looks, unless the test wants it to
AWAY_S = 2.0


@pytest_asyncio.fixture
async def dsn(postgres_dsn: str) -> AsyncIterator[str]:
    async with fresh_database(postgres_dsn) as made:
        yield made


@pytest_asyncio.fixture
async def pool(dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=4) as made:
        yield made


class Process:
    """One life of a node: its lease, and its way to the journal."""

    def __init__(
        self,
        dsn: str,
        pool: asyncpg.Pool,
        name: NodeName,
        roles: list[str],
        pid: int | None = None,
    ) -> None:
        self.name = name.name
        self.membership = PostgresMembership(
            dsn, name, roles=roles, address="here", ttl_s=TTL_S, pid=pid
        )
        self.journal = PostgresJournal(dsn, pool, name)

    async def take(self, *shard_ids: int) -> list[int]:
        return sorted(g.shard_id for g in await self.journal.acquire(shard_ids))

    async def grant(self, shard_id: int = SHARD) -> Grant:
        (granted,) = await self.journal.acquire([shard_id])
        return granted

    async def close(self) -> None:
        await self.membership.close()
        await self.journal.close()


Join = Callable[..., Process]


@pytest_asyncio.fixture
async def join(dsn: str, pool: asyncpg.Pool) -> AsyncIterator[Join]:
    """A process by its node's name and the number of its life; closed at the end."""
    async with AsyncExitStack() as stack:

        def join(
            name: str, life: int = 1, *, role: str = "engine", pid: int | None = None
        ) -> Process:
            process = Process(dsn, pool, NodeName(name, f"{name}#{life}"), [role], pid)
            stack.push_async_callback(process.close)
            return process

        yield join


async def end_lease(pool: asyncpg.Pool, name: str) -> None:
    await pool.execute(
        "UPDATE nodes SET lease_until = clock_timestamp() - interval '1 ms' WHERE name = $1", name
    )


# -- leases --------------------------------------------------------------------------------


async def test_who_renews_lives_and_is_seen_by_all(join: Join) -> None:
    one, two = join("one"), join("two")
    gateway = join("front", role="gateway")
    await one.membership.renew(willing=True)
    await gateway.membership.renew(willing=True)
    roster = await two.membership.renew(willing=False)
    assert roster.accepted
    assert roster.living == {"one", "two", "front"}
    assert roster.willing == {"one"}  # a gateway owns nothing, and two does not want to


async def test_a_lease_lasts_as_long_as_it_was_given_by_the_databases_clock(
    join: Join, pool: asyncpg.Pool
) -> None:
    one = join("one")
    roster = await one.membership.renew(willing=True)
    left_s = await pool.fetchval(
        "SELECT extract(epoch FROM lease_until - clock_timestamp())::float FROM nodes"
    )
    now_s = await pool.fetchval("SELECT extract(epoch FROM clock_timestamp())::float")
    assert TTL_S - 2 < left_s <= TTL_S
    assert abs(roster.now_ms / 1000 - now_s) < 2
    await end_lease(pool, "one")
    assert "one" not in (await join("two").membership.renew(willing=True)).living
    assert "one" in (await one.membership.renew(willing=True)).living


async def test_a_name_is_free_once_its_lease_has_ended_and_not_before(
    join: Join, pool: asyncpg.Pool
) -> None:
    earlier, later = join("one", 1), join("one", 2)
    assert (await earlier.membership.renew(willing=True)).accepted
    assert not (await later.membership.renew(willing=True)).accepted
    await end_lease(pool, "one")
    assert (await later.membership.renew(willing=True)).accepted
    before = await pool.fetchval("SELECT lease_until FROM nodes")
    assert not (await earlier.membership.renew(willing=True)).accepted
    assert await pool.fetchval("SELECT lease_until FROM nodes") == before
    await earlier.membership.leave()  # it is not its lease that would end
    assert (await later.membership.renew(willing=True)).accepted


async def test_a_dead_process_leaves_its_name_to_the_next_at_once_and_a_stopped_one_does_not(
    join: Join,
) -> None:
    sleeper = await create_subprocess_exec("sleep", "infinity")
    try:
        earlier, later = join("one", 1, pid=sleeper.pid), join("one", 2)
        assert (await earlier.membership.renew(willing=True)).accepted
        sleeper.send_signal(signal.SIGSTOP)
        assert not (await later.membership.renew(willing=True)).accepted
    finally:
        sleeper.kill()
        await sleeper.wait()
    assert (await later.membership.renew(willing=True)).accepted
    assert not (await earlier.membership.renew(willing=True)).accepted


async def test_what_died_on_another_machine_may_live_for_all_we_know(
    join: Join, pool: asyncpg.Pool
) -> None:
    ended = await create_subprocess_exec("true")
    await ended.wait()
    await join("one", 1, pid=ended.pid).membership.renew(willing=True)
    await pool.execute("UPDATE nodes SET process = 'another boot ' || process")
    assert not (await join("one", 2).membership.renew(willing=True)).accepted


async def test_who_leaves_is_gone_at_once_and_the_others_hear_of_it(join: Join) -> None:
    one, two = join("one"), join("two")
    await one.membership.renew(willing=True)
    await two.membership.renew(willing=True)
    hearing = asyncio.create_task(two.membership.changed(20))
    await one.membership.leave()
    await asyncio.wait_for(hearing, AWAY_S)
    assert (await two.membership.renew(willing=True)).living == {"two"}


async def test_without_news_the_wait_ends_by_itself(join: Join) -> None:
    one = join("one")
    await one.membership.renew(willing=True)
    await asyncio.wait_for(one.membership.changed(0.01), AWAY_S)


# -- takeover ------------------------------------------------------------------------------


async def test_what_a_living_node_owns_is_not_taken(join: Join, pool: asyncpg.Pool) -> None:
    one, two = join("one"), join("two")
    await one.membership.renew(willing=True)
    await two.membership.renew(willing=True)
    granted = await one.grant()
    assert await two.take(SHARD, OTHER_SHARD) == [OTHER_SHARD]
    roster = await two.membership.renew(willing=True)
    assert roster.owner_by_shard == {SHARD: "one", OTHER_SHARD: "two"}
    await end_lease(pool, "one")
    taken = await two.grant()
    assert (taken.epoch, taken.last_seq) == (granted.epoch + 1, granted.last_seq)


async def test_an_owner_that_renewed_while_another_was_taking_over_keeps_its_shard(
    join: Join, pool: asyncpg.Pool
) -> None:
    """It trusts its memory again: who waited at its append to take over must look anew."""
    one, two = join("one"), join("two")
    for process in (one, two):
        await process.membership.renew(willing=True)
    granted = await one.grant()
    await two.take(OTHER_SHARD)  # it has a connection
    await end_lease(pool, "one")
    async with pool.acquire() as appending, appending.transaction():
        await appending.execute("UPDATE shards SET last_seq = last_seq WHERE shard_id = $1", SHARD)
        taking = asyncio.create_task(two.take(SHARD))
        await until(lambda: _somebody_waits(pool))
        assert (await one.membership.renew(willing=True)).accepted
    assert await taking == []
    assert (await one.grant()).epoch == granted.epoch + 1


async def _somebody_waits(pool: asyncpg.Pool) -> bool:
    return bool(await pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))


async def test_of_two_that_take_at_once_one_gets_it(join: Join, pool: asyncpg.Pool) -> None:
    """Also where neither has written a row for the shard yet, and after a death."""
    one, two = join("one"), join("two")
    for process in (one, two):
        await process.membership.renew(willing=True)
    for _ in range(20):
        taken = await asyncio.gather(one.take(SHARD), two.take(SHARD))
        assert sorted(taken) == [[], [SHARD]]
        winner = one if taken[0] else two
        assert await winner.take(SHARD) == [SHARD]
        await pool.execute("UPDATE shards SET owner = 'somebody dead'")


async def test_a_node_that_starts_again_has_its_own_at_once(join: Join, pool: asyncpg.Pool) -> None:
    earlier, later = join("one", 1), join("one", 2)
    await earlier.membership.renew(willing=True)
    granted = await earlier.grant()
    await end_lease(pool, "one")
    await later.membership.renew(willing=True)
    assert (await later.grant()).epoch == granted.epoch + 1


async def test_a_process_that_was_replaced_takes_nothing(join: Join, pool: asyncpg.Pool) -> None:
    earlier, later = join("one", 1), join("one", 2)
    await earlier.membership.renew(willing=True)
    await earlier.take(SHARD)
    await end_lease(pool, "one")
    await later.membership.renew(willing=True)
    assert await earlier.take(SHARD, OTHER_SHARD) == []


async def test_a_shard_given_to_a_successor_is_for_him_alone_and_he_hears_of_it(
    join: Join, pool: asyncpg.Pool
) -> None:
    one, two, three = join("one"), join("two"), join("three")
    for process in (one, two, three):
        await process.membership.renew(willing=True)
    granted = await one.grant()
    hearing = asyncio.create_task(two.membership.changed(20))
    not_meant = asyncio.create_task(three.membership.changed(20))
    await one.journal.release(granted, "two")
    await asyncio.wait_for(hearing, AWAY_S)
    await three.membership.renew(willing=True)  # what came for it has come by then
    assert not not_meant.done()
    not_meant.cancel()
    assert (await two.membership.renew(willing=True)).owner_by_shard[SHARD] == "two"
    assert await three.take(SHARD) == []
    assert await one.take(SHARD) == []
    assert (await two.grant()).epoch == granted.epoch + 1


async def test_a_successor_who_dies_before_he_takes_it_is_not_waited_for(
    join: Join, pool: asyncpg.Pool
) -> None:
    one, two = join("one"), join("two")
    for process in (one, two):
        await process.membership.renew(willing=True)
    await one.journal.release(await one.grant(), "two")
    await end_lease(pool, "two")
    assert await one.take(SHARD) == [SHARD]


async def test_what_was_given_to_nobody_is_anybodys(join: Join) -> None:
    one, two = join("one"), join("two")
    await one.membership.renew(willing=True)
    await one.journal.release(await one.grant(), None)
    assert await two.take(SHARD) == [SHARD]


async def test_who_was_taken_over_gives_nothing_away(join: Join, pool: asyncpg.Pool) -> None:
    one, two = join("one"), join("two")
    await one.membership.renew(willing=True)
    stale = await one.grant()
    await end_lease(pool, "one")
    await two.take(SHARD)
    await one.journal.release(stale, "three")
    assert (await two.membership.renew(willing=True)).owner_by_shard == {SHARD: "two"}


# -- the database away ---------------------------------------------------------------------


@contextmanager
def _frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def _renewal_fails(process: Process) -> None:
    began = time.monotonic()
    with pytest.raises(JournalUnavailable):
        await process.membership.renew(willing=True)
    assert time.monotonic() - began < AWAY_S


async def _sessions(pool: asyncpg.Pool) -> list[int]:
    rows = await pool.fetch(
        "SELECT pid FROM pg_stat_activity"
        " WHERE application_name = 'stampede membership' AND datname = current_database()"
    )
    return [row["pid"] for row in rows]


async def test_a_session_that_hangs_is_left_for_a_new_one(join: Join, pool: asyncpg.Pool) -> None:
    one = join("one")
    await one.membership.renew(willing=True)
    (pid,) = await _sessions(pool)
    with _frozen(pid):
        await _renewal_fails(one)
        assert (await one.membership.renew(willing=True)).accepted


async def test_a_session_that_was_cut_is_replaced(join: Join, pool: asyncpg.Pool) -> None:
    one = join("one")
    await one.membership.renew(willing=True)
    (pid,) = await _sessions(pool)
    await pool.execute("SELECT pg_terminate_backend($1)", pid)
    await until(lambda: _renewed(one), AWAY_S)


async def _renewed(process: Process) -> bool:
    try:
        return (await process.membership.renew(willing=True)).accepted
    except JournalUnavailable:
        return False


async def test_a_database_that_lets_nobody_in_is_told_fast(join: Join, pool: asyncpg.Pool) -> None:
    one = join("one")
    folder = await pool.fetchval("SHOW data_directory")
    postmaster = int((Path(folder) / "postmaster.pid").read_text().split()[0])
    with _frozen(postmaster):
        await _renewal_fails(one)
    assert (await one.membership.renew(willing=True)).accepted


async def test_a_database_that_is_not_there_is_told_fast(pool: asyncpg.Pool) -> None:
    nowhere = "postgresql://stampede@127.0.0.1:1/nothing"
    one = Process(nowhere, pool, NodeName("one", "one#1"), ["engine"])
    await _renewal_fails(one)
    with pytest.raises(JournalUnavailable):
        await one.membership.leave()
    await one.close()
