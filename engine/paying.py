"""Money: what an order's payments and refunds do to it.

Payment itself never runs here: a provider's word comes in as a command, perhaps twice, late or out
of order. Money that can't buy its places goes back. Money taken = confirmed orders + refunds.
"""

import hashlib
from itertools import islice

from engine import ids, limits, promos
from engine.buying import refuse_unless_pending
from engine.commands import (
    ConfirmOrder,
    DeclinePayment,
    Key,
    RefundOrder,
    RequestPayment,
    RetryRefund,
    SettleRefund,
)
from engine.facts import (
    Fact,
    MoneyReturned,
    OrderCancelled,
    OrderConfirmed,
    OrderRefunded,
    PaymentAskedAgain,
    PaymentDeclined,
    PaymentRequested,
    RefundRetried,
    RefundSettled,
)
from engine.keys import UsedKey, refuse_keys
from engine.order import Order, OrderStatus, OrderView, view
from engine.purchase import CancelReason, Payment, PaymentStatus, Refund, RefundStatus
from engine.rejections import Reason, Rejection
from engine.replies import Decision, Replayed
from engine.state import Archived, Phase, State
from engine.ticket import Ticket, TicketStatus, mint_tokens


def request(state: State, command: RequestPayment, now_ms: int) -> Decision:
    used = state.used(command.key, now_ms)
    if isinstance(used, Rejection):
        return used
    if used is not None:
        return Replayed(_first_view(state, used, now_ms))
    found = state.order_for(command.order_id, command.caller)
    if not isinstance(found, Order):
        return found
    refused = refuse_unless_pending(found, now_ms) or refuse_keys(found)
    if refused is not None:
        return refused
    if state.header.phase is Phase.CANCELLED:  # its end is on the way
        return Rejection(Reason.ORDER_NOT_PENDING, {"status": OrderStatus.CANCELLED.value})
    if found.total_minor == 0:
        tokens = _tokens(found, command.token_seed)
        return [OrderConfirmed(found.order_id, None, tokens, late=False, key=command.key)]
    waiting = found.open_payment()
    if waiting is not None:
        return [PaymentAskedAgain(found.order_id, waiting.payment_id, command.key)]
    return [
        PaymentRequested(
            found.order_id, command.payment_id, command.method, found.total_minor, command.key
        )
    ]


def _first_view(state: State, used: UsedKey, now_ms: int) -> OrderView | Archived:
    if used.view is not None:
        return used.view
    found = state.order_by_id.get(used.order_id)
    if found is None:
        return state.archived(used.order_id, used.payment_id)
    return view(found, now_ms, payment_id=used.payment_id)


def _tokens(found: Order, seed: bytes) -> tuple[bytes, ...]:
    return mint_tokens(seed, sum(item.quantity for item in found.items))


def confirm(state: State, command: ConfirmOrder, now_ms: int) -> Decision:
    """The money has come: it buys the places if it can, else it goes back."""
    found = state.order_by_id.get(command.order_id)
    if found is None:
        return state.missing(command.order_id, Reason.UNKNOWN_PAYMENT)
    payment = found.payment(command.payment_id)
    if payment is None:
        return Rejection(Reason.UNKNOWN_PAYMENT)
    if payment.status in (PaymentStatus.SUCCEEDED, PaymentStatus.RETURNED):
        return view(found, now_ms)
    if command.amount_minor == payment.amount_minor:
        confirmed = _confirmation(state, found, command, now_ms)
        if confirmed:
            return confirmed
    return [
        MoneyReturned(command.order_id, command.payment_id, command.refund_id, command.amount_minor)
    ]


def _confirmation(state: State, found: Order, command: ConfirmOrder, now_ms: int) -> list[Fact]:
    """The facts that confirm, or none where the places are gone for this order."""
    if state.header.phase is Phase.CANCELLED:
        return []
    tokens = _tokens(found, command.token_seed)
    if found.status is OrderStatus.PENDING and not found.overdue(now_ms):
        return [OrderConfirmed(found.order_id, command.payment_id, tokens, late=False)]
    if state.header.phase is Phase.COMPLETED:
        return []
    if found.overdue(now_ms):  # its places are still its own: back, and taken again at once
        if _somebody_waits(state, found):
            return []
        return [
            OrderCancelled(found.order_id, CancelReason.EXPIRED),
            OrderConfirmed(found.order_id, command.payment_id, tokens, late=True),
        ]
    if found.cancel_reason is not CancelReason.EXPIRED:
        return []
    if limits.refuse_again(state, found) or promos.used_up_for(state, found):
        return []
    if _still_free(state, found):
        return [OrderConfirmed(found.order_id, command.payment_id, tokens, late=True)]
    return []


