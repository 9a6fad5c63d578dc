"""Buyers and scanners who come whatever happens, and ask again with the same key until they know.

Open loop: how many come does not depend on whether anybody is served; but where very many wait
already, who comes asks only once, or they would be more load than the machine can bear. All that
they are told goes to the witness; what nobody told them stays in doubt until the end.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from enum import StrEnum
from random import Random
from typing import TypeVar
from uuid import UUID

import msgspec
from msgspec import Struct

from loadtests.api import Caller, code, sign_in
from loadtests.catalogue import OnSale
from loadtests.client import Answer, Client, NoAnswer
from loadtests.nemesis.witness import Witness
from loadtests.seen import OrderKey, ScanKey, SeenOrder, Tickets

ARRIVALS_PER_S = 320.0
WEIGHTS = {"buy": 70, "repeat": 60, "read": 100, "scan": 90}
HOT_SHARE = 0.4
BUYERS = 60
DEVICES = 3  # an event
ANSWER_S_MAX = 7.0  # above what a command waits at most (5 s): else all work is for who has left
PATIENCE_S, PATIENCE_IN_THE_END_S = 12.0, 40.0
MAIL_S_MAX = 6.0
PATIENT_MAX = 1_500
RESOLVED_AT_ONCE = 100
PAUSE_S, PAUSE_S_MAX = 0.2, 4.0  # doubled each time, and anything between half and all of it
SETTLES_S = 0.4
READS_MAX = 8
TOGETHER = 0.2  # of the scans that are sent twice at the same time
RECENT_MAX = 5_000
_T = TypeVar("_T")
_AGAIN = (429, 500, 502, 503, 504)


class Plan(StrEnum):
    PAYS = "pays"
    CANCELS = "cancels"
    ABANDONS = "abandons"


PLAN_WEIGHTS = {Plan.PAYS: 60, Plan.CANCELS: 15, Plan.ABANDONS: 25}


class _Payment(Struct, frozen=True):
    payment_id: str = ""


class Wish(Struct, frozen=True):
    """A request for an order, to be sent again as it is."""

    key: OrderKey
    caller: Caller
    body: bytes


class Bought(Struct, frozen=True):
    wish: Wish
    order_id: str


class Pass(Struct, frozen=True):
    """A ticket's token, good at its event's doors."""

    event_id: str
    token: str


class GaveUp(Exception):
    """No definite answer in all the time that anybody waits."""


class Crowd:
    def __init__(
        self, client: Client, hot: OnSale, others: Sequence[OnSale], witness: Witness, seed: int
    ) -> None:
        self._client = client
        self._hot = hot
        self._others = others
        self._witness = witness
        self._random = Random(seed)
        self._closed = False
        self._patience_s = PATIENCE_S
        self._waiting = 0
        self._buyers: list[Caller] = []
        self._devices: dict[str, list[Caller]] = {}
        self._wishes: dict[OrderKey, Wish] = {}
        self._token_by_scan: dict[ScanKey, tuple[Caller, str]] = {}
        self._bought: list[Bought] = []
        self._passes: list[Pass] = []
        self._visits = {
            "buy": self._buy,
            "repeat": self._repeat,
            "read": self._read_some,
            "scan": self._scan_some,
        }

    async def sign_in(self) -> None:
        client = self._client
        names = [f"buyer-{number:03}" for number in range(BUYERS)]
        self._buyers = await asyncio.gather(*(sign_in(client, "buyer", name) for name in names))
        for event in (self._hot, *self._others):
            self._devices[event.event_id] = await asyncio.gather(
                *(
                    sign_in(client, "scanner", f"gate-{number}", event.event_id)
                    for number in range(DEVICES)
                )
            )

    async def comes(self) -> None:
        """Visitors until it closes, as a Poisson process; returns when the last has gone home."""
        loop = asyncio.get_running_loop()
        at = loop.time()
        async with asyncio.TaskGroup() as group:
            while not self._closed:
                at += self._random.expovariate(ARRIVALS_PER_S)
                await asyncio.sleep(max(0.0, at - loop.time()))
                self._witness.is_late(loop.time() - at)
                (visit,) = self._random.choices(list(WEIGHTS), list(WEIGHTS.values()))
                group.create_task(self._visited(self._visits[visit]()))

    def closes(self) -> None:
        self._closed = True

    async def _visited(self, visit: Coroutine[None, None, None]) -> None:
        try:
            await visit
        except GaveUp:
            self._witness.unknown += 1

    async def resolve(self) -> None:
        """Ask once more for all that is in doubt, with the same keys: now there are answers.

        First what is still in the mail must be over: a command waits there for so long at most.
        """
        seen = self._witness.seen
        if seen.orders_in_doubt() or seen.scans_in_doubt():
            await asyncio.sleep(MAIL_S_MAX)
        self._patience_s = PATIENCE_IN_THE_END_S
        orders = [self._settle(self._wishes[key]) for key in seen.orders_in_doubt()]
        scans = [self._ask_door(key) for key in seen.scans_in_doubt()]
        at_once = asyncio.Semaphore(RESOLVED_AT_ONCE)

        async def resolved(each: Coroutine[None, None, None]) -> None:
            async with at_once:
                await self._visited(each)

        await asyncio.gather(*(resolved(each) for each in (*orders, *scans)))

    async def _settle(self, wish: Wish) -> None:
        if await self._place(wish) is None:
            self._witness.seen.refused_in_the_end(wish.key)

    # -- buyers ----------------------------------------------------------------------------

    async def _buy(self) -> None:
        wish = self._wish()
        order = await self._place(wish)
        if order is None:
            return
        bought = Bought(wish, order.order_id)
        _remember(self._bought, bought, self._random)
        (plan,) = self._random.choices(list(PLAN_WEIGHTS), list(PLAN_WEIGHTS.values()))
        match plan:
            case Plan.PAYS:
                await self._pay(bought)
            case Plan.CANCELS:
                await self._cancel(bought)
            case Plan.ABANDONS:
                await self._read(bought)

    def _wish(self) -> Wish:
        hot = self._random.random() < HOT_SHARE
        event = self._hot if hot else self._random.choice(self._others)
        caller = self._random.choice(self._buyers)
        text = UUID(int=self._random.getrandbits(128)).hex
        tier_id = self._random.choice(event.tier_ids)
        selection = {"tier_id": tier_id, "quantity": self._random.choice((1, 1, 2))}
        body = msgspec.json.encode({"selections": [selection]})
        key = OrderKey(event.event_id, caller.role, caller.subject, text)
        self._wishes[key] = Wish(key, caller, body)
        return self._wishes[key]

    async def _place(self, wish: Wish) -> SeenOrder | None:
        """None where it was refused."""
        key, seen = wish.key, self._witness.seen
        headers, path = wish.caller.with_key(key.text), f"/v1/events/{key.event_id}/orders"

        async def attempt() -> Answer:
            seen.asks_for_order(key)
            sent_s = self._witness.now_s
            answer = await self._request("order", "POST", path, wish.body, headers)
            noted = seen.answered_order(key, answer)
            if isinstance(noted, SeenOrder) and answer.header("Idempotency-Replayed") is None:
                self._witness.placed(key.event_id, sent_s)
            return answer

        answer = await self._insist(attempt)
        if answer.status == 201:
            return seen.order_by_key[key]
        self._expect(answer, "an order", "sold_out")
        return None

    async def _repeat(self) -> None:
        """The same key gives the same first success, however much has happened since."""
        if not self._bought:
            await self._buy()
            return
        await self._place(self._random.choice(self._bought).wish)

    async def _pay(self, bought: Bought) -> None:
        caller = bought.wish.caller
        headers = caller.with_key(UUID(int=self._random.getrandbits(128)).hex)
        path = f"/v1/orders/{bought.order_id}/payment"
        answer = await self._insist(
            lambda: self._request("payment", "POST", path, b'{"method":"card"}', headers)
        )
        if answer.status != 202:
            self._expect(answer, "a payment", "order_expired")
            return
        payment = msgspec.json.decode(answer.body, type=_Payment).payment_id
        paying = f"/v1/sandbox/payments/{payment}"
        answer = await self._insist(
            lambda: self._request("bank", "POST", paying, b'{"outcome":"succeed"}')
        )
        if answer.status != 200:
            self._witness.surprised(f"{answer.status} {code(answer)} to a payer")
        await self._collect(bought)

    async def _collect(self, bought: Bought) -> None:
        """Reads until the tickets are there; the provider's word may take its time."""
        for reads in range(1, READS_MAX + 1):
            await asyncio.sleep(SETTLES_S * reads)
            found = await self._read(bought)
            if found is None or found.status == "PENDING":
                continue
            for ticket in found.tickets:
                _remember(self._passes, Pass(bought.wish.key.event_id, ticket.token), self._random)
            return

    async def _cancel(self, bought: Bought) -> None:
        path, headers = f"/v1/orders/{bought.order_id}", bought.wish.caller.headers
        answer = await self._insist(lambda: self._request("cancel", "DELETE", path, b"", headers))
        if answer.status == 200:
            self._witness.seen.cancelled_orders.add(bought.order_id)
            await self._read(bought)
        else:
            self._expect(answer, "a cancellation", "order_expired", "order_not_pending")

    async def _read_some(self) -> None:
        if not self._bought:
            await self._buy()
            return
        await self._read(self._random.choice(self._bought))

    async def _read(self, bought: Bought) -> Tickets | None:
        """None where it was not told."""
        path, headers = f"/v1/orders/{bought.order_id}", bought.wish.caller.headers
        sent_s = 0.0

        async def attempt() -> Answer:
            nonlocal sent_s
            sent_s = self._witness.now_s
            return await self._request("read", "GET", path, b"", headers)

        answer = await self._insist(attempt)
        return self._witness.read(bought.order_id, answer, sent_s)

    # -- scanners --------------------------------------------------------------------------

    async def _scan_some(self) -> None:
        """A ticket comes to a door; often it was at another one before."""
        if not self._passes:
            await self._buy()
            return
        shown = self._random.choice(self._passes)
        device = self._random.choice(self._devices[shown.event_id])
        nonce = UUID(int=self._random.getrandbits(128)).hex
        key = ScanKey(shown.event_id, device.subject, nonce)
        self._token_by_scan[key] = (device, shown.token)
        times = 2 if self._random.random() < TOGETHER else 1
        await asyncio.gather(*(self._ask_door(key) for _ in range(times)))

    async def _ask_door(self, key: ScanKey) -> None:
        device, token = self._token_by_scan[key]
        path = f"/v1/events/{key.event_id}/checkins"
        body = msgspec.json.encode({"token": token, "nonce": key.nonce, "gate": "main"})
        seen = self._witness.seen

        async def attempt() -> Answer:
            seen.scans(key)
            answer = await self._request("scan", "POST", path, body, device.headers)
            seen.answered_scan(key, token, answer)
            return answer

        answer = await self._insist(attempt)
        if answer.status != 200:
            self._witness.surprised(f"{answer.status} {code(answer)} to a scan")
        elif (scan := seen.scan_by_key[key][1]).result not in ("ADMIT", "ALREADY_ADMITTED"):
            seen.contradictions.append(f"a good ticket was {scan.result}: {scan.reason}")

    # -- asking ----------------------------------------------------------------------------

    async def _insist(self, attempt: Callable[[], Awaitable[Answer]]) -> Answer:
        """Ask until the answer is definite. Raises GaveUp."""
        patience_s = self._patience_s if self._waiting < PATIENT_MAX or self._closed else 0.0
        self._waiting += 1
        try:
            return await self._ask_again(attempt, patience_s)
        finally:
            self._waiting -= 1

    async def _ask_again(
        self, attempt: Callable[[], Awaitable[Answer]], patience_s: float
    ) -> Answer:
        loop = asyncio.get_running_loop()
        deadline, pause_s = loop.time() + patience_s, PAUSE_S
        while True:
            try:
                answer = await attempt()
            except NoAnswer:
                pass
            else:
                if answer.status not in _AGAIN:
                    return answer
            if loop.time() > deadline:
                raise GaveUp
            await asyncio.sleep(self._random.uniform(pause_s / 2, pause_s))
            pause_s = min(2 * pause_s, PAUSE_S_MAX)

    async def _request(
        self, kind: str, method: str, path: str, body: bytes = b"", headers: bytes = b""
    ) -> Answer:
        """`kind`: what is asked for, in a word. Raises NoAnswer."""
        self._witness.offers()
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                answer = await self._client.request(method, path, body, headers)
        except (NoAnswer, TimeoutError) as error:
            self._witness.hears_nothing(kind)
            raise NoAnswer(str(error)) from error
        self._witness.hears(answer.status)
        if answer.status in (500, 502, 504):
            self._witness.surprised(f"{answer.status} {code(answer)}")
        return answer

    def _expect(self, answer: Answer, what: str, *refusals: str) -> None:
        if code(answer) not in refusals:
            self._witness.surprised(f"{answer.status} {code(answer)} to {what}")


def _remember(known: list[_T], new: _T, random: Random) -> None:
    """A bounded memory, of early ones too."""
    if len(known) < RECENT_MAX:
        known.append(new)
    else:
        known[random.randrange(RECENT_MAX)] = new
