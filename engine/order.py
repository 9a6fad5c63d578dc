"""An order with its payments, refunds and tickets; what may be read from it.

    PENDING -> CONFIRMED -> REFUNDED,  PENDING -> CANCELLED,  CANCELLED (expired) -> CONFIRMED

A hold ends at `expires_at_ms`: at that instant or later the order reads as expired, swept or not.
"""

from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from engine.commands import Caller, Key, Role
from engine.money import total_minor
from engine.purchase import (
    ArchivedOrder,
    CancelReason,
    Item,
    Payment,
    PaymentStatus,
    Refund,
    RefundStatus,
)
from engine.rejections import Reason, Rejection
from engine.ticket import Ticket, TicketStatus, TicketView
from engine.ticket import view as ticket_view

KEYS_MAX = 100  # of an order in 24 hours, where a client could go on for ever


class OrderStatus(StrEnum):
    PENDING = "PENDING"
    CONFIRMED = "CONFIRMED"
    CANCELLED = "CANCELLED"
    REFUNDED = "REFUNDED"


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


class Remembered(Struct, frozen=True, array_like=True, gc=False):
    """A used idempotency key and what renders its first answer again.

    Placing an order is rendered from the order, asking for a payment from `payment_id`,
    the rest from `view`.
    """

    key: Key
    at_ms: int
    payment_id: str | None
    view: OrderView | None


class Order(Struct, array_like=True, gc=False):
    """`remembered`: the keys of its last 24 hours."""

    order_id: str
    buyer_id: str
    items: tuple[Item, ...]
    currency: str
    placed_at_ms: int
    expires_at_ms: int
    sealed: bytes | None
    status: OrderStatus = OrderStatus.PENDING
    cancel_reason: CancelReason | None = None
    confirmed_at_ms: int | None = None
    paid_by: str | None = None  # the payment that confirmed it
    payments: tuple[Payment, ...] = ()
    refunds: tuple[Refund, ...] = ()
    tickets: tuple[Ticket, ...] = ()
    remembered: tuple[Remembered, ...] = ()
    finished_at_ms: int = 0  # since when it has been `finished`, where it is

    @property
    def finished(self) -> bool:
        """Nothing is expected to happen to it any more: no hold, no ticket, no money on its way.

        A refund that failed is still owed, so its order stays.
        """
        settled = all(refund.status is RefundStatus.DONE for refund in self.refunds)
        return self.status is OrderStatus.CANCELLED and settled

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

    def unit_price_minor(self, ticket: Ticket) -> int:
        return next(i.unit_price_minor for i in self.items if i.tier_id == ticket.tier_id)


def refuse_keys(order: Order) -> Rejection | None:
    """Why another key is not remembered for this order, or None.

    Each costs memory for a day. Those that end something (a refund, a hold) are few by nature.
    """
    if len(order.remembered) < KEYS_MAX:
        return None
    return Rejection(Reason.TOO_MANY_KEYS, {"keys_max": KEYS_MAX})


def revived(archived: ArchivedOrder, at_ms: int) -> Order:
    """`at_ms`: from when on it is kept again. Shares nothing that changes."""
    return Order(
        archived.order_id,
        archived.buyer_id,
        archived.items,
        archived.currency,
        archived.placed_at_ms,
        archived.expires_at_ms,
        archived.sealed,
        status=OrderStatus.CANCELLED,
        cancel_reason=archived.reason,
        payments=tuple(replace(payment) for payment in archived.payments),
        refunds=tuple(replace(refund) for refund in archived.refunds),
        finished_at_ms=at_ms,
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
        refunded_minor=sum(
            r.amount_minor for r in order.refunds if order.paid_by and r.payment_id == order.paid_by
        ),
        refund=order.refunds[-1].status if order.refunds else None,
        tickets=tuple(ticket_view(ticket) for ticket in order.tickets),
        sealed=order.sealed,
    )