def _still_free(state: State, found: Order) -> bool:
    return all(item.quantity <= state.header.tiers[item.tier_id].public for item in found.items)


def _somebody_waits(state: State, found: Order) -> bool:
    return any(state.header.tiers[item.tier_id].waiting for item in found.items)


def decline(state: State, command: DeclinePayment, now_ms: int) -> Decision:
    found = state.order_by_id.get(command.order_id)
    if found is None:
        return state.missing(command.order_id, Reason.UNKNOWN_PAYMENT)
    payment = found.payment(command.payment_id)
    if payment is None:
        return Rejection(Reason.UNKNOWN_PAYMENT)
    if payment.status is not PaymentStatus.OPEN:
        return view(found, now_ms)
    return [PaymentDeclined(command.order_id, command.payment_id)]


def refund(state: State, command: RefundOrder, now_ms: int) -> Decision:
    used = state.used(command.key, now_ms)
    if isinstance(used, Rejection):
        return used
    if used is not None:
        return Replayed(_first_view(state, used, now_ms))
    found = state.order_for(command.order_id, command.caller)
    if not isinstance(found, Order):
        return found
    if found.status is not OrderStatus.CONFIRMED:
        status = view(found, now_ms).status
        return Rejection(Reason.ORDER_NOT_CONFIRMED, {"status": status.value})
    chosen = _chosen_tickets(found, command.ticket_numbers)
    if isinstance(chosen, Rejection):
        return chosen
    inside = [ticket for ticket in chosen if ticket.status is TicketStatus.USED]
    if inside and not command.force:
        ticket_id = ids.ticket_id(found.order_id, inside[0].number)
        return Rejection(Reason.TICKET_USED, {"ticket_id": ticket_id})
    return [_refunded(found, chosen, command.refund_id, command.reason, command.key)]


def _chosen_tickets(
    found: Order, numbers: tuple[int, ...] | None
) -> tuple[Ticket, ...] | Rejection:
    if numbers is None:
        return found.live_tickets()
    alive = {ticket.number: ticket for ticket in found.live_tickets()}
    for number in numbers:
        ticket_id = ids.ticket_id(found.order_id, number)
        if number >= len(found.tickets):
            return Rejection(Reason.UNKNOWN_TICKET, {"ticket_id": ticket_id})
        if number not in alive:
            status = found.tickets[number].status.value
            return Rejection(Reason.TICKET_NOT_VALID, {"ticket_id": ticket_id, "status": status})
    return tuple(alive[number] for number in sorted(set(numbers)))


def _refunded(
    found: Order,
    chosen: tuple[Ticket, ...],
    refund_id: str,
    reason: str | None,
    key: Key | None,
) -> OrderRefunded:
    return OrderRefunded(
        order_id=found.order_id,
        refund_id=refund_id,
        payment_id=found.paid_by,
        amount_minor=sum(found.paid_minor(ticket) for ticket in chosen),
        ticket_numbers=tuple(ticket.number for ticket in chosen),
        reason=reason,
        key=key,
    )


def settle(state: State, command: SettleRefund, now_ms: int) -> Decision:
    found = state.order_by_id.get(command.order_id)
    if found is None:
        return state.missing(command.order_id, Reason.UNKNOWN_ORDER)
    refund = found.refund(command.refund_id)
    if refund is None:
        return Rejection(Reason.UNKNOWN_REFUND)
    wanted = RefundStatus.DONE if command.done else RefundStatus.FAILED
    if refund.status is wanted:
        return view(found, now_ms)
    # Also after it was done: the payer's bank may send it back days later.
    return [RefundSettled(command.order_id, command.refund_id, command.done)]


def retry(state: State, command: RetryRefund, now_ms: int) -> Decision:
    found = state.order_for(command.order_id, command.caller)
    if not isinstance(found, Order):
        return found
    refund = found.refund(command.refund_id)
    if refund is None:
        return Rejection(Reason.UNKNOWN_REFUND)
    if refund.status is not RefundStatus.FAILED:
        return view(found, now_ms)
    return [RefundRetried(command.order_id, command.refund_id)]


def unwind(state: State, orders_max: int, refund_seed: bytes, now_ms: int) -> list[Fact]:
    """End the orders of a cancelled event, some at a time: holds fall, money goes back."""
    facts: list[Fact] = []
    for order_id in islice(state.to_unwind, orders_max):
        found = state.order_by_id[order_id]
        if found.status is OrderStatus.PENDING:
            overdue = found.overdue(now_ms)  # has been seen as expired, so it stays that
            reason = CancelReason.EXPIRED if overdue else CancelReason.EVENT_CANCELLED
            facts.append(OrderCancelled(order_id, reason))
        else:
            random = hashlib.blake2b(
                order_id.encode(), key=refund_seed, digest_size=ids.PAYMENT_RANDOM_BYTES
            )
            refund_id = ids.refund_id(order_id, random.digest())
            chosen = found.live_tickets()
            facts.append(_refunded(found, chosen, refund_id, "event_cancelled", None))
    return facts


