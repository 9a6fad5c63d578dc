"""What a naive sale makes of a promo code."""

from fractions import Fraction

from engine import commands as c
from tests.engine.model_books import ModelBooks, ModelOrder
from tests.engine.model_waiting import Verdict


class ModelPromos(ModelBooks):
    def uses(self, promo_id: str) -> int:
        """Whoever has been confirmed once has used it for good."""
        own = [order for order in self.orders.values() if order.promo_id == promo_id]
        return sum(order.status != "CANCELLED" for order in own)

    def asked_for(self, code: str | None) -> c.PromoTerms | None:
        return next((promo for promo in self.promos.values() if promo.code == code), None)

    def used_up(self, promo: c.PromoTerms | None) -> bool:
        if promo is None or promo.uses_max is None:
            return False
        return self.uses(promo.promo_id) >= promo.uses_max

    def used_up_for(self, order: ModelOrder) -> bool:
        return self.used_up(self.promos.get(order.promo_id or ""))

    def sells(self, promo: c.PromoTerms | None, tier_id: str) -> bool:
        return promo is not None and promo.unlocks and tier_id in (promo.tier_ids or [tier_id])

    def refuse_window(self, promo: c.PromoTerms | None, now_ms: int) -> Verdict | None:
        if promo is None:
            return None
        early = promo.starts_at_ms is not None and now_ms < promo.starts_at_ms
        late = promo.ends_at_ms is not None and now_ms >= promo.ends_at_ms
        return ("promo_code_not_active", {}) if early or late else None

    def refuse_unfit(self, promo: c.PromoTerms | None, wanted: dict[str, int]) -> Verdict | None:
        if promo is None or not promo.tier_ids or wanted.keys() & set(promo.tier_ids):
            return None
        return "promo_code_not_applicable", {"tier_ids": promo.tier_ids}

    def discounts(self, promo: c.PromoTerms | None, wanted: dict[str, int]) -> dict[str, int]:
        """By tier; the whole in proportion, and who has lost most by rounding gets a unit more."""
        if promo is None:
            return {}
        fits = [t for t in wanted if not promo.tier_ids or t in promo.tier_ids]
        costs = {t: wanted[t] * self.tiers[t].price_minor for t in fits}
        whole = sum(costs.values())
        if promo.kind is c.PromoKind.PERCENT:
            off = int(Fraction(whole) * promo.value / 100)
        else:
            off = min(promo.value, whole)
        exact = {
            t: Fraction(off * cost, whole) if whole else Fraction(0) for t, cost in costs.items()
        }
        parts = {t: int(share) for t, share in exact.items()}
        while sum(parts.values()) < off:
            parts[max(parts, key=lambda t: exact[t] - parts[t])] += 1
        return parts
