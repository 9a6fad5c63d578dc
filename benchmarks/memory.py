"""What a sale costs in memory: by kind of thing, and whether it grows with what has happened.

The pure sale alone, its clock moved by hand: commands as a gateway makes them, facts that nobody
keeps, sweeps when they are due, snapshots that are always up to date.
"""

import asyncio
import gc
import random
import tracemalloc
from collections import deque

from msgspec import Struct

from benchmarks.asked import Asked
from benchmarks.results import Figure, Measurement, measured
from engine import commands as c
from engine import facts as f
from engine import ids, sale, snapshot
from engine.facts import Entry
from engine.order import OrderView
from engine.ticket import TOKEN_SEED_BYTES

ITEMS = 5_000
HOUR_MS = 60 * 60 * 1000
DAY_MS = 24 * HOUR_MS
HOLD_MS = 15 * 60 * 1000
KEPT_MS = HOUR_MS
ORDERS_AN_HOUR = 200
DAYS = 4
_NOON_MS = 1_900_000_000_000
EVENT = "evt_0123456789abcdef"
_TIER = "tier_0123456789abcdef"
_ADMIN = c.Caller(c.Role.ADMIN, "")


class Costs(Struct, frozen=True):
    """Bytes of one of each, keys of the last 24 hours included unless told otherwise."""

    pending_order: float
    finished_order: float
    archived_order: float  # what is left: its key
    forgotten_order: float
    confirmed_order: float
    confirmed_order_without_keys: float
    further_ticket: float
    days: tuple[float, ...]  # bytes of the whole sale at the end of each day of abandoned orders


class Sale:
    """To act on. `entries`: the facts as they happen, for whoever takes them."""

    def __init__(self, *, recorded: bool = False) -> None:
        self.state = snapshot.fresh(EVENT)
        self.recorded = recorded
        self.entries: list[Entry] = []
        self.now_ms = _NOON_MS
        self._chance = random.Random(0)
        tier = c.TierTerms(_TIER, "GENERAL", 5_000, 10**9, 0, 2 * _NOON_MS, 6)
        terms = c.EventTerms("orga", "EUR", 2 * _NOON_MS, 2 * _NOON_MS + HOUR_MS)
        self.ask(c.OpenSale(1, terms, (tier,), ()))

    def ask(self, command: c.Command) -> object:
        decided = sale.decide(self.state, command, self.now_ms)
        if not isinstance(decided, list):
            return decided
        for fact in decided:
            entry = Entry(EVENT, self.state.header.seq + 1, self.now_ms, fact)
            sale.apply(self.state, entry)
            if self.recorded:
                self.entries.append(entry)
        reply = sale.reply(self.state, command, decided)
        deque(snapshot.changes(self.state, self.state.touched), maxlen=0)
        self.state.touched.clear()
        return reply

    def random(self, size: int) -> bytes:
        return self._chance.randbytes(size)

    def key(self) -> c.Key:
        return c.Key(self.random(16), self.random(16))

    def place(self, quantity: int = 1) -> str:
        order_id = ids.order_id(EVENT, self.random(ids.ORDER_RANDOM_BYTES))
        buyer_id = f"buyer-{self.random(8).hex()}"
        lines = (c.Selection(_TIER, quantity),)
        placed = self.ask(c.PlaceOrder(order_id, buyer_id, lines, None, HOLD_MS, self.key()))
        assert isinstance(placed, f.OrderPlaced)
        return placed.order_id

    def buy(self, quantity: int = 1) -> None:
        order_id = self.place(quantity)
        payment_id = ids.payment_id(order_id, self.random(ids.PAYMENT_RANDOM_BYTES))
        seed = self.random(TOKEN_SEED_BYTES)
        self.ask(c.RequestPayment(order_id, _ADMIN, payment_id, "card", seed, self.key()))
        paid = c.ConfirmOrder(order_id, payment_id, 5_000 * quantity, seed, "ref_")
        confirmed = self.ask(paid)
        assert isinstance(confirmed, OrderView) and len(confirmed.tickets) == quantity

    def pass_ms(self, span_ms: int) -> None:
        """And do whatever falls due on the way."""
        until_ms = self.now_ms + span_ms
        while (due_ms := self._due_ms()) is not None and due_ms <= until_ms:
            self.now_ms = max(self.now_ms, due_ms)
            self.ask(c.Sweep(500, bytes(32), KEPT_MS))
        self.now_ms = until_ms

    def _due_ms(self) -> int | None:
        due_ms = (self.state.next_deadline_ms(), self.state.next_tidying_ms(KEPT_MS))
        return min((ms for ms in due_ms if ms is not None), default=None)


def costs() -> Costs:
    tracemalloc.start()
    try:
        return _costs()
    finally:
        tracemalloc.stop()


def _costs() -> Costs:
    abandoned = Sale()
    empty = traced()
    for _ in range(ITEMS):
        abandoned.place()
    pending = _each(empty)
    abandoned.pass_ms(HOLD_MS)
    finished = _each(empty)
    abandoned.pass_ms(2 * HOUR_MS)
    archived = _each(empty)
    abandoned.pass_ms(DAY_MS)
    forgotten = _each(empty)
    before = traced()
    sold = Sale()
    for _ in range(ITEMS):
        sold.buy()
    confirmed = _each(before)
    sold.pass_ms(DAY_MS + HOUR_MS)
    without_keys = _each(before)
    before = traced()
    groups = Sale()
    for _ in range(ITEMS):
        groups.buy(6)
    groups.pass_ms(DAY_MS + HOUR_MS)
    further_ticket = (_each(before) - without_keys) / 5
    return Costs(
        pending,
        finished,
        archived,
        forgotten,
        confirmed,
        without_keys,
        further_ticket,
        tuple(_days()),
    )


def _days() -> list[float]:
    before, sizes = traced(), []
    going_on = Sale()
    for hour in range(24 * DAYS):
        for _ in range(ORDERS_AN_HOUR):
            going_on.place()
            going_on.pass_ms(HOUR_MS // ORDERS_AN_HOUR)
        if hour % 24 == 23:
            sizes.append(traced() - before)
    return sizes


def _each(before: float) -> float:
    return (traced() - before) / ITEMS


def traced() -> float:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def measure(_: Asked) -> list[Measurement]:
    each = await asyncio.to_thread(costs)
    figures = [
        Figure("pending order", "bytes", [each.pending_order]),
        Figure("cancelled order, until it leaves", "bytes", [each.finished_order]),
        Figure("archived order, until its key is forgotten", "bytes", [each.archived_order]),
        Figure("the same after that: room in emptied tables", "bytes", [each.forgotten_order]),
        Figure("confirmed order of one ticket, first 24 h", "bytes", [each.confirmed_order]),
        Figure("the same after that", "bytes", [each.confirmed_order_without_keys]),
        Figure("each further ticket", "bytes", [each.further_ticket]),
    ]
    figures += [
        Figure(f"whole sale, abandoned orders only, after day {day}", "bytes", [size])
        for day, size in enumerate(each.days, start=1)
    ]
    conditions = (
        f"The pure sale alone, by tracemalloc, {ITEMS:,} of each kind; the days with"
        f" {ORDERS_AN_HOUR} orders an hour, finished ones archived after an hour."
    )
    return [measured("memory of a sale", "./run bench memory", conditions, figures)]
