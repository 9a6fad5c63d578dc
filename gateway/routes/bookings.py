"""Bookings of venues, with deposits, add-ons and invoices. An event asks for its first itself."""

import asyncio
import os
from datetime import datetime
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType, defstruct
from msgspec.structs import asdict, fields

from engine import ids
from engine.catalogue import Booking, Event, RefundStatus, Slot, Stored, Venue
from engine.hiring import Addon, Deposit, Invoice
from engine.projection import Asked
from engine.rejections import Rejection
from gateway.bookings import shown
from gateway.catalogue import Amount, Hours, given, new_id, once, refuse_body, respond
from gateway.http import Body, answer, decode_bytes, idempotency_key, replayed
from gateway.media import PDF, chosen
from gateway.payments.provider import Intent
from gateway.problems import refused
from gateway.routes.events import in_utc
from gateway.routing import ORGANIZERS, Route, ports_of, principal_of

AddonType = Annotated[
    str,
    Meta(
        pattern=r"^[A-Z][A-Z0-9_]{0,63}$", description="CATERING, AV, or what else a venue offers"
    ),
]


class NewBooking(Body, frozen=True, kw_only=True):
    """The times are the event's where none are given; the event goes where its booking is."""

    venue_id: str
    event_id: str
    start_time: datetime | UnsetType = UNSET
    end_time: datetime | UnsetType = UNSET
    setup_hours_before: Hours | UnsetType = UNSET
    teardown_hours_after: Hours | UnsetType = UNSET


class DepositBody(Body, frozen=True):
    method: Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^\x00]*$")] = "transfer"


class NewAddon(Body, frozen=True, kw_only=True):
    type: AddonType
    description: Annotated[str, Meta(max_length=500, pattern=r"^[^\x00]*$")] = ""
    cost: Amount


class RefundAnswer(Struct, frozen=True):
    status: RefundStatus


_Shown = defstruct(
    "Booking",
    [
        *((field.name, field.type) for field in fields(Booking) if field.name != "refund"),
        ("refund", RefundAnswer | None),
    ],
)


async def create(request: web.Request) -> web.Response:
    raw = await request.read()
    body = decode_bytes(raw, NewBooking)
    ports, principal = ports_of(request), principal_of(request)
    venue = await ports.catalogue.venue(body.venue_id)
    if isinstance(venue, Rejection):
        return refused(venue)
    event = await ports.catalogue.event(body.event_id)
    if isinstance(event, Rejection):
        return refused(event)
    fields = asdict(event.slot) | in_utc(given(body), venue)
    del fields["event_id"]
    key = once(request, raw, principal, shown, 201)
    booked = await ports.bookings.add_booking(
        principal.caller, event.event_id, new_id("bkg"), Slot(**fields), key
    )
    return respond(booked, shown, 201)


async def read(request: web.Request) -> web.Response:
    caller, booking_id = principal_of(request).caller, request.match_info["booking_id"]
    return respond(await ports_of(request).bookings.booking(caller, booking_id), shown)


async def cancel(request: web.Request) -> web.Response:
    raw = await request.read()
    refuse_body(raw)
    principal, booking_id = principal_of(request), request.match_info["booking_id"]
    key = once(request, raw, principal, shown)
    bookings = ports_of(request).bookings
    return respond(await bookings.cancel_booking(principal.caller, booking_id, key), shown)


async def pay_deposit(request: web.Request) -> web.Response:
    raw = await request.read()
    body = decode_bytes(raw or b"{}", DepositBody)
    ports, principal = ports_of(request), principal_of(request)
    idempotency_key(request, raw, principal)
    ports.payments.needed()
    outcome = await ports.bookings.request_deposit(
        principal.caller,
        request.match_info["booking_id"],
        ids.deposit_id(os.urandom(ids.DEPOSIT_RANDOM_BYTES)),
        body.method,
        once(request, raw, principal, asdict, 202),
    )
    if isinstance(outcome, Rejection):
        return refused(outcome)
    again = isinstance(outcome, Stored)
    deposit = (
        msgspec.json.decode(outcome.body, type=Deposit) if isinstance(outcome, Stored) else outcome
    )
    asked = Asked(deposit.payment_id, deposit.booking_id, deposit.amount_minor, deposit.currency)
    intent = await ports.payments.ask(asked)
    return (replayed if again else answer)(intent, 202)


async def add_addon(request: web.Request) -> web.Response:
    raw = await request.read()
    body, principal = decode_bytes(raw, NewAddon), principal_of(request)
    addon = Addon(new_id("add"), request.match_info["booking_id"], **asdict(body))
    key = once(request, raw, principal, asdict, 201)
    added = await ports_of(request).bookings.add_addon(principal.caller, addon, key)
    return respond(added, asdict, 201)


async def remove_addon(request: web.Request) -> web.Response:
    where = request.match_info
    refusal = await ports_of(request).bookings.remove_addon(
        principal_of(request).caller, where["booking_id"], where["addon_id"]
    )
    return refused(refusal) if refusal is not None else web.Response(status=204)


async def read_invoice(request: web.Request) -> web.Response:
    """JSON, or a page to send where the client would rather have `application/pdf`."""
    media = chosen(request, PDF)
    ports = ports_of(request)
    booking_id = request.match_info["booking_id"]
    found = await ports.bookings.invoice(principal_of(request).caller, booking_id)
    if isinstance(found, Rejection):
        return refused(found)
    if media != PDF:
        return answer(found[0])
    page = await asyncio.to_thread(_printed, *found, ports.clock.now_ms())
    headers = {
        "Content-Disposition": f'inline; filename="invoice-{booking_id}.pdf"',
        "Cache-Control": "private, no-store",
    }
    return web.Response(body=page, content_type=PDF, headers=headers)


def _printed(invoice: Invoice, booking: Booking, event: Event, venue: Venue, now_ms: int) -> bytes:
    from gateway.invoices import invoice_pdf  # slow: no start should wait for it

    return invoice_pdf(invoice, booking, event, venue, now_ms)


_BOOKING = "/v1/bookings/{booking_id}"

ROUTES = [
    Route(
        "POST",
        "/v1/bookings",
        create,
        ORGANIZERS,
        "Book a venue for an event",
        NewBooking,
        answers={201: _Shown},
    ),
    Route("GET", _BOOKING, read, ORGANIZERS, "Read a booking", answers={200: _Shown}),
    Route(
        "POST",
        f"{_BOOKING}/cancel",
        cancel,
        ORGANIZERS,
        "Cancel a booking; its deposit goes back if it is early enough",
        answers={200: _Shown},
    ),
    Route(
        "POST",
        f"{_BOOKING}/deposit",
        pay_deposit,
        ORGANIZERS,
        "Ask for a payment of the deposit; once paid it confirms the booking",
        DepositBody,
        answers={202: Intent},
        needs_key=True,
    ),
    Route(
        "POST",
        f"{_BOOKING}/addons",
        add_addon,
        ORGANIZERS,
        "Order something beside the hall",
        NewAddon,
        answers={201: Addon},
    ),
    Route(
        "DELETE",
        f"{_BOOKING}/addons/{{addon_id}}",
        remove_addon,
        ORGANIZERS,
        "Take an add-on off",
        answers={204: None},
    ),
    Route(
        "GET",
        f"{_BOOKING}/invoice",
        read_invoice,
        ORGANIZERS,
        "The invoice: hire, add-ons, deposit paid, balance",
        answers={200: Invoice},
        media=("application/json", PDF),
    ),
]
