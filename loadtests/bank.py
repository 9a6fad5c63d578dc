"""The bank's side of the audit: the sandbox's own ledger against the orders that the journal tells.

The two know nothing of each other's tables: the ledger is read over HTTP, as a bank's statement
would be, the orders are replayed. Of each payment, money taken is money of live tickets, or has
gone back, once.
"""

from collections import defaultdict
from collections.abc import Iterable
from functools import partial

from msgspec import Struct

from engine.order import Order
from engine.purchase import PaymentStatus, RefundStatus
from loadtests.api import expect, patiently
from loadtests.client import Client


class BankRefund(Struct, frozen=True):
    refund_id: str
    amount: int
    status: str


class BankLine(Struct, frozen=True):
    """A payment as the bank has it. `paid_for`: an order or a booking."""

    payment_id: str
    paid_for: str
    amount: int
    outcome: str | None
    refunds: list[BankRefund]

    @property
    def taken_minor(self) -> int:
        return self.amount if self.outcome == "succeeded" else 0

    @property
    def sent_back(self) -> list[BankRefund]:
        return [refund for refund in self.refunds if refund.status == "done"]


class _Page(Struct, frozen=True):
    items: list[BankLine]
    next_cursor: str | None


async def statement(client: Client) -> list[BankLine]:
    """Everything that the bank has taken and given back for orders."""
    lines: list[BankLine] = []
    cursor: str | None = ""
    while cursor is not None:
        path = f"/v1/sandbox/ledger?limit=200&cursor={cursor}"
        page = expect(await patiently(partial(client.request, "GET", path)), 200, _Page)
        lines += [line for line in page.items if line.paid_for.startswith("ord_")]
        cursor = page.next_cursor
    return lines


def disagreements(lines: Iterable[BankLine], orders: Iterable[Order]) -> list[str]:
    """Where bank and journal do not tell the same, in sentences."""
    order_by_id = {order.order_id: order for order in orders}
    lines = list(lines)
    wrong = [sentence for line in lines for sentence in _of_payment(line, order_by_id)]
    known = {line.payment_id for line in lines if line.taken_minor}
    wrong += [
        f"{order.order_id} has places, and the bank has no money of {order.paid_by}"
        for order in order_by_id.values()
        if order.paid_by is not None and order.paid_by not in known
    ]
    return wrong


def _of_payment(line: BankLine, order_by_id: dict[str, Order]) -> list[str]:
    order, name = order_by_id.get(line.paid_for), line.payment_id
    payment = order.payment(name) if order is not None else None
    if order is None or payment is None:
        return [f"{name}: nobody has asked for it"] if line.taken_minor else []
    returned = sum(refund.amount for refund in line.sent_back)
    buys = order.paid_by == name
    kept = sum(order.paid_minor(t) for t in order.live_tickets()) if buys else 0
    wrong = []
    if line.taken_minor != kept + returned:
        wrong.append(f"{name}: {line.taken_minor} taken, {kept} in places, {returned} sent back")
    if line.taken_minor and payment.status not in (PaymentStatus.SUCCEEDED, PaymentStatus.RETURNED):
        wrong.append(f"{name}: taken by the bank, {payment.status.value} by the journal")
    attempts: defaultdict[str, list[str]] = defaultdict(list)
    for refund in line.sent_back:
        attempts[refund.refund_id[: len("ref_") + 48]].append(refund.refund_id)
    wrong += [f"{name}: sent back twice, as {ids}" for ids in attempts.values() if len(ids) > 1]
    owed = {r.refund_id: r.status for r in order.refunds if r.payment_id == name and r.amount_minor}
    wrong += [
        f"{name}: {refund_id} is {status.value} by the journal"
        for refund_id, status in owed.items()
        if (status is RefundStatus.DONE) != (refund_id in attempts)
    ]
    wrong += [f"{name}: {r} was sent back unasked" for r in attempts if r not in owed]
    return wrong


def totals(lines: Iterable[BankLine]) -> tuple[int, int]:
    """Minor units taken, and sent back."""
    lines = list(lines)
    sent_back = sum(refund.amount for line in lines for refund in line.sent_back)
    return sum(line.taken_minor for line in lines), sent_back
