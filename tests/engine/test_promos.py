"""Promo codes: exact amounts, uses that are counted with the places, hidden tiers."""

from fractions import Fraction

import hypothesis.strategies as st
import pytest
from hypothesis import given

from engine import commands as c
from engine import facts as f
from engine import snapshot
from engine.money import place_minor, shares, total_minor
from engine.order import OrderStatus, OrderView
from engine.purchase import Item
from engine.rejections import Reason
from engine.state import GATHER_MS
from tests.engine.stage import (
    BALCONY,
    BUYER,
    FLOOR,
    GUEST,
    HOLD_MS,
    KEPT_MS,
    NOON_MS,
    STRANGER,
    Stage,
    a,
    promo,
    terms,
)

AMOUNT = c.PromoKind.AMOUNT
amounts = st.integers(0, 10**9)


def placed(stage: Stage, *wanted: tuple[str, int], code: str = "SUMMER") -> f.OrderPlaced:
    return a(f.OrderPlaced, stage.ask(stage.place_order(*wanted, promo_code=code)))


def refused(stage: Stage, *wanted: tuple[str, int], code: str = "SUMMER") -> Reason:
    return stage.reason(stage.place_order(*wanted, promo_code=code))


def used(stage: Stage, code: str = "SUMMER") -> int:
    return stage.state.promo_by_id[stage.state.promo_id_by_code[code]].used


def pay(stage: Stage, order_id: str) -> OrderView:
    return a(OrderView, stage.ask(stage.confirm_order(order_id, stage.request(order_id))))


# Amounts.


@given(amount=amounts, weights=st.lists(amounts, min_size=1, max_size=9))
def test_shares_add_up_and_none_is_further_off_than_a_unit(amount: int, weights: list[int]) -> None:
    amount = min(amount, sum(weights))
    parts = shares(amount, weights)
    assert sum(parts) == amount
    for part, weight in zip(parts, weights, strict=True):
        exact = Fraction(amount * weight, sum(weights)) if sum(weights) else Fraction(0)
        assert abs(part - exact) < 1
        assert 0 <= part <= weight


@given(price=amounts, quantity=st.integers(1, 50), share=st.fractions(0, 1))
def test_places_of_a_line_add_up_and_differ_by_a_unit(
    price: int, quantity: int, share: Fraction
) -> None:
    item = Item(FLOOR, quantity, price, int(price * quantity * share))
    places = [place_minor(item, n) for n in range(quantity)]
    assert sum(places) == total_minor([item])
    assert 0 <= min(places) <= max(places) <= min(places) + 1


def test_per_cent_are_taken_off_what_the_code_fits_and_rounded_down() -> None:
    stage = Stage(terms(price_minor=1_995), terms(BALCONY, price_minor=3_333), terms(GUEST))
    stage.give(promo(value=15, tier_ids=(FLOOR, BALCONY)))
    order = placed(stage, (FLOOR, 1), (BALCONY, 2), (GUEST, 1))
    assert [i.discount_minor for i in order.items] == [299, 1_000, 0]  # of 1,299.15
    assert total_minor(order.items) == 1_995 + 6_666 + 5_000 - 1_299
    assert [i.unit_price_minor for i in order.items] == [1_995, 3_333, 5_000]
    assert order.promo is not None and order.promo.code == "SUMMER"


def test_an_amount_is_never_more_than_there_is_to_pay() -> None:
    stage = Stage(terms(price_minor=300), terms(GUEST, price_minor=1_000))
    stage.give(promo(kind=AMOUNT, value=500, tier_ids=(FLOOR,)))
    assert total_minor(placed(stage, (FLOOR, 1), (GUEST, 1)).items) == 1_000
    free = placed(stage, (FLOOR, 1))
    assert total_minor(free.items) == 0
    asked = a(OrderView, stage.ask(stage.request_payment(free.order_id)))
    assert asked.status is OrderStatus.CONFIRMED  # at once, there is nothing to pay


def test_refunds_of_some_tickets_give_back_what_was_paid_to_the_unit() -> None:
    stage = Stage(terms(price_minor=1_000), terms(BALCONY, price_minor=333))
    stage.give(promo(kind=AMOUNT, value=1_001))
    order = pay(stage, placed(stage, (FLOOR, 3), (BALCONY, 2)).order_id)
    stage.ask(stage.transfer_ticket(order.order_id, 1, BUYER, STRANGER.subject))
    given_back = []
    for number in (4, 0, 5, 2, 3):  # 5 has come in the place of 1
        before = stage.read(order.order_id).refunded_minor
        stage.ask(stage.refund_order(order.order_id, number))
        given_back.append(stage.read(order.order_id).refunded_minor - before)
    assert sum(given_back) == 3_666 - 1_001
    floor, balcony = sorted(given_back)[2:], sorted(given_back)[:2]
    assert max(floor) - min(floor) <= 1 and max(balcony) - min(balcony) <= 1
    assert stage.read(order.order_id).status is OrderStatus.REFUNDED


# Uses.


def test_a_use_is_taken_with_the_hold_and_comes_back_with_it() -> None:
    stage = Stage(terms())
    stage.give(promo(value=10, uses_max=1))
    given_up = placed(stage).order_id
    assert refused(stage) is Reason.PROMO_CODE_USED_UP
    stage.ask(c.CancelOrder(given_up, BUYER))
    assert used(stage) == 0
    placed(stage)
    stage.pass_ms(HOLD_MS)
    stage.ask(stage.sweep())
    assert used(stage) == 0
    order = pay(stage, placed(stage).order_id)
    stage.ask(stage.refund_order(order.order_id))
    assert refused(stage) is Reason.PROMO_CODE_USED_UP, "once confirmed it stays used"


