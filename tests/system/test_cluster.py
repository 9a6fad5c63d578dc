"""Two gateways and two engines: killed, frozen, stopped and cut off, one after the other.

Whatever happens to a process or to a server, what a buyer was told stands, each order is in the
journal once, and the rest go on or say at once that they cannot.
"""

import asyncio
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from itertools import cycle
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio
from msgspec import Struct

from engine.facts import OrderPlaced
from engine.placement import wanted_owner
from tests.cluster import SHARDS, Cluster, NodeProcess, frozen, metric
from tests.shop import Answer, Shop
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENGINES = ("engine-1", "engine-2")
NODES = ("gateway-1", "gateway-2", *ENGINES)
TAKEN_OVER_S = 5.0
SAID_AT_ONCE_S = 0.5
BUYERS = 8
PACE_S = 0.02


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    await cluster.start()
    yield cluster
    await cluster.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def cluster(servers: Cluster, session: aiohttp.ClientSession) -> Cluster:
    """All up and ready, and every shard where it should be."""
    await servers.have(
        projector="projector",
        gateway_1="gateway",
        gateway_2="gateway",
        engine_1="engine",
        engine_2="engine",
    )
    await until(lambda: _is_settled(servers, ENGINES))
    await until(lambda: _all_are(session, servers, ready=True))
    return servers


async def _is_settled(cluster: Cluster, engines: Iterable[str]) -> bool:
    names = list(engines)
    wanted = {shard_id: wanted_owner(shard_id, names) for shard_id in range(SHARDS)}
    return await cluster.owners() == wanted


@pytest.fixture
def shops(cluster: Cluster, session: aiohttp.ClientSession) -> list[Shop]:
    """One at each gateway."""
    return [Shop(cluster.nodes[name].url, session) for name in ("gateway-1", "gateway-2")]


class Asked(Struct, frozen=True):
    """An order that was asked for; `answer` None where the connection broke."""

    shop: Shop
    key: str
    began_s: float
    took_s: float
    answer: Answer | None


class Crowd:
    """Buyers of one tier at all gateways, who ask at a steady pace and remember everything."""

    def __init__(self, shops: list[Shop], event_id: str, tier_id: str) -> None:
        self._shops = shops
        self.event_id = event_id
        self.tier_id = tier_id
        self.asked: list[Asked] = []
        self._stopped = False
        self._buyers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Crowd":
        self._buyers = [
            asyncio.create_task(self._buy(shop))
            for shop, _ in zip(cycle(self._shops), range(BUYERS), strict=False)
        ]
        await self.has_bought(50)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopped = True
        await asyncio.gather(*self._buyers)

    @property
    def placed(self) -> dict[str, Answer]:
        return {a.key: a.answer for a in self.asked if a.answer and a.answer.status == 201}

    def bought_since(self, instant_s: float) -> bool:
        return any(a.began_s > instant_s and a.key in self.placed for a in self.asked[-BUYERS:])

    def unresolved(self) -> list[Asked]:
        return [a for a in self.asked if a.answer is None or a.answer.status != 201]

    async def has_bought(self, more: int) -> None:
        goal = len(self.placed) + more
        await until(lambda: len(self.placed) >= goal)

    async def order(self, shop: Shop, key: str) -> Answer:
        return await shop.order(self.event_id, self.tier_id, key=key)

    async def _buy(self, shop: Shop) -> None:
        while not self._stopped:
            key, began_s = uuid4().hex, time.monotonic()
            try:
                answer = await self.order(shop, key)
            except (aiohttp.ClientError, OSError):
                answer = None
            took_s = time.monotonic() - began_s
            self.asked.append(Asked(shop, key, began_s, took_s, answer))
            await asyncio.sleep(PACE_S)


async def _crowd(shops: list[Shop]) -> Crowd:
    event_id, (tier_id,) = await shops[0].on_sale({"total_quantity": 1_000_000})
    return Crowd(shops, event_id, tier_id)


