"""Placing orders and giving them up.

All selections or none. An unexpired hold is the capacity: nothing after it asks for places again.
"""

from collections.abc import Iterable

from engine import limits, promos, waiting
from engine.commands import CancelOrder, PlaceOrder, Selection
from engine.facts import Fact, OfferTaken, OrderCancelled, OrderPlaced
from engine.keys import UsedKey
from engine.order import Order, OrderStatus, view
from engine.promo import Promo
from engine.purchase import CancelReason, Item, PromoUsed
from engine.rejections import Reason, Rejection
from engine.replies import Decision, Replayed
from engine.state import Archived, Phase, State
from engine.tier import Tier

_NO_CODE = (None, None, None, None)


def place(state: State, command: PlaceOrder, now_ms: int) -> Decision:
    used = state.used(command.key, now_ms)
    if used is not None:
        return used if isinstance(used, Rejection) else Replayed(_placed_again(state, used))
    wanted = _added_up(command.selections)
    offer = waiting.taken_by(state, command, now_ms) if command.offer_id is not None else None
    promo = promos.asked_for(state, command) if command.promo_code is not None else None
    refused = _refuse_event(state) or _refuse_wanted(state, command, wanted, offer, promo, now_ms)
    if refused is not None:
        return refused
    assert not isinstance(offer, Rejection), "it is refused by then"
    tiers = state.header.tiers
    items = [Item(t, quantity, tiers[t].terms.price_minor) for t, quantity in wanted.items()]
    if promo is not None:
        items = promos.discounted(promo.terms, items)
    return [
        OrderPlaced(
            command.order_id,
            command.buyer_id,
            tuple(items),
            state.header.terms.currency,
            now_ms,
            now_ms + command.hold_ttl_ms,
            command.key,
            command.sealed,
            offer,
            PromoUsed(promo.terms.promo_id, promo.terms.code) if promo is not None else None,
        )
    ]


def _refuse_event(state: State) -> Rejection | None:
    if state.header.phase is Phase.OPEN:
        return None
    return Rejection(Reason.EVENT_NOT_ON_SALE if state.opened else Reason.UNKNOWN_EVENT)


def _refuse_wanted(
    state: State,
    command: PlaceOrder,
    wanted: dict[str, int],
    offer: OfferTaken | Rejection | None,
    promo: Promo | None,
    now_ms: int,
) -> Rejection | None:
    """The first kind of refusal in the API's order, then the first line of the order."""
    for tier_id in wanted:
        tier = state.header.tiers.get(tier_id)
        if tier is None or (tier.terms.hidden and not _unlocked(tier_id, offer, promo)):
            return Rejection(Reason.UNKNOWN_TIER, {"tier_id": tier_id})
    if isinstance(offer, Rejection):
        return offer
    lines = [(state.header.tiers[tier_id], quantity) for tier_id, quantity in wanted.items()]
    unknown, inactive, unfit, used_up = (
        promos.refusals(promo, wanted, now_ms) if command.promo_code is not None else _NO_CODE
    )
    return (
        unknown
        or _refuse_windows(lines, now_ms)
        or inactive
        or _refuse_sizes(lines)
        or (limits.refuse(state, command.buyer_id, lines) if state.taken_by_tier else None)
        or unfit
        or _refuse_attendees(command.attendees, wanted)
        or used_up
        or _refuse_scarce(lines, offer)
    )


def _unlocked(tier_id: str, offer: OfferTaken | Rejection | None, promo: Promo | None) -> bool:
    if isinstance(offer, OfferTaken) and offer.tier_id == tier_id:
        return True
    return promo is not None and promo.terms.unlocks and promo.terms.fits(tier_id)


def _refuse_windows(lines: Iterable[tuple[Tier, int]], now_ms: int) -> Rejection | None:
    for tier, _ in lines:
        if not tier.on_sale(now_ms):
            return Rejection(Reason.SALE_NOT_ACTIVE, {"tier_id": tier.terms.tier_id})
    return None


def _refuse_sizes(lines: Iterable[tuple[Tier, int]]) -> Rejection | None:
    for tier, quantity in lines:
        if quantity > tier.terms.per_order_max:
            return Rejection(
                Reason.MAX_PER_ORDER_EXCEEDED,
                {
                    "tier_id": tier.terms.tier_id,
                    "requested": quantity,
                    "max_per_order": tier.terms.per_order_max,
                },
            )
    return None


