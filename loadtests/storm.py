"""A storm of payments: every fault of the bank mixed in, buyers of every kind, and a server that is
killed on the way. At the end the bank's ledger and the journal must tell the same.

Each buyer insists with the same key until there is a definite answer, as a browser would; what only
the bank knows (whether a payment was charged) nobody is told.
"""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Protocol
from uuid import uuid4

import asyncpg
import msgspec
from msgspec import Struct

from loadtests import bank, ledger
from loadtests.api import Caller, code, expect, sign_in
from loadtests.client import Answer, Client, NoAnswer

HOLD_S = 10
AT_ONCE = 48
BUYERS = 40
PATIENCE_S = 60.0
PAUSE_S = 0.25
QUIET_S_MAX = 180.0
PRICE_MINOR = 2_500
PLACES_AN_ORDER = 0.9  # of one or two asked for: the last get nothing, late money goes back

FAULT_SHARES = {
    "decline": 0.08,
    "slow": 0.08,
    "create_lost": 0.08,
    "charge_lost": 0.10,
    "webhook_twice": 0.15,
    "webhook_late": 0.10,
    "webhook_disorder": 0.10,
    "webhook_never": 0.10,
    "refund_refused": 0.10,
    "refund_fails": 0.15,
    "refund_lost": 0.15,
    "refund_pending": 0.15,
}


class Plan(StrEnum):
    PAYS = "pays"
    PAYS_LATE = "pays late"
    PAYS_TWICE = "pays two payments"
    GIVES_UP = "gives up, and pays"
    ABANDONS = "abandons"
    REFUNDED = "is given money back"
    REFUNDED_IN_PART = "is given some money back"


_WEIGHTS = {
    Plan.PAYS: 40,
    Plan.PAYS_LATE: 15,
    Plan.PAYS_TWICE: 10,
    Plan.GIVES_UP: 8,
    Plan.ABANDONS: 7,
    Plan.REFUNDED: 10,
    Plan.REFUNDED_IN_PART: 10,
}

_LOOSE_ENDS = {
    "batches unread": "SELECT coalesce(sum(s.last_seq - coalesce(o.seq, 0)), 0)::bigint"
    " FROM shards s LEFT JOIN projection_offsets o USING (shard_id)",
    "orders pending": "SELECT count(*) FROM orders WHERE status = 'PENDING'",
    "refunds not done": "SELECT count(*) FROM refunds WHERE status <> 'done'",
    "webhooks untold": "SELECT count(*) FROM sandbox_webhooks",
    "charges nobody told of": "SELECT count(*) FROM sandbox_payments s"
    " JOIN payments p USING (payment_id)"
    " WHERE s.outcome = 'succeeded' AND p.status NOT IN ('succeeded', 'returned')",
}


class Killable(Protocol):
    """A server that starts again at the same address."""

    url: str
    folder: Path

    async def node_pid(self) -> int: ...

    async def kill(self) -> None: ...

    async def start(self, port: int) -> None: ...


class Outcome(Struct, frozen=True):
    """`wrong`: what speaks against the promises, in sentences; money in minor units."""

    orders: int
    plans: dict[str, int]
    faults: dict[str, int]
    taken_minor: int
    sent_back_minor: int
    seconds: float
    lines: list[bank.BankLine]
    wrong: list[str]


class _Id(Struct, frozen=True):
    """The ids that an answer may have."""

    venue_id: str = ""
    event_id: str = ""
    tier_id: str = ""
    order_id: str = ""
    payment_id: str | None = None
    refund_id: str = ""


class _Ticket(Struct, frozen=True):
    ticket_id: str


class _Order(Struct, frozen=True):
    status: str
    tickets: list[_Ticket] = []


class _Failed(Struct, frozen=True):
    items: list[_Id]


class GaveUp(Exception):
    """No definite answer in all the time that anybody waits."""


