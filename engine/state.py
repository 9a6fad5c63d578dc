"""What a sale remembers, and how its parts are found. No decisions here.

A sale that has been through the same facts is the same, byte for byte: everything below follows
from facts alone. The indexes are derived and rebuilt when a sale is restored.
"""

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from enum import StrEnum
from typing import Literal

from msgspec import Struct, field

from engine import ids, keys, moments, tokens
from engine.commands import Caller, EventTerms, Gate, Key
from engine.digests import Digests
from engine.keys import KeysByAge, LoneKeys, UsedKey
from engine.order import LIVE, Order, OrderView, may_use
from engine.orders import Orders
from engine.parted import PartedDict
from engine.promo import Promo
from engine.rejections import Reason, Rejection
from engine.scan import Doors, Scan
from engine.ticket import Ticket
from engine.tier import Tier
from engine.waitlist import Waitlist

KEY_KEPT_MS = 24 * 60 * 60 * 1000
GATHER_MS = 1_000  # what is tidied away may wait so long, so that it goes by the lot
HEADER = "sale"  # the entity that holds all but those of orders, scans, lone keys, codes, waiters
KEY_MARK = "key:"  # begins the name of a lone key; no order's id begins so


class Phase(StrEnum):
    UNOPENED = "UNOPENED"
    OPEN = "OPEN"
    CLOSED = "CLOSED"
    CANCELLED = "CANCELLED"
    COMPLETED = "COMPLETED"


