"""The engine without HTTP: its supervisor and journal in this process, kept busy by letters."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import blake2b
from itertools import count

import asyncpg
from msgspec import Struct
from redis.asyncio import Redis

from benchmarks.asked import Asked
from benchmarks.results import Figure, Measurement, measured
from benchmarks.servers import fresh_folder
from engine import commands as c
from engine import ids
from engine.replies import Reply
from engine.runtime.faults import Fault
from engine.runtime.limits import Limits
from engine.runtime.mailbox import LocalMailbox
from engine.runtime.supervisor import Supervisor
from gateway import collector
from gateway.clock import SystemClock
from gateway.telemetry import RuntimeObserver
from persistence.durable_snapshots import PostgresSnapshots
from persistence.embedded import EmbeddedPostgres, EmbeddedRedis
from persistence.journal import NodeName, PostgresJournal
from persistence.migrations import prepare
from persistence.snapshots import RedisSnapshots, Snapshots

EVENT_ID, TIER_ID = "evt_00000000000000aa", "tier_floor"
PLACES = 1 << 40
FAR_MS = 1 << 42
HOLD_MS = 86_400_000
IN_FLIGHT = [64, 512, 2048]


class Alone(Struct):
    in_flight: int
    decisions_per_second: float
    cpu_us: float  # a decision, of this process: who asks is in it


class Engine(Struct):
    """One hot sale in shard 0; shard 1 is nobody's."""

    supervisor: Supervisor
    pool: asyncpg.Pool
    dsn: str


async def alone(in_flight: list[int], seconds: float) -> list[Alone]:
    """Durable decisions a second on one hot sale, with so many letters in flight."""
    async with running() as engine:
        found = [await asked_of(engine.supervisor, letters, seconds) for letters in in_flight]
        if not await engine.pool.fetchval("SELECT last_seq FROM shards WHERE shard_id = 0"):
            raise SystemExit("nothing is in the journal")
        return found


@asynccontextmanager
async def running() -> AsyncIterator[Engine]:
    async with AsyncExitStack() as undo:
        folder = await undo.enter_async_context(fresh_folder())
        postgres, redis = EmbeddedPostgres(folder / "postgres"), EmbeddedRedis(folder / "redis")
        dsn = await postgres.start()
        undo.push_async_callback(postgres.stop)
        url = await redis.start()
        undo.push_async_callback(redis.stop)
        await prepare(dsn, 2)
        pool = await undo.enter_async_context(asyncpg.create_pool(dsn, min_size=1))
        client = await undo.enter_async_context(Redis.from_url(url))
        journal = PostgresJournal(dsn, pool, NodeName("bench", "1"))
        undo.push_async_callback(journal.close)
        supervisor = Supervisor(
            journal=journal,
            snapshots=Snapshots(RedisSnapshots(client), PostgresSnapshots(pool)),
            clock=SystemClock(),
            observer=RuntimeObserver(),
            shards=1,
            limits=Limits(),
        )
        supervisor.trust(float("inf"))
        for grant in await journal.acquire([0]):
            supervisor.take_over(grant)
        serving = asyncio.create_task(supervisor.run())
        await LocalMailbox(supervisor).ask(EVENT_ID, _opening())
        collector.calm()
        yield Engine(supervisor, pool, dsn)
        supervisor.stop()
        await serving


def _opening() -> c.OpenSale:
    tier = c.TierTerms(TIER_ID, "GENERAL", 2_500, PLACES, 0, FAR_MS, 10)
    return c.OpenSale(1, c.EventTerms("bench", "EUR", FAR_MS, FAR_MS + 1), (tier,), ())


class _Asking:
    """Every answer sends the next letter, until the time is over."""

    def __init__(self, supervisor: Supervisor, until_s: float, in_flight: int) -> None:
        self._supervisor = supervisor
        self._until_s = until_s
        self._open = in_flight
        self._run = os.urandom(ids.ORDER_RANDOM_BYTES - 4)
        self._numbers = count()
        self.answered = 0
        self.finished = asyncio.get_running_loop().create_future()

    def ask(self) -> None:
        random = self._run + next(self._numbers).to_bytes(4)
        key = c.Key(blake2b(random, digest_size=16).digest(), bytes(16))
        order_id = ids.order_id(EVENT_ID, random)
        wanted = (c.Selection(TIER_ID, 2),)
        order = c.PlaceOrder(order_id, "bench", wanted, None, HOLD_MS, key)
        self._supervisor.post(EVENT_ID, order, self._answered)

    def _answered(self, outcome: Reply | Fault) -> None:
        if isinstance(outcome, Fault):
            self.finished.set_exception(outcome)
            return
        self.answered += 1
        if time.perf_counter() < self._until_s:
            self.ask()
            return
        self._open -= 1
        if not self._open:
            self.finished.set_result(None)


async def asked_of(supervisor: Supervisor, in_flight: int, seconds: float) -> Alone:
    began_s, cpu_s = time.perf_counter(), time.process_time()
    asking = _Asking(supervisor, began_s + seconds, in_flight)
    for _ in range(in_flight):
        asking.ask()
    await asking.finished
    took_s, spent_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    return Alone(in_flight, asking.answered / took_s, spent_s * 1e6 / asking.answered)


async def measure(asked: Asked) -> list[Measurement]:
    runs = [await alone(IN_FLIGHT, asked.seconds) for _ in range(asked.rounds_or(5))]
    figures = []
    for place, in_flight in enumerate(IN_FLIGHT):
        of_it = [run[place] for run in runs]
        speed = [one.decisions_per_second for one in of_it]
        figures.append(Figure(f"{in_flight} in flight: durable decisions", "a second", speed))
        cpu = [one.cpu_us for one in of_it]
        figures.append(Figure(f"{in_flight} in flight: CPU", "µs a decision", cpu))
    conditions = (
        "One hot sale, the supervisor and its Postgres journal without HTTP,"
        f" {asked.seconds:g} s each; snapshots on. Who asks is in the same process, and its CPU"
        " in the figure."
    )
    return [measured("engine alone", "./run bench engine", conditions, figures)]
