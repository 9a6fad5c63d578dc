"""A ticket as pictures and files, for whoever holds it now: they show its token."""

import asyncio
from datetime import datetime

from aiohttp import web

from engine import ids
from engine.catalogue import Event, Venue, from_ms
from engine.order import OrderView
from engine.rejections import Reason, Rejection
from engine.ticket import TicketStatus, TicketView
from gateway.calendars import ticket_ics
from gateway.problems import Problem, refused
from gateway.qr import qr_image
from gateway.rendering import TicketAnswer, sees_token, ticket_answer
from gateway.routes.tickets import TICKET, find_ticket
from gateway.routing import HOLDERS, Route, ports_of, principal_of

_SVG, _PNG, _PDF, _ICS = "image/svg+xml", "image/png", "application/pdf", "text/calendar"
_ADMITS = (TicketStatus.VALID, TicketStatus.USED)


async def qr_svg(request: web.Request) -> web.Response:
    return await _qr(request, "svg", _SVG)


async def qr_png(request: web.Request) -> web.Response:
    return await _qr(request, "png", _PNG)


async def _qr(request: web.Request, kind: str, media: str) -> web.Response:
    held = await _held(request)
    if isinstance(held, Rejection):
        return refused(held)
    _, ticket = held
    image = await asyncio.to_thread(qr_image, ids.token_text(ticket.token), kind)
    return file_answer(image, media)


async def pdf(request: web.Request) -> web.Response:
    held = await admitting(request)
    if isinstance(held, Rejection):
        return refused(held)
    view, ticket = held
    told = await shown(request, view, ticket)
    event, venue = await occasion(request, told.event_id)
    made = from_ms(ports_of(request).clock.now_ms())
    assert isinstance(told.token, str)
    tier = tier_name(event, told.tier_id)
    printed = (told.ticket_id, told.token, tier, told.attendee_name)
    content = await asyncio.to_thread(_printed, printed, event, venue, made)
    return file_answer(content, _PDF, f"{told.ticket_id}.pdf")


def _printed(
    ticket: tuple[str, str, str, str | None], event: Event, venue: Venue, made: datetime
) -> bytes:
    from gateway.ticket_pages import PrintedTicket, ticket_pdf  # slow: no start should wait for it

    return ticket_pdf([PrintedTicket(*ticket)], event, venue, made)


async def ics(request: web.Request) -> web.Response:
    held = await admitting(request)
    if isinstance(held, Rejection):
        return refused(held)
    view, ticket = held
    told = await shown(request, view, ticket)
    event, venue = await occasion(request, told.event_id)
    made = from_ms(ports_of(request).clock.now_ms())
    tier = tier_name(event, told.tier_id)
    content = ticket_ics(told.ticket_id, tier, event, venue, made)
    return file_answer(content, _ICS, f"{told.ticket_id}.ics")


async def _held(request: web.Request) -> tuple[OrderView, TicketView] | Rejection:
    """The ticket and its order. Raises Problem 403 for those who don't hold it."""
    found = await find_ticket(request)
    if isinstance(found, Rejection):
        return found
    view, number = found
    ticket = view.tickets[number]
    if not sees_token(view, ticket, principal_of(request).caller):
        raise Problem(403, "forbidden", "only its holder sees a ticket's code")
    return view, ticket


async def admitting(request: web.Request) -> tuple[OrderView, TicketView] | Rejection:
    """A ticket that nobody is let in with is not worth the paper."""
    held = await _held(request)
    if not isinstance(held, Rejection) and held[1].status not in _ADMITS:
        return Rejection(Reason.TICKET_NOT_VALID, {"status": held[1].status.value})
    return held


async def shown(request: web.Request, view: OrderView, ticket: TicketView) -> TicketAnswer:
    caller, projections = principal_of(request).caller, ports_of(request).projections
    return await ticket_answer(view, ticket.number, caller, projections)


async def occasion(request: web.Request, event_id: str) -> tuple[Event, Venue]:
    found = await ports_of(request).finding.showings.among([event_id])
    return found[event_id]


def tier_name(event: Event, tier_id: str) -> str:
    return next((tier.name for tier in event.tiers if tier.tier_id == tier_id), "")


def file_answer(content: bytes, media: str, name: str | None = None) -> web.Response:
    headers = {"Cache-Control": "private, no-store"}
    if name is not None:
        headers["Content-Disposition"] = f'inline; filename="{name}"'
    return web.Response(body=content, content_type=media, headers=headers)


ROUTES = [
    Route("GET", f"{TICKET}/{file}", handler, HOLDERS, summary, answers={200: None}, media=(media,))
    for file, handler, summary, media in (
        ("qr.svg", qr_svg, "Its QR code", _SVG),
        ("qr.png", qr_png, "Its QR code", _PNG),
        ("ticket.pdf", pdf, "The ticket as a page to print", _PDF),
        ("ticket.ics", ics, "Its event for a calendar", _ICS),
    )
]
