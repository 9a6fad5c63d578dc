"""What codes take off orders and what buyers have, as the facts say it: to the unit."""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

from engine import facts as f
from engine.commands import PromoTerms, TierTerms

if TYPE_CHECKING:
    from tests.engine.auditor import AuditedOrder


def cost(item: f.Item) -> int:
    return item.quantity * item.unit_price_minor - item.discount_minor


def even(whole: int, parts: int) -> list[int]:
    """What the tickets of a line cost: each within a unit of the others, together the whole."""
    reached = [whole * n // parts for n in range(parts + 1)]
    return [high - low for low, high in pairwise(reached)]


def places(items: Iterable[f.Item]) -> list[tuple[str, int]]:
    """Tier and price of every place, in the order of the items."""
    return [(i.tier_id, price) for i in items for price in even(cost(i), i.quantity)]


def places_taken(orders: Iterable["AuditedOrder"], tier_id: str, buyer_id: str) -> int:
    """What a buyer holds and has bought of a tier."""
    own = [order for order in orders if order.placed.buyer_id == buyer_id]
    lines = [i for o in own if o.holds for i in o.placed.items if i.tier_id == tier_id]
    alive = sum(t.alive and t.tier_id == tier_id for o in own for t in o.tickets)
    return sum(item.quantity for item in lines) + alive


def uses(orders: Iterable["AuditedOrder"], fact: f.OrderPlaced) -> int:
    """Of its code, by orders that hold their places or have once been confirmed."""
    kept = [o.placed.promo for o in orders if o.holds or o.confirmed]
    return sum(fact.promo is not None and used == fact.promo for used in kept)


class PromoAudit:
    def __init__(self) -> None:
        self.by_id: dict[str, PromoTerms] = {}

    def configured(self, *terms: PromoTerms) -> None:
        self.by_id |= {promo.promo_id: promo for promo in terms}

    def placed(
        self, fact: f.OrderPlaced, tiers: Mapping[str, TierTerms], used: int, entry: f.Entry
    ) -> None:
        """`used`: so often, before. What is hidden is bought by a code, or by an offer."""
        hidden = {i.tier_id for i in fact.items if tiers[i.tier_id].hidden}
        if fact.offer is not None:
            hidden.discard(fact.offer.tier_id)
        if fact.promo is None:
            assert not hidden, entry
            assert not any(item.discount_minor for item in fact.items), entry
            return
        terms = self.by_id[fact.promo.promo_id]
        assert fact.promo.code == terms.code, entry
        assert (terms.starts_at_ms or 0) <= entry.at_ms < (terms.ends_at_ms or 2**63), entry
        self.used_once_more(fact, used, entry)
        fits = [i for i in fact.items if not terms.tier_ids or i.tier_id in terms.tier_ids]
        assert fits, entry
        assert hidden <= {i.tier_id for i in fits if terms.unlocks}, entry
        self._exact(terms, fact.items, fits, entry)

    def used_once_more(self, fact: f.OrderPlaced, used: int, entry: f.Entry) -> None:
        terms = self.by_id.get(fact.promo.promo_id) if fact.promo is not None else None
        assert terms is None or terms.uses_max is None or used < terms.uses_max, entry

    def _exact(
        self,
        terms: PromoTerms,
        items: tuple[f.Item, ...],
        fits: list[f.Item],
        entry: f.Entry,
    ) -> None:
        costs = [i.quantity * i.unit_price_minor for i in fits]
        whole = sum(costs)
        off = min(whole, whole * terms.value // 100 if terms.kind == "percent" else terms.value)
        assert sum(i.discount_minor for i in items) == off, entry
        assert sum(i.discount_minor for i in fits) == off, entry
        for item, full in zip(fits, costs, strict=True):
            assert 0 <= item.discount_minor <= full, entry
            assert abs(item.discount_minor * whole - off * full) < max(1, whole), entry
