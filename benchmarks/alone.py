"""The engine without HTTP: its supervisor and journal in this process, kept busy by letters."""

import asyncio
import os
import tempfile
import time
from hashlib import blake2b
from itertools import count
from pathlib import Path

import asyncpg
from msgspec import Struct
from redis.asyncio import Redis

from engine import commands as c
from engine import ids
from engine.replies import Reply
from engine.runtime.faults import Fault
from engine.runtime.limits import Limits
from engine.runtime.mailbox import LocalMailbox
from engine.runtime.supervisor import Supervisor
from gateway.clock import SystemClock
from gateway.telemetry import RuntimeObserver
from persistence.embedded import EmbeddedPostgres, EmbeddedRedis
from persistence.journal import NodeName, PostgresJournal
from persistence.migrations import prepare
from persistence.snapshots import PostgresSnapshots, RedisSnapshots, Snapshots

EVENT_ID, TIER_ID = "evt_00000000000000aa", "tier_floor"
PLACES = 1 << 40
FAR_MS = 1 << 42
HOLD_MS = 86_400_000


class Alone(Struct):
    in_flight: int
    decisions_per_second: float
    cpu_us: float  # a decision, of this process: who asks is in it


async def alone(in_flight: list[int], seconds: float) -> list[Alone]:
    """Durable decisions a second on one hot sale, with so many letters in flight."""
    with tempfile.TemporaryDirectory(prefix="stampede-bench-") as name:
        postgres = EmbeddedPostgres(Path(name) / "postgres")
        redis = EmbeddedRedis(Path(name) / "redis")
        dsn, url = await postgres.start(), await redis.start()
        await prepare(dsn, 1)
        try:
            async with asyncpg.create_pool(dsn, min_size=1) as pool, Redis.from_url(url) as client:
                return await _measured(dsn, pool, client, in_flight, seconds)
        finally:
            await asyncio.gather(postgres.stop(), redis.stop())


async def _measured(
    dsn: str, pool: asyncpg.Pool, redis: Redis, in_flight: list[int], seconds: float
) -> list[Alone]:
    journal = PostgresJournal(dsn, pool, NodeName("bench", "1"))
    supervisor = Supervisor(
        journal=journal,
        snapshots=Snapshots(RedisSnapshots(redis), PostgresSnapshots(pool)),
        clock=SystemClock(),
        observer=RuntimeObserver(),
        shards=1,
        limits=Limits(),
    )
    supervisor.trust(float("inf"))
    for grant in await journal.acquire([0]):
        supervisor.take_over(grant)
    running = asyncio.create_task(supervisor.run())
    await LocalMailbox(supervisor).ask(EVENT_ID, _opening())
    found = [await _round(supervisor, letters, seconds) for letters in in_flight]
    placed = await pool.fetchval("SELECT last_seq FROM shards")
    if not placed:
        raise SystemExit("nothing is in the journal")
    supervisor.stop()
    await running
    await journal.close()
    return found


def _opening() -> c.OpenSale:
    tier = c.TierTerms(TIER_ID, "GENERAL", 2_500, PLACES, 0, FAR_MS, 10)
    return c.OpenSale(1, c.EventTerms("bench", "EUR", FAR_MS, FAR_MS + 1), (tier,), ())


class _Asking:
    """Every answer sends the next letter, until the time is over."""

    def __init__(self, supervisor: Supervisor, until_s: float, in_flight: int) -> None:
        self._supervisor = supervisor
        self._until_s = until_s
        self._open = in_flight
        self._run = os.urandom(8)
        self._numbers = count()
        self.answered = 0
        self.finished = asyncio.get_running_loop().create_future()

    def ask(self) -> None:
        number = next(self._numbers).to_bytes(8)
        key = c.Key(blake2b(self._run + number, digest_size=16).digest(), bytes(16))
        order_id = ids.order_id(EVENT_ID, self._run[:4] + number)
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


async def _round(supervisor: Supervisor, in_flight: int, seconds: float) -> Alone:
    began_s, cpu_s = time.perf_counter(), time.process_time()
    asking = _Asking(supervisor, began_s + seconds, in_flight)
    for _ in range(in_flight):
        asking.ask()
    await asking.finished
    took_s, spent_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    return Alone(in_flight, asking.answered / took_s, spent_s * 1e6 / asking.answered)