class Storm:
    def __init__(self, client: Client, seed: int) -> None:
        self._client = client
        self._random = Random(seed)
        self._seed = seed
        self._room = asyncio.Semaphore(AT_ONCE)
        self.done = 0
        self._gone = asyncio.Condition()
        self.plans: Counter[str] = Counter()

    async def begin(self, orders: int) -> None:
        client = self._client
        self._organizer = await sign_in(client, "organizer", "orga")
        self._till = await sign_in(client, "box_office", "till")
        names = [f"buyer-{number}" for number in range(BUYERS)]
        self._buyers = [await sign_in(client, "buyer", name) for name in names]
        mix = msgspec.json.encode({"seed": self._seed, "shares": FAULT_SHARES})
        expect(await client.request("PUT", "/v1/sandbox/faults", mix), 200, dict)
        venue = await self._made(
            "/v1/venues",
            {
                "name": "Hall",
                "city": "Berlin",
                "country": "Germany",
                "capacity": 1_000_000,
                "timezone": "Europe/Berlin",
            },
        )
        event = {
            "venue_id": venue.venue_id,
            "title": "Storm",
            "category": "CONCERT",
            "start_time": "2031-05-01T09:00:00+02:00",
            "end_time": "2031-05-01T18:00:00+02:00",
        }
        self._event_id = (await self._made("/v1/events", event)).event_id
        tier = {
            "name": "GENERAL",
            "price": PRICE_MINOR,
            "total_quantity": int(orders * PLACES_AN_ORDER),
            "max_per_order": 2,
            "sale_start": "2020-01-01T00:00:00Z",
        }
        self._tier_id = (await self._made(f"/v1/events/{self._event_id}/tiers", tier)).tier_id
        for step in ("publish", "open-sales"):
            await self._insist(self._organizer, "POST", f"/v1/events/{self._event_id}/{step}")

    async def _made(self, path: str, body: object) -> _Id:
        made = await self._insist(self._organizer, "POST", path, body)
        return expect(made, 201, _Id)

    async def rage(self, orders: int) -> None:
        """All buyers; each is on his own, and none gives up before he knows."""
        plans = self._random.choices(list(_WEIGHTS), list(_WEIGHTS.values()), k=orders)
        async with asyncio.TaskGroup() as tasks:
            for number, plan in enumerate(plans):
                buyer, quantity = self._buyers[number % BUYERS], self._random.choice((1, 2))
                tasks.create_task(self._come(buyer, plan, quantity), name=f"buyer {number}")

    async def _come(self, buyer: Caller, plan: Plan, quantity: int) -> None:
        async with self._room:
            await self._buy(buyer, plan, quantity)
        async with self._gone:
            self.done += 1
            self._gone.notify_all()

    async def is_gone(self, buyers: int) -> None:
        """So many of the buyers are done."""
        async with self._gone:
            await self._gone.wait_for(lambda: self.done >= buyers)

    async def _buy(self, buyer: Caller, plan: Plan, quantity: int) -> None:
        wanted = {"selections": [{"tier_id": self._tier_id, "quantity": quantity}]}
        placed = await self._insist(buyer, "POST", f"/v1/events/{self._event_id}/orders", wanted)
        if placed.status != 201:
            self.plans[code(placed)] += 1
            return
        self.plans[plan] += 1
        order = f"/v1/orders/{expect(placed, 201, _Id).order_id}"
        payment_id = await self._ask(buyer, order)
        if plan is Plan.GIVES_UP:
            await self._insist(buyer, "DELETE", order)
        if plan is Plan.PAYS_LATE:
            await asyncio.sleep(HOLD_S)
        if payment_id is None or plan is Plan.ABANDONS:
            return
        if plan is Plan.PAYS_TWICE:  # the first is declined, another asked for, and both are paid
            await self._act(payment_id, "decline")
            if (other := await self._ask(buyer, order)) is not None:
                await self._act(other, "succeed")
        await self._act(payment_id, "succeed")
        if plan in (Plan.REFUNDED, Plan.REFUNDED_IN_PART):
            await self._give_back(order, plan is Plan.REFUNDED)

    async def _ask(self, buyer: Caller, order: str) -> str | None:
        """The payment's id, or None where it is too late for one."""
        asked = await self._insist(buyer, "POST", f"{order}/payment", {"method": "card"})
        return expect(asked, 202, _Id).payment_id if asked.status == 202 else None

    async def _act(self, payment_id: str, outcome: str) -> None:
        """A bank whose answer is lost is not asked again at once; a server that is away is."""
        path, body = f"/v1/sandbox/payments/{payment_id}", {"outcome": outcome}
        await self._insist(None, "POST", path, body, enough=("outcome_unknown",))

    async def _give_back(self, order: str, whole: bool) -> None:
        for _ in range(int(2 * HOLD_S / PAUSE_S)):
            found = await self._insist(self._till, "GET", order)
            shown = expect(found, 200, _Order)
            if shown.status != "PENDING":
                break
            await asyncio.sleep(PAUSE_S)
        if shown.status == "CONFIRMED":
            some = {} if whole else {"ticket_ids": [shown.tickets[0].ticket_id]}
            await self._insist(self._till, "POST", f"{order}/refund", some)

    async def send_failed_refunds_anew(self) -> None:
        path = f"/v1/events/{self._event_id}/refunds?status=failed&limit=200"
        found = await self._insist(self._organizer, "GET", path)
        for refund in expect(found, 200, _Failed).items:
            retry = f"/v1/refunds/{refund.refund_id}/retry"
            await self._insist(self._organizer, "POST", retry)

    async def _insist(
        self,
        caller: Caller | None,
        method: str,
        path: str,
        body: object = None,
        enough: tuple[str, ...] = (),
    ) -> Answer:
        """A definite answer, always to the same key; also one of the codes that are `enough`."""
        headers = caller.with_key(uuid4().hex) if caller is not None else b""
        content = b"" if body is None else msgspec.json.encode(body)
        until_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < until_s:
            try:
                answer = await self._client.request(method, path, content, headers)
            except NoAnswer:
                await asyncio.sleep(PAUSE_S)
                continue
            if answer.status < 500 or code(answer) in enough:
                return answer
            await asyncio.sleep(PAUSE_S)
        raise GaveUp(f"{method} {path}")


