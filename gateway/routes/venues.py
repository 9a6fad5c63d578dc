"""Venues, and when they are taken."""

from datetime import datetime
from typing import Annotated, Any, cast

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field
from msgspec.structs import asdict

from engine.catalogue import Booking, BookingStatus, Venue, VenueType
from engine.rejections import Reason, Rejection
from gateway.catalogue import (
    Amount,
    Currency,
    Name,
    Text,
    given,
    new_id,
    once,
    optional,
    respond,
    respond_page,
)
from gateway.http import Body, decode, decode_bytes, page_cursor, page_limit
from gateway.problems import malformed, refused
from gateway.routing import ANYONE, ORGANIZERS, Route, ports_of, principal_of
from gateway.times import from_query, is_timezone

FACILITIES_BYTES_MAX = 8 * 1024

Facilities = Annotated[
    Raw,
    Meta(
        description="`parking`: whether, how many places, or where; `catering`: whether, or whose;"
        " `av_equipment`: whether, what, or a list; anything else as you like",
        extra_json_schema={"type": "object"},
    ),
]
_Count = Annotated[int, Meta(ge=0)]


class NewVenue(Body, frozen=True, kw_only=True):
    name: Name
    address: Text = ""
    city: Name
    country: Name
    latitude: Annotated[float, Meta(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Meta(ge=-180, le=180)] | None = None
    capacity: Annotated[int, Meta(ge=1, le=10_000_000)]
    type: VenueType = VenueType.CONFERENCE_CENTER
    facilities: Facilities = field(default_factory=lambda: Raw(b"{}"))
    timezone: Name
    is_active: bool = True
    hire_amount: Amount = 0
    deposit_amount: Amount = 0
    currency: Currency = "EUR"
    deposit_refundable_days: Annotated[int, Meta(ge=0, le=3650)] = 14


VenueChange = optional(NewVenue)


class KnownFacilities(Struct, frozen=True):
    """What of the facilities has a meaning to us: there or not, how many, or which."""

    parking: bool | _Count | str | UnsetType = UNSET
    catering: bool | str | UnsetType = UNSET
    av_equipment: bool | str | list[Any] | UnsetType = UNSET


class Occupied(Struct, frozen=True):
    """A window that a venue is taken for, half-open, setup and teardown included."""

    booking_id: str
    event_id: str
    held_from: datetime = field(name="from")
    held_to: datetime = field(name="to")
    status: BookingStatus


async def create(request: web.Request) -> web.Response:
    raw = await request.read()
    fields = _checked(asdict(decode_bytes(raw, NewVenue)))
    venue = Venue(venue_id=new_id("ven"), **fields)
    key = once(request, raw, principal_of(request), asdict, 201)
    return respond(await ports_of(request).catalogue.add_venue(venue, key), asdict, 201)


async def change(request: web.Request) -> web.Response:
    changes = _checked(given(await decode(request, VenueChange)))
    venue_id = request.match_info["venue_id"]
    return respond(await ports_of(request).catalogue.change_venue(venue_id, changes), asdict)


async def read(request: web.Request) -> web.Response:
    venue_id = request.match_info["venue_id"]
    return respond(await ports_of(request).catalogue.venue(venue_id), asdict)


async def list_newest(request: web.Request) -> web.Response:
    limit, after = page_limit(request), page_cursor(request)
    found = await ports_of(request).catalogue.venues(after, limit + 1)
    return respond_page(found, limit, asdict, lambda venue: venue.venue_id)


async def calendar(request: web.Request) -> web.Response:
    catalogue = ports_of(request).catalogue
    limit, after = page_limit(request), page_cursor(request)
    venue = await catalogue.venue(request.match_info["venue_id"])
    if isinstance(venue, Rejection):
        return refused(venue)
    start, end = (
        from_query(request.query[name], venue.timezone, name) if name in request.query else None
        for name in ("from", "to")
    )
    if start is not None and end is not None and end <= start:
        return refused(Rejection(Reason.INVALID_TIMES, {"from": start, "to": end}))
    found = await catalogue.calendar(venue.venue_id, (start, end), after, limit + 1)
    return respond_page(found, limit, _occupied, lambda booking: booking.booking_id)


def _occupied(booking: Booking) -> Occupied:
    return Occupied(booking.booking_id, booking.event_id, *booking.slot.window, booking.status)


def _checked(fields: dict[str, Any]) -> dict[str, Any]:
    """Raises Problem 400 for what a type can't say."""
    if "timezone" in fields and not is_timezone(fields["timezone"]):
        raise malformed("Expected the name of an IANA time zone - at `$.timezone`")
    if "facilities" in fields:
        _check_facilities(bytes(cast(Raw, fields["facilities"])))
    return fields


def _check_facilities(facilities: bytes) -> None:
    if not facilities.lstrip().startswith(b"{") or len(facilities) > FACILITIES_BYTES_MAX:
        raise malformed(
            f"Expected an object of at most {FACILITIES_BYTES_MAX} bytes - at `$.facilities`"
        )
    try:
        facilities.decode()
        msgspec.json.decode(facilities, type=KnownFacilities)
    except UnicodeDecodeError:
        raise malformed("Expected UTF-8 - at `$.facilities`") from None
    except msgspec.ValidationError as error:
        raise malformed(str(error).replace("`$", "`$.facilities")) from None
    except RecursionError:
        raise malformed("nested too deep - at `$.facilities`") from None


_VENUE = "/v1/venues/{venue_id}"
_LocalTime = Annotated[
    datetime, Meta(description="RFC 3339; without an offset it is the venue's local time")
]

ROUTES = [
    Route(
        "POST",
        "/v1/venues",
        create,
        ORGANIZERS,
        "Add a venue",
        NewVenue,
        answers={201: Venue},
    ),
    Route(
        "GET",
        "/v1/venues",
        list_newest,
        ANYONE,
        "List the venues, newest first",
        answers={200: list[Venue]},
    ),
    Route("GET", _VENUE, read, ANYONE, "Read a venue", answers={200: Venue}),
    Route(
        "PATCH",
        _VENUE,
        change,
        ORGANIZERS,
        "Change a venue",
        VenueChange,
        answers={200: Venue},
    ),
    Route(
        "GET",
        f"{_VENUE}/calendar",
        calendar,
        ANYONE,
        "List when a venue is taken, setup and teardown included",
        answers={200: list[Occupied]},
        query={"from": _LocalTime, "to": _LocalTime},
    ),
]
