"""Refunds as those who owe them see them, and one that failed sent anew."""

from typing import Annotated, Literal

from aiohttp import web
from msgspec import Meta, Struct

from engine import ids
from engine.commands import RetryRefund
from engine.order import OrderView
from engine.projection import RefundRow
from engine.purchase import RefundStatus
from engine.rejections import Rejection
from gateway.http import answer, instant, page, page_cursor, page_limit
from gateway.ownership import refuse_stranger
from gateway.problems import malformed, refused
from gateway.rendering import RefundAnswer
from gateway.routing import ORGANIZERS, REFUNDERS, Route, ports_of, principal_of


class RefundLine(Struct, frozen=True):
    """`attempt`: how often it was sent anew by hand."""

    refund_id: str
    order_id: str
    payment_id: str | None
    amount: int
    currency: str
    status: str
    attempt: int
    owed_at: str | None
    settled_at: str | None


class RetriedAnswer(Struct, frozen=True):
    """`refund`: as its order or booking shows it now."""

    refund_id: str
    refund: RefundAnswer


async def list_refunds(request: web.Request) -> web.Response:
    event_id, limit = request.match_info["event_id"], page_limit(request)
    refusal = await refuse_stranger(request, event_id)
    if refusal is not None:
        return refused(refusal)
    status = request.query.get("status")
    if status not in (None, *RefundStatus):
        raise malformed(f"status: one of {', '.join(RefundStatus)}")
    refunds = ports_of(request).payments.refunds
    rows = await refunds.of_event(event_id, status, page_cursor(request) or "", limit + 1)
    lines = [_line(row) for row in rows[:limit]]
    return page(lines, lines[-1].refund_id if len(rows) > limit else None)


def _line(row: RefundRow) -> RefundLine:
    return RefundLine(
        row.refund_id,
        row.order_id,
        row.payment_id,
        row.amount_minor,
        row.currency,
        row.status,
        row.attempt,
        instant(int(row.owed_at.timestamp() * 1000)) if row.owed_at else None,
        instant(int(row.settled_at.timestamp() * 1000)) if row.settled_at else None,
    )


async def retry_refund(request: web.Request) -> web.Response:
    refund_id, caller = request.match_info["refund_id"], principal_of(request).caller
    ports = ports_of(request)
    status: str | None
    order_id = ids.order_of_payment(refund_id)
    event_id = ids.event_of_order(order_id) if order_id else None
    if order_id is None or event_id is None:
        booking = await ports.bookings.retry_refund(caller, refund_id)
        if isinstance(booking, Rejection):
            return refused(booking)
        status = booking.refund
    else:
        reply = await ports.mailbox.ask(event_id, RetryRefund(order_id, refund_id, caller))
        if isinstance(reply, Rejection):
            return refused(reply)
        assert isinstance(reply, OrderView)
        status = reply.refund
    await ports.payments.refunds.hurry(refund_id)
    assert status is not None
    return answer(RetriedAnswer(refund_id, RefundAnswer(status)))


ROUTES = [
    Route(
        "GET",
        "/v1/events/{event_id}/refunds",
        list_refunds,
        ORGANIZERS,
        "An event's refunds",
        answers={200: list[RefundLine]},
        query={"status": Annotated[Literal["pending", "done", "failed"], Meta()]},
    ),
    Route(
        "POST",
        "/v1/refunds/{refund_id}/retry",
        retry_refund,
        REFUNDERS,
        "Send a refund that failed anew",
        answers={200: RetriedAnswer},
    ),
]
