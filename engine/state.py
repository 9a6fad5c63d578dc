"""What a sale remembers, and how its parts are found. No decisions here.

A sale that has been through the same facts is the same, byte for byte: everything below follows
from facts alone. The indexes are derived and rebuilt when a sale is restored.
"""

import heapq
from collections.abc import Iterator
from enum import StrEnum

from msgspec import Struct, field

from engine.commands import Caller, EventTerms, Gate, Key
from engine.order import Order, OrderStatus, Remembered, may_use
from engine.rejections import Reason, Rejection
from engine.scan import Doors, Scan
from engine.ticket import Ticket, token_digest
from engine.tier import Tier

KEY_KEPT_MS = 24 * 60 * 60 * 1000
HEADER = "sale"  # the name of the entity that holds all but orders and scans


class Phase(StrEnum):
    UNOPENED = "UNOPENED"
    OPEN = "OPEN"
    CLOSED = "CLOSED"
    CANCELLED = "CANCELLED"
    COMPLETED = "COMPLETED"


class Header(Struct, array_like=True):
    """All of a sale's state but its orders and scans."""

    sale_id: str
    seq: int = 0
    now_ms: int = 0
    phase: Phase = Phase.UNOPENED
    version: int = 0
    terms: EventTerms = EventTerms("", "", 0, 0)
    tiers: dict[str, Tier] = {}
    gates: tuple[Gate, ...] = ()
    doors: Doors = field(default_factory=Doors)


class SaleView(Struct, frozen=True, tag=True, array_like=True):
    """What the public may know of a sale; `seq` is its version."""

    sale_id: str
    seq: int
    version: int
    phase: Phase
    terms: EventTerms
    tiers: tuple[Tier, ...]


class State:
    """One sale as of its `seq`-th fact.

    `touched` names the entities (the header, order ids, scan keys) that have changed since its
    reader last emptied it; it is bookkeeping for the snapshots, not part of the state.
    """

    def __init__(self, header: Header) -> None:
        self.header = header
        self.order_by_id: dict[str, Order] = {}
        self.scan_by_key: dict[str, Scan] = {}
        self.ticket_by_digest: dict[bytes, Ticket] = {}
        self.keys: dict[bytes, tuple[int, str, Remembered]] = {}  # oldest first: instant, order
        self.holds: list[tuple[int, str]] = []  # a heap of (expires_at_ms, order id)
        self.to_unwind: dict[str, None] = {}  # a cancelled event's orders, until they are ended
        self.touched: dict[str, None] = {}

    @property
    def opened(self) -> bool:
        return self.header.phase is not Phase.UNOPENED

    def view(self) -> SaleView:
        header = self.header
        tiers = tuple(Tier(tier.terms, tier.held, tier.sold) for tier in header.tiers.values())
        return SaleView(
            header.sale_id, header.seq, header.version, header.phase, header.terms, tiers
        )

    def gate(self, name: str | None) -> Gate | None:
        return next((gate for gate in self.header.gates if gate.name == name), None)

    def order_for(self, order_id: str, caller: Caller) -> Order | Rejection:
        found = self.order_by_id.get(order_id)
        if found is None or not may_use(found, caller, self.header.terms.organizer_id):
            return Rejection(Reason.UNKNOWN_ORDER)
        return found

    def remembered(self, key: Key, now_ms: int) -> tuple[Order, Remembered] | Rejection | None:
        """What an idempotency key was used for within its 24 hours."""
        known = self.keys.get(key.digest)
        if known is None or now_ms >= known[0] + KEY_KEPT_MS:
            return None
        _, order_id, remembered = known
        if remembered.key.fingerprint != key.fingerprint:
            return Rejection(Reason.IDEMPOTENCY_KEY_REUSED)
        return self.order_by_id[order_id], remembered

    def remember(self, found: Order, remembered: Remembered) -> None:
        found.remembered += (remembered,)
        self.index_key(found, remembered)
        oldest_ms = remembered.at_ms - KEY_KEPT_MS
        while (first := next(iter(self.keys))) and self.keys[first][0] <= oldest_ms:
            del self.keys[first]

    def index_key(self, found: Order, remembered: Remembered) -> None:
        self.keys.pop(remembered.key.digest, None)
        self.keys[remembered.key.digest] = (remembered.at_ms, found.order_id, remembered)

    def index_hold(self, found: Order) -> None:
        heapq.heappush(self.holds, (found.expires_at_ms, found.order_id))

    def index_tokens(self, ticket: Ticket) -> None:
        self.ticket_by_digest[token_digest(ticket.token)] = ticket
        for digest in ticket.replaced:
            self.ticket_by_digest[digest] = ticket

    def overdue_orders(self, now_ms: int) -> Iterator[str]:
        """Pending orders whose hold has ended, in no order; costs what is due, not what is held."""
        places = [0] if self.holds else []
        while places:
            place = places.pop()
            expires_at_ms, order_id = self.holds[place]
            if expires_at_ms > now_ms:
                continue
            if self.order_by_id[order_id].status is OrderStatus.PENDING:
                yield order_id
            places += [p for p in (2 * place + 1, 2 * place + 2) if p < len(self.holds)]

    def index_unwinding(self) -> None:
        live = (OrderStatus.PENDING, OrderStatus.CONFIRMED)
        self.to_unwind = {key: None for key, o in self.order_by_id.items() if o.status in live}

    def next_deadline_ms(self) -> int | None:
        """When the sale must be swept next; what is overdue by nature reads as 0."""
        if self.to_unwind:
            return 0
        while self.holds and self.order_by_id[self.holds[0][1]].status is not OrderStatus.PENDING:
            heapq.heappop(self.holds)
        return self.holds[0][0] if self.holds else None
