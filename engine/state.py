"""What a sale remembers, and how its parts are found. No decisions here.

A sale that has been through the same facts is the same, byte for byte: everything below follows
from facts alone. The indexes are derived and rebuilt when a sale is restored.
"""

import heapq
from collections import OrderedDict
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
GATHER_MS = 1_000  # what is tidied away may wait so long, so that it goes by the lot
HEADER = "sale"  # the name of the entity that holds all but orders, scans and lone keys
KEY_MARK = "key:"  # begins the name of a lone key; no order's id begins so


class Phase(StrEnum):
    UNOPENED = "UNOPENED"
    OPEN = "OPEN"
    CLOSED = "CLOSED"
    CANCELLED = "CANCELLED"
    COMPLETED = "COMPLETED"


class Header(Struct, array_like=True):
    """All of a sale's state but its orders, scans and lone keys.

    `archived_seq`: the latest fact by which orders left memory. Who has come so far in the facts
    has read all that ever happened to an order which is not here.
    """

    sale_id: str
    seq: int = 0
    now_ms: int = 0
    phase: Phase = Phase.UNOPENED
    version: int = 0
    terms: EventTerms = EventTerms("", "", 0, 0)
    tiers: dict[str, Tier] = {}
    gates: tuple[Gate, ...] = ()
    doors: Doors = field(default_factory=Doors)
    archived_seq: int = 0


class SaleView(Struct, frozen=True, tag=True, array_like=True):
    """What the public may know of a sale; `seq` is its version."""

    sale_id: str
    seq: int
    version: int
    phase: Phase
    terms: EventTerms
    tiers: tuple[Tier, ...]


class Archived(Struct, frozen=True, tag=True, array_like=True, gc=False):
    """The order is not in memory. If there is one, the tables have it, and no owner is needed to
    read it there once they have come to the sale's fact `seq`.

    `organizer_id`: of the event, who may use every order. `payment_id`: what the first answer to
    a key was about.
    """

    order_id: str
    seq: int
    organizer_id: str
    payment_id: str | None = None


class UsedKey(Struct, frozen=True, array_like=True, gc=False):
    """What an idempotency key was used for. `lone`: its order has left memory before it."""

    order_id: str
    remembered: Remembered
    lone: bool = False


class State:
    """One sale as of its `seq`-th fact.

    `touched` names the entities (the header, order ids, scan keys, lone keys) that have changed or
    gone since its reader last emptied it; it is bookkeeping for the snapshots, not part of the
    state. `keys` and `finished` are in the order of time, and lose their oldest first: with a plain
    dict, each look for the oldest would walk over all those that were removed.
    """

    def __init__(self, header: Header) -> None:
        self.header = header
        self.order_by_id: dict[str, Order] = {}
        self.scan_by_key: dict[str, Scan] = {}
        self.ticket_by_digest: dict[bytes, Ticket] = {}
        self.keys: OrderedDict[bytes, UsedKey] = OrderedDict()  # by digest
        self.finished: OrderedDict[str, None] = OrderedDict()  # orders that may leave memory
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

    def order_for(self, order_id: str, caller: Caller) -> Order | Archived | Rejection:
        found = self.order_by_id.get(order_id)
        if found is None:
            return self.missing(order_id, Reason.UNKNOWN_ORDER)
        if not may_use(found, caller, self.header.terms.organizer_id):
            return Rejection(Reason.UNKNOWN_ORDER)
        return found

    def missing(self, order_id: str, reason: Reason) -> Archived | Rejection:
        """That an order has never been, a sale can tell only as long as it has archived none."""
        return self.archived(order_id) if self.header.archived_seq else Rejection(reason)

    def archived(self, order_id: str, payment_id: str | None = None) -> Archived:
        header = self.header
        return Archived(order_id, header.archived_seq, header.terms.organizer_id, payment_id)

    def used(self, key: Key, now_ms: int) -> UsedKey | Rejection | None:
        """What an idempotency key was used for within its 24 hours."""
        known = self.keys.get(key.digest)
        if known is None or now_ms >= known.remembered.at_ms + KEY_KEPT_MS:
            return None
        if known.remembered.key.fingerprint != key.fingerprint:
            return Rejection(Reason.IDEMPOTENCY_KEY_REUSED)
        return known

    def remember(self, found: Order, remembered: Remembered) -> None:
        digest = remembered.key.digest
        if digest in self.keys:  # its 24 hours are over
            self.forget(digest)
        found.remembered += (remembered,)
        self.keys[digest] = UsedKey(found.order_id, remembered)

    def forget(self, digest: bytes) -> None:
        used = self.keys.pop(digest)
        if used.lone:
            self.touched[lone_key(digest)] = None
            return
        found = self.order_by_id[used.order_id]
        found.remembered = tuple(r for r in found.remembered if r.key.digest != digest)
        self.touched[used.order_id] = None

    def leave_keys(self, found: Order) -> None:
        """The order's keys stay when it goes."""
        for remembered in found.remembered:
            digest = remembered.key.digest
            self.keys[digest] = UsedKey(found.order_id, remembered, lone=True)
            self.touched[lone_key(digest)] = None

    def finish(self, found: Order, at_ms: int) -> None:
        """Whether an order that something has just ended in is finished now."""
        found.finished_at_ms = at_ms if found.finished else 0
        self.index_finished(found)

    def index_finished(self, found: Order) -> None:
        self.finished.pop(found.order_id, None)
        if found.finished:
            self.finished[found.order_id] = None

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
            if self._holds(order_id):
                yield order_id
            places += [p for p in (2 * place + 1, 2 * place + 2) if p < len(self.holds)]

    def index_unwinding(self) -> None:
        live = (OrderStatus.PENDING, OrderStatus.CONFIRMED)
        self.to_unwind = {key: None for key, o in self.order_by_id.items() if o.status in live}

    def _holds(self, order_id: str) -> bool:
        found = self.order_by_id.get(order_id)
        return found is not None and found.status is OrderStatus.PENDING

    def next_deadline_ms(self) -> int | None:
        """When the sale must be swept next; what is overdue by nature reads as 0."""
        if self.to_unwind:
            return 0
        while self.holds and not self._holds(self.holds[0][1]):
            heapq.heappop(self.holds)
        return self.holds[0][0] if self.holds else None

    def next_tidying_ms(self, finished_kept_ms: int) -> int | None:
        """When a sweep has something to let go of. No promise hangs on it: a sale that rests may
        be put away as it is.
        """
        first = next(iter(self.finished), None)
        oldest = next(iter(self.keys.values()), None)
        due_ms = []
        if first is not None:
            due_ms.append(self.order_by_id[first].finished_at_ms + finished_kept_ms)
        if oldest is not None:
            due_ms.append(oldest.remembered.at_ms + KEY_KEPT_MS)
        return min(due_ms) + GATHER_MS if due_ms else None


def lone_key(digest: bytes) -> str:
    return KEY_MARK + digest.hex()
