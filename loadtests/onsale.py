"""The on-sale: buyers who want places, pay, change their minds, click twice, come too late.

All of a buyer is drawn beforehand from the seed, so a run can be had again; what he meets is the
server's. Whoever was refused comes back for the places of those who let theirs expire, and means
it: only who is served at first abandons.
"""

import asyncio
import time
from collections.abc import Sequence
from enum import StrEnum
from random import Random
from uuid import uuid4

import msgspec
from msgspec import Struct

from loadtests.api import (
    Caller,
    UnexpectedAnswer,
    code,
    expect,
    left_s,
    patiently,
    sleep_until,
)
from loadtests.catalogue import TIERS, OnSale
from loadtests.client import Answer, Client, NoAnswer
from loadtests.seen import OrderKey, Seen, SeenOrder, Tickets
from loadtests.tally import Done, Tally

LOOKS_FIRST = 0.3
CLICKS_TWICE = 0.03
TWO_TIERS = 0.15
QUANTITY_WEIGHTS = (30, 45, 10, 15)  # one place to four
THINKS_S = (0.2, 2.0)
COMES_BACK_S = (4.0, 8.0)
LATE_S = (0.1, 3.0)
CONFIRMED_S_MAX = 10.0
LOOK_S = 0.25


class Plan(StrEnum):
    PAYS = "pays"
    DECLINED_FIRST = "is declined, then pays"
    ABANDONS = "abandons"
    PAYS_LATE = "pays late"


PLAN_WEIGHTS = {
    Plan.PAYS: 74,
    Plan.DECLINED_FIRST: 8,
    Plan.ABANDONS: 15,
    Plan.PAYS_LATE: 3,
}


class Selection(Struct, frozen=True):
    tier_id: str
    quantity: int


class _TierLeft(Struct, frozen=True):
    tier_id: str
    available_quantity: int
    sold_quantity: int
    held_quantity: int
    total_quantity: int


class Availability(Struct, frozen=True):
    status: str
    tiers: tuple[_TierLeft, ...]


class _Payment(Struct, frozen=True):
    payment_id: str


class Shop(Struct, frozen=True):
    """What all buyers share. `closes_at_s`: when the last of them goes home, monotonic."""

    client: Client
    seen: Seen
    tally: Tally
    closes_at_s: float


class TooLate(Exception):
    """The hold ended before the buyer had asked for a payment."""


async def availability(client: Client, event_id: str) -> Availability:
    path = f"/v1/events/{event_id}/availability"
    answer = await patiently(lambda: client.request("GET", path, kind="availability"))
    return expect(answer, 200, Availability)


