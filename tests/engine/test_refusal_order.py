"""Of several things wrong with an order, the first in the contract's list is told.

The core's part of the list: reused key or replay, unknown event, not on sale, unknown tier, unknown
offer, unknown code, sale not active, code not active, too many for one order, for one buyer, code
for other tiers, code used up, sold out. Within a kind the first line of the order is told.
"""

import itertools
from dataclasses import dataclass, field

import pytest

from engine import commands as c
from engine.rejections import Reason
from tests.engine.stage import NOON_MS, Stage, promo, terms

IN_ORDER = (
    Reason.IDEMPOTENCY_KEY_REUSED,
    Reason.EVENT_NOT_ON_SALE,
    Reason.UNKNOWN_TIER,
    Reason.UNKNOWN_OFFER,
    Reason.UNKNOWN_PROMO_CODE,
    Reason.SALE_NOT_ACTIVE,
    Reason.PROMO_CODE_NOT_ACTIVE,
    Reason.MAX_PER_ORDER_EXCEEDED,
    Reason.MAX_PER_BUYER_EXCEEDED,
    Reason.PROMO_CODE_NOT_APPLICABLE,
    Reason.PROMO_CODE_USED_UP,
    Reason.SOLD_OUT,
)
# The tier that makes a line wrong in one way only, and how many of it.
LINE = {
    Reason.UNKNOWN_TIER: ("tier_nowhere", 1),
    Reason.SALE_NOT_ACTIVE: ("tier_later", 1),
    Reason.MAX_PER_ORDER_EXCEEDED: ("tier_two_each", 3),
    Reason.MAX_PER_BUYER_EXCEEDED: ("tier_two_a_buyer", 3),
    Reason.SOLD_OUT: ("tier_scarce", 4),
}
TIERS = (
    terms("tier_later", sale_start_ms=NOON_MS + 1),
    terms("tier_over", sale_end_ms=NOON_MS),
    terms("tier_two_each", per_order_max=2),
    terms("tier_three_each", per_order_max=3),
    terms("tier_two_a_buyer", per_buyer_max=2),
    terms("tier_one_a_buyer", per_buyer_max=1),
    terms("tier_scarce", quantity=3),
    terms("tier_gone", quantity=0),
)
FACTS = {
    Reason.IDEMPOTENCY_KEY_REUSED: {},
    Reason.EVENT_NOT_ON_SALE: {},
    Reason.UNKNOWN_TIER: {"tier_id": "tier_nowhere"},
    Reason.UNKNOWN_OFFER: {"offer_id": "off_nowhere"},
    Reason.UNKNOWN_PROMO_CODE: {},
    Reason.SALE_NOT_ACTIVE: {"tier_id": "tier_later"},
    Reason.PROMO_CODE_NOT_ACTIVE: {},
    Reason.PROMO_CODE_NOT_APPLICABLE: {"tier_ids": ("tier_one_a_buyer",)},
    Reason.PROMO_CODE_USED_UP: {},
    Reason.MAX_PER_ORDER_EXCEEDED: {
        "tier_id": "tier_two_each",
        "requested": 3,
        "max_per_order": 2,
    },
    Reason.MAX_PER_BUYER_EXCEEDED: {
        "tier_id": "tier_two_a_buyer",
        "requested": 3,
        "max_per_buyer": 2,
        "held": 0,
    },
    Reason.SOLD_OUT: {"tier_id": "tier_scarce", "requested": 4, "available": 3},
}


CODE_WRONG = {
    Reason.UNKNOWN_PROMO_CODE,
    Reason.PROMO_CODE_NOT_ACTIVE,
    Reason.PROMO_CODE_NOT_APPLICABLE,
    Reason.PROMO_CODE_USED_UP,
}