def test_money_that_comes_late_goes_back_if_the_code_is_used_up_meanwhile() -> None:
    stage = Stage(terms())
    stage.give(promo(value=10, uses_max=1))
    late = placed(stage).order_id
    payment_id = stage.request(late)
    stage.pass_ms(HOLD_MS)
    stage.ask(stage.sweep())
    second = placed(stage).order_id
    stage.ask(stage.confirm_order(late, payment_id))
    assert isinstance(stage.entries[-1].fact, f.MoneyReturned)
    stage.ask(c.CancelOrder(second, BUYER))
    assert used(stage) == 0


@pytest.mark.parametrize("archived", [True, False])
def test_money_that_comes_late_is_taken_at_the_agreed_price_and_uses_the_code(
    archived: bool,
) -> None:
    stage = Stage(terms())
    stage.give(promo(value=10, uses_max=1))
    late = placed(stage).order_id
    payment_id = stage.request(late)
    for span_ms in (HOLD_MS, KEPT_MS + GATHER_MS)[: 1 + archived]:
        stage.pass_ms(span_ms)
        stage.ask(stage.sweep())
    if archived:
        assert late not in stage.state.order_by_id
        stage.ask(stage.recall(late))
    stage.ask(stage.confirm_order(late, payment_id, 4_500))
    order = stage.read(late)
    assert order.status is OrderStatus.CONFIRMED
    assert order.promo is not None and order.promo.code == "SUMMER"
    assert used(stage) == 1


def test_a_code_that_is_made_anew_begins_anew_and_old_orders_do_not_count_for_it() -> None:
    stage = Stage(terms())
    first = promo(value=50, uses_max=1)
    stage.give(first)
    order_id = placed(stage).order_id
    stage.ask(c.RemovePromo(stage.version(), first.promo_id))
    assert refused(stage) is Reason.UNKNOWN_PROMO_CODE
    stage.give(c.PromoTerms("prm_other", *(getattr(first, n) for n in first.__struct_fields__[1:])))
    placed(stage)
    stage.ask(c.CancelOrder(order_id, BUYER))
    assert used(stage) == 1
    assert stage.read(order_id).items[0].discount_minor == 2_500


def test_codes_come_back_from_a_snapshot_with_what_is_used_of_them() -> None:
    stage = Stage(terms())
    stage.give(promo(value=10, uses_max=3))
    pay(stage, placed(stage).order_id)
    placed(stage)
    restored = snapshot.restore(stage.entities())
    (found,) = restored.promo_by_id.values()
    assert (found.used, restored.promo_id_by_code) == (2, stage.state.promo_id_by_code)


def test_a_sale_that_did_not_count_uses_would_be_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: what the auditor says of an eleventh use of ten."""
    monkeypatch.setattr("engine.promos.count", lambda *_: None)
    stage = Stage(terms(quantity=20))
    stage.give(promo(value=10, uses_max=10))
    for _ in range(10):
        placed(stage)
    with pytest.raises(AssertionError, match="OrderPlaced"):
        placed(stage)


# Whose code, and when.


def test_a_code_is_good_in_its_window_and_for_its_tiers_alone() -> None:
    stage = Stage(terms(), terms(GUEST))
    stage.give(promo(value=10, tier_ids=(GUEST,), window_ms=(NOON_MS + 10, NOON_MS + 20)))
    assert refused(stage, (GUEST, 1)) is Reason.PROMO_CODE_NOT_ACTIVE
    stage.pass_ms(10)
    assert refused(stage, (FLOOR, 1)) is Reason.PROMO_CODE_NOT_APPLICABLE
    placed(stage, (FLOOR, 1), (GUEST, 1))
    stage.pass_ms(10)
    assert refused(stage, (GUEST, 1)) is Reason.PROMO_CODE_NOT_ACTIVE


def test_a_hidden_tier_is_sold_by_a_code_that_unlocks_it_and_is_unknown_otherwise() -> None:
    stage = Stage(terms(), terms(GUEST, hidden=True, quantity=2))
    stage.give(promo(value=10))
    stage.give(promo("KEY", unlocks=True, tier_ids=(GUEST,)))
    assert stage.reason(stage.place_order((GUEST, 1))) is Reason.UNKNOWN_TIER
    assert refused(stage, (GUEST, 1)) is Reason.UNKNOWN_TIER
    assert refused(stage, (GUEST, 1), code="GUESSED") is Reason.UNKNOWN_TIER
    assert stage.reason(stage.join_waitlist(2, GUEST)) is Reason.UNKNOWN_TIER
    order = placed(stage, (FLOOR, 1), (GUEST, 2), code="KEY")
    assert total_minor(order.items) == 15_000
    assert refused(stage, (GUEST, 1), code="KEY") is Reason.SOLD_OUT


def test_who_was_offered_places_of_a_tier_that_is_hidden_since_may_buy_them() -> None:
    stage = Stage(terms(quantity=1))
    order_id = stage.place()
    entry_id = a(
        f.WaitlistJoined, stage.ask(stage.join_waitlist(buyer_id=STRANGER.subject))
    ).entry_id
    stage.ask(c.CancelOrder(order_id, BUYER))
    stage.configure(terms(quantity=1, hidden=True))
    offer_id = f"off_{entry_id[4:]}"
    bought = stage.place_order(buyer_id=STRANGER.subject, offer_id=offer_id)
    a(f.OrderPlaced, stage.ask(bought))


def test_the_first_answer_again_shows_the_code() -> None:
    stage = Stage(terms())
    stage.give(promo(value=10))
    order = stage.place_order(promo_code="SUMMER")
    first = a(f.OrderPlaced, stage.ask(order))
    assert first.promo is not None
    assert stage.replay(order) == first
