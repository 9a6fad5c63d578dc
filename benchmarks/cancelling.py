"""An event with thousands of orders is cancelled, and everything killed with -9 on the way.

Who has paid, who was given back what, and who was written to is counted from the sandbox's books, a
mail server's letters and the API alone. `cancelled` is a whole world of any size: the tests make
small ones.
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg
from msgspec import Struct, field

from benchmarks.asked import Asked
from benchmarks.results import Figure, Measurement, measured
from benchmarks.servers import Endpoint, fresh_folder, stampede_on
from tests.post_office import PostOffice
from tests.waiting import until

ORDERS = 5_000
KILLS = 3
AT_ONCE = 32
PRICE = 2_500
HELD_AT_ONCE = 100
SETTLED_S_MAX = 900.0
STEP_S_MAX = 300.0
_SUBJECT = "Cancelled"

# By the sandbox's own books: what each payment has brought, and how often and how much went back.
_BOOKS = """
SELECT p.order_id, p.amount_minor,
       count(r.refund_id) FILTER (WHERE done) AS refunds,
       coalesce(sum(r.amount_minor) FILTER (WHERE done), 0)::bigint AS returned
FROM sandbox_payments p LEFT JOIN LATERAL (
    SELECT *, coalesce(to_jsonb(s) ->> 'status', 'done') = 'done' AS done
    FROM sandbox_refunds s WHERE s.payment_id = p.payment_id
) r USING (payment_id)
WHERE p.outcome = 'succeeded' GROUP BY p.payment_id, p.order_id, p.amount_minor
"""
_REFUNDED = "SELECT count(*) FROM sandbox_refunds"
_UNSETTLED = """
SELECT (SELECT count(*) FROM orders WHERE status IN ('PENDING', 'CONFIRMED'))
     + (SELECT count(*) FROM refunds WHERE status <> 'done')
     + (SELECT count(*) FROM waitlist WHERE status IN ('WAITING', 'OFFERED'))
     + (SELECT count(*) FROM mails WHERE state = 'waiting' AND due_at <= now())
     + (SELECT coalesce(sum(s.last_seq - coalesce(o.seq, 0)), 0)
        FROM shards s LEFT JOIN projection_offsets o USING (shard_id))
