"""What has happened: past tense, immutable, the rows of the journal. Data only.

A fact holds all that its effect needs; when it happened and in which sale stands in its `Entry`.
Facts are kept for years: fields are only ever added, at the end, with a default.
"""

from enum import StrEnum

from msgspec import Struct

from engine.commands import EventTerms, Gate, Key, PromoTerms, TierTerms
from engine.purchase import ArchivedOrder, PromoUsed
from engine.purchase import CancelReason as CancelReason  # words of the facts, too
from engine.purchase import Item as Item
from engine.telling import Offline
from engine.telling import ScanResult as ScanResult
from engine.waiter import LeaveReason as LeaveReason


class InvalidReason(StrEnum):
    UNKNOWN_TOKEN = "unknown_token"
    WRONG_EVENT = "wrong_event"
    EVENT_CANCELLED = "event_cancelled"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"
    TRANSFERRED = "transferred"
    REISSUED = "reissued"
    NOT_OPEN = "not_open"
    TIER_NOT_ADMITTED = "tier_not_admitted"
    NO_REENTRY = "no_reentry"


class SaleOpened(Struct, frozen=True, tag=True, array_like=True):
    version: int
    terms: EventTerms
    tiers: tuple[TierTerms, ...]
    gates: tuple[Gate, ...]
    promos: tuple[PromoTerms, ...] = ()


class EventConfigured(Struct, frozen=True, tag=True, array_like=True):
    version: int
    terms: EventTerms


class TierConfigured(Struct, frozen=True, tag=True, array_like=True):
    version: int
    tier: TierTerms


class GatesConfigured(Struct, frozen=True, tag=True, array_like=True):
    version: int
    gates: tuple[Gate, ...]


class PromoConfigured(Struct, frozen=True, tag=True, array_like=True):
    version: int
    promo: PromoTerms


class PromoRemoved(Struct, frozen=True, tag=True, array_like=True):
    """Orders that it was used for keep their price."""

    version: int
    promo_id: str


class SaleClosed(Struct, frozen=True, tag=True, array_like=True):
    version: int


class EventCancelled(Struct, frozen=True, tag=True, array_like=True):
    version: int


class EventCompleted(Struct, frozen=True, tag=True, array_like=True):
    version: int


class OfferTaken(Struct, frozen=True, array_like=True, gc=False):
    """What was held for a waitlist's entry is held no more: the order has its own hold."""

    entry_id: str
    tier_id: str
    quantity: int


class OrderPlaced(Struct, frozen=True, tag=True, array_like=True, gc=False):
    order_id: str
    buyer_id: str
    items: tuple[Item, ...]
    currency: str
    placed_at_ms: int
    expires_at_ms: int
    key: Key
    sealed: bytes | None
    offer: OfferTaken | None = None
    promo: PromoUsed | None = None


class OrderCancelled(Struct, frozen=True, tag=True, array_like=True, gc=False):
    order_id: str
    reason: CancelReason


class PaymentRequested(Struct, frozen=True, tag=True, array_like=True, gc=False):
    order_id: str
    payment_id: str
    method: str
    amount_minor: int
    key: Key


class PaymentAskedAgain(Struct, frozen=True, tag=True, array_like=True, gc=False):
    """Another key got the open payment for its answer, and gets it again from now on."""

    order_id: str
    payment_id: str
    key: Key


class PaymentDeclined(Struct, frozen=True, tag=True, array_like=True, gc=False):
    order_id: str
    payment_id: str


class OrderConfirmed(Struct, frozen=True, tag=True, array_like=True, gc=False):
    """`tokens`: 16 bytes a ticket, in the order of the items. `payment_id` None: nothing to pay.

    `late`: the hold had ended and its places were free to be taken again.
    """

    order_id: str
    payment_id: str | None
    tokens: tuple[bytes, ...]
    late: bool
    key: Key | None = None


class MoneyReturned(Struct, frozen=True, tag=True, array_like=True, gc=False):
    """Money that came for an order which can't have it goes back in full."""

    order_id: str
    payment_id: str
    refund_id: str
    amount_minor: int


class OrderRefunded(Struct, frozen=True, tag=True, array_like=True, gc=False):
    """`payment_id` None: the tickets cost nothing, so nothing goes back."""

    order_id: str
    refund_id: str
    payment_id: str | None
    amount_minor: int
    ticket_numbers: tuple[int, ...]
    reason: str | None
    key: Key | None


class RefundSettled(Struct, frozen=True, tag=True, array_like=True, gc=False):
    order_id: str
    refund_id: str
    done: bool


class RefundRetried(Struct, frozen=True, tag=True, array_like=True, gc=False):
    """A refund that failed is on its way again."""

    order_id: str
    refund_id: str


