"""A large sale: what a live ticket costs in memory, and what bringing the sale back costs the loop.

Confirmed orders, each with one payment and two idempotency keys of the last 24 hours. Loading goes
through the real Loader, from an embedded Redis and out of the journal in an embedded Postgres.
"""

import asyncio
import gc
import multiprocessing
import resource
import tempfile
import time
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import islice, pairwise
from pathlib import Path

import asyncpg
from msgspec import Struct

from benchmarks.asked import Asked
from benchmarks.memory import EVENT, Sale, traced
from benchmarks.results import Figure, Measurement, measured
from engine import snapshot
from engine.digests import DIGEST_BYTES, PARTS
from engine.runtime.actor import Actor
from engine.runtime.limits import Limits
from engine.runtime.loading import Loader
from engine.runtime.ports import Batch, Grant
from gateway.clock import SystemClock
from gateway.telemetry import RuntimeObserver
from persistence.durable_snapshots import PostgresSnapshots
from persistence.embedded import EmbeddedPostgres, EmbeddedRedis
from persistence.journal import NodeName, PostgresJournal
from persistence.migrations import prepare
from persistence.saves import snapshot_key
from persistence.snapshots import RedisSnapshots, Snapshots
from persistence.streams import connect

TICKETS = 100_000
TICKETS_AN_ORDER = (1, 2, 4)
LOADED_WITH = (1, 2)  # tickets an order
_FACTS_A_BATCH = 300
_LOOK_S = 0.001


class Load(Struct, frozen=True):
    """`cpu_s`: of it, what this process has worked. `still_ms`: the longest piece of that in which
    nothing else on the loop got its turn.
    """

    seconds: float
    cpu_s: float
    still_ms: float


class Loads(Struct, frozen=True):
    by_snapshot: list[Load]
    by_replay: list[Load]


