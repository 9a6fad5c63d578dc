"""A thousand wait; places come back in every way, in any order, with a kill -9 in the middle."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg

from engine.facts import Entry
from persistence.journal import decode
from tests.engine.auditor import Auditor
from tests.server import Server, running
from tests.shop import Answer, Shop

HOLD_S = 25
OFFER_S = 5
CAME_TOO_LATE = ("order_expired", "order_not_pending")  # its place came back by itself
WAITING = 1_000
GIVEN_UP, REFUNDED, EXPIRED, ADDED = 100, 80, 60, 60  # places that come back, 300 in all
WIDENED = 6
AT_ONCE = 8
Step = Callable[[], Awaitable[Answer]]


class Till:
    """The box office, which acts for any buyer and asks again until there is an answer."""

    def __init__(self, shop: Shop, event_id: str, tier_id: str) -> None:
        self.shop = shop
        self.event_id = event_id
        self.tier_id = tier_id
        self._widening = asyncio.Lock()
        self._added = 0

    async def call(self, method: str, path: str, body: Any = None) -> Answer:
        key, token = uuid4().hex, await self.shop.box_office()
        async with asyncio.timeout(60):
            while True:
                try:
                    answer = await self.shop.call(method, path, body, token=token, key=key)
                    if answer.status < 500:
                        return answer
                except (aiohttp.ClientError, OSError):
                    pass
                await asyncio.sleep(0.05)

    async def order(self, quantity: int, buyer_id: str = "early") -> Answer:
        wanted = [{"tier_id": self.tier_id, "quantity": quantity}]
        body = {"selections": wanted, "buyer_id": buyer_id}
        return await self.call("POST", f"/v1/events/{self.event_id}/orders", body)

    async def orders(self, places: int, random: Random) -> list[str]:
        """Pending ones, of as many places together."""
        made = []
        while places:
            quantity = min(places, random.randint(1, 3))
            placed = await self.order(quantity)
            assert placed.status == 201, placed.body
            made.append(placed.body["order_id"])
            places -= quantity
        return made

    async def confirm(self, order_id: str) -> list[str]:
        """Its tickets, which cost nothing."""
        paid = await self.call("POST", f"/v1/orders/{order_id}/payment", {"method": "none"})
        assert paid.status == 200, paid.body
        return [ticket["ticket_id"] for ticket in paid.body["tickets"]]

    async def join(self, buyer_id: str, quantity: int) -> dict[str, Any]:
        body = {"quantity": quantity, "buyer_id": buyer_id, "email": f"{buyer_id}@example.org"}
        joined = await self.call("POST", f"/v1/tiers/{self.tier_id}/waitlist", body)
        assert joined.status == 201, joined.body
        entry: dict[str, Any] = joined.body
        return entry

    async def entry(self, entry_id: str) -> dict[str, Any]:
        found = await self.call("GET", f"/v1/waitlist/{entry_id}")
        assert found.status == 200, found.body
        entry: dict[str, Any] = found.body
        return entry

    def ways_back(self, given_up: list[str], tickets: list[tuple[str, str]]) -> list[Step]:
        """Steps that each free places."""
        calls: list[tuple[str, str, Any]] = [
            ("DELETE", f"/v1/orders/{order_id}", None) for order_id in given_up
        ]
        calls += [
            ("POST", f"/v1/orders/{order_id}/refund", {"ticket_ids": [ticket_id]})
            for order_id, ticket_id in tickets
        ]
        return [lambda call=call: self.call(*call) for call in calls]  # type: ignore[misc]

    async def widen(self, before: int, by: int) -> Answer:
        """`before`: how many places there were at first."""
        async with self._widening, asyncio.timeout(60):
            self._added += by
            body = {"total_quantity": before + self._added}
            while True:
                try:
                    answer = await self.shop.organize("PATCH", f"/v1/tiers/{self.tier_id}", body)
                    if answer.status < 500:
                        return answer
                except (aiohttp.ClientError, OSError):
                    pass
                await asyncio.sleep(0.05)


async def each(steps: list[Step], at_once: int) -> None:
    """In their order, so many at a time."""
    left = iter(steps)

    async def work() -> None:
        for step in left:
            answer = await step()
            assert answer.status == 200 or answer.code in CAME_TOO_LATE, answer.body

    await asyncio.gather(*(work() for _ in range(at_once)))


async def journal(server: Server, event_id: str) -> list[Entry]:
    sockets = (server.folder / "postgres.sockets").resolve()
    connection = await asyncpg.connect(f"postgresql://stampede@/stampede?host={sockets}&port=5432")
    rows = await connection.fetch("SELECT batch, crc FROM journal ORDER BY shard_id, seq")
    await connection.close()
    entries = [entry for row in rows for entry in decode(row["batch"], row["crc"])]
    return [entry for entry in entries if entry.sale_id == event_id]


async def test_places_that_come_back_go_to_a_thousand_who_wait_in_strict_order(
    tmp_path: Path,
) -> None:
    random = Random(7)
    server = Server(tmp_path / "data", {"STAMPEDE_ORDER_HOLD_SECONDS": str(HOLD_S)})
    await server.start()
    try:
        async with aiohttp.ClientSession() as http:
            await _run(server, Shop(server.url, http), random)
    finally:
        await server.stop()


async def _run(server: Server, shop: Shop, random: Random) -> None:
    quantity = GIVEN_UP + REFUNDED + EXPIRED
    event_id, (tier_id,) = await shop.on_sale(
        {"total_quantity": quantity, "price": 0, "max_per_order": 4}
    )
    till = Till(shop, event_id, tier_id)
    sold = await till.orders(REFUNDED, random)
    tickets = [(order_id, t) for order_id in sold for t in await till.confirm(order_id)]
    await till.orders(EXPIRED, random)
    given_up = await till.orders(GIVEN_UP, random)
    wants = [random.randint(1, 3) for _ in range(WAITING)]
    joined = await asyncio.gather(*(till.join(f"b{n}", w) for n, w in enumerate(wants)))
    line = sorted(joined, key=lambda entry: int(entry["position"]))
    assert [entry["position"] for entry in line] == list(range(1, WAITING + 1))

    steps = till.ways_back(given_up, tickets)
    steps += [lambda: till.widen(quantity, ADDED // WIDENED)] * WIDENED
    random.shuffle(steps)

    stopped = asyncio.Event()
    sniper = asyncio.create_task(_buys_whatever_is_free(till, stopped))
    half = len(steps) // 2
    await each(steps[:half], AT_ONCE)
    killed = asyncio.create_task(_kill_and_start(server))
    await each(steps[half:], AT_ONCE)
    await killed
    await _until_all_are_offered(till, sum(wants), GIVEN_UP + REFUNDED + EXPIRED + ADDED)
    stopped.set()
    assert await sniper > 0, "nobody tried to get between"

    await _check_the_line(till, line)
    auditor = Auditor()  # strict order, as many as were free, nothing to the public
    for entry in await journal(server, event_id):
        auditor.hear(entry)
    assert auditor.waitlist.offered(tier_id) == GIVEN_UP + REFUNDED + EXPIRED + ADDED
    assert auditor.free(tier_id) == 0


async def _kill_and_start(server: Server) -> None:
    port = int(server.url.rpartition(":")[2])
    await server.kill()
    await server.start(port)


async def _buys_whatever_is_free(till: Till, stopped: asyncio.Event) -> int:
    """How often it was refused; all that it asks for is one place."""
    tries = 0
    while not stopped.is_set():
        refused = await till.order(1, "sniper")
        assert (refused.status, refused.code) == (409, "sold_out"), refused.body
        assert refused.body["available"] == 0, refused.body
        tries += 1
    return tries


async def _until_all_are_offered(till: Till, wanted: int, places: int) -> None:
    deadline = time.monotonic() + HOLD_S + 30
    while True:
        found = await till.call("GET", f"/v1/events/{till.event_id}/availability")
        (tier,) = found.body["tiers"]
        assert tier["available_quantity"] == 0, tier
        if tier["waitlisted"] == wanted - places:
            assert (tier["held_quantity"], tier["sold_quantity"]) == (places, 0), tier
            return
        assert time.monotonic() < deadline, tier
        await asyncio.sleep(0.1)


async def _check_the_line(till: Till, line: list[dict[str, Any]]) -> None:
    """From the head on everybody has what they wanted, in one offer or several; then nobody."""
    left = GIVEN_UP + REFUNDED + EXPIRED + ADDED
    position = 0
    for entry in line:
        wanted, entry_id = entry["quantity"], entry["entry_id"]
        while wanted:
            now = await till.entry(entry_id)
            if left == 0:
                position += 1
                told = (now["status"], now["position"], now["quantity"], now["offer"])
                assert told == ("WAITING", position, wanted, None), now
                break
            assert now["status"] == "OFFERED", now
            assert now["offer"]["quantity"] == now["quantity"] <= min(wanted, left), now
            left -= now["quantity"]
            wanted -= now["quantity"]
            assert (now["rest_entry_id"] is not None) == (wanted > 0), now
            entry_id = now["rest_entry_id"]
    assert left == 0


async def test_an_offer_that_nobody_takes_goes_on_within_a_second(tmp_path: Path) -> None:
    settings = {
        "STAMPEDE_OFFER_SECONDS": str(OFFER_S),
        "STAMPEDE_ORDER_HOLD_SECONDS": str(OFFER_S),
    }
    async with running(tmp_path / "data", settings) as server, aiohttp.ClientSession() as http:
        shop = Shop(server.url, http)
        event_id, (tier_id,) = await shop.on_sale({"total_quantity": 1, "price": 0})
        till = Till(shop, event_id, tier_id)
        (order_id,) = await till.orders(1, Random(1))
        (ticket_id,) = await till.confirm(order_id)
        line = [(await till.join(f"b{n}", 1))["entry_id"] for n in range(4)]
        await each(till.ways_back([], [(order_id, ticket_id)]), 1)
        lapsed = await _offered(till, line[0])
        assert (await till.entry(line[1]))["status"] == "WAITING"
        assert await _late_s(till, line[1], lapsed["offer"]["expires_at"]) < 1.0
        assert (await till.entry(line[0]))["status"] == "LAPSED"
        taken = await _offered(till, line[1])
        bought = await shop.call(
            "POST",
            f"/v1/events/{event_id}/orders",
            {
                "selections": [{"tier_id": tier_id, "quantity": 1}],
                "buyer_id": "b1",
                "offer_id": taken["offer"]["offer_id"],
            },
            token=await shop.box_office(),
            key=uuid4().hex,
        )
        assert bought.status == 201, bought.body
        assert (await till.entry(line[2]))["status"] == "WAITING"
        assert await _late_s(till, line[2], bought.body["expires_at"]) < 1.0, "not paid"
        assert (await till.entry(line[1]))["status"] == "FULFILLED"
        assert (await till.entry(line[3]))["status"] == "WAITING"


async def _offered(till: Till, entry_id: str) -> dict[str, Any]:
    entry = await till.entry(entry_id)
    assert entry["status"] == "OFFERED", entry
    return entry


async def _late_s(till: Till, entry_id: str, ended_at: str) -> float:
    """How long after that instant the entry was offered the place, by the server's clock."""
    async with asyncio.timeout(60):
        while True:
            entry = await till.entry(entry_id)
            if entry["status"] != "WAITING":
                offered = datetime.fromisoformat(entry["offer"]["expires_at"])
                late = offered - timedelta(seconds=OFFER_S) - datetime.fromisoformat(ended_at)
                return late.total_seconds()
            await asyncio.sleep(0.01)
