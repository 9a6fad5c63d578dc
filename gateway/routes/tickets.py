"""Tickets between their sale and the doors."""

import os

from aiohttp import web

from engine import ids
from engine.commands import NameAttendee, ReadTicket, ReissueTicket, TransferTicket
from engine.order import OrderView
from engine.rejections import Reason, Rejection
from engine.replies import Replayed, Reply
from engine.ticket import TOKEN_SEED_BYTES
from gateway.http import Body, answer, decode, decode_bytes, idempotency_key, replayed, unknown
from gateway.personal import Attendee, seal
from gateway.problems import refused
from gateway.rendering import TicketAnswer, ticket_answer
from gateway.routes.orders import Email, Name, Subject
from gateway.routing import BUYERS, HOLDERS, Route, ports_of, principal_of

TICKET = "/v1/tickets/{ticket_id}"


class AttendeePatch(Body, frozen=True):
    attendee_name: Name | None = None
    attendee_email: Email | None = None


class TransferBody(Body, frozen=True):
    """Without `buyer_id` the new ticket belongs to whoever holds the mail."""

    attendee_name: Name
    attendee_email: Email
    buyer_id: Subject | None = None


async def read_ticket(request: web.Request) -> web.Response:
    found = await find_ticket(request)
    if isinstance(found, Rejection):
        return refused(found)
    view, number = found
    caller, projections = principal_of(request).caller, ports_of(request).projections
    return answer(await ticket_answer(view, number, caller, projections))


async def find_ticket(request: web.Request) -> tuple[OrderView, int] | Rejection:
    """The ticket's order and the ticket's number in it."""
    routed = ids.order_and_number_of_ticket(request.match_info["ticket_id"])
    event_id = ids.event_of_order(routed[0]) if routed else None
    if routed is None or event_id is None:
        return Rejection(Reason.UNKNOWN_TICKET)
    order_id, number = routed
    caller = principal_of(request).caller
    reply = await ports_of(request).mailbox.ask(event_id, ReadTicket(order_id, number, caller))
    if not isinstance(reply, OrderView):
        return Rejection(Reason.UNKNOWN_TICKET)
    return reply, number


async def name_attendee(request: web.Request) -> web.Response:
    found = await find_ticket(request)
    patch = await decode(request, AttendeePatch)
    if isinstance(found, Rejection):
        return refused(found)
    view, number = found
    caller, ports = principal_of(request).caller, ports_of(request)
    now = await ticket_answer(view, number, caller, ports.projections)
    attendee = Attendee(
        patch.attendee_name or now.attendee_name, patch.attendee_email or now.attendee_email
    )
    sealed, key = seal(attendee, view.order_id)
    command = NameAttendee(view.order_id, number, caller, sealed, key)
    return await _changed(request, command, await ports.mailbox.ask(now.event_id, command))


async def reissue(request: web.Request) -> web.Response:
    principal = principal_of(request)
    key = idempotency_key(request, await request.read(), principal)
    routed = ids.order_and_number_of_ticket(request.match_info["ticket_id"])
    event_id = ids.event_of_order(routed[0]) if routed else None
    if routed is None or event_id is None:
        return unknown("ticket")
    seed = os.urandom(TOKEN_SEED_BYTES)
    command = ReissueTicket(routed[0], routed[1], principal.caller, seed, key)
    reply = await ports_of(request).mailbox.ask(event_id, command)
    return await _changed(request, command, reply)


async def transfer(request: web.Request) -> web.Response:
    principal = principal_of(request)
    raw = await request.read()
    body = decode_bytes(raw, TransferBody)
    key = idempotency_key(request, raw, principal)
    routed = ids.order_and_number_of_ticket(request.match_info["ticket_id"])
    event_id = ids.event_of_order(routed[0]) if routed else None
    if routed is None or event_id is None:
        return unknown("ticket")
    order_id, number = routed
    sealed, personal_key = seal(Attendee(body.attendee_name, body.attendee_email), order_id)
    ports = ports_of(request)
    command = TransferTicket(
        order_id,
        number,
        principal.caller,
        body.buyer_id,
        round(ports.settings.transfer_cutoff_hours * 3_600_000),
        os.urandom(TOKEN_SEED_BYTES),
        key,
        sealed,
        personal_key,
    )
    reply = await ports.mailbox.ask(event_id, command)
    view = reply.view if isinstance(reply, Replayed) else reply
    if isinstance(view, Rejection):
        return refused(view)
    assert isinstance(view, OrderView)
    (new,) = [t for t in view.tickets if t.transfer and t.transfer.from_number == number]
    ticket = await ticket_answer(view, new.number, principal.caller, ports.projections)
    return replayed(ticket, 201) if isinstance(reply, Replayed) else answer(ticket, 201)


async def _changed(
    request: web.Request, command: NameAttendee | ReissueTicket, reply: Reply
) -> web.Response:
    view = reply.view if isinstance(reply, Replayed) else reply
    if isinstance(view, Rejection):
        return refused(view)
    assert isinstance(view, OrderView)
    projections = ports_of(request).projections
    ticket = await ticket_answer(view, command.number, command.caller, projections)
    return replayed(ticket) if isinstance(reply, Replayed) else answer(ticket)


ROUTES = [
    Route("GET", TICKET, read_ticket, HOLDERS, "A ticket", answers={200: TicketAnswer}),
    Route(
        "PATCH",
        TICKET,
        name_attendee,
        HOLDERS,
        "Name its attendee",
        AttendeePatch,
        answers={200: TicketAnswer},
    ),
    Route(
        "POST",
        f"{TICKET}/transfer",
        transfer,
        BUYERS,
        "Give it to another, once; the old one is dead",
        TransferBody,
        answers={201: TicketAnswer},
        needs_key=True,
    ),
    Route(
        "POST",
        f"{TICKET}/reissue",
        reissue,
        HOLDERS,
        "A new token; the old one is dead",
        answers={200: TicketAnswer},
        needs_key=True,
    ),
]
