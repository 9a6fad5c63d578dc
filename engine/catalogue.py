"""The records of the catalogue, venues, bookings, events, tiers, and what a sale must know of them.

Instants are timezone-aware datetimes in UTC, whole milliseconds; amounts are integers in minor
units.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from msgspec import Raw, Struct

from engine.commands import EventTerms, Gate, Key, PromoKind, PromoTerms, TierTerms
from engine.lifecycle import EventStatus

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class VenueType(StrEnum):
    ARENA = "ARENA"
    CONFERENCE_CENTER = "CONFERENCE_CENTER"
    THEATER = "THEATER"
    OUTDOOR = "OUTDOOR"


class Category(StrEnum):
    CONCERT = "CONCERT"
    CONFERENCE = "CONFERENCE"
    SPORTS = "SPORTS"
    FESTIVAL = "FESTIVAL"


class BookingStatus(StrEnum):
    REQUESTED = "REQUESTED"
    CONFIRMED = "CONFIRMED"
    CANCELLED = "CANCELLED"


class CancelReason(StrEnum):
    """Why a booking has ended."""

    ORGANIZER = "organizer"
    EVENT_CANCELLED = "event_cancelled"
    LAPSED = "lapsed"  # its deposit was not paid in time


class RefundStatus(StrEnum):
    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


class Venue(Struct, frozen=True):
    """`facilities`: a JSON object of the organizers' own making.

    `deposit_refundable_days`: a deposit comes back to who cancels as long before the start.
    """

    venue_id: str
    name: str
    address: str
    city: str
    country: str
    latitude: float | None
    longitude: float | None
    capacity: int
    type: VenueType
    facilities: Raw
    timezone: str
    is_active: bool
    hire_amount: int
    deposit_amount: int
    currency: str
    deposit_refundable_days: int = 14


class Slot(Struct, frozen=True):
    """Where and when: what an event asks a venue for."""

    venue_id: str
    start_time: datetime
    end_time: datetime
    setup_hours_before: float
    teardown_hours_after: float

    @property
    def window(self) -> tuple[datetime, datetime]:
        """What the venue is held for, half-open."""
        return (
            self.start_time - timedelta(hours=self.setup_hours_before),
            self.end_time + timedelta(hours=self.teardown_hours_after),
        )


class Booking(Struct, frozen=True):
    """`expires_at`: when a request lapses that waits for its deposit.

    `deposit_refunded`: of `deposit_paid`; `refund` tells how far the latest money back has come.
    """

    booking_id: str
    venue_id: str
    event_id: str
    start_time: datetime
    end_time: datetime
    setup_hours_before: float
    teardown_hours_after: float
    status: BookingStatus
    hire_amount: int
    deposit_amount: int
    deposit_refundable_days: int
    deposit_paid: int
    deposit_refunded: int
    payment_id: str | None
    currency: str
    expires_at: datetime | None
    cancel_reason: CancelReason | None
    refund: RefundStatus | None = None

    @property
    def slot(self) -> Slot:
        return Slot(
            self.venue_id,
            self.start_time,
            self.end_time,
            self.setup_hours_before,
            self.teardown_hours_after,
        )


class Tier(Struct, frozen=True):
    tier_id: str
    event_id: str
    name: str
    price: int
    total_quantity: int
    sale_start: datetime
    sale_end: datetime
    max_per_order: int
    max_per_buyer: int | None = None
    hidden: bool = False


class PromoCode(Struct, frozen=True):
    """`code`: in capitals. `value`: per cent, or an amount off an order. `tier_ids` empty: of every
    tier. `uses`: of orders that stand, as of the projection.
    """

    promo_code_id: str
    event_id: str
    code: str
    kind: PromoKind
    value: int
    tier_ids: tuple[str, ...]
    uses_max: int | None
    starts_at: datetime | None
    ends_at: datetime | None
    unlocks_hidden: bool
    uses: int = 0


class Event(Struct, frozen=True):
    """`opened`: its sale has been opened once, so its actor must hear of every change.

    `version` counts the changes that the actor has heard of. `status` SOLD_OUT is as of the
    projection. `series_id`: the events that were made with it, on other dates.
    """

    event_id: str
    venue_id: str
    organizer_id: str
    booking_id: str
    title: str
    description: str
    category: Category
    start_time: datetime
    end_time: datetime
    cover_image_url: str | None
    age_restriction: int | None
    currency: str
    setup_hours_before: float
    teardown_hours_after: float
    status: EventStatus
    opened: bool = False
    version: int = 0
    series_id: str | None = None
    reentry: bool = False  # at the doors, who has left may come back
    gates: tuple[Gate, ...] = ()
    tiers: tuple[Tier, ...] = ()

    @property
    def slot(self) -> Slot:
        return Slot(
            self.venue_id,
            self.start_time,
            self.end_time,
            self.setup_hours_before,
            self.teardown_hours_after,
        )


class ImportedRow(Struct, frozen=True):
    """An event from a file; by `import_key` its organizer's next import knows it again."""

    import_key: str
    event: Event


class Once(Struct, frozen=True):
    """An idempotency key, and how the first answer to it is written down to be given again."""

    key: Key
    status: int
    render: Callable[[Any], bytes]


class Stored(Struct, frozen=True):
    """The first answer to an idempotency key."""

    status: int
    body: bytes


def event_terms(event: Event) -> EventTerms:
    """What the sale's actor must know of an event."""
    return EventTerms(
        event.organizer_id,
        event.currency,
        to_ms(event.start_time),
        to_ms(event.end_time),
        event.reentry,
    )


def tier_terms(tier: Tier) -> TierTerms:
    """What the sale's actor must know of a tier."""
    return TierTerms(
        tier.tier_id,
        tier.name,
        tier.price,
        tier.total_quantity,
        to_ms(tier.sale_start),
        to_ms(tier.sale_end),
        tier.max_per_order,
        tier.max_per_buyer,
        tier.hidden,
    )


def promo_terms(promo: PromoCode) -> PromoTerms:
    return PromoTerms(
        promo.promo_code_id,
        promo.code,
        promo.kind,
        promo.value,
        promo.tier_ids,
        promo.uses_max,
        to_ms(promo.starts_at) if promo.starts_at is not None else None,
        to_ms(promo.ends_at) if promo.ends_at is not None else None,
        promo.unlocks_hidden,
    )


def promo_code(event_id: str, terms: PromoTerms) -> PromoCode:
    """The record that a sale was told these terms of."""
    return PromoCode(
        terms.promo_id,
        event_id,
        terms.code,
        terms.kind,
        terms.value,
        terms.tier_ids,
        terms.uses_max,
        from_ms(terms.starts_at_ms) if terms.starts_at_ms is not None else None,
        from_ms(terms.ends_at_ms) if terms.ends_at_ms is not None else None,
        terms.unlocks,
    )


def to_ms(instant: datetime) -> int:
    return (instant - _EPOCH) // _MILLISECOND


def from_ms(ms: int) -> datetime:
    return _EPOCH + ms * _MILLISECOND