class Header(Struct, array_like=True):
    """All of a sale's state but its orders, scans, lone keys, promo codes and waitlist entries.

    `archived_seq`: the latest fact by which orders left memory. Who has come so far in the facts
    has read all that ever happened to an order which is not here.
    `snapshot_format`: of all of the sale's entities. Snapshots of another format are not read, the
    journal is: with any change to what is encoded here, in orders or in scans, it counts on.
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
    snapshot_format: Literal[7] = 7  # stays where it is: what is new comes behind it
    cancelled_at_ms: int = 0


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


class State:
    """One sale as of its `seq`-th fact.

    `touched` names the entities (the header, order ids, scan keys, lone keys, ids of codes and
    entries) that have changed or gone since its reader last emptied it; it is bookkeeping for the
    snapshots, not part of the state. `finished` is in the order of time and loses its oldest first:
    with a plain dict, each look for the oldest would walk over all those that were removed.
    """

    def __init__(self, header: Header) -> None:
        self.header = header
        self.order_by_id = Orders()
        self.scan_by_key: PartedDict[Scan] = PartedDict()
        self.told_by_ticket: dict[str, tuple[str, ...]] = {}  # devices that let it in offline
        self.tokens = Digests(header.sale_id)
        self.keys = Digests(header.sale_id)
        self.keys_by_age = KeysByAge(header.sale_id)
        self.lone_keys = LoneKeys(header.sale_id)
        self.finished: OrderedDict[str, int] = OrderedDict()  # since when; they may leave memory
        self.holds: list[bytes] = []  # a heap of the moments when pending orders expire
        self.to_unwind: dict[str, None] = {}  # a cancelled event's orders, until they are ended
        self.waitlist = Waitlist()
        self.promo_by_id: dict[str, Promo] = {}
        self.promo_id_by_code: dict[str, str] = {}
        self.taken_by_tier: dict[str, dict[str, int]] = {}  # by buyer, see `engine.limits`
        self.touched: dict[str, None] = {}

    @property
    def opened(self) -> bool:
        return self.header.phase is not Phase.UNOPENED

    def view(self) -> SaleView:
        header = self.header
        tiers = tuple(Tier(t.terms, t.held, t.sold, t.waiting) for t in header.tiers.values())
        return SaleView(
            header.sale_id, header.seq, header.version, header.phase, header.terms, tiers
        )

    def gate(self, name: str | None) -> Gate | None:
        for gate in self.header.gates:
            if gate.name == name:
                return gate
        return None

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

    def ticket(self, digest: bytes) -> tuple[Order, Ticket] | None:
        """Whose token, former ones too, has this digest."""
        order_id = self.tokens.find(digest)
        if order_id is None:
            return None
        found = self.order_by_id[order_id]
        ticket = tokens.find(found, digest)
        return (found, ticket) if ticket is not None else None

    def used(self, key: Key, now_ms: int) -> UsedKey | Rejection | None:
        """What an idempotency key was used for within its 24 hours."""
        known = self._used(key.digest)
        if known is None or now_ms >= known.at_ms + KEY_KEPT_MS:
            known = self._joined_with(key.digest) if self.waitlist.entry_by_id else None
            if known is None or now_ms >= known.at_ms + KEY_KEPT_MS:
                return None
        if known.key.fingerprint != key.fingerprint:
            return Rejection(Reason.IDEMPOTENCY_KEY_REUSED)
        return known

    def _used(self, digest: bytes) -> UsedKey | None:
        order_id = self.keys.find(digest)
        if order_id is None:
            return None
        found = self.order_by_id.get(order_id)
        of_order = keys.find(found, digest) if found is not None else None
        return of_order or self.lone_key(digest)

    def _joined_with(self, digest: bytes) -> UsedKey | None:
        """A key that an entry of the waitlist was made with; it goes when the entry does."""
        entry = self.waitlist.by_key(digest)
        if entry is None or entry.key is None:
            return None
        return UsedKey(entry.entry_id, entry.key, entry.joined_at_ms)

    def lone_key(self, digest: bytes) -> UsedKey | None:
        """A key whose order has left memory before it."""
        order_id = self.keys.find(digest)
        lone = self.lone_keys.of(order_id) if order_id is not None else ()
        return next((used for used in lone if used.key.digest == digest), None)

    def remember(
        self,
        found: Order,
        key: Key,
        at_ms: int,
        payment: int | None = None,
        view: OrderView | None = None,
    ) -> None:
        """`payment`: which of the order's payments the first answer was about."""
        digest = key.digest
        known = self._used(digest)
        if known is not None:
            self._forget_early(known)
        keys.remember(found, key, at_ms, payment, view)
        order_random = ids.order_random(found.order_id)
        self.keys.add(digest, order_random)
        self.keys_by_age.add(at_ms, order_random)

    def _forget_early(self, used: UsedKey) -> None:
        """A key whose 24 hours are over, before its turn."""
        self.keys_by_age.remove(used.at_ms, ids.order_random(used.order_id))
        self._forget(used.order_id, [used.key.digest])

    def forget_keys(self, until_ms: int) -> None:
        """Those that were used up to that instant (inclusive)."""
        for order_id in dict.fromkeys(self.keys_by_age.take(until_ms)):
            found = self.order_by_id.get(order_id)
            of_order = keys.used_keys(found) if found is not None else ()
            used = (*of_order, *self.lone_keys.of(order_id))
            self._forget(order_id, [u.key.digest for u in used if u.at_ms <= until_ms])

    def _forget(self, order_id: str, digests: list[bytes]) -> None:
        for digest in digests:
            self.keys.remove(digest)
        gone = self.lone_keys.remove(order_id, digests)
        self.touched |= {key_name(used.key.digest): None for used in gone}
        if len(gone) < len(digests):
            keys.forget(self.order_by_id.change(order_id), digests)
            self.touched[order_id] = None

    def leave_keys(self, found: Order) -> None:
        """The order's keys stay when it goes."""
        used = keys.used_keys(found)
        if used:
            self.lone_keys.add(found.order_id, used)
        self.touched |= {key_name(u.key.digest): None for u in used}

    def finish(self, found: Order, at_ms: int) -> None:
        """Whether an order that something has just ended in is finished now."""
        found.finished_at_ms = at_ms if found.finished else 0
        self.finished.pop(found.order_id, None)
        self.index_finished(found)

    def index_finished(self, found: Order) -> None:
        """It has been finished for no longer than the others."""
        if found.finished:
            self.finished[found.order_id] = found.finished_at_ms

    def index_hold(self, found: Order) -> None:
        heapq.heappush(
            self.holds, moments.pack(found.expires_at_ms, ids.order_random(found.order_id))
        )

    def index_token(self, found: Order, ticket: Ticket) -> None:
        """The ticket's token has just become its own."""
        self.tokens.add(tokens.remember(found, ticket), ids.order_random(found.order_id))

    def index_promo(self, promo: Promo) -> None:
        self.promo_id_by_code[promo.terms.code] = promo.terms.promo_id

    def overdue_orders(self, now_ms: int) -> Iterator[str]:
        """Pending orders whose hold has ended, the earliest first, so that what has ended lies at
        the heap's head and is let go of there: costs what is taken of it, not what is due or held.
        """
        self._forget_ended_holds()
        nearest = [(moment, 0) for moment in self.holds[:1]]
        while nearest:
            moment, place = heapq.heappop(nearest)
            expires_at_ms, order_id = moments.unpack(self.header.sale_id, moment)
            if expires_at_ms > now_ms:
                return
            if self.order_by_id.pending(order_id):
                yield order_id
            for below in (2 * place + 1, 2 * place + 2):
                if below < len(self.holds):
                    heapq.heappush(nearest, (self.holds[below], below))

    def index_unwinding(self) -> None:
        orders = self.order_by_id
        self.to_unwind = {order_id: None for order_id in orders if orders.status(order_id) in LIVE}

    def next_deadline_ms(self) -> int | None:
        """When the sale must be swept next; what is overdue by nature reads as 0."""
        if self.to_unwind:
            return 0
        self._forget_ended_holds()
        if not self.holds:
            return None
        expires_at_ms, _ = moments.unpack(self.header.sale_id, self.holds[0])
        return expires_at_ms

    def _forget_ended_holds(self) -> None:
        while self.holds:
            _, order_id = moments.unpack(self.header.sale_id, self.holds[0])
            if self.order_by_id.pending(order_id):
                return
            heapq.heappop(self.holds)

    def next_tidying_ms(self, finished_kept_ms: int) -> int | None:
        """When a sweep has something to let go of. No promise hangs on it: a sale that rests may
        be put away as it is.
        """
        first = next(iter(self.finished.values()), None)
        due_ms = []
        if first is not None:
            due_ms.append(first + finished_kept_ms)
        if self.keys_by_age:
            due_ms.append(self.keys_by_age.at_ms(0) + KEY_KEPT_MS)
        if self.waitlist.ended:
            due_ms.append(next(iter(self.waitlist.ended.values())) + KEY_KEPT_MS)
        return min(due_ms) + GATHER_MS if due_ms else None


def key_name(digest: bytes) -> str:
    """Of a lone key's entity."""
    return KEY_MARK + digest.hex()
