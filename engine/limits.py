"""How many places of a tier one buyer may have, over all orders of the sale.

What is held and what is sold counts for the buyer of the order, tickets that were transferred away
too; what comes back may be bought again. Only tiers with such a limit are counted: `taken_by_tier`
is derived from the orders in memory, and an order that has left it holds nothing.
"""

from collections.abc import Iterable

from engine.commands import TierTerms
from engine.order import Order, OrderStatus
from engine.purchase import Item
from engine.rejections import Reason, Rejection
from engine.state import State
from engine.tier import Tier


def refuse(state: State, buyer_id: str, lines: Iterable[tuple[Tier, int]]) -> Rejection | None:
    """Why the buyer can't have these many more, or None; the first line that is too much."""
    for tier, quantity in lines:
        most = tier.terms.per_buyer_max
        if most is None:
            continue
        held = state.taken_by_tier[tier.terms.tier_id].get(buyer_id, 0)
        if held + quantity > most:
            return Rejection(
                Reason.MAX_PER_BUYER_EXCEEDED,
                {
                    "tier_id": tier.terms.tier_id,
                    "requested": quantity,
                    "max_per_buyer": most,
                    "held": held,
                },
            )
    return None


def refuse_again(state: State, found: Order) -> Rejection | None:
    """As above, for an order that has given its places back and would have them again."""
    if not state.taken_by_tier:
        return None
    lines = [(state.header.tiers[item.tier_id], item.quantity) for item in found.items]
    return refuse(state, found.buyer_id, lines)


def take(state: State, buyer_id: str, items: Iterable[Item]) -> None:
    for item in items:
        count(state, buyer_id, item.tier_id, item.quantity)


def give_back(state: State, buyer_id: str, items: Iterable[Item]) -> None:
    for item in items:
        count(state, buyer_id, item.tier_id, -item.quantity)


def count(state: State, buyer_id: str, tier_id: str, places: int) -> None:
    taken = state.taken_by_tier.get(tier_id)
    if taken is None:
        return
    left = taken.get(buyer_id, 0) + places
    assert left >= 0, (tier_id, left)
    if left:
        taken[buyer_id] = left
    else:
        del taken[buyer_id]


def index(state: State, found: Order, tier_ids: Iterable[str]) -> None:
    """Count what an order has of these tiers, which has not been counted yet."""
    if found.status is OrderStatus.PENDING:
        places = [(item.tier_id, item.quantity) for item in found.items]
    else:
        places = [(found.item(ticket).tier_id, 1) for ticket in found.live_tickets()]
    for tier_id, quantity in places:
        if tier_id in tier_ids:
            count(state, found.buyer_id, tier_id, quantity)


def configure(state: State, terms: TierTerms) -> None:
    """Begin or end to count, as the tier's terms have it now."""
    if terms.per_buyer_max is None:
        state.taken_by_tier.pop(terms.tier_id, None)
    elif terms.tier_id not in state.taken_by_tier:
        state.taken_by_tier[terms.tier_id] = {}
        for order_id in state.order_by_id:
            index(state, state.order_by_id[order_id], (terms.tier_id,))