@dataclass
class Faulty:
    """An order in which just these things are wrong."""

    wrong: tuple[Reason, ...]
    stage: Stage = field(default_factory=lambda: Stage(*TIERS))

    def order(self) -> c.PlaceOrder:
        key = self.stage.key()
        if Reason.IDEMPOTENCY_KEY_REUSED in self.wrong:
            self.stage.ask(self.stage.place_order(("tier_two_each", 1), key=key))
            key = c.Key(key.digest, self.stage.random(16))
        if Reason.EVENT_NOT_ON_SALE in self.wrong:
            self.stage.close()
        code = self.code()
        lines = [LINE[reason] for reason in self.wrong if reason in LINE]
        offer_id = "off_nowhere" if Reason.UNKNOWN_OFFER in self.wrong else None
        return self.stage.place_order(
            *(lines or [("tier_two_each", 1)]), key=key, offer_id=offer_id, promo_code=code
        )

    def code(self) -> str | None:
        """One in which all is wrong that is to be wrong with the code."""
        wrong = CODE_WRONG & set(self.wrong)
        if not wrong or Reason.UNKNOWN_PROMO_CODE in wrong:
            return "GUESSED" if wrong else None
        later = Reason.PROMO_CODE_NOT_ACTIVE in wrong
        unfit = Reason.PROMO_CODE_NOT_APPLICABLE in wrong
        self.stage.give(promo("SUMMER", uses_max=1))
        if Reason.PROMO_CODE_USED_UP in wrong:
            self.stage.ask(self.stage.place_order(("tier_two_each", 1), promo_code="SUMMER"))
        self.stage.give(
            promo(
                "SUMMER",
                uses_max=1,
                window_ms=(NOON_MS + 1 if later else None, None),
                tier_ids=("tier_one_a_buyer",) if unfit else (),
            )
        )
        return "SUMMER"


@pytest.mark.parametrize("reason", IN_ORDER)
def test_one_thing_wrong_is_told_with_the_facts_of_the_case(reason: Reason) -> None:
    faulty = Faulty((reason,))
    assert faulty.stage.refusal(faulty.order()) == (reason, FACTS[reason])


@pytest.mark.parametrize(("first", "second"), [*itertools.combinations(IN_ORDER, 2)])
def test_of_two_things_wrong_the_first_documented_is_told(first: Reason, second: Reason) -> None:
    for wrong in ((first, second), (second, first)):  # in either order of the lines
        faulty = Faulty(wrong)
        assert faulty.stage.refusal(faulty.order()) == (first, FACTS[first])


def test_everything_wrong_at_once_is_told_as_the_first() -> None:
    faulty = Faulty(IN_ORDER)
    assert faulty.stage.reason(faulty.order()) is Reason.IDEMPOTENCY_KEY_REUSED


@pytest.mark.parametrize(
    ("reason", "lines"),
    [
        (Reason.UNKNOWN_TIER, [("tier_a", 1), ("tier_b", 1)]),
        (Reason.SALE_NOT_ACTIVE, [("tier_later", 1), ("tier_over", 1)]),
        (Reason.MAX_PER_ORDER_EXCEEDED, [("tier_two_each", 3), ("tier_three_each", 4)]),
        (Reason.MAX_PER_BUYER_EXCEEDED, [("tier_two_a_buyer", 3), ("tier_one_a_buyer", 2)]),
        (Reason.SOLD_OUT, [("tier_scarce", 4), ("tier_gone", 1)]),
    ],
)
def test_within_a_kind_the_first_line_is_told(reason: Reason, lines: list[tuple[str, int]]) -> None:
    for in_order in (lines, lines[::-1]):
        refused, facts = Stage(*TIERS).refusal(Stage().place_order(*in_order))
        assert (refused, facts["tier_id"]) == (reason, in_order[0][0])


def test_replay_comes_before_every_refusal() -> None:
    stage = Stage(*TIERS)
    order = stage.place_order(("tier_scarce", 3))
    placed = stage.ask(order)
    stage.cancel_event()
    assert stage.replay(order) == placed


def test_sale_that_was_never_opened_knows_no_event() -> None:
    stage = Stage(opened=False)
    assert stage.refusal(stage.place_order(("tier_nowhere", 99))) == (Reason.UNKNOWN_EVENT, {})


def test_attendees_that_are_not_as_many_as_tickets_are_told_after_the_limits() -> None:
    stage = Stage(*TIERS)
    wrong = {"attendees": 2, "tickets": 3}
    too_many = stage.place_order(("tier_two_each", 3), attendees=2)
    assert stage.reason(too_many) is Reason.MAX_PER_ORDER_EXCEEDED
    short = stage.place_order(("tier_scarce", 3), attendees=2)
    assert stage.refusal(short) == (Reason.ATTENDEES_MISMATCH, wrong)
