"""The journal over a network that fails: whatever becomes of a connection, what is known is true.

An append whose connection breaks may have landed or not; after the shard has been acquired anew
`landed` says which, and what it says stays so whatever was still on its way.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
import pytest_asyncio

from engine.runtime.faults import JournalUnavailable, OutcomeUnknown
from engine.runtime.ports import Batch, Grant
from loadtests.nemesis.proxy import Disturbance, Kind, Link, Proxy
from persistence.journal import NodeName, PostgresJournal
from tests.persistence.databases import fresh_database
from tests.runtime.journal_contract import SHARD, batch, history, placed

SOCKET = ".s.PGSQL.5432"
WAIT_S_MAX = 10.0


class World:
    """A journal whose every connection passes the proxy, and a way around it to look."""

    def __init__(
        self, dsn: str, proxy: Proxy, journal: PostgresJournal, around: asyncpg.Connection
    ) -> None:
        self.dsn = dsn
        self.proxy = proxy
        self.journal = journal
        self.around = around

    async def written_once(self) -> tuple[Grant, Batch]:
        """A grant with which one batch is written, and the next batch."""
        (grant,) = await self.journal.acquire([SHARD])
        assert await self.journal.append([batch(grant, 1, placed(1))]) == {SHARD}
        return grant, batch(grant, 2, placed(2))

    @property
    def writers(self) -> frozenset[Link]:
        return self.proxy.find(hello=b"stampede journal")

    async def is_held(self, link: Link) -> None:
        async def held() -> bool:
            return link.held > 0

        await _until(held)

    async def writer_waits_for_a_lock(self) -> None:
        await _until(lambda: self._writers_where("wait_event_type = 'Lock'"))

    async def are_gone(self, pids: Sequence[int]) -> None:
        """Returns when these backends have read all that was sent to them, and ended."""

        async def gone() -> bool:
            return not set(pids) & set(await self.writer_pids())

        await _until(gone)

    async def writer_pids(self) -> Sequence[int]:
        return await self._writers_where("true")

    async def _writers_where(self, condition: str) -> Sequence[int]:
        rows = await self.around.fetch(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'stampede journal'"
            f" AND datname = current_database() AND {condition}"
        )
        return [row["pid"] for row in rows]


async def _until(condition: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(WAIT_S_MAX):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.01)


@pytest_asyncio.fixture
async def world(postgres_dsn: str) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        dsn = await stack.enter_async_context(fresh_database(postgres_dsn))
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="stampede-")))
        (server,) = parse_qs(urlsplit(dsn).query)["host"]
        proxy = Proxy(folder / SOCKET, Path(server) / SOCKET)
        await stack.enter_async_context(proxy.listening())
        proxied = dsn.replace(server, str(folder))
        pool = await stack.enter_async_context(asyncpg.create_pool(proxied, min_size=0, max_size=2))
        around = await asyncpg.connect(dsn)
        stack.push_async_callback(around.close)
        journal = PostgresJournal(proxied, pool, NodeName("one", "1"))
        stack.push_async_callback(journal.close)
        yield World(dsn, proxy, journal, around)


@pytest.mark.parametrize(
    ("kind", "lands"),
    [(Kind.CUT_BEFORE, False), (Kind.CUT_DURING, False), (Kind.CUT_AFTER, True)],
)
async def test_after_a_cut_the_journal_tells_truly_what_has_landed(
    world: World, kind: Kind, lands: bool
) -> None:
    grant, second = await world.written_once()
    async with world.proxy.disturbed(Disturbance(kind)):
        with pytest.raises(OutcomeUnknown):
            await world.journal.append([second])
    (again,) = await world.journal.reacquire([grant])
    assert await world.journal.landed(second) is lands
    assert again.last_seq == (2 if lands else 1)
    third = batch(again, again.last_seq + 1, placed(3))
    assert await world.journal.append([third]) == {SHARD}
    assert [found.seq for found in await history(world.journal)] == [*range(1, third.seq + 1)]


async def test_without_a_connection_nothing_is_sent_and_it_says_so(world: World) -> None:
    grant, second = await world.written_once()
    async with world.proxy.disturbed(Disturbance(Kind.CUT_BEFORE)):
        with pytest.raises(OutcomeUnknown):
            await world.journal.append([second])
        with pytest.raises(JournalUnavailable):
            await world.journal.append([second])
        with pytest.raises(JournalUnavailable):
            await world.journal.reacquire([grant])
    await world.journal.reacquire([grant])
    assert not await world.journal.landed(second)


async def test_a_batch_that_arrives_after_the_takeover_never_lands(world: World) -> None:
    grant, second = await world.written_once()
    old = await world.writer_pids()
    (writer,) = world.writers
    held = Disturbance(Kind.HOLD_REQUESTS, links=frozenset([writer]))
    async with world.proxy.disturbed(held):
        appending = asyncio.ensure_future(world.journal.append([second]))
        await world.is_held(writer)
        writer.cut()
        with pytest.raises(OutcomeUnknown):
            await appending
        (again,) = await world.journal.reacquire([grant])
        assert not await world.journal.landed(second)
        third = batch(again, 2, placed(3))
        assert await world.journal.append([third]) == {SHARD}
    # It is on its way again, and its backend ends when it has read it.
    await world.are_gone(old)
    assert not await world.journal.landed(second)
    assert (await history(world.journal))[1:] == [third]


async def test_a_batch_in_flight_while_the_shard_is_taken_has_one_answer_for_ever(
    world: World,
) -> None:
    grant, second = await world.written_once()
    old = await world.writer_pids()
    (writer,) = world.writers
    locker = await asyncpg.connect(world.dsn)
    locking = locker.transaction()
    await locking.start()
    await locker.execute("SELECT 1 FROM shards WHERE shard_id = $1 FOR UPDATE", SHARD)
    appending = asyncio.ensure_future(world.journal.append([second]))
    await world.writer_waits_for_a_lock()
    writer.cut()
    with pytest.raises(OutcomeUnknown):
        await appending
    acquiring = asyncio.ensure_future(world.journal.reacquire([grant]))
    await locking.rollback()
    await locker.close()
    (again,) = await acquiring
    landed = await world.journal.landed(second)
    assert again.last_seq == (2 if landed else 1)
    await world.are_gone(old)
    assert await world.journal.landed(second) is landed
    assert len(await history(world.journal)) == again.last_seq
