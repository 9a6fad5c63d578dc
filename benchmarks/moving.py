"""What buyers notice when a hot sale's owner is killed, or hands over as planned.

Two engines behind a gateway, each process started without a launcher, so that the dead stay dead.
The buyers ask at a steady pace, each its next order after the last answer.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import aiohttp
from msgspec import Struct

from benchmarks.asked import Asked
from benchmarks.results import Figure, Measurement, measured
from benchmarks.stage import PLACES
from engine.facts import OrderPlaced
from engine.placement import wanted_owner
from tests.cluster import SHARDS, Cluster
from tests.shop import Shop
from tests.waiting import until

ENGINES = ("engine-1", "engine-2")
BUYERS = 24
PACE_S = 0.05
SETTLED_S = 1.0
BEFORE_S = 0.1  # a hand-over is noticed by who asked just before it as well


class Order(Struct, frozen=True):
    """`order_id` None: refused, failed, or unknown."""

    began_s: float
    answered_s: float
    order_id: str | None


class Moved(Struct):
    """A planned hand-over: of the orders that were asked for in it."""

    seconds: float
    asked: int
    failed: int
    p99_ms: float
    most_ms: float


class Buyers:
    """Orders of one hot tier, and how each went."""

    def __init__(self, shop: Shop, event_id: str, tier_id: str) -> None:
        self._order = partial(shop.order, event_id, tier_id)
        self._buying = [asyncio.create_task(self._buy()) for _ in range(BUYERS)]
        self.asked: list[Order] = []

    async def stop(self) -> None:
        for buyer in self._buying:
            buyer.cancel()
        await asyncio.gather(*self._buying, return_exceptions=True)

    async def _buy(self) -> None:
        while True:
            began_s = time.monotonic()
            try:
                answer = await self._order(key=uuid4().hex)
            except (aiohttp.ClientError, OSError):
                order_id = None
            else:
                order_id = answer.body["order_id"] if answer.status == 201 else None
            self.asked.append(Order(began_s, time.monotonic(), order_id))
            await asyncio.sleep(PACE_S)

    def first_since(self, instant_s: float) -> Order | None:
        """The first durable answer to what was asked afterwards."""
        good = [a for a in self.asked if a.began_s > instant_s and a.order_id is not None]
        return min(good, key=lambda asked: asked.answered_s, default=None)

    def within(self, seconds: float, began_s: float) -> Moved:
        ended_s = time.monotonic()
        window = [a for a in self.asked if began_s - BEFORE_S < a.began_s < ended_s]
        took_ms = sorted((a.answered_s - a.began_s) * 1000 for a in window)
        failed = sum(a.order_id is None for a in window)
        p99_ms = took_ms[int(len(took_ms) * 0.99)]
        return Moved(seconds, len(window), failed, p99_ms, took_ms[-1])


class Scene(Struct):
    cluster: Cluster
    buyers: Buyers
    event_id: str

    async def settled(self) -> None:
        """Every node up, and every shard where it should be."""
        await self.cluster.have(engine_1="engine", engine_2="engine")
        await until(self._is_settled)
        await asyncio.sleep(SETTLED_S)

    async def _is_settled(self) -> bool:
        owners = await self.cluster.owners()
        return all(owners[s] == wanted_owner(s, ENGINES) for s in range(SHARDS))


@asynccontextmanager
async def _scene() -> AsyncIterator[Scene]:
    with tempfile.TemporaryDirectory(prefix="stampede-bench-") as folder:
        settings = {"STAMPEDE_ORDER_HOLD_SECONDS": "86400"}
        cluster = Cluster(Path(folder), settings)
        await cluster.start()
        try:
            _, gateway, *_ = await cluster.have(
                projector="projector", gateway_1="gateway", engine_1="engine", engine_2="engine"
            )
            async with aiohttp.ClientSession() as session:
                shop = Shop(gateway.url, session)
                hall = await shop.venue(capacity=PLACES)
                tier = {"total_quantity": PLACES}
                event_id, (tier_id,) = await shop.on_sale(tier, venue_id=hall["venue_id"])
                buyers = Buyers(shop, event_id, tier_id)
                try:
                    yield Scene(cluster, buyers, event_id)
                finally:
                    await buyers.stop()
        finally:
            await cluster.stop()


async def takeovers(rounds: int) -> list[float]:
    """Seconds from kill -9 of the owner to the first durable 201 from the other engine."""
    async with _scene() as scene:
        took = []
        for _ in range(rounds):
            await scene.settled()
            await (await scene.cluster.owner(scene.event_id)).kill()
            killed_s = time.monotonic()
            await until(partial(scene.buyers.first_since, killed_s))
            first = scene.buyers.first_since(killed_s)
            assert first is not None
            took.append(first.answered_s - killed_s)
        await scene.settled()
        await _expect_all_in_the_journal(scene)
        return took


async def hand_overs(rounds: int) -> tuple[list[Moved], list[Moved]]:
    """When the owner is told to stop, and when it is back and gets its shards again."""
    async with _scene() as scene:
        left, joined = [], []
        for _ in range(rounds):
            await scene.settled()
            owner = await scene.cluster.owner(scene.event_id)
            began_s = time.monotonic()
            await owner.stop()
            took_s = time.monotonic() - began_s
            await asyncio.sleep(SETTLED_S)
            left.append(scene.buyers.within(took_s, began_s))
            began_s = time.monotonic()
            await scene.settled()
            joined.append(scene.buyers.within(time.monotonic() - began_s - SETTLED_S, began_s))
        await _expect_all_in_the_journal(scene)
        return left, joined


async def _expect_all_in_the_journal(scene: Scene) -> None:
    await scene.buyers.stop()  # what is answered while the journal is read would be missing
    placed = {
        entry.fact.order_id
        for _, _, _, entries in await scene.cluster.journal()
        for entry in entries
        if isinstance(entry.fact, OrderPlaced)
    }
    lost = {a.order_id for a in scene.buyers.asked if a.order_id is not None} - placed
    if lost:
        raise SystemExit(f"{len(lost)} answers of 201 are not in the journal")


async def measure_takeovers(asked: Asked) -> list[Measurement]:
    figures = [Figure("kill -9 to a durable 201", "s", await takeovers(asked.rounds_or(10)))]
    conditions = (
        f"Two engines behind a gateway, {BUYERS} buyers; the owner of the hot sale is killed"
        " and stays dead, the other takes over. No 201 is missing in the journal."
    )
    return [measured("takeover after kill -9", "./run bench takeover", conditions, figures)]


async def measure_hand_overs(asked: Asked) -> list[Measurement]:
    left, joined = await hand_overs(asked.rounds_or(5))
    figures = [*_moved("owner leaves", left), *_moved("owner joins again", joined)]
    conditions = (
        f"Two engines behind a gateway, {BUYERS} buyers; the owner of the hot sale is told"
        " to stop (SIGTERM), and started again. Of what was asked for from 0.1 s before it until"
        " 1 s after it; the start of the process is in the window of its joining."
    )
    return [measured("planned hand-over", "./run bench handover", conditions, figures)]


def _moved(what: str, moves: list[Moved]) -> list[Figure]:
    return [
        Figure(f"{what}: asked", "orders", [float(m.asked) for m in moves]),
        Figure(f"{what}: failed", "orders", [float(m.failed) for m in moves]),
        Figure(f"{what}: p99", "ms", [m.p99_ms for m in moves]),
        Figure(f"{what}: longest", "ms", [m.most_ms for m in moves]),
        Figure(f"{what}: until done", "s", [m.seconds for m in moves]),
    ]