def _refuse_attendees(named: int | None, wanted: dict[str, int]) -> Rejection | None:
    if named is None or named == (places := sum(wanted.values())):
        return None
    return Rejection(Reason.ATTENDEES_MISMATCH, {"attendees": named, "tickets": places})


def _refuse_scarce(lines: Iterable[tuple[Tier, int]], offer: OfferTaken | None) -> Rejection | None:
    for tier, quantity in lines:
        available = tier.public
        if offer is not None and offer.tier_id == tier.terms.tier_id:
            available += offer.quantity
        if quantity > available:
            return Rejection(
                Reason.SOLD_OUT,
                {"tier_id": tier.terms.tier_id, "requested": quantity, "available": available},
            )
    return None


def _added_up(selections: tuple[Selection, ...]) -> dict[str, int]:
    """Quantity by tier id: the same tier twice is one wish, so no limit can be walked around."""
    if len(selections) == 1:
        return {selections[0].tier_id: selections[0].quantity}
    wanted: dict[str, int] = {}
    for selection in selections:
        wanted[selection.tier_id] = wanted.get(selection.tier_id, 0) + selection.quantity
    return wanted


def _placed_again(state: State, used: UsedKey) -> OrderPlaced | Archived:
    found = state.order_by_id.get(used.order_id)
    if found is None:
        return state.archived(used.order_id)
    return OrderPlaced(
        found.order_id,
        found.buyer_id,
        found.items,
        found.currency,
        found.placed_at_ms,
        found.expires_at_ms,
        used.key,
        found.sealed,
        promo=found.promo,
    )


def refuse_unless_pending(found: Order, now_ms: int) -> Rejection | None:
    if found.overdue(now_ms) or found.cancel_reason is CancelReason.EXPIRED:
        return Rejection(Reason.ORDER_EXPIRED, {"expires_at_ms": found.expires_at_ms})
    if found.status is not OrderStatus.PENDING:
        return Rejection(Reason.ORDER_NOT_PENDING, {"status": found.status.value})
    return None


def cancel(state: State, command: CancelOrder, now_ms: int) -> Decision:
    found = state.order_for(command.order_id, command.caller)
    if not isinstance(found, Order):
        return found
    if found.cancel_reason is CancelReason.BUYER:
        return view(found, now_ms)
    refused = refuse_unless_pending(found, now_ms)
    return refused or [OrderCancelled(command.order_id, CancelReason.BUYER)]


def expire(state: State, orders_max: int, now_ms: int) -> list[Fact]:
    overdue = zip(range(orders_max), state.overdue_orders(now_ms), strict=False)
    return [OrderCancelled(order_id, CancelReason.EXPIRED) for _, order_id in overdue]


def apply_placed(state: State, fact: OrderPlaced, at_ms: int) -> None:
    if fact.offer is not None:
        waiting.apply_taken(state, fact.offer, fact.order_id, at_ms)
    for item in fact.items:
        state.header.tiers[item.tier_id].hold(item.quantity)
    if state.taken_by_tier:
        limits.take(state, fact.buyer_id, fact.items)
    if fact.promo is not None:
        promos.count(state, fact.promo, +1)
    placed = Order(
        OrderStatus.PENDING,
        0,
        b"",
        b"",
        (),
        fact.buyer_id,
        fact.items,
        fact.currency,
        fact.placed_at_ms,
        fact.expires_at_ms,
        fact.sealed,
        promo=fact.promo,
        order_id=fact.order_id,
    )
    state.order_by_id.add(placed)
    state.index_hold(placed)
    state.remember(placed, fact.key, at_ms)


def apply_cancelled(state: State, fact: OrderCancelled, at_ms: int) -> None:
    found = state.order_by_id.change(fact.order_id)
    for item in found.items:
        state.header.tiers[item.tier_id].release(item.quantity)
    if state.taken_by_tier:
        limits.give_back(state, found.buyer_id, found.items)
    if found.promo is not None:
        promos.count(state, found.promo, -1)
    found.status = OrderStatus.CANCELLED
    found.cancel_reason = fact.reason
    state.to_unwind.pop(fact.order_id, None)
    state.finish(found, at_ms)