def _sold(tickets_an_order: int, *, recorded: bool = False) -> Sale:
    sale = Sale(recorded=recorded)
    for number in range(TICKETS // tickets_an_order):
        sale.buy(tickets_an_order)
        sale.now_ms += number % 2
        sale.state.next_deadline_ms()  # as after every turn
    return sale


def traced_bytes(tickets_an_order: int) -> float:
    """A live ticket's, by tracemalloc."""
    tracemalloc.start()
    try:
        before = traced()
        sale = _sold(tickets_an_order)
        each = (traced() - before) / TICKETS
        assert len(sale.state.tokens) == TICKETS
    finally:
        tracemalloc.stop()
    return each


def resident_bytes(tickets_an_order: int) -> float:
    """A live ticket's, by what a fresh process grows in restoring the sale from its entities."""
    state = _sold(tickets_an_order).state
    entities = dict(snapshot.encode(state, snapshot.names(state)))
    with multiprocessing.get_context("spawn").Pool(1) as process:
        return process.apply(_grown, (list(entities), list(entities.values()))) / TICKETS


def _grown(names: list[str], entities: list[bytes]) -> int:
    """The entities themselves become the state, so they count."""
    own = sum(map(len, names)) + sum(map(len, entities)) + (49 + 33) * len(names)
    gc.collect()
    before = _resident()
    state = snapshot.restore(dict(zip(names, entities, strict=True)))
    for part in range(PARTS):  # what is unsorted takes less room
        sought = bytes([part]) + bytes(DIGEST_BYTES - 1)
        assert state.tokens.find(sought) is state.keys.find(sought) is None
    gc.collect()
    return own + _resident() - before


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def loads(tickets_an_order: int, rounds: int) -> Loads:
    async with _servers() as (dsn, redis_url), AsyncExitStack() as stack:
        await prepare(dsn, 1)
        pool = await stack.enter_async_context(asyncpg.create_pool(dsn, min_size=1))
        redis = connect(redis_url)
        stack.push_async_callback(redis.aclose)
        journal = PostgresJournal(dsn, pool, NodeName("bench", "1"))
        stack.push_async_callback(journal.close)
        snapshots = Snapshots(RedisSnapshots(redis), PostgresSnapshots(pool))
        (grant,) = await journal.acquire([0])
        grant = await _write(journal, snapshots, grant, _sold(tickets_an_order, recorded=True))
        gc.collect()
        loader = Loader(
            journal=journal,
            snapshots=snapshots,
            clock=SystemClock(),
            observer=RuntimeObserver(),
            loads_max=1,
            deaths_max=1,
        )
        by_snapshot = [await _load(loader, grant) for _ in range(rounds)]
        await redis.delete(snapshot_key(0, EVENT))
        by_replay = [await _load(loader, grant) for _ in range(rounds)]
        return Loads(by_snapshot, by_replay)


async def _write(journal: PostgresJournal, snapshots: Snapshots, grant: Grant, sale: Sale) -> Grant:
    """Journal and fast snapshot of the sale; the grant as it is then."""
    entries, seq = iter(sale.entries), grant.last_seq
    while batch := tuple(islice(entries, _FACTS_A_BATCH)):
        seq += 1
        assert await journal.append([Batch(0, grant.epoch, seq, batch)])
    actor = Actor(EVENT, 0, grant.epoch)
    actor.begin(sale.state, seq, None, 0)
    actor.save_anew()
    while actor.unsaved_any:
        delta = actor.delta(Limits().piece_max)
        assert await snapshots.save(delta)
        actor.saved = (delta.epoch, delta.seq)
    return Grant(0, grant.epoch, seq)


async def _load(loader: Loader, grant: Grant) -> Load:
    actor = Actor(EVENT, 0, grant.epoch)
    looks: list[float] = []
    looking = asyncio.create_task(_look(looks))
    await asyncio.sleep(0)
    began, worked = time.perf_counter(), time.process_time()
    assert await loader.load(actor, grant) is None
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - worked
    await asyncio.sleep(0)
    looking.cancel()
    assert actor.state is not None
    assert len(actor.state.tokens) == TICKETS
    looks.append(time.thread_time())
    still_s = max(after - before for before, after in pairwise(looks))
    return Load(seconds, cpu_s, still_s * 1000)


async def _look(looks: list[float]) -> None:
    while True:
        looks.append(time.thread_time())
        await asyncio.sleep(_LOOK_S)


@asynccontextmanager
async def _servers() -> AsyncIterator[tuple[str, str]]:
    with tempfile.TemporaryDirectory(prefix="stampede-bench-") as name:
        postgres = EmbeddedPostgres(Path(name) / "postgres")
        redis = EmbeddedRedis(Path(name) / "redis")
        try:
            yield await postgres.start(), await redis.start()
        finally:
            await redis.stop()
            await postgres.stop()


async def measure(asked: Asked) -> list[Measurement]:
    figures = []
    for quantity in TICKETS_AN_ORDER:
        traced = await asyncio.to_thread(traced_bytes, quantity)
        resident = await asyncio.to_thread(resident_bytes, quantity)
        of = f"a live ticket, {quantity} an order"
        figures.append(Figure(f"{of}, by tracemalloc", "bytes", [traced]))
        figures.append(Figure(f"{of}, by what the process grows", "bytes", [resident]))
    for quantity in LOADED_WITH:
        found = await loads(quantity, asked.rounds_or(5))
        for way, of_way in (("snapshot", found.by_snapshot), ("replay", found.by_replay)):
            what = f"load by {way}, {quantity} an order"
            figures.append(Figure(what, "s", [load.seconds for load in of_way]))
            figures.append(Figure(f"{what}: CPU", "s", [load.cpu_s for load in of_way]))
            still = [load.still_ms for load in of_way]
            figures.append(Figure(f"{what}: longest step on the loop", "ms of CPU", still))
    conditions = (
        f"{TICKETS:,} tickets in confirmed orders, each with one payment and two idempotency"
        " keys of the last 24 hours, no personal data. Loads through the real Loader: the snapshot"
        " out of Redis, the replay (three facts an order) out of the journal in Postgres."
    )
    return [measured("a large sale", "./run bench sale", conditions, figures)]
