"""Bookings of venues. An event asks for its first one itself."""

from datetime import datetime

from aiohttp import web
from msgspec import UNSET, UnsetType
from msgspec.structs import asdict

from engine.catalogue import Booking, Slot
from engine.rejections import Rejection
from gateway.catalogue import Hours, given, new_id, once, refuse_body, respond
from gateway.http import Body, decode_bytes
from gateway.problems import refused
from gateway.routes.events import in_utc
from gateway.routing import ORGANIZERS, Route, ports_of, principal_of


class NewBooking(Body, frozen=True, kw_only=True):
    """The times are the event's where none are given; the event goes where its booking is."""

    venue_id: str
    event_id: str
    start_time: datetime | UnsetType = UNSET
    end_time: datetime | UnsetType = UNSET
    setup_hours_before: Hours | UnsetType = UNSET
    teardown_hours_after: Hours | UnsetType = UNSET


async def create(request: web.Request) -> web.Response:
    raw = await request.read()
    body = decode_bytes(raw, NewBooking)
    catalogue, principal = ports_of(request).catalogue, principal_of(request)
    venue = await catalogue.venue(body.venue_id)
    if isinstance(venue, Rejection):
        return refused(venue)
    event = await catalogue.event(body.event_id)
    if isinstance(event, Rejection):
        return refused(event)
    fields = asdict(event.slot) | in_utc(given(body), venue)
    del fields["event_id"]
    key = once(request, raw, principal, asdict, 201)
    booked = await catalogue.add_booking(
        principal.caller, event.event_id, new_id("bkg"), Slot(**fields), key
    )
    return respond(booked, asdict, 201)


async def read(request: web.Request) -> web.Response:
    caller, booking_id = principal_of(request).caller, request.match_info["booking_id"]
    return respond(await ports_of(request).catalogue.booking(caller, booking_id), asdict)


async def cancel(request: web.Request) -> web.Response:
    raw = await request.read()
    refuse_body(raw)
    principal, booking_id = principal_of(request), request.match_info["booking_id"]
    key = once(request, raw, principal, asdict)
    catalogue = ports_of(request).catalogue
    return respond(await catalogue.cancel_booking(principal.caller, booking_id, key), asdict)


ROUTES = [
    Route(
        "POST",
        "/v1/bookings",
        create,
        ORGANIZERS,
        "Book a venue for an event",
        NewBooking,
        answers={201: Booking},
    ),
    Route(
        "GET",
        "/v1/bookings/{booking_id}",
        read,
        ORGANIZERS,
        "Read a booking",
        answers={200: Booking},
    ),
    Route(
        "POST",
        "/v1/bookings/{booking_id}/cancel",
        cancel,
        ORGANIZERS,
        "Cancel a booking",
        answers={200: Booking},
    ),
]