class TicketReissued(Struct, frozen=True, tag=True, array_like=True, gc=False):
    order_id: str
    number: int
    token: bytes
    key: Key


class TicketTransferred(Struct, frozen=True, tag=True, array_like=True, gc=False):
    """The ticket `number` is worth nothing any more, `new_number` of that order is in its place."""

    order_id: str
    number: int
    new_number: int
    tier_id: str
    token: bytes
    holder_id: str | None
    sealed: bytes
    key: Key


class AttendeeNamed(Struct, frozen=True, tag=True, array_like=True, gc=False):
    order_id: str
    number: int
    sealed: bytes


class TicketScanned(Struct, frozen=True, tag=True, array_like=True, gc=False):
    """Every scan, refused too. `order_id` and `number` name the ticket where the token has one.

    It holds what the answer shows and may change later: the same nonce answers the same for ever.
    `leaving`: it was made at the way out. `visit`: of a ticket that may come back.
    """

    device_id: str
    nonce: str
    token_digest: bytes
    gate: str | None
    scanned_at_ms: int | None
    result: ScanResult
    reason: InvalidReason | None
    order_id: str | None
    number: int | None
    tier_id: str | None
    checked_in_at_ms: int | None  # of the admission that stands
    admitted_gate: str | None
    override_reason: str | None = None
    tier_name: str | None = None
    ticket_sealed: bytes | None = None  # the attendee, where named after the purchase
    offline: Offline | None = None  # where the device tells of it afterwards
    leaving: bool = False
    visit: bool = False
    corrected_at_ms: int | None = None  # `scanned_at_ms` by our clock, where it was told online


class AdmissionUndone(Struct, frozen=True, tag=True, array_like=True, gc=False):
    device_id: str
    nonce: str
    undone_by: str
    order_id: str
    number: int
    used: bool = False  # the ticket had been in before, and had left


class WaitlistJoined(Struct, frozen=True, tag=True, array_like=True, gc=False):
    """`position`: at that moment, as the answer shows it."""

    entry_id: str
    tier_id: str
    buyer_id: str
    quantity: int
    position: int
    offer_ttl_ms: int
    key: Key
    sealed: bytes | None


class OfferMade(Struct, frozen=True, tag=True, array_like=True, gc=False):
    """Free places are held for the first in the line. `expires_at_ms` moves no further away.

    `rest_entry_id`: where it got fewer than it waits for, the rest waits on in its place.
    """

    entry_id: str
    tier_id: str
    quantity: int
    expires_at_ms: int
    rest_entry_id: str | None


class OfferLapsed(Struct, frozen=True, tag=True, array_like=True, gc=False):
    entry_id: str
    tier_id: str
    quantity: int


class WaitlistLeft(Struct, frozen=True, tag=True, array_like=True, gc=False):
    """`offered`: the places were held for it, and are so no more."""

    entry_id: str
    tier_id: str
    quantity: int
    offered: bool
    reason: LeaveReason


class EntriesForgotten(Struct, frozen=True, tag=True, array_like=True, gc=False):
    """Entries that have ended have left memory; the tables have them."""

    entry_ids: tuple[str, ...]


class OrdersArchived(Struct, frozen=True, tag=True, array_like=True, gc=False):
    """Cancelled orders have left memory; the tables have them, keys in use stay behind."""

    order_ids: tuple[str, ...]


class OrderRecalled(Struct, frozen=True, tag=True, array_like=True, gc=False):
    """An archived order is back in memory, because something is to happen to it."""

    order: ArchivedOrder


class KeysForgotten(Struct, frozen=True, tag=True, array_like=True, gc=False):
    """Idempotency keys that were used until then (inclusive) mean nothing any more."""

    until_ms: int


Fact = (
    OrderPlaced
    | TicketScanned
    | OrderConfirmed
    | OrderCancelled
    | PaymentRequested
    | PaymentAskedAgain
    | PaymentDeclined
    | MoneyReturned
    | OrderRefunded
    | RefundSettled
    | RefundRetried
    | TicketReissued
    | AttendeeNamed
    | TicketTransferred
    | AdmissionUndone
    | OrdersArchived
    | OrderRecalled
    | KeysForgotten
    | WaitlistJoined
    | OfferMade
    | OfferLapsed
    | WaitlistLeft
    | EntriesForgotten
    | SaleOpened
    | EventConfigured
    | TierConfigured
    | GatesConfigured
    | PromoConfigured
    | PromoRemoved
    | SaleClosed
    | EventCancelled
    | EventCompleted
)


class Entry(Struct, frozen=True, array_like=True, gc=False):
    """A fact in its place: the `seq`-th of its sale, from 1, decided at `at_ms`."""

    sale_id: str
    seq: int
    at_ms: int
    fact: Fact
