"""Buying: placing an order, reading it, giving it up, paying for it, and giving money back."""

import os
from collections.abc import AsyncIterator
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from engine import ids
from engine.commands import (
    CancelOrder,
    PlaceOrder,
    ReadOrder,
    RefundOrder,
    RequestPayment,
    Role,
    Selection,
)
from engine.facts import OrderPlaced
from engine.money import total_minor
from engine.order import OrderStatus, OrderView
from engine.projection import Asked, OrderRow
from engine.rejections import Reason, Rejection
from engine.replies import Replayed, Reply
from engine.ticket import TOKEN_SEED_BYTES
from gateway import exporting
from gateway.answers import Answer
from gateway.auth import Principal, forbidden
from gateway.hot import Call, Hot
from gateway.http import (
    Body,
    answer,
    decode_bytes,
    encoded,
    idempotency_key,
    instant,
    page,
    page_cursor,
    page_limit,
    replayed,
    unknown,
)
from gateway.media import CSV, JSON_LINES
from gateway.ownership import refuse_stranger
from gateway.payments.provider import Intent
from gateway.personal import Attendee, Buyer, seal
from gateway.ports import Projections
from gateway.problems import refusal, refused, told
from gateway.rendering import OrderAnswer, PlacedAnswer, order_answer, placed
from gateway.routing import (
    BUYERS,
    DOORS,
    HOLDERS,
    REFUNDERS,
    Route,
    call_of,
    ports_of,
    principal_of,
)

