"""Whether a sale as it is replayed by its own rules is what its facts add up to without them."""

from typing import Any

from engine.order import OrderStatus
from engine.scan import view as doors_view
from engine.state import State
from engine.ticket import token_digest
from persistence.recount import Order, Recount


def differences(recount: Recount, state: State) -> list[str]:
    """Where the replayed state says otherwise. An order may leave it once it has ended."""
    counted = {t: (p.quantity, p.held, p.sold) for t, p in recount.tiers.items()}
    tiers = state.header.tiers.items()
    replayed = {t: (tier.terms.quantity, tier.held, tier.sold) for t, tier in tiers}
    wrong = [
        f"{tier_id} has (places, held, sold) {counted.get(tier_id)} by the facts,"
        f" {replayed.get(tier_id)} by replay"
        for tier_id in {**counted, **replayed}
        if counted.get(tier_id) != replayed.get(tier_id)
    ]
    wrong += [
        f"{recount.waiters.waiting(tier_id)} places of {tier_id} are waited for by the facts,"
        f" {tier.waiting} by replay"
        for tier_id, tier in tiers
        if tier.waiting != recount.waiters.waiting(tier_id)
    ]
    doors = doors_view(state.header.doors)
    if (recount.admitted, recount.exited) != (doors.admitted, doors.exited):
        wrong.append(
            f"in, out: {recount.admitted}, {recount.exited} by the facts,"
            f" {doors.admitted}, {doors.exited} by replay"
        )
    for order_id, order in recount.orders.items():
        if order_id not in state.order_by_id:
            if order.status is OrderStatus.PENDING:
                wrong.append(f"{order_id} is pending by the facts, unknown by replay")
        elif _order(order) != _replayed(state, order_id):
            wrong.append(f"{order_id} differs between facts and replay")
    wrong += recount.promos.differences(state)
    return wrong


def _order(order: Order) -> tuple[Any, ...]:
    tickets = [(t.digest, t.shown, t.checked_in_at_ms) for t in order.tickets]
    return (
        *(order.placed.items, order.status, order.cancel_reason, order.confirmed_at_ms),
        *(order.paid_by, order.refunded_minor, tickets),
    )


def _replayed(state: State, order_id: str) -> tuple[Any, ...]:
    order = state.order_by_id[order_id]
    tickets = [(token_digest(t.token), t.status, t.checked_in_at_ms) for t in order.tickets]
    refunded = sum(r.amount_minor for r in order.refunds if r.payment_id == order.paid_by)
    return (
        *(order.items, order.status, order.cancel_reason, order.confirmed_at_ms),
        *(order.paid_by, refunded, tickets),
    )