async def storm(server: Killable, orders: int, seed: int, tell: Callable[[str], None]) -> Outcome:
    """`server` is killed twice, once its node alone and once all of it."""
    began = time.monotonic()
    port = int(server.url.rsplit(":", 1)[1])
    async with Client(server.url, 2 * AT_ONCE) as client:
        raging = Storm(client, seed)
        await raging.begin(orders)
        rage = asyncio.create_task(raging.rage(orders), name="storm")
        await _first(rage, raging.is_gone(orders // 3))
        tell(f"{raging.done} of {orders} buyers gone, the node is killed")
        _kill(await server.node_pid())
        await _first(rage, raging.is_gone(2 * orders // 3))
        tell(f"{raging.done} of {orders} buyers gone, everything is killed")
        await server.kill()
        await server.start(port)
        await rage
        sockets = (server.folder / "postgres.sockets").resolve()
        dsn = f"postgresql://stampede@/stampede?host={sockets}&port=5432"
        restless = await _calm(dsn, raging)
        lines = await bank.statement(client)
    connection = await asyncpg.connect(dsn)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        found = await ledger.read(connection)
        drawn = await connection.fetch(
            "SELECT unnest(faults), count(*) FROM sandbox_payments GROUP BY 1 ORDER BY 1"
        )
    await connection.close()
    told = [order for _, order in found.orders()]
    wrong = [*restless, *found.rows_wrong, *found.sales_wrong, *bank.disagreements(lines, told)]
    taken, sent_back = bank.totals(lines)
    plans, faults = dict(raging.plans), {row[0]: row[1] for row in drawn}
    seconds = time.monotonic() - began
    return Outcome(len(told), plans, faults, taken, sent_back, seconds, lines, wrong)


async def _first(rage: asyncio.Task[None], gone: Coroutine[None, None, None]) -> None:
    """Wait for so many to be gone; raises where the storm has ended before."""
    waiting = asyncio.create_task(gone, name="watching the storm")
    await asyncio.wait([rage, waiting], return_when=asyncio.FIRST_COMPLETED)
    if not waiting.done():
        waiting.cancel()
        await rage


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


async def _calm(dsn: str, raging: Storm) -> list[str]:
    """Wait till no loose end is left, sending anew what failed; those that are left at last."""
    until_s = time.monotonic() + QUIET_S_MAX
    connection = await asyncpg.connect(dsn)
    while True:
        counts = {name: await connection.fetchval(query) for name, query in _LOOSE_ENDS.items()}
        loose = [f"{count} {name}" for name, count in counts.items() if count]
        if not loose or time.monotonic() > until_s:
            await connection.close()
            return loose
        await raging.send_failed_refunds_anew()
        await asyncio.sleep(4 * PAUSE_S)