class Buyer:
    """`buyer_id`: for whom a box office buys; None for who buys himself."""

    def __init__(
        self, shop: Shop, event: OnSale, caller: Caller, buyer_id: str | None, random: Random
    ) -> None:
        self._client, self._seen, self._tally = shop.client, shop.seen, shop.tally
        self._closes_at_s = shop.closes_at_s
        self._event = event
        self._caller = caller
        self._buyer_id = buyer_id
        self._random = random
        self._plan = random.choices(list(PLAN_WEIGHTS), list(PLAN_WEIGHTS.values()))[0]
        self._clicks_twice = random.random() < CLICKS_TWICE

    async def buys(self) -> None:
        try:
            await self._buys()
        except NoAnswer:
            self._tally.done[Done.GAVE_UP] += 1
        except TooLate:
            self._tally.done[Done.EXPIRED] += 1
        except UnexpectedAnswer as surprise:
            self._tally.surprised(str(surprise))

    async def _buys(self) -> None:
        if self._random.random() < LOOKS_FIRST:
            await availability(self._client, self._event.event_id)
        placed = await self._place(self._wish())
        if placed is None:
            placed = await self._comes_back()
        if placed is not None:
            await self._ends(placed)

    def _wish(self) -> list[Selection]:
        quantity = self._random.choices((1, 2, 3, 4), QUANTITY_WEIGHTS)[0]
        shares = [share for _, _, share in TIERS]
        first = self._random.choices(self._event.tier_ids, shares)[0]
        wish = [Selection(first, quantity)]
        if self._random.random() < TWO_TIERS:
            second = next(tier_id for tier_id in self._event.tier_ids if tier_id != first)
            wish.append(Selection(second, 1))
        return wish

    async def _comes_back(self) -> SeenOrder | None:
        """Looks again now and then, and takes what there is."""
        self._plan = Plan.PAYS
        while time.monotonic() < self._closes_at_s:
            await asyncio.sleep(self._random.uniform(*COMES_BACK_S))
            found = await availability(self._client, self._event.event_id)
            if found.status == "SOLD_OUT":
                break
            left = [tier for tier in found.tiers if tier.available_quantity]
            if not left:
                continue
            tier = self._random.choice(left)
            quantity = min(tier.available_quantity, self._random.choice((1, 2)))
            placed = await self._place([Selection(tier.tier_id, quantity)])
            if placed is not None:
                return placed
        self._tally.done[Done.WENT_HOME] += 1
        return None

    async def _place(self, selections: Sequence[Selection]) -> SeenOrder | None:
        """None where sold out. Raises NoAnswer, UnexpectedAnswer."""
        text = uuid4().hex
        key = OrderKey(self._event.event_id, self._caller.role, self._caller.subject, text)
        body: dict[str, object] = {"selections": selections}
        if self._buyer_id is not None:
            body["buyer_id"] = self._buyer_id
        content, headers = msgspec.json.encode(body), self._caller.with_key(text)
        clicks = 2 if self._clicks_twice else 1
        attempts = [self._ask(key, content, headers) for _ in range(clicks)]
        answers = [self._placed(answer) for answer in await asyncio.gather(*attempts)]
        placed = [answer for answer in answers if answer is not None]
        self._tally.done[Done.REFUSED] += len(answers) - len(placed)
        if not placed:
            return None
        self._tally.done[Done.PLACED] += 1
        self._tally.done[Done.REPLAYED] += len(placed) - 1
        return placed[0]

    async def _ask(self, key: OrderKey, content: bytes, headers: bytes) -> Answer:
        path = f"/v1/events/{self._event.event_id}/orders"

        async def attempt() -> Answer:
            self._seen.asks_for_order(key)
            answer = await self._client.request("POST", path, content, headers, kind="order")
            self._seen.answered_order(key, answer)
            return answer

        return await patiently(attempt)

    async def _ends(self, order: SeenOrder) -> None:
        match self._plan:
            case Plan.PAYS:
                await self._pays(order, declined_first=False)
            case Plan.DECLINED_FIRST:
                await self._pays(order, declined_first=True)
            case Plan.PAYS_LATE:
                await self._pays_late(order)
            case Plan.ABANDONS:
                await self._abandons(order)

    async def _pays(self, order: SeenOrder, *, declined_first: bool) -> None:
        await asyncio.sleep(self._random.uniform(*THINKS_S))
        if declined_first:
            await self._acts_as_payer(await self._asks_for_payment(order), "decline")
            self._tally.done[Done.DECLINED] += 1
        await self._acts_as_payer(await self._asks_for_payment(order), "succeed")
        in_time = left_s(order.expires_at) > 0
        found = await self._settled(order)
        if not in_time:
            self._ended_late(found)
        elif found.status == "CONFIRMED":
            self._tally.done[Done.CONFIRMED] += 1
        else:
            self._seen.contradictions.append(f"{order.order_id}: paid in time, {found.status}")

    async def _settled(self, order: SeenOrder) -> Tickets:
        """The order once the provider's word has come, which may be repeated till it gets in."""
        deadline = time.monotonic() + CONFIRMED_S_MAX
        while True:
            found = await self._read(order)
            if found.status != "PENDING" or time.monotonic() > deadline:
                return found
            await asyncio.sleep(LOOK_S)

    async def _pays_late(self, order: SeenOrder) -> None:
        payment_id = await self._asks_for_payment(order)
        await sleep_until(order.expires_at, self._random.uniform(*LATE_S))
        await self._acts_as_payer(payment_id, "succeed")
        self._ended_late(await self._settled(order))

    def _ended_late(self, found: Tickets) -> None:
        self._tally.done[Done.EXPIRED] += 1
        self._tally.done[Done.LATE if found.status == "CONFIRMED" else Done.MONEY_BACK] += 1

    async def _abandons(self, order: SeenOrder) -> None:
        """The hold is over at that instant, swept or not: the order must read so."""
        await sleep_until(order.expires_at)
        found = await self._read(order)
        if (found.status, found.cancel_reason) == ("CANCELLED", "expired"):
            self._tally.done[Done.EXPIRED] += 1
        else:
            self._seen.contradictions.append(f"{order.order_id} outlived its hold")

    async def _asks_for_payment(self, order: SeenOrder) -> str:
        headers, body = self._caller.with_key(uuid4().hex), b'{"method":"card"}'
        path = f"/v1/orders/{order.order_id}/payment"
        answer = await patiently(
            lambda: self._client.request("POST", path, body, headers, kind="payment")
        )
        if code(answer) == "order_expired" and left_s(order.expires_at) <= 0:
            raise TooLate
        return expect(answer, 202, _Payment).payment_id

    async def _acts_as_payer(self, payment_id: str, outcome: str) -> None:
        body = msgspec.json.encode({"outcome": outcome})
        path = f"/v1/sandbox/payments/{payment_id}"
        answer = await patiently(lambda: self._client.request("POST", path, body, kind="bank"))
        expect(answer, 200, _Payment)

    async def _read(self, order: SeenOrder) -> Tickets:
        path, headers = f"/v1/orders/{order.order_id}", self._caller.headers
        answer = await patiently(
            lambda: self._client.request("GET", path, b"", headers, kind="order read")
        )
        expect(answer, 200, Tickets)
        return self._seen.read_order(answer)

    def _placed(self, answer: Answer) -> SeenOrder | None:
        if answer.status == 201:
            return expect(answer, 201, SeenOrder)
        if code(answer) != "sold_out":
            raise UnexpectedAnswer(f"{answer.status} {code(answer)} to an order")
        return None


async def comes_at(delay_s: float, buyer: Buyer) -> None:
    await asyncio.sleep(delay_s)
    await buyer.buys()


async def watch(client: Client, event: OnSale, tally: Tally) -> None:
    """Keeps the tally's places up to date, for ever."""
    while True:
        await look(client, event, tally)
        await asyncio.sleep(LOOK_S)


async def look(client: Client, event: OnSale, tally: Tally) -> None:
    found = await availability(client, event.event_id)
    tally.places = sum(tier.total_quantity for tier in found.tiers)
    tally.sold = sum(tier.sold_quantity for tier in found.tiers)
    tally.held = sum(tier.held_quantity for tier in found.tiers)
