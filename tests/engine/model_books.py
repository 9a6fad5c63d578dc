"""What a naive sale remembers, and what it adds up to.

Nothing is kept that could be counted: every number is made anew from all orders.
"""

import hashlib
import uuid
from dataclasses import dataclass, field
from typing import Literal

from engine import commands as c


@dataclass
class ModelTicket:
    tier_id: str
    price_minor: int
    digests: list[bytes]
    refunded: bool = False
    admitted: tuple[int, str | None] | None = None  # when and at which gate
    admitted_online_by: str | None = None  # the device
    told: list["ModelScan"] = field(default_factory=list)  # let in offline, nothing undone since
    told_by: set[str] = field(default_factory=set)
    ended_at_ms: int | None = None
    replaced_at_ms: list[int] = field(default_factory=list)
    transferred: bool = False  # to another ticket, which is received
    received: bool = False
    holder_id: str | None = None  # of a received one, where it is known
    in_by: "ModelScan | None" = None
    visits: list["ModelScan"] = field(default_factory=list)  # where it may come back
    was_in: bool = False

    @property
    def alive(self) -> bool:
        return not (self.refunded or self.transferred)

    @property
    def status(self) -> str:
        if self.refunded:
            return "CANCELLED"
        if self.transferred:
            return "TRANSFERRED"
        return "USED" if self.admitted or self.was_in else "VALID"


@dataclass
class ModelOrder:
    order_id: str
    buyer_id: str
    lines: dict[str, tuple[int, int]]  # quantity and price by tier
    expires_at_ms: int
    status: str = "PENDING"
    cancelled_because: str | None = None
    quiet_since_ms: int = 0  # of a cancelled one: when the last thing happened to it
    payments: dict[str, str] = field(default_factory=dict)
    refunds: dict[str, str] = field(default_factory=dict)
    tickets: list[ModelTicket] = field(default_factory=list)
    discounts: dict[str, int] = field(default_factory=dict)  # off the whole line, by tier
    promo_id: str | None = None

    @property
    def total_minor(self) -> int:
        full = sum(quantity * price for quantity, price in self.lines.values())
        return full - sum(self.discounts.values())

    @property
    def may_leave(self) -> bool:
        """Cancelled, with no money on its way."""
        return self.status == "CANCELLED" and set(self.refunds.values()) <= {"done"}

    def status_at(self, now_ms: int) -> tuple[str, str | None]:
        """As everybody must see it: a hold that has run out is cancelled, swept or not."""
        if self.status == "PENDING" and now_ms >= self.expires_at_ms:
            return "CANCELLED", "expired"
        return self.status, self.cancelled_because


@dataclass
class ModelEntry:
    """In the line of its tier, or what came of it. `offer_id`: as its buyer hears it."""

    entry_id: str
    tier_id: str
    buyer_id: str
    quantity: int
    offer_ttl_ms: int
    status: str = "WAITING"
    until_ms: int = 0
    rest_entry_id: str | None = None
    order_id: str | None = None
    left_because: str | None = None
    ended_at_ms: int = 0
    forgotten: bool = False


@dataclass(eq=False)
class ModelScan:
    digest: bytes
    at_ms: int
    admitted: ModelTicket | None
    undone: bool = False
    outcome: str = "recorded"
    device_id: str = ""
    gate: str | None = None
    told_at_ms: int = 0
    leaving: bool = False
    online: bool = False
    result: str = ""


