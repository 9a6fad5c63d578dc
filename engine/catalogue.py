"""The records of the catalogue: venues, bookings, events, tiers. Data only.

Instants are timezone-aware datetimes in UTC, amounts integers in minor units.
"""

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from engine.commands import Gate, TierTerms
from engine.lifecycle import EventStatus


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


class Venue(Struct, frozen=True):
    venue_id: str
    name: str
    address: str
    city: str
    country: str
    latitude: float | None
    longitude: float | None
    capacity: int
    type: VenueType
    facilities: dict[str, object]
    timezone: str
    is_active: bool
    hire_amount: int
    deposit_amount: int
    currency: str


class Booking(Struct, frozen=True):
    booking_id: str
    venue_id: str
    event_id: str
    start_time: datetime
    end_time: datetime
    setup_hours_before: float
    teardown_hours_after: float
    status: BookingStatus
    deposit_amount: int
    deposit_paid: int
    payment_id: str | None
    currency: str


class Tier(Struct, frozen=True):
    tier_id: str
    event_id: str
    name: str
    price: int
    total_quantity: int
    sale_start: datetime
    sale_end: datetime
    max_per_order: int


class Event(Struct, frozen=True):
    """`opened`: its sale has been opened once, so its actor must hear of every change.

    `version` counts the changes that the actor hears of. `held` and `sold` are as of the
    projection, by tier id.
    """

    event_id: str
    venue_id: str
    organizer_id: str
    booking_id: str | None
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
    opened: bool
    version: int
    gates: tuple[Gate, ...]
    tiers: tuple[Tier, ...]
    sold_out: bool


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
    )


def to_ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)
