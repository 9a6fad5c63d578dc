"""What a random sale does with promo codes and hidden tiers."""

from typing import Any

import hypothesis.strategies as st
from hypothesis.stateful import rule
from msgspec.structs import replace

from engine import commands as c
from tests.engine import stage
from tests.engine.sale_witness import SaleWitness
from tests.engine.stage import BALCONY, BUYER, FLOOR, GUEST, HOUR_MS, STRANGER

PERCENT, AMOUNT = c.PromoKind.PERCENT, c.PromoKind.AMOUNT
PROMOS = (
    stage.promo("THIRD", value=33, uses_max=2),
    stage.promo("SOME", kind=AMOUNT, value=7_001, tier_ids=(FLOOR, BALCONY)),
    stage.promo("ALL", value=100, uses_max=1),
    stage.promo("KEY", tier_ids=(BALCONY, GUEST), unlocks=True),
)
codes = st.sampled_from(["THIRD", "THIRD", "SOME", "SOME", "ALL", "KEY", "GUESSED"])
lines = st.tuples(st.sampled_from([FLOOR, BALCONY, GUEST]), st.sampled_from([1, 2, 3]))


class PromoRules(SaleWitness):
    @rule(
        wanted=st.lists(lines, min_size=1, max_size=3),
        code=codes,
        buyer=st.sampled_from([BUYER, STRANGER]),
        paid=st.sampled_from([None, True, False]),
    )
    def place_with_a_code(
        self, wanted: list[tuple[str, int]], code: str, buyer: c.Caller, paid: bool | None
    ) -> None:
        order = self.stage.place_order(*wanted, buyer_id=buyer.subject, promo_code=code)
        self.ask(order)
        if order.order_id not in self.orders or paid is None:
            return
        self.ask(self.stage.request_payment(order.order_id))
        for payment_id in self.orders[order.order_id].payments:
            if not paid:
                self.stage.pass_ms(stage.HOLD_MS)
                self.sweep_once(100)
            self.ask(self.stage.confirm_order(order.order_id, payment_id))

    @rule(
        promo=st.sampled_from(PROMOS),
        uses_max=st.sampled_from([None, 1, 3]),
        begins_in_ms=st.sampled_from([None, None, -HOUR_MS, HOUR_MS]),
        ends_in_ms=st.sampled_from([None, None, 2 * HOUR_MS]),
        more=st.integers(0, 2),
    )
    def configure_promo(self, promo: c.PromoTerms, more: int, **window: Any) -> None:
        begins, ends = window["begins_in_ms"], window["ends_in_ms"]
        now_ms = self.stage.now_ms
        changed = replace(
            promo,
            value=promo.value - more if promo.value else 0,
            uses_max=window["uses_max"],
            starts_at_ms=None if begins is None else now_ms + begins,
            ends_at_ms=None if ends is None else now_ms + ends,
        )
        self.ask(c.ConfigurePromo(self.stage.version(), changed))

    @rule(promo=st.sampled_from(PROMOS))
    def remove_promo(self, promo: c.PromoTerms) -> None:
        """It may come back under another id; here under its own, as never having been used."""
        used = {order.promo_id for order in self.orders.values()}
        if promo.promo_id not in used:
            self.ask(c.RemovePromo(self.stage.version(), promo.promo_id))

    @rule(tier=st.sampled_from([BALCONY, GUEST]))
    def hide_or_show(self, tier: str) -> None:
        terms = self.model.tiers.get(tier)
        if terms is not None:
            hidden = replace(terms, hidden=not terms.hidden)
            self.ask(c.ConfigureTier(self.stage.version(), hidden))