class ModelBooks:
    def __init__(self) -> None:
        self.stage: Literal["unopened", "open", "closed", "cancelled", "completed"] = "unopened"
        self.version = 0
        self.terms = c.EventTerms("", "", 0, 0)
        self.tiers: dict[str, c.TierTerms] = {}
        self.promos: dict[str, c.PromoTerms] = {}
        self.gates: dict[str, tuple[str, ...]] = {}
        self.orders: dict[str, ModelOrder] = {}
        self.archived: set[str] = set()
        self.scans: dict[tuple[str, str], ModelScan] = {}
        self.keys: dict[bytes, tuple[int, bytes]] = {}
        self.joined_with: set[bytes] = set()  # those of the keys that a waitlist keeps
        self.forgotten_until_ms = 0  # keys used until then are as good as never used
        self.entries: list[ModelEntry] = []  # the first in a line first
        self.bank: dict[str, int] = {}  # what each payment has truly brought

    # Sums.

    def held(self, tier_id: str) -> int:
        pending = [o for o in self.orders.values() if o.status == "PENDING"]
        ordered = sum(order.lines.get(tier_id, (0, 0))[0] for order in pending)
        offered = [e for e in self.entries if e.tier_id == tier_id and e.status == "OFFERED"]
        return ordered + sum(entry.quantity for entry in offered)

    def line(self, tier_id: str) -> list[ModelEntry]:
        return [e for e in self.entries if e.tier_id == tier_id and e.status == "WAITING"]

    def taken(self, tier_id: str, buyer_id: str) -> int:
        """What a buyer holds and has bought of a tier, whoever holds the tickets now."""
        own = [o for o in self.orders.values() if o.buyer_id == buyer_id]
        pending = [o.lines.get(tier_id, (0, 0))[0] for o in own if o.status == "PENDING"]
        return sum(pending) + sum(t.tier_id == tier_id and t.alive for o in own for t in o.tickets)

    def too_many(self, tier_id: str, buyer_id: str, quantity: int) -> dict[str, object] | None:
        most, held = self.tiers[tier_id].per_buyer_max, self.taken(tier_id, buyer_id)
        if most is None or held + quantity <= most:
            return None
        return {"tier_id": tier_id, "max_per_buyer": most, "held": held}

    def public(self, tier_id: str) -> int:
        return 0 if self.line(tier_id) else self.free(tier_id)

    def live_entries(self) -> list[ModelEntry]:
        return [e for e in self.entries if e.status in ("WAITING", "OFFERED")]

    def ended_entries(self) -> list[ModelEntry]:
        """That are in memory still, the longest ended first."""
        ended = [e for e in self.entries if e.ended_at_ms and not e.forgotten]
        return sorted(ended, key=lambda entry: entry.ended_at_ms)

    def sold(self, tier_id: str) -> int:
        return sum(t.tier_id == tier_id and t.alive for t in self.tickets())

    def free(self, tier_id: str) -> int:
        return self.tiers[tier_id].quantity - self.held(tier_id) - self.sold(tier_id)

    def tickets(self) -> list[ModelTicket]:
        return [ticket for order in self.orders.values() for ticket in order.tickets]

    def overdue(self, now_ms: int) -> set[str]:
        late = [o for o in self.orders.values() if now_ms >= o.expires_at_ms]
        return {order.order_id for order in late if order.status == "PENDING"}

    def to_unwind(self) -> set[str]:
        if self.stage != "cancelled":
            return set()
        live = [o for o in self.orders.values() if o.status in ("PENDING", "CONFIRMED")]
        return {order.order_id for order in live}

    def may_leave(self) -> list[ModelOrder]:
        """Orders that are in memory and nobody waits for, the longest quiet first."""
        orders = [self.orders[o] for o in self.orders.keys() - self.archived]
        quiet = [order for order in orders if order.may_leave]
        return sorted(quiet, key=lambda order: order.quiet_since_ms)

    def kept_keys(self) -> list[int]:
        """When each key was used that an order still keeps, the first first."""
        of_orders = self.keys.keys() - self.joined_with
        used = sorted(self.keys[digest][0] for digest in of_orders)
        return [at_ms for at_ms in used if at_ms > self.forgotten_until_ms]


def digest_of(token: bytes) -> bytes:
    """As the doors know a token: SHA-256 of the UUID's text."""
    return hashlib.sha256(str(uuid.UUID(bytes=token)).encode()).digest()
