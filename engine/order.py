"""An order with its payments, refunds and tickets; what may be read from it.

    PENDING -> CONFIRMED -> REFUNDED,  PENDING -> CANCELLED,  CANCELLED (expired) -> CONFIRMED

A hold ends at `expires_at_ms`: at that instant or later the order reads as expired, swept or not.
"""

from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from engine.commands import Caller, Role
from engine.money import place_minor, total_minor
from engine.purchase import (
    ArchivedOrder,
    CancelReason,
    Item,
    Payment,
    PaymentStatus,
    PromoUsed,
    Refund,
    RefundStatus,
)
from engine.ticket import Ticket, TicketStatus, TicketView
from engine.ticket import view as ticket_view


class OrderStatus(StrEnum):
    PENDING = "PENDING"
    CONFIRMED = "CONFIRMED"
    CANCELLED = "CANCELLED"
    REFUNDED = "REFUNDED"


LIVE = (OrderStatus.PENDING, OrderStatus.CONFIRMED)


class OrderView(Struct, frozen=True, tag=True, array_like=True, gc=False):
    """An order as it was when the answer was decided."""

    order_id: str
    buyer_id: str
    status: OrderStatus
    cancel_reason: CancelReason | None
    items: tuple[Item, ...]
    currency: str
    placed_at_ms: int
    expires_at_ms: int
    confirmed_at_ms: int | None
    payment_id: str | None
    refunded_minor: int
    refund: RefundStatus | None
    tickets: tuple[TicketView, ...]
    sealed: bytes | None
    promo: PromoUsed | None = None


class FirstAnswer(Struct, frozen=True, array_like=True, gc=False):
    """To an idempotency key, where it can't be rendered from the order."""

    digest: bytes
    view: OrderView


class Order(Struct, array_like=True, gc=False):
    """`keys`: the idempotency keys of its last 24 hours, as `engine.keys` packs them; `tokens`: the
    digests of its tickets' tokens, as `engine.tokens` does.

    What its sale finds it by stands first, see `snapshot.Restoring`; the id comes last, so that
    `engine.orders` can leave it out.
    """

    status: OrderStatus
    finished_at_ms: int  # since when it has been `finished`, where it is
    keys: bytes
    tokens: bytes
    tickets: tuple[Ticket, ...]
    buyer_id: str
    items: tuple[Item, ...]
    currency: str
    placed_at_ms: int
    expires_at_ms: int
    sealed: bytes | None
    cancel_reason: CancelReason | None = None
    confirmed_at_ms: int | None = None
    payments: tuple[Payment, ...] = ()
    refunds: tuple[Refund, ...] = ()
    first_answers: tuple[FirstAnswer, ...] = ()
    promo: PromoUsed | None = None
    order_id: str = ""

    @property
    def finished(self) -> bool:
        """Nothing is expected to happen to it any more: no hold, no ticket, no money on its way.

        A refund that failed is still owed, so its order stays.
        """
        settled = all(refund.status is RefundStatus.DONE for refund in self.refunds)
        return self.status is OrderStatus.CANCELLED and settled

    @property
    def paid_by(self) -> str | None:
        """The payment that confirmed it."""
        paid = (p.payment_id for p in self.payments if p.status is PaymentStatus.SUCCEEDED)
        return next(paid, None)

    @property
    def total_minor(self) -> int:
        return total_minor(self.items)

    def overdue(self, now_ms: int) -> bool:
        return self.status is OrderStatus.PENDING and now_ms >= self.expires_at_ms

    def payment(self, payment_id: str) -> Payment | None:
        return next((p for p in self.payments if p.payment_id == payment_id), None)

    def open_payment(self) -> Payment | None:
        return next((p for p in self.payments if p.status is PaymentStatus.OPEN), None)

    def refund(self, refund_id: str) -> Refund | None:
        return next((r for r in self.refunds if r.refund_id == refund_id), None)

    def live_tickets(self) -> tuple[Ticket, ...]:
        alive = (TicketStatus.VALID, TicketStatus.USED)
        return tuple(ticket for ticket in self.tickets if ticket.status in alive)

    def item(self, ticket: Ticket) -> Item:
        return self.items[ticket.line]

    def paid_minor(self, ticket: Ticket) -> int:
        """What has been paid for the ticket's place; those of all places add up to the total."""
        item = self.item(ticket)
        if not item.discount_minor:
            return item.unit_price_minor
        first = ticket.transfer.from_number if ticket.transfer is not None else ticket.number
        return place_minor(item, first - sum(i.quantity for i in self.items[: ticket.line]))


def revived(archived: ArchivedOrder, at_ms: int) -> Order:
    """`at_ms`: from when on it is kept again. Shares nothing that changes."""
    return Order(
        status=OrderStatus.CANCELLED,
        finished_at_ms=at_ms,
        keys=b"",
        tokens=b"",
        tickets=(),
        buyer_id=archived.buyer_id,
        items=archived.items,
        currency=archived.currency,
        placed_at_ms=archived.placed_at_ms,
        expires_at_ms=archived.expires_at_ms,
        sealed=archived.sealed,
        cancel_reason=archived.reason,
        payments=tuple(replace(payment) for payment in archived.payments),
        refunds=tuple(replace(refund) for refund in archived.refunds),
        promo=archived.promo,
        order_id=archived.order_id,
    )


def may_use(order: Order, caller: Caller, organizer_id: str) -> bool:
    """Whether the caller may know of this order at all; to all others it does not exist."""
    match caller.role:
        case Role.BUYER:
            return caller.subject == order.buyer_id
        case Role.ORGANIZER:
            return caller.subject == organizer_id
        case Role.ADMIN | Role.BOX_OFFICE:
            return True
        case Role.SCANNER:
            return False


def view(order: Order, now_ms: int, payment_id: str | None = None) -> OrderView:
    """`payment_id`: the payment to name, else the latest."""
    latest = order.payments[-1].payment_id if order.payments else None
    expired = order.overdue(now_ms)
    return OrderView(
        order_id=order.order_id,
        buyer_id=order.buyer_id,
        status=OrderStatus.CANCELLED if expired else order.status,
        cancel_reason=CancelReason.EXPIRED if expired else order.cancel_reason,
        items=order.items,
        currency=order.currency,
        placed_at_ms=order.placed_at_ms,
        expires_at_ms=order.expires_at_ms,
        confirmed_at_ms=order.confirmed_at_ms,
        payment_id=payment_id or latest,
        refunded_minor=_refunded_minor(order) if order.refunds else 0,
        refund=_worst(order.refunds),
        tickets=_ticket_views(order) if order.tickets else (),
        sealed=order.sealed,
        promo=order.promo,
    )


def _worst(refunds: tuple[Refund, ...]) -> RefundStatus | None:
    """What somebody has to see of them all: one that failed before one that is on its way."""
    states = {refund.status for refund in refunds}
    worst_first = (RefundStatus.FAILED, RefundStatus.PENDING, RefundStatus.DONE)
    return next((status for status in worst_first if status in states), None)


def _refunded_minor(order: Order) -> int:
    paid_by = order.paid_by
    return sum(r.amount_minor for r in order.refunds if paid_by and r.payment_id == paid_by)


def _ticket_views(order: Order) -> tuple[TicketView, ...]:
    issued_at_ms = order.confirmed_at_ms
    assert issued_at_ms is not None
    return tuple([ticket_view(t, order.item(t).tier_id, issued_at_ms) for t in order.tickets])
