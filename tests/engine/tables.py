"""What the projected tables know of one sale's orders, folded from its facts and nothing else."""

from dataclasses import dataclass, field

from msgspec.structs import replace

from engine import facts as f
from engine.projection import OrderOnFile
from engine.purchase import (
    ArchivedOrder,
    CancelReason,
    Payment,
    PaymentStatus,
    Refund,
    RefundStatus,
)


@dataclass
class _Row:
    placed: f.OrderPlaced
    cancelled: CancelReason | None = None
    payments: dict[str, Payment] = field(default_factory=dict)
    refunds: dict[str, Refund] = field(default_factory=dict)


class Tables:
    def __init__(self) -> None:
        self.seq = 0
        self._rows: dict[str, _Row] = {}

    def hear(self, entry: f.Entry) -> None:
        self.seq = entry.seq
        match entry.fact:
            case f.OrderPlaced() as placed:
                self._rows[placed.order_id] = _Row(placed)
            case f.OrderCancelled(order_id, reason):
                self._rows[order_id].cancelled = reason
            case f.PaymentRequested(order_id, payment_id, method, amount_minor):
                self._rows[order_id].payments[payment_id] = Payment(
                    payment_id, method, amount_minor
                )
            case f.PaymentDeclined(order_id, payment_id):
                self._rows[order_id].payments[payment_id].status = PaymentStatus.DECLINED
            case f.OrderConfirmed(order_id):
                self._rows[order_id].cancelled = None
            case f.MoneyReturned(order_id, payment_id, refund_id, amount_minor):
                row = self._rows[order_id]
                row.payments[payment_id].status = PaymentStatus.RETURNED
                row.refunds[refund_id] = Refund(
                    refund_id, payment_id, amount_minor, RefundStatus.PENDING
                )
            case f.RefundSettled(order_id, refund_id, done):
                if refund_id in self._rows[order_id].refunds:
                    status = RefundStatus.DONE if done else RefundStatus.FAILED
                    self._rows[order_id].refunds[refund_id].status = status
            case f.RefundRetried(order_id, refund_id):
                if refund_id in self._rows[order_id].refunds:
                    self._rows[order_id].refunds[refund_id].status = RefundStatus.PENDING

    def read(self, order_id: str) -> OrderOnFile:
        row = self._rows.get(order_id)
        if row is None or row.cancelled is None:
            return OrderOnFile(self.seq, row is not None, None)
        placed = row.placed
        found = ArchivedOrder(
            order_id,
            placed.buyer_id,
            placed.items,
            placed.currency,
            placed.placed_at_ms,
            placed.expires_at_ms,
            placed.sealed,
            row.cancelled,
            tuple(replace(payment) for payment in row.payments.values()),
            tuple(replace(refund) for refund in row.refunds.values()),
            placed.promo,
        )
        return OrderOnFile(self.seq, True, found)
