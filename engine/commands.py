"""What may be asked of a sale: imperatives, frozen, with time-free content only. Data only.

Amounts are integers in minor units. Instants and spans are milliseconds (`_ms`), UTC.
Random ids and tokens come with the command, so that a decision never draws chance itself.
"""

from enum import StrEnum

from msgspec import Struct

from engine.purchase import ArchivedOrder
from engine.telling import OfflineScan


class Role(StrEnum):
    ADMIN = "admin"
    ORGANIZER = "organizer"
    BOX_OFFICE = "box_office"
    BUYER = "buyer"
    SCANNER = "scanner"


class Caller(Struct, frozen=True, array_like=True, gc=False):
    role: Role
    subject: str


class Key(Struct, frozen=True, array_like=True, gc=False):
    """An idempotency key: digest of caller and key, fingerprint of path and body; 16 bytes each."""

    digest: bytes
    fingerprint: bytes


class Selection(Struct, frozen=True, array_like=True, gc=False):
    tier_id: str
    quantity: int


class EventTerms(Struct, frozen=True, array_like=True, gc=False):
    organizer_id: str
    currency: str
    starts_at_ms: int
    ends_at_ms: int
    reentry: bool = False  # who has left may come back


class TierTerms(Struct, frozen=True, array_like=True, gc=False):
    tier_id: str
    name: str
    price_minor: int
    quantity: int
    sale_start_ms: int
    sale_end_ms: int
    per_order_max: int
    per_buyer_max: int | None = None  # over all orders; None: as many as there are
    hidden: bool = False  # sold by a code that unlocks it, and shown to nobody else


class PromoKind(StrEnum):
    PERCENT = "percent"
    AMOUNT = "amount"


class PromoTerms(Struct, frozen=True, array_like=True, gc=False):
    """A promo code. `code`: as it is compared, in capitals. `value`: per cent, or an amount off an
    order. `tier_ids` empty: of every tier. `unlocks`: those of them that are hidden, too.
    """

    promo_id: str
    code: str
    kind: PromoKind
    value: int
    tier_ids: tuple[str, ...]
    uses_max: int | None
    starts_at_ms: int | None
    ends_at_ms: int | None
    unlocks: bool

    def fits(self, tier_id: str) -> bool:
        return not self.tier_ids or tier_id in self.tier_ids

    def active(self, now_ms: int) -> bool:
        begun = self.starts_at_ms is None or self.starts_at_ms <= now_ms
        return begun and (self.ends_at_ms is None or now_ms < self.ends_at_ms)


class Gate(Struct, frozen=True, array_like=True, gc=False):
    """A door; `tier_ids` empty admits every tier."""

    name: str
    tier_ids: tuple[str, ...]


# The catalogue tells a sale; `version` counts the event's changes.


class OpenSale(Struct, frozen=True, tag=True, array_like=True):
    version: int
    terms: EventTerms
    tiers: tuple[TierTerms, ...]
    gates: tuple[Gate, ...]
    promos: tuple[PromoTerms, ...] = ()


class ConfigureEvent(Struct, frozen=True, tag=True, array_like=True):
    version: int
    terms: EventTerms


class ConfigureTier(Struct, frozen=True, tag=True, array_like=True):
    version: int
    tier: TierTerms


class ConfigureGates(Struct, frozen=True, tag=True, array_like=True):
    version: int
    gates: tuple[Gate, ...]


class ConfigurePromo(Struct, frozen=True, tag=True, array_like=True):
    version: int
    promo: PromoTerms


class RemovePromo(Struct, frozen=True, tag=True, array_like=True):
    version: int
    promo_id: str


class CloseSale(Struct, frozen=True, tag=True, array_like=True):
    version: int


class CancelEvent(Struct, frozen=True, tag=True, array_like=True):
    version: int


class CompleteEvent(Struct, frozen=True, tag=True, array_like=True):
    version: int


# Buyers and the box office.


class PlaceOrder(Struct, frozen=True, tag=True, array_like=True, gc=False):
    order_id: str
    buyer_id: str
    selections: tuple[Selection, ...]
    attendees: int | None  # how many were named; their names are in `sealed`
    hold_ttl_ms: int
    key: Key
    sealed: bytes | None = None  # personal data, encrypted with `personal_key`
    personal_key: bytes | None = None  # goes to a table of its own, never into a fact
    offer_id: str | None = None  # of a waitlist's entry, which is bought by it
    promo_code: str | None = None  # in capitals


class ReadOrder(Struct, frozen=True, tag=True, array_like=True, gc=False):
    order_id: str
    caller: Caller


class CancelOrder(Struct, frozen=True, tag=True, array_like=True, gc=False):
    order_id: str
    caller: Caller


class RequestPayment(Struct, frozen=True, tag=True, array_like=True, gc=False):
    """`token_seed` (32 bytes) makes the tickets' tokens of an order that costs nothing."""

    order_id: str
    caller: Caller
    payment_id: str
    method: str
    token_seed: bytes
    key: Key