async def _check(cluster: Cluster, crowd: Crowd, shop: Shop) -> None:
    """Every answer is in the journal, once; an unknown outcome is found out by its key."""
    for asked in crowd.unresolved():
        assert (await crowd.order(shop, asked.key)).status == 201
    for key, answer in list(crowd.placed.items())[:: max(1, len(crowd.placed) // 20)]:
        again = await crowd.order(shop, key)
        assert (again.status, again.body) == (201, answer.body)
    rows = await cluster.journal()
    placed = Counter(
        entry.fact.order_id
        for _, _, _, entries in rows
        for entry in entries
        if isinstance(entry.fact, OrderPlaced) and entry.fact.items[0].tier_id == crowd.tier_id
    )
    assert set(placed.values()) == {1}
    assert {answer.body["order_id"] for answer in crowd.placed.values()} <= set(placed)
    assert len(placed) == len(crowd.asked)
    for shard_id in {row[0] for row in rows}:  # one writer an epoch, no gaps
        own = [(seq, epoch) for shard, seq, epoch, _ in rows if shard == shard_id]
        assert [seq for seq, _ in own] == list(range(1, len(own) + 1))
        assert [epoch for _, epoch in own] == sorted(epoch for _, epoch in own)


async def test_a_retry_through_another_gateway_gets_the_same_answer(shops: list[Shop]) -> None:
    event_id, (tier_id,) = await shops[0].on_sale({"total_quantity": 3})
    first = await shops[0].order(event_id, tier_id, 2, key="a-key")
    again = await shops[1].order(event_id, tier_id, 2, key="a-key")
    assert (again.status, again.body) == (first.status, first.body) == (201, first.body)
    assert (await shops[1].order(event_id, tier_id, 1, key="a-key")).status == 422
    assert (await shops[1].read(first.body["order_id"]))["status"] == "PENDING"


@pytest.mark.alone
async def test_a_planned_hand_over_fails_no_request(cluster: Cluster, shops: list[Shop]) -> None:
    """The owner is told to stop under load, and joins again."""
    p99_s: list[float] = []
    async with await _crowd(shops) as crowd:
        for _ in range(3):
            owner = await cluster.owner(crowd.event_id)
            began_s = time.monotonic()
            assert await owner.stop() == 0
            await crowd.has_bought(20)
            ended_s = time.monotonic()
            await owner.start()
            await until(lambda: _is_settled(cluster, ENGINES))
            assert await cluster.owner(crowd.event_id) is owner
            await crowd.has_bought(50)
            window = sorted(a.took_s for a in crowd.asked if began_s - 0.1 < a.began_s < ended_s)
            p99_s.append(window[int(len(window) * 0.99)])
    assert crowd.unresolved() == []
    assert min(p99_s) < 0.25  # the best of three: a machine may have other work
    await _check(cluster, crowd, shops[1])


@pytest.mark.alone
async def test_an_owner_that_was_killed_is_replaced_within_five_seconds(
    cluster: Cluster, shops: list[Shop]
) -> None:
    async with await _crowd(shops) as crowd:
        await (await cluster.owner(crowd.event_id)).kill()
        killed_s = time.monotonic()
        await until(lambda: crowd.bought_since(killed_s), TAKEN_OVER_S)
        await crowd.has_bought(50)
    await _check(cluster, crowd, shops[1])


async def test_an_owner_that_was_frozen_past_its_lease_decides_nothing_any_more(
    cluster: Cluster, shops: list[Shop]
) -> None:
    """To its memory the balcony is sold out; to the owner after it, it is not."""
    event_id, (floor_id, balcony_id) = await shops[0].on_sale(
        {"total_quantity": 100_000}, {"name": "BALCONY", "total_quantity": 1}
    )
    last = await shops[0].order(event_id, balcony_id)
    assert (await shops[0].order(event_id, balcony_id)).code == "sold_out"
    async with Crowd(shops, event_id, floor_id) as crowd:
        owner = await cluster.owner(event_id)
        with frozen(owner.pid):
            await until(lambda: _is_anothers(cluster, event_id, owner))
            await _cancel(shops[0], last)
        for shop, _ in zip(cycle(shops), range(20), strict=False):
            bought = await shop.order(event_id, balcony_id)
            assert bought.status == 201, bought.body
            await _cancel(shop, bought)
        await until(lambda: _is_settled(cluster, ENGINES))
        await crowd.has_bought(50)
    await _check(cluster, crowd, shops[1])


async def _is_anothers(cluster: Cluster, event_id: str, owner: NodeProcess) -> bool:
    return await cluster.owner(event_id) is not owner


async def _cancel(shop: Shop, order: Answer) -> None:
    token = await shop.token("buyer", "ann")
    path = f"/v1/orders/{order.body['order_id']}"
    cancelled = await shop.call("DELETE", path, token=token)
    assert cancelled.status == 200, cancelled.body


async def test_a_gateway_that_was_killed_takes_none_with_it(
    cluster: Cluster, shops: list[Shop]
) -> None:
    gateway = cluster.nodes["gateway-1"]
    async with await _crowd(shops) as crowd:
        await gateway.kill()
        await crowd.has_bought(100)
        await gateway.start()  # who came meanwhile has waited before its socket
        await crowd.has_bought(50)
    assert {asked.shop for asked in crowd.unresolved()} <= {shops[0]}
    await _check(cluster, crowd, shops[1])


async def test_without_a_projector_sales_go_on_and_it_catches_up(
    cluster: Cluster, shops: list[Shop], session: aiohttp.ClientSession
) -> None:
    engine = cluster.nodes["engine-1"]

    async def lag() -> float:
        return await metric(session, engine.ops_url, "stampede_projection_lag_batches")

    async with await _crowd(shops) as crowd:
        await cluster.nodes["projector"].kill()
        await crowd.has_bought(50)
        await until(lambda: _is(lag, lambda batches: batches > 0))
    assert crowd.unresolved() == []
    await cluster.nodes["projector"].start()
    await until(lambda: _is(lag, lambda batches: batches == 0))
    rows = await cluster.query("SELECT 1 FROM orders WHERE event_id = $1", crowd.event_id)
    assert len(rows) == len(crowd.placed)


async def _is(figure: Callable[[], Awaitable[float]], right: Callable[[float], bool]) -> bool:
    return right(await figure())


async def test_without_redis_a_whole_node_sells_and_gateways_say_at_once_that_they_cannot(
    cluster: Cluster, shops: list[Shop], session: aiohttp.ClientSession
) -> None:
    (whole,) = await cluster.have(whole_1="gateway+engine")
    await until(lambda: _is_settled(cluster, [*ENGINES, "whole-1"]))
    own_shop = Shop(whole.url, session)
    own, afar = await _on_sale_at(cluster, own_shop, whole), await _on_sale_afar(cluster, shops[0])
    os.kill(await cluster.redis_pid(), signal.SIGKILL)
    await _says_it_cannot(shops[0], afar, first_within_s=2.5)
    for _ in range(20):
        assert (await own_shop.order(*own)).status == 201
    await cluster.redis.stop()
    shutil.rmtree(cluster.folder / "redis")  # it comes back with nothing
    await cluster.redis.start()
    await until(lambda: _sells(shops[0], afar))
    await until(lambda: _sells(shops[1], own))
    with frozen(await cluster.redis_pid()):
        await _says_it_cannot(shops[1], afar, first_within_s=2.5)
        assert (await own_shop.order(*own)).status == 201
    await until(lambda: _sells(shops[1], afar))
    assert await whole.stop() == 0


async def _on_sale_at(cluster: Cluster, shop: Shop, node: NodeProcess) -> tuple[str, str]:
    """An event whose sale the node owns, and its tier."""
    while True:
        event_id, (tier_id,) = await shop.on_sale({"total_quantity": 1_000})
        if await cluster.owner(event_id) is node:
            return event_id, tier_id


async def _on_sale_afar(cluster: Cluster, shop: Shop) -> tuple[str, str]:
    return await _on_sale_at(cluster, shop, cluster.nodes["engine-1"])


async def _says_it_cannot(shop: Shop, on_sale: tuple[str, str], *, first_within_s: float) -> None:
    took_s = []
    for _ in range(10):
        began_s = time.monotonic()
        refused = await shop.order(*on_sale)
        took_s.append(time.monotonic() - began_s)
        assert (refused.status, refused.headers["Retry-After"]) == (503, "1"), refused.body
    assert max(took_s) < first_within_s
    assert sorted(took_s)[len(took_s) // 2] < SAID_AT_ONCE_S


async def _refuses(shop: Shop, on_sale: tuple[str, str]) -> bool:
    return not await _sells(shop, on_sale)


async def _sells(shop: Shop, on_sale: tuple[str, str]) -> bool:
    return (await shop.order(*on_sale)).status == 201


async def test_without_postgres_all_say_at_once_that_they_cannot_and_come_back_by_themselves(
    cluster: Cluster, shops: list[Shop], session: aiohttp.ClientSession
) -> None:
    pids = {node.name: node.pid for node in cluster.nodes.values() if node.runs}
    crowd = await _crowd(shops)
    on_sale = await _on_sale_at(cluster, shops[0], cluster.nodes["engine-1"])
    engine = cluster.nodes["engine-1"]
    async with crowd:
        with frozen(*await cluster.postgres_pids()):
            await _says_it_cannot(shops[0], on_sale, first_within_s=8.0)
            depth = await metric(session, engine.ops_url, "stampede_mailbox_depth")
            assert depth <= BUYERS + 1
        await until(lambda: _sells(shops[0], on_sale))
        os.kill((await cluster.postgres_pids())[0], signal.SIGQUIT)
        await until(lambda: _refuses(shops[1], on_sale))  # its end takes a moment
        await _says_it_cannot(shops[1], on_sale, first_within_s=8.0)
        await until(lambda: _all_are(session, cluster, ready=False))
        await cluster.postgres.stop()
        await cluster.postgres.start()
        await until(lambda: _sells(shops[0], on_sale))
        await crowd.has_bought(50)
    assert pids == {node.name: node.pid for node in cluster.nodes.values() if node.runs}
    await until(lambda: _all_are(session, cluster, ready=True))
    await _check(cluster, crowd, shops[1])


async def _all_are(session: aiohttp.ClientSession, cluster: Cluster, *, ready: bool) -> bool:
    for name in NODES:
        async with session.get(f"{cluster.nodes[name].ops_url}/readyz") as response:
            if (response.status == 200) is not ready:
                return False
    return True
