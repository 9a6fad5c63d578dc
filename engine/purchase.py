"""What an order is made of, in commands, facts and state alike. Data only."""

from enum import StrEnum

from msgspec import Struct


class CancelReason(StrEnum):
    EXPIRED = "expired"
    BUYER = "buyer"
    EVENT_CANCELLED = "event_cancelled"


class PaymentStatus(StrEnum):
    OPEN = "open"
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    RETURNED = "returned"


class RefundStatus(StrEnum):
    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


class Item(Struct, frozen=True, array_like=True, gc=False):
    tier_id: str
    quantity: int
    unit_price_minor: int
    discount_minor: int = 0  # off all of it


class PromoUsed(Struct, frozen=True, array_like=True, gc=False):
    """The promo code of an order, as it was when it was placed."""

    promo_id: str
    code: str


class Payment(Struct, array_like=True, gc=False):
    payment_id: str
    method: str
    amount_minor: int
    status: PaymentStatus = PaymentStatus.OPEN


class Refund(Struct, array_like=True, gc=False):
    refund_id: str
    payment_id: str | None
    amount_minor: int
    status: RefundStatus


class ArchivedOrder(Struct, frozen=True, array_like=True, gc=False):
    """A cancelled order, all of it, as the tables have it. Payments and refunds in their order."""

    order_id: str
    buyer_id: str
    items: tuple[Item, ...]
    currency: str
    placed_at_ms: int
    expires_at_ms: int
    sealed: bytes | None
    reason: CancelReason
    payments: tuple[Payment, ...]
    refunds: tuple[Refund, ...]
    promo: PromoUsed | None = None