"""
_DEAD_MAILS = "SELECT count(*) FROM mails WHERE state = 'dead'"


class Cancelled(Struct):
    """What is left of an event that was cancelled; the empty lists are promises."""

    orders: int
    kills: int
    sold_s: float = 0.0
    settled_s: float = 0.0  # from the cancel's first call to the last mail, kills and all
    back_s: list[float] = []  # from each start to ready
    given_back: int = 0
    mailed: int = 0
    mailed_again: int = 0  # under the same Message-ID
    unpaid: list[str] = []  # orders with money that went back otherwise than once and whole
    unmailed: list[str] = []
    twice: list[str] = []  # written to under two Message-IDs
    strangers: list[str] = []  # written to without a reason
    alive: list[str] = []  # orders, entries or a booking that have not ended
    dead_mails: int = 0


class Sold(Struct):
    event_id: str = ""
    tier_ids: list[str] = []
    venue_id: str = ""
    booking_id: str = ""
    holder_by_order: dict[str, str] = field(default_factory=dict)  # with tickets at the end
    pending: list[str] = []
    refunded: list[str] = []  # whole, before
    partly: list[str] = []  # so
    entries: list[str] = []


class Till:
    """The box office, which acts for any buyer, and asks again until there is an answer."""

    def __init__(self, server: Endpoint, http: aiohttp.ClientSession) -> None:
        self.server = server
        self._http = http
        self._token_by_role: dict[str, str] = {}

    async def call(
        self, method: str, path: str, body: Any = None, role: str = "box_office"
    ) -> tuple[int, Any]:
        if role not in self._token_by_role:
            self._token_by_role[role] = self.server.token(role, "bench")
        token = self._token_by_role[role]
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": uuid4().hex}
        async with asyncio.timeout(STEP_S_MAX):
            while True:
                url = self.server.url + path
                try:
                    asked = self._http.request(method, url, json=body, headers=headers)
                    async with asked as answer:
                        told = await answer.json(content_type=None)
                        if answer.status < 500:
                            return answer.status, told
                except (aiohttp.ClientError, OSError):
                    pass
                await asyncio.sleep(0.1)

    async def must(self, method: str, path: str, body: Any = None, role: str = "box_office") -> Any:
        status, told = await self.call(method, path, body, role)
        assert status < 300, (method, path, status, told)
        return told

    async def organize(self, method: str, path: str, body: Any = None) -> Any:
        return await self.must(method, path, body, "organizer")


async def cancelled(orders: int, kills: int, seed: int = 1) -> Cancelled:
    """Sell so many orders in every state, cancel, kill on the way, and count when all is quiet."""
    found, post = Cancelled(orders, kills), PostOffice()
    async with fresh_folder() as folder, post.open(), aiohttp.ClientSession() as http:
        async with _serving(folder, post, found) as server:
            till = Till(server, http)
            began = time.monotonic()
            sold = await _sell(till, orders, random.Random(seed))
            found.sold_s = time.monotonic() - began
            began = time.monotonic()
            cancelling = asyncio.create_task(_cancel(till, sold))
            await _killed_at(server, _at_once(kills > 0))
        for number in range(1, kills):
            async with _serving(folder, post, found) as server:
                till.server = server
                await _killed_at(server, _gone_so_far(server, post, orders, number, kills))
        async with _serving(folder, post, found) as server:
            till.server = server
            await cancelling
            await until(lambda: _settled(server), SETTLED_S_MAX)
            found.settled_s = time.monotonic() - began
            await _count(till, sold, post, found)
    return found


@asynccontextmanager
async def _serving(folder: Path, post: PostOffice, found: Cancelled) -> AsyncIterator[Endpoint]:
    began = time.monotonic()
    async with stampede_on(folder, log="off", SMTP_URL=post.url) as server:
        found.back_s.append(time.monotonic() - began)
        yield server


# Before.


async def _sell(till: Till, orders: int, chance: random.Random) -> Sold:
    sold = await _event(till, 2 * orders)
    await _each(range(orders), lambda number: _buy(till, sold, number))
    confirmed = list(sold.holder_by_order)
    chance.shuffle(confirmed)
    some = max(1, orders // 50)
    await _each(confirmed[:some], lambda order_id: _give_back(till, sold, order_id))
    await _each(confirmed[some : 2 * some], lambda order_id: _give_back_some(till, sold, order_id))
    await _line_up(till, sold, some)
    return sold


async def _event(till: Till, places: int) -> Sold:
    hall = {"name": "Hall", "city": "Berlin", "country": "Germany", "timezone": "Europe/Berlin"}
    venue = await till.organize("POST", "/v1/venues", {**hall, "capacity": 2 * places})
    times = {"start_time": "2031-05-01T09:00:00Z", "end_time": "2031-05-01T18:00:00Z"}
    what = {"title": "Gone", "category": "CONCERT", "venue_id": venue["venue_id"]}
    event = await till.organize("POST", "/v1/events", {**what, **times})
    path = f"/v1/events/{event['event_id']}"
    terms = {"price": PRICE, "max_per_order": 10, "sale_start": "2020-01-01T00:00:00Z"}
    sold = Sold(event["event_id"], venue_id=venue["venue_id"], booking_id=event["booking_id"])
    for name, of_it in (("FLOOR", places), ("FREE", places)):
        asked = {"name": name, "total_quantity": of_it, **terms}
        asked["price"] = PRICE if name == "FLOOR" else 0
        tier = await till.organize("POST", f"{path}/tiers", asked)
        sold.tier_ids.append(tier["tier_id"])
    code = {"code": "THIRD", "kind": "percent", "value": 33}
    await till.organize("POST", f"{path}/promo-codes", code)
    for step in ("publish", "open-sales"):
        await till.organize("POST", f"{path}/{step}")
    return sold


async def _buy(till: Till, sold: Sold, number: int) -> None:
    """Of a hundred: eighty paid, ten of them with a code, ten for nothing, ten not paid."""
    kind, email = number % 100, f"holder{number}@example.org"
    tier_id = sold.tier_ids[1] if 80 <= kind < 90 else sold.tier_ids[0]
    body: dict[str, Any] = {
        "selections": [{"tier_id": tier_id, "quantity": 1 + number % 3}],
        "buyer_id": f"buyer-{number}",
        "buyer_email": email,
    }
    if kind < 10:
        body["promo_code"] = "THIRD"
    order = await till.must("POST", f"/v1/events/{sold.event_id}/orders", body)
    order_id = order["order_id"]
    if kind >= 90:
        sold.pending.append(order_id)
        return
    asked = await till.must("POST", f"/v1/orders/{order_id}/payment", {"method": "card"})
    if "payment_id" in asked and asked.get("status") != "CONFIRMED":
        act = f"/v1/sandbox/payments/{asked['payment_id']}"
        await till.must("POST", act, {"outcome": "succeed"})
    sold.holder_by_order[order_id] = email


async def _give_back(till: Till, sold: Sold, order_id: str) -> None:
    await till.must("POST", f"/v1/orders/{order_id}/refund", {})
    sold.refunded.append(order_id)
    del sold.holder_by_order[order_id]


async def _give_back_some(till: Till, sold: Sold, order_id: str) -> None:
    order = await till.must("GET", f"/v1/orders/{order_id}")
    tickets = [ticket["ticket_id"] for ticket in order["tickets"]]
    if len(tickets) > 1:
        await till.must("POST", f"/v1/orders/{order_id}/refund", {"ticket_ids": tickets[:1]})
        sold.partly.append(order_id)


async def _line_up(till: Till, sold: Sold, waiting: int) -> None:
    """The rest of the paid tier is held, somebody waits, and some are offered places."""
    tier_id = sold.tier_ids[0]
    await till.organize("PATCH", f"/v1/tiers/{tier_id}", {"max_per_order": HELD_AT_ONCE})
    async with asyncio.timeout(STEP_S_MAX):
        while True:
            body = {
                "selections": [{"tier_id": tier_id, "quantity": HELD_AT_ONCE}],
                "buyer_id": "holds",
            }
            status, told = await till.call("POST", f"/v1/events/{sold.event_id}/orders", body)
            if status == 201:
                sold.pending.append(told["order_id"])
                continue
            assert told["code"] == "sold_out", told
            if not told["available"]:
                break
            body["selections"] = [{"tier_id": tier_id, "quantity": told["available"]}]
            last = await till.must("POST", f"/v1/events/{sold.event_id}/orders", body)
            sold.pending.append(last["order_id"])
    for number in range(waiting):
        who = {"buyer_id": f"waits-{number}", "email": f"waits{number}@example.org"}
        path = f"/v1/tiers/{tier_id}/waitlist"
        entry = await till.must("POST", path, {"quantity": 1, **who})
        sold.entries.append(entry["entry_id"])
    await till.must("DELETE", f"/v1/orders/{sold.pending.pop()}")


# On the way.


async def _cancel(till: Till, sold: Sold) -> None:
    """Asked until it is so, however often the server dies meanwhile."""
    path = f"/v1/events/{sold.event_id}"
    status, told = await till.call("POST", f"{path}/cancel", role="organizer")
    assert status == 200 or told["code"] == "illegal_transition", told
    event = await till.organize("GET", path)
    assert event["status"] == "CANCELLED", event


async def _killed_at(server: Endpoint, moment: Callable[[], Awaitable[bool]] | None) -> None:
    if moment is not None:
        await until(moment, STEP_S_MAX)
        await server.kill()


def _at_once(dies: bool) -> Callable[[], Awaitable[bool]] | None:
    """While the cancel is asked for, or has just been answered."""

    async def asked() -> bool:
        await asyncio.sleep(0.02)
        return True

    return asked if dies else None


def _gone_so_far(
    server: Endpoint, post: PostOffice, orders: int, number: int, kills: int
) -> Callable[[], Awaitable[bool]]:
    """A share of the money, and at the last kill of the mails, is on its way."""

    async def gone() -> bool:
        if number == kills - 1:
            return len(_told(post)) > orders // 4
        return await _value(server, _REFUNDED) > orders * (number + 1) // (2 * kills)

    return gone


def _told(post: PostOffice) -> list[tuple[str, str]]:
    """Who was written to of the end, and under which Message-ID."""
    about = [(to, m) for to, m in post.letters if m["Subject"].startswith(_SUBJECT)]
    return [(to, str(message["Message-ID"])) for to, message in about]


# Afterwards.


async def _settled(server: Endpoint) -> bool:
    await asyncio.sleep(0.2)
    return await _value(server, _UNSETTLED) == 0


async def _value(server: Endpoint, query: str) -> int:
    connection = await asyncpg.connect(server.dsn)
    try:
        return int(await connection.fetchval(query))
    finally:
        await connection.close()


async def _count(till: Till, sold: Sold, post: PostOffice, found: Cancelled) -> None:
    await _count_money(till.server, sold, found)
    count_mails(sold, post, found)
    found.dead_mails = await _value(till.server, _DEAD_MAILS)
    await _each(
        [*sold.holder_by_order, *sold.pending, *sold.refunded],
        lambda order_id: _ended(till, order_id, found),
    )
    await _each(sold.entries, lambda entry_id: _left(till, entry_id, found))
    booking = await till.organize("GET", f"/v1/bookings/{sold.booking_id}")
    times = {"start_time": "2031-05-01T09:00:00Z", "end_time": "2031-05-01T18:00:00Z"}
    what = {"title": "Next", "category": "CONCERT", "venue_id": sold.venue_id, **times}
    status, _ = await till.call("POST", "/v1/events", what, "organizer")
    if booking["status"] != "CANCELLED" or status != 201:
        found.alive.append(sold.booking_id)


async def _count_money(server: Endpoint, sold: Sold, found: Cancelled) -> None:
    connection = await asyncpg.connect(server.dsn)
    try:
        books = await connection.fetch(_BOOKS)
    finally:
        await connection.close()
    found.given_back = sum(returned for *_, returned in books)
    found.unpaid = unpaid([tuple(row) for row in books], sold)


def unpaid(books: Iterable[tuple[str, int, int, int]], sold: Sold) -> list[str]:
    """Orders whose money has not gone back whole, by one refund, or two where some went before.

    `books`: for each payment the order, what was paid, how often and how much went back.
    """
    return [
        order_id
        for order_id, paid, refunds, returned in books
        if returned != paid or not 1 <= refunds <= 1 + (order_id in sold.partly)
    ]


def count_mails(sold: Sold, post: PostOffice, found: Cancelled) -> None:
    told = _told(post)
    times = Counter(to for to, _ in told)
    ids_by_address: dict[str, set[str]] = {}
    for to, message_id in told:
        ids_by_address.setdefault(to, set()).add(message_id)
    holders = set(sold.holder_by_order.values())
    found.mailed = len(times)
    found.mailed_again = sum(times.values()) - len(times)
    found.unmailed = sorted(holders - times.keys())
    found.strangers = sorted(times.keys() - holders)
    found.twice = sorted(to for to, ids in ids_by_address.items() if len(ids) > 1)


async def _ended(till: Till, order_id: str, found: Cancelled) -> None:
    order = await till.must("GET", f"/v1/orders/{order_id}")
    refunded = order["status"] == "REFUNDED"
    given_up = (order["status"], order["cancel_reason"]) == ("CANCELLED", "event_cancelled")
    dead = all(ticket["status"] == "CANCELLED" for ticket in order["tickets"])
    if not (dead and (refunded or given_up)):
        found.alive.append(order_id)


async def _left(till: Till, entry_id: str, found: Cancelled) -> None:
    entry = await till.must("GET", f"/v1/waitlist/{entry_id}")
    if entry["status"] != "LEFT":
        found.alive.append(entry_id)


async def _each(things: Iterable[Any], work: Callable[[Any], Awaitable[None]]) -> None:
    """Some at a time."""
    left = iter(things)

    async def one_after_another() -> None:
        for thing in left:
            await work(thing)

    await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))


async def measure(_: Asked) -> list[Measurement]:
    found = await cancelled(ORDERS, KILLS)
    figures = [
        Figure("orders", "", [found.orders]),
        Figure("kills -9 of everything", "", [found.kills]),
        Figure("from the cancel to the last refund and mail", "s", [found.settled_s]),
        Figure("from each start to ready", "s", found.back_s),
        Figure("holders written to", "", [found.mailed]),
        Figure("letters sent again under the same Message-ID", "", [found.mailed_again]),
        Figure("money not given back once and whole", "orders", [len(found.unpaid)]),
        Figure("holders not written to", "", [len(found.unmailed)]),
        Figure("holders written to twice", "", [len(found.twice)]),
        Figure("others written to", "", [len(found.strangers)]),
        Figure("orders, entries or a booking still alive", "", [len(found.alive)]),
        Figure("mails given up", "", [found.dead_mails]),
    ]
    conditions = (
        f"Load average of the shared machine meanwhile: {os.getloadavg()[0]:.1f}. Paid, with a"
        " code, for nothing, partly or wholly refunded before, pending; some wait, and one has an"
        " offer. Killed while the cancel is asked for, in the midst of the refunds, and of the"
        " mails. By the sandbox's own books, a real SMTP server and the API."
    )
    return [measured("an event cancelled under fire", "./run bench cancel", conditions, figures)]
