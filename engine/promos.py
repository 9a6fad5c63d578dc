"""Promo codes: what they take off an order, whose hidden tiers they sell, and how often.

A use is taken with the hold and comes back when the hold ends; once confirmed, it stays used. So
codes are counted where places are, by the same actor. An order keeps the id of its code, for a code
that was removed may be made anew.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from engine.commands import PlaceOrder, PromoKind, PromoTerms
from engine.money import shares, subtotal_minor
from engine.order import Order
from engine.promo import Promo
from engine.purchase import Item, PromoUsed
from engine.rejections import Reason, Rejection
from engine.state import State

Refusals = tuple[Rejection | None, Rejection | None, Rejection | None, Rejection | None]


def asked_for(state: State, command: PlaceOrder) -> Promo | None:
    return state.promo_by_id.get(state.promo_id_by_code.get(command.promo_code or "", ""))


def refusals(promo: Promo | None, tier_ids: Iterable[str], now_ms: int) -> Refusals:
    """Why an order of these tiers can't have the code: it is unknown, it is not active, it is for
    none of the tiers, or it is used up. Each has a place of its own among an order's refusals.
    """
    if promo is None:
        return Rejection(Reason.UNKNOWN_PROMO_CODE), None, None, None
    terms = promo.terms
    active, fits = terms.active(now_ms), any(terms.fits(tier_id) for tier_id in tier_ids)
    unfit = Rejection(Reason.PROMO_CODE_NOT_APPLICABLE, {"tier_ids": terms.tier_ids})
    return (
        None,
        None if active else Rejection(Reason.PROMO_CODE_NOT_ACTIVE),
        None if fits else unfit,
        Rejection(Reason.PROMO_CODE_USED_UP) if promo.left == 0 else None,
    )


def used_up_for(state: State, found: Order) -> bool:
    """Whether an order that has given its use back can't have one again."""
    promo = state.promo_by_id.get(found.promo.promo_id) if found.promo is not None else None
    return promo is not None and promo.left == 0


def discounted(terms: PromoTerms, items: list[Item]) -> list[Item]:
    """Per cent are rounded down to the unit, and an amount takes no more than there is to pay.

    What it is in all is split between the items that the code fits, in proportion to their costs.
    """
    costs = [subtotal_minor(item) if terms.fits(item.tier_id) else 0 for item in items]
    percent = terms.kind is PromoKind.PERCENT
    off = sum(costs) * terms.value // 100 if percent else min(terms.value, sum(costs))
    discounts = shares(off, costs)
    return [replace(i, discount_minor=d) for i, d in zip(items, discounts, strict=True)]


def count(state: State, used: PromoUsed, uses: int) -> None:
    """Of a code that has been removed nothing is counted any more."""
    promo = state.promo_by_id.get(used.promo_id)
    if promo is not None:
        promo.used += uses
        assert promo.used >= 0, promo
        state.touched[used.promo_id] = None


def configure(state: State, terms: PromoTerms) -> None:
    promo = state.promo_by_id.setdefault(terms.promo_id, Promo(terms))
    promo.terms = terms
    state.index_promo(promo)
    state.touched[terms.promo_id] = None


def remove(state: State, promo_id: str) -> None:
    gone = state.promo_by_id.pop(promo_id, None)
    if gone is not None:
        del state.promo_id_by_code[gone.terms.code]
        state.touched[promo_id] = None