Id = Annotated[str, Meta(min_length=1, max_length=64)]
Email = Annotated[str, Meta(max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Subject = Annotated[str, Meta(pattern=r"^[\x21-\x7e]{1,128}$")]


class SelectionBody(Body, frozen=True):
    tier_id: Id
    quantity: Annotated[int, Meta(ge=1, le=2**31 - 1)]


class AttendeeBody(Body, frozen=True):
    name: Name
    email: Email | None = None


class OrderBody(Body, frozen=True):
    """Refused for the first of these: `unknown_event`, `event_not_on_sale`, `unknown_tier`,
    `unknown_offer`, `unknown_promo_code`, `sale_not_active`, `promo_code_not_active`,
    `max_per_order_exceeded`, `max_per_buyer_exceeded`, `promo_code_not_applicable`,
    `attendees_mismatch`, `promo_code_used_up`, `sold_out`.
    """

    selections: Annotated[list[SelectionBody], Meta(min_length=1, max_length=100)]
    buyer_id: Subject | None = None
    buyer_email: Email | None = None
    attendees: Annotated[list[AttendeeBody], Meta(min_length=1, max_length=1_000)] | None = None
    offer_id: Id | None = None
    promo_code: Annotated[str, Meta(min_length=1, max_length=64)] | None = None


class PaymentBody(Body, frozen=True):
    method: Annotated[str, Meta(min_length=1, max_length=64)]


class RefundBody(Body, frozen=True):
    ticket_ids: Annotated[list[Id], Meta(min_length=1, max_length=1_000)] | None = None
    reason: Annotated[str, Meta(max_length=500)] | None = None
    force: bool = False


class OrderLine(Struct, frozen=True):
    order_id: str
    event_id: str
    buyer_id: str
    status: str
    cancel_reason: str | None
    total_amount: int
    refunded_amount: int
    currency: str
    created_at: str
    expires_at: str
    confirmed_at: str | None
    promo_code: str | None


async def place_order(request: web.Request) -> web.Response:
    call = await call_of(request)
    return (await _PLACING.answer(call, _wanted(call))).response()


def _wanted(call: Call) -> PlaceOrder:
    body = decode_bytes(call.body, OrderBody)
    buyer_id = buyer_for(call.principal, body.buyer_id)
    key = idempotency_key(call, call.body, call.principal)
    if not ids.is_event(call.event_id):
        raise refusal(Rejection(Reason.UNKNOWN_EVENT))
    order_id = ids.order_id(call.event_id, os.urandom(ids.ORDER_RANDOM_BYTES))
    sealed, personal_key = _sealed(body, order_id)
    return PlaceOrder(
        order_id,
        buyer_id,
        tuple([Selection(s.tier_id, s.quantity) for s in body.selections]),
        len(body.attendees) if body.attendees else None,
        call.ports.settings.order_hold_seconds * 1000,
        key,
        sealed,
        personal_key,
        body.offer_id,
        _promo_code(call, body),
    )


def _promo_code(call: Call, body: OrderBody) -> str | None:
    if body.promo_code is None:
        return None
    call.ports.guesses.refuse(call.principal)
    return body.promo_code.upper()


def _placed(call: Call, reply: Reply) -> Answer | None:
    match reply:
        case OrderPlaced():
            return encoded(placed(call.event_id, reply), 201)
        case Replayed(view=OrderPlaced() as first):
            return encoded(placed(call.event_id, first), 201, replayed=True)
        case Rejection(reason=Reason.UNKNOWN_EVENT):
            return None
        case Rejection():
            if reply.reason is Reason.UNKNOWN_PROMO_CODE:
                call.ports.guesses.wrong(call.principal)
            return told(refusal(reply))
        case _:
            raise AssertionError(reply)


async def _never_opened(call: Call, command: PlaceOrder, reply: Reply) -> Answer:
    """The sale has never been opened: is there such an event at all?"""
    known = await call.ports.catalogue.event(call.event_id)
    return told(
        refusal(known if isinstance(known, Rejection) else Rejection(Reason.EVENT_NOT_ON_SALE))
    )


def buyer_for(principal: Principal, asked: str | None) -> str:
    """A buyer buys for himself; the box office and the admin for whom they name."""
    if principal.role is Role.BUYER:
        if asked not in (None, principal.subject):
            raise forbidden("buyer_id: a buyer orders for himself only")
        return principal.subject
    return asked or principal.subject


def _sealed(body: OrderBody, order_id: str) -> tuple[bytes | None, bytes | None]:
    if body.buyer_email is None and body.attendees is None:
        return None, None
    attendees = tuple(Attendee(a.name, a.email) for a in body.attendees or ())
    return seal(Buyer(body.buyer_email, attendees), order_id)


async def read_order(request: web.Request) -> web.Response:
    order_id, caller = request.match_info["order_id"], principal_of(request).caller
    return await ask_of_order(request, order_id, ReadOrder(order_id, caller))


async def cancel_order(request: web.Request) -> web.Response:
    order_id, caller = request.match_info["order_id"], principal_of(request).caller
    return await ask_of_order(request, order_id, CancelOrder(order_id, caller))


async def refund_order(request: web.Request) -> web.Response:
    principal, order_id = principal_of(request), request.match_info["order_id"]
    raw = await request.read()
    body = decode_bytes(raw or b"{}", RefundBody)
    key = idempotency_key(request, raw, principal)
    numbers = _numbers(order_id, body.ticket_ids)
    if isinstance(numbers, Rejection):
        return refused(numbers)
    refund_id = ids.refund_id(order_id, os.urandom(ids.PAYMENT_RANDOM_BYTES))
    command = RefundOrder(
        order_id, principal.caller, refund_id, numbers, body.reason, body.force, key
    )
    return await ask_of_order(request, order_id, command)


def _numbers(order_id: str, ticket_ids: list[str] | None) -> tuple[int, ...] | Rejection | None:
    if ticket_ids is None:
        return None
    numbers = []
    for ticket_id in ticket_ids:
        found = ids.order_and_number_of_ticket(ticket_id)
        if found is None or found[0] != order_id:
            return Rejection(Reason.UNKNOWN_TICKET, {"ticket_id": ticket_id})
        numbers.append(found[1])
    return tuple(numbers)


async def ask_of_order(
    request: web.Request, order_id: str, command: ReadOrder | CancelOrder | RefundOrder
) -> web.Response:
    """Answers with the order as the command left it."""
    event_id = ids.event_of_order(order_id)
    if event_id is None:
        return unknown("order")
    ports = ports_of(request)
    reply = await ports.mailbox.ask(event_id, command)
    match reply:
        case OrderView():
            return answer(await order_answer(reply, command.caller, ports.projections))
        case Replayed(view=OrderView() as first):
            return replayed(await order_answer(first, command.caller, ports.projections))
        case Rejection():
            return refused(reply)
        case _:
            raise AssertionError(reply)


async def pay(request: web.Request) -> web.Response:
    principal, order_id = principal_of(request), request.match_info["order_id"]
    raw = await request.read()
    body = decode_bytes(raw, PaymentBody)
    key = idempotency_key(request, raw, principal)
    event_id = ids.event_of_order(order_id)
    if event_id is None:
        return unknown("order")
    command = RequestPayment(
        order_id,
        principal.caller,
        ids.payment_id(order_id, os.urandom(ids.PAYMENT_RANDOM_BYTES)),
        body.method,
        os.urandom(TOKEN_SEED_BYTES),
        key,
    )
    reply = await ports_of(request).mailbox.ask(event_id, command)
    return await _payment_answer(request, command, reply)


async def _payment_answer(
    request: web.Request, command: RequestPayment, reply: Reply
) -> web.Response:
    again = isinstance(reply, Replayed)
    view = reply.view if isinstance(reply, Replayed) else reply
    if isinstance(view, Rejection):
        return refused(view)
    assert isinstance(view, OrderView)
    respond = replayed if again else answer
    if view.payment_id is None:  # it cost nothing and is confirmed by now
        assert view.status is not OrderStatus.PENDING
        projections = ports_of(request).projections
        return respond(await order_answer(view, command.caller, projections))
    asked = Asked(view.payment_id, view.order_id, total_minor(view.items), view.currency)
    return respond(await ports_of(request).payments.ask(asked), 202)


async def list_orders(request: web.Request) -> web.StreamResponse:
    ports, event_id = ports_of(request), request.match_info["event_id"]
    refusal = await refuse_stranger(request, event_id)
    if refusal is not None:
        return refused(refusal)
    if media := exporting.wanted(request):
        pages = _pages(ports.projections, event_id)
        return await exporting.stream(request, media, f"orders-{event_id}", OrderLine, pages)
    limit = page_limit(request)
    rows = await ports.projections.orders(event_id, page_cursor(request) or "", limit + 1)
    lines = [_line(row) for row in rows[:limit]]
    return page(lines, lines[-1].order_id if len(rows) > limit else None)


async def _pages(projections: Projections, event_id: str) -> AsyncIterator[list[OrderLine]]:
    after = ""
    while rows := await projections.orders(event_id, after, exporting.ROWS_A_PAGE):
        after = rows[-1].order_id
        yield [_line(row) for row in rows]


def _line(row: OrderRow) -> OrderLine:
    return OrderLine(
        row.order_id,
        row.event_id,
        row.buyer_id,
        row.status,
        row.cancel_reason,
        row.total_minor,
        row.refunded_minor,
        row.currency,
        instant(int(row.placed_at.timestamp() * 1000)),
        instant(int(row.expires_at.timestamp() * 1000)),
        instant(int(row.confirmed_at.timestamp() * 1000)) if row.confirmed_at else None,
        row.promo_code,
    )


_ORDERS = "/v1/events/{event_id}/orders"
_ORDER = "/v1/orders/{order_id}"
_PLACING = Hot(_wanted, _placed, _never_opened)

ROUTES = [
    Route(
        "POST",
        _ORDERS,
        place_order,
        BUYERS,
        "Reserve places",
        OrderBody,
        answers={201: PlacedAnswer},
        needs_key=True,
        hot=_PLACING,
    ),
    Route(
        "GET",
        _ORDERS,
        list_orders,
        DOORS,
        "An event's orders; for organizers and supervisors' devices",
        answers={200: list[OrderLine]},
        media=("application/json", CSV, JSON_LINES),
    ),
    Route("GET", _ORDER, read_order, HOLDERS, "An order", answers={200: OrderAnswer}),
    Route(
        "DELETE",
        _ORDER,
        cancel_order,
        BUYERS,
        "Give a pending order up",
        answers={200: OrderAnswer},
    ),
    Route(
        "POST",
        f"{_ORDER}/payment",
        pay,
        BUYERS,
        "Ask for a payment",
        PaymentBody,
        answers={202: Intent, 200: OrderAnswer},
        needs_key=True,
    ),
    Route(
        "POST",
        f"{_ORDER}/refund",
        refund_order,
        REFUNDERS,
        "Give money back",
        RefundBody,
        answers={200: OrderAnswer},
        needs_key=True,
    ),
]