class ConfirmOrder(Struct, frozen=True, tag=True, array_like=True, gc=False):
    """The provider says that the money has come. `refund_id` is used if it must go back."""

    order_id: str
    payment_id: str
    amount_minor: int
    token_seed: bytes
    refund_id: str


class DeclinePayment(Struct, frozen=True, tag=True, array_like=True, gc=False):
    order_id: str
    payment_id: str


class RefundOrder(Struct, frozen=True, tag=True, array_like=True, gc=False):
    """`ticket_numbers` None: all that are left."""

    order_id: str
    caller: Caller
    refund_id: str
    ticket_numbers: tuple[int, ...] | None
    reason: str | None
    force: bool
    key: Key


class SettleRefund(Struct, frozen=True, tag=True, array_like=True, gc=False):
    order_id: str
    refund_id: str
    done: bool


class RetryRefund(Struct, frozen=True, tag=True, array_like=True, gc=False):
    """Somebody has looked at a refund that failed: it is to be sent anew. Twice is once."""

    order_id: str
    refund_id: str
    caller: Caller


class ReissueTicket(Struct, frozen=True, tag=True, array_like=True, gc=False):
    order_id: str
    number: int
    caller: Caller
    token_seed: bytes
    key: Key


class ReadTicket(Struct, frozen=True, tag=True, array_like=True, gc=False):
    """Answered with its order: who holds a ticket that was transferred may not see the rest."""

    order_id: str
    number: int
    caller: Caller


class TransferTicket(Struct, frozen=True, tag=True, array_like=True, gc=False):
    """`holder_id` None: the new ticket belongs to whoever holds the mail."""

    order_id: str
    number: int
    caller: Caller
    holder_id: str | None
    closes_before_ms: int  # the event's start
    token_seed: bytes
    key: Key
    sealed: bytes
    personal_key: bytes | None


class NameAttendee(Struct, frozen=True, tag=True, array_like=True, gc=False):
    order_id: str
    number: int
    caller: Caller
    sealed: bytes
    personal_key: bytes | None


class RecallOrder(Struct, frozen=True, tag=True, array_like=True, gc=False):
    """Take an archived order back, as the tables had it when they had come to fact `tables_seq`."""

    order: ArchivedOrder
    tables_seq: int


# Those who wait for places.


class JoinWaitlist(Struct, frozen=True, tag=True, array_like=True, gc=False):
    entry_id: str
    tier_id: str
    buyer_id: str
    quantity: int
    offer_ttl_ms: int
    key: Key
    sealed: bytes | None = None  # the mail address, encrypted with `personal_key`
    personal_key: bytes | None = None


class ReadWaitlistEntry(Struct, frozen=True, tag=True, array_like=True, gc=False):
    entry_id: str
    caller: Caller


class LeaveWaitlist(Struct, frozen=True, tag=True, array_like=True, gc=False):
    entry_id: str
    caller: Caller


# Doors.


class CheckIn(Struct, frozen=True, tag=True, array_like=True, gc=False):
    """One scan. `elsewhere`: None until the gateway has looked the token up in other events."""

    device_id: str
    nonce: str
    token_digest: bytes  # SHA-256 of the token's text
    gate: str | None
    scanned_at_ms: int | None
    doors_open_before_ms: int
    elsewhere: bool | None = None
    override: bool = False
    override_reason: str | None = None
    leaving: bool = False
    corrected_at_ms: int | None = None  # `scanned_at_ms` by our clock


class UndoCheckIn(Struct, frozen=True, tag=True, array_like=True, gc=False):
    device_id: str
    nonce: str
    undone_by: str


class SyncScans(Struct, frozen=True, tag=True, array_like=True, gc=False):
    """What a device has scanned without a network: it has happened, whatever we think of it."""

    device_id: str
    scans: tuple[OfflineScan, ...]


class ReadDoors(Struct, frozen=True, tag=True, array_like=True, gc=False):
    pass


class ReadSale(Struct, frozen=True, tag=True, array_like=True, gc=False):
    pass


# What the sale's own actor asks of it.


class Sweep(Struct, frozen=True, tag=True, array_like=True, gc=False):
    """Do what is due: end holds and offers that ran out, the orders of a cancelled event and the
    waitlist of one that is over, let cancelled orders leave memory once they have been finished
    for `finished_kept_ms`, forget old keys and entries.

    At most `orders_max` of each.
    """

    orders_max: int
    refund_seed: bytes
    finished_kept_ms: int


Command = (
    PlaceOrder
    | CheckIn
    | ReadOrder
    | ConfirmOrder
    | RequestPayment
    | CancelOrder
    | DeclinePayment
    | RefundOrder
    | SettleRefund
    | RetryRefund
    | ReissueTicket
    | NameAttendee
    | ReadTicket
    | TransferTicket
    | RecallOrder
    | JoinWaitlist
    | ReadWaitlistEntry
    | LeaveWaitlist
    | UndoCheckIn
    | SyncScans
    | ReadDoors
    | ReadSale
    | Sweep
    | OpenSale
    | ConfigureEvent
    | ConfigureTier
    | ConfigureGates
    | ConfigurePromo
    | RemovePromo
    | CloseSale
    | CancelEvent
    | CompleteEvent
)