def apply_requested(state: State, fact: PaymentRequested, at_ms: int) -> None:
    found = state.order_by_id.change(fact.order_id)
    found.payments += (Payment(fact.payment_id, fact.method, fact.amount_minor),)
    state.remember(found, fact.key, at_ms, payment=len(found.payments) - 1)


def apply_asked_again(state: State, fact: PaymentAskedAgain, at_ms: int) -> None:
    found = state.order_by_id.change(fact.order_id)
    asked = [payment.payment_id for payment in found.payments]
    state.remember(found, fact.key, at_ms, payment=asked.index(fact.payment_id))


def apply_declined(state: State, fact: PaymentDeclined) -> None:
    payment = state.order_by_id.change(fact.order_id).payment(fact.payment_id)
    assert payment is not None
    payment.status = PaymentStatus.DECLINED


def apply_confirmed(state: State, fact: OrderConfirmed, at_ms: int) -> None:
    found = state.order_by_id.change(fact.order_id)
    for item in found.items:
        tier = state.header.tiers[item.tier_id]
        if fact.late:
            tier.sell_free(item.quantity)
        else:
            tier.sell_held(item.quantity)
    if fact.late and state.taken_by_tier:
        limits.take(state, found.buyer_id, found.items)
    if fact.late and found.promo is not None:
        promos.count(state, found.promo, +1)
    found.status = OrderStatus.CONFIRMED
    found.cancel_reason = None
    found.confirmed_at_ms = at_ms
    found.tickets = _issue(found, fact.tokens)
    state.finish(found, at_ms)
    for ticket in found.tickets:
        state.index_token(found, ticket)
    if fact.payment_id is not None:
        payment = found.payment(fact.payment_id)
        assert payment is not None
        payment.status = PaymentStatus.SUCCEEDED
    if fact.key is not None:
        state.remember(found, fact.key, at_ms, view=view(found, at_ms))


def _issue(found: Order, tokens: tuple[bytes, ...]) -> tuple[Ticket, ...]:
    lines = [line for line, item in enumerate(found.items) for _ in range(item.quantity)]
    return tuple(
        Ticket(token, (), number, line)
        for number, (line, token) in enumerate(zip(lines, tokens, strict=True))
    )


def apply_returned(state: State, fact: MoneyReturned, at_ms: int) -> None:
    found = state.order_by_id.change(fact.order_id)
    payment = found.payment(fact.payment_id)
    assert payment is not None
    payment.status = PaymentStatus.RETURNED
    found.refunds += (
        Refund(fact.refund_id, fact.payment_id, fact.amount_minor, RefundStatus.PENDING),
    )
    state.finish(found, at_ms)


def apply_refunded(state: State, fact: OrderRefunded, at_ms: int) -> None:
    found = state.order_by_id.change(fact.order_id)
    for number in fact.ticket_numbers:
        ticket = found.tickets[number]
        ticket.status = TicketStatus.CANCELLED
        ticket.ended_at_ms = at_ms
        tier_id = found.item(ticket).tier_id
        state.header.tiers[tier_id].take_back(1)
        limits.count(state, found.buyer_id, tier_id, -1)
    if not found.live_tickets():
        found.status = OrderStatus.REFUNDED
        state.to_unwind.pop(fact.order_id, None)
    owed = RefundStatus.PENDING if fact.amount_minor else RefundStatus.DONE
    found.refunds += (Refund(fact.refund_id, fact.payment_id, fact.amount_minor, owed),)
    if fact.key is not None:
        state.remember(found, fact.key, at_ms, view=view(found, at_ms))


def apply_settled(state: State, fact: RefundSettled, at_ms: int) -> None:
    found = state.order_by_id.change(fact.order_id)
    refund = found.refund(fact.refund_id)
    assert refund is not None
    refund.status = RefundStatus.DONE if fact.done else RefundStatus.FAILED
    state.finish(found, at_ms)


def apply_retried(state: State, fact: RefundRetried, at_ms: int) -> None:
    found = state.order_by_id.change(fact.order_id)
    refund = found.refund(fact.refund_id)
    assert refund is not None
    refund.status = RefundStatus.PENDING
    state.finish(found, at_ms)
