"""What the clients of a server saw, kept for the audit: every promise, every refusal, every doubt.

Before a request leaves, its key is noted as open; a definite answer closes that attempt. What stays
open got no answer: it may have happened, once, or not at all.
"""

from collections import Counter
from typing import NamedTuple

import msgspec
from msgspec import Struct

from loadtests.client import Answer

REPLAYED_HEADER = "Idempotency-Replayed"
NOT_DECIDED = (500, 502, 504)


class OrderKey(NamedTuple):
    """An idempotency key at an event, and whose it is."""

    event_id: str
    role: str
    subject: str
    text: str


class ScanKey(NamedTuple):
    event_id: str
    device_id: str
    nonce: str


class SeenItem(Struct, frozen=True, gc=False):
    tier_id: str
    quantity: int
    unit_price: int
    subtotal: int


class SeenOrder(Struct, frozen=True, gc=False):
    order_id: str
    event_id: str
    buyer_id: str
    items: tuple[SeenItem, ...]
    total_amount: int
    currency: str
    created_at: str
    expires_at: str


class SeenTicket(Struct, frozen=True, gc=False):
    ticket_id: str
    tier_id: str
    token: str


class SeenScan(Struct, frozen=True, gc=False):
    result: str
    reason: str | None = None
    ticket_id: str | None = None
    checked_in_at: str | None = None


class Problem(Struct, frozen=True, gc=False):
    code: str
    available: int = 0


class Tickets(Struct, frozen=True):
    """Of an order's answer, what its buyer waits for."""

    order_id: str
    status: str
    cancel_reason: str | None
    tickets: tuple[SeenTicket, ...]


_order = msgspec.json.Decoder(SeenOrder)
_scan = msgspec.json.Decoder(SeenScan)
_problem = msgspec.json.Decoder(Problem)
_tickets = msgspec.json.Decoder(Tickets)


class Seen:
    """`contradictions`: answers that no server may give, whatever its ledger says."""

    def __init__(self) -> None:
        self.order_by_key: dict[OrderKey, SeenOrder] = {}
        self.refused_orders: set[OrderKey] = set()
        self.cancelled_orders: set[str] = set()  # given up by their buyers
        self.tickets_by_order: dict[str, tuple[SeenTicket, ...]] = {}
        self.scan_by_key: dict[ScanKey, tuple[str, SeenScan]] = {}  # with the token
        self.refused_scans: set[ScanKey] = set()
        self.contradictions: list[str] = []
        self._answered_first: set[OrderKey] = set()
        self._open_orders: Counter[OrderKey] = Counter()
        self._open_scans: Counter[ScanKey] = Counter()

    # Orders.

    def asks_for_order(self, key: OrderKey) -> None:
        self._open_orders[key] += 1

    def answered_order(self, key: OrderKey, answer: Answer) -> SeenOrder | Problem:
        """Note the answer to a request for an order; what it says."""
        if answer.status != 201:
            problem = _problem.decode(answer.body)
            if not _in_doubt(answer.status, problem):
                self._open_orders[key] -= 1
                self.refused_orders.add(key)
            return problem
        order = _order.decode(answer.body)
        self._open_orders[key] -= 1
        first = self.order_by_key.setdefault(key, order)
        if first != order:
            self.contradictions.append(f"one key, two orders: {first.order_id}, {order.order_id}")
        if answer.header(REPLAYED_HEADER) != "true":
            if key in self._answered_first:
                self.contradictions.append(f"a replay that does not say so: {order.order_id}")
            self._answered_first.add(key)
        return order

    def read_order(self, answer: Answer) -> Tickets:
        """Note an order that was read."""
        found = _tickets.decode(answer.body)
        if found.status == "CONFIRMED":
            first = self.tickets_by_order.setdefault(found.order_id, found.tickets)
            if first != found.tickets:
                self.contradictions.append(f"the tickets of {found.order_id} have changed")
        return found

    def order_in_doubt(self, key: OrderKey) -> bool:
        return self._open_orders[key] > 0 and key not in self.order_by_key

    def orders_in_doubt(self) -> list[OrderKey]:
        return [key for key in self._open_orders if self.order_in_doubt(key)]

    def refused_in_the_end(self, key: OrderKey) -> None:
        """Nothing is on its way any more, and the key was refused: no attempt has placed it."""
        self._open_orders[key] = 0

    def orders_refused(self) -> list[OrderKey]:
        """Refused for good: never placed under the same key, and no attempt in doubt."""
        placed_or_open = [*self.order_by_key, *self.orders_in_doubt()]
        return list(self.refused_orders.difference(placed_or_open))

    # Scans.

    def scans(self, key: ScanKey) -> None:
        self._open_scans[key] += 1

    def answered_scan(self, key: ScanKey, token: str, answer: Answer) -> SeenScan | Problem:
        if answer.status != 200:
            problem = _problem.decode(answer.body)
            if not _in_doubt(answer.status, problem):
                self._open_scans[key] -= 1
                self.refused_scans.add(key)
            return problem
        scan = _scan.decode(answer.body)
        self._open_scans[key] -= 1
        first = self.scan_by_key.setdefault(key, (token, scan))
        if first != (token, scan):
            self.contradictions.append(f"one nonce, two answers: {key.device_id} {key.nonce}")
        return scan

    def scans_in_doubt(self) -> list[ScanKey]:
        return [k for k, left in self._open_scans.items() if left > 0 and k not in self.scan_by_key]


def _in_doubt(status: int, problem: Problem) -> bool:
    return status in NOT_DECIDED or problem.code == "outcome_unknown"
