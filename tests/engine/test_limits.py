"""How many of a tier one buyer may have, over all orders."""

import pytest

from engine import commands as c
from engine import facts as f
from engine import snapshot
from engine.order import OrderView
from engine.rejections import Reason
from tests.engine.stage import BUYER, FLOOR, GUEST, HOLD_MS, STRANGER, Stage, a, terms

TOO_MANY = Reason.MAX_PER_BUYER_EXCEEDED


def held(stage: Stage, quantity: int, buyer: c.Caller = BUYER) -> object:
    reason, facts = stage.refusal(stage.place_order((FLOOR, quantity), buyer_id=buyer.subject))
    assert reason is TOO_MANY
    return facts["held"]


def test_what_is_held_and_what_is_sold_count_over_all_orders_of_that_buyer_alone() -> None:
    stage = Stage(terms(per_buyer_max=4), terms(GUEST))
    stage.sell((FLOOR, 2))
    stage.place((FLOOR, 1), (GUEST, 6))
    assert held(stage, 2) == 3
    stage.place((FLOOR, 1))
    assert held(stage, 1) == 4
    stage.ask(stage.place_order((FLOOR, 4), buyer_id=STRANGER.subject))
    assert held(stage, 1, STRANGER) == 4


def test_what_comes_back_may_be_bought_again() -> None:
    stage = Stage(terms(per_buyer_max=3))
    given_up = stage.place((FLOOR, 3))
    stage.ask(c.CancelOrder(given_up, BUYER))
    stage.place((FLOOR, 3))
    assert held(stage, 1) == 3
    stage.pass_ms(HOLD_MS)
    stage.ask(stage.sweep())
    sold = stage.sell((FLOOR, 3))
    stage.ask(stage.refund_order(sold.order_id, 0, 2))
    assert held(stage, 3) == 1
    stage.place((FLOOR, 2))
    assert held(stage, 1) == 3


def test_a_ticket_given_away_stays_its_buyers() -> None:
    stage = Stage(terms(per_buyer_max=1))
    sold = stage.sell()
    stage.ask(stage.transfer_ticket(sold.order_id, 0, BUYER, STRANGER.subject))
    assert held(stage, 1) == 1
    stage.ask(stage.place_order((FLOOR, 1), buyer_id=STRANGER.subject))
    stage.ask(stage.refund_order(sold.order_id))
    stage.place()


def test_a_limit_that_is_set_later_counts_what_there_is_already() -> None:
    stage = Stage(terms())
    stage.sell((FLOOR, 2))
    stage.place((FLOOR, 1))
    stage.ask(c.CancelOrder(stage.place((FLOOR, 3)), BUYER))
    assert stage.state.taken_by_tier == {}
    stage.configure(terms(per_buyer_max=2))
    assert held(stage, 1) == 3
    assert snapshot.restore(stage.entities()).taken_by_tier == stage.state.taken_by_tier
    stage.configure(terms())
    assert stage.state.taken_by_tier == {}
    stage.place((FLOOR, 6))


def test_money_that_comes_late_buys_no_more_than_the_limit() -> None:
    stage = Stage(terms(per_buyer_max=2))
    late = stage.place((FLOOR, 2))
    payment_id = a(OrderView, stage.ask(stage.request_payment(late))).payment_id
    assert payment_id is not None
    stage.pass_ms(HOLD_MS)
    stage.ask(stage.sweep())
    stage.place((FLOOR, 1))
    stage.ask(stage.confirm_order(late, payment_id))
    assert isinstance(stage.entries[-1].fact, f.MoneyReturned)


@pytest.mark.parametrize("swept", [True, False])
def test_money_that_comes_late_buys_what_the_limit_allows(swept: bool) -> None:
    stage = Stage(terms(per_buyer_max=2))
    late = stage.place((FLOOR, 2))
    payment_id = a(OrderView, stage.ask(stage.request_payment(late))).payment_id
    assert payment_id is not None
    stage.pass_ms(HOLD_MS)
    if swept:
        stage.ask(stage.sweep())
    stage.ask(stage.confirm_order(late, payment_id))
    assert stage.read(late).status == "CONFIRMED"
    assert held(stage, 1) == 2


def test_the_line_is_for_those_who_may_still_buy() -> None:
    stage = Stage(terms(quantity=4, per_buyer_max=3))
    stage.place((FLOOR, 2))
    assert stage.reason(stage.join_waitlist(1)) is Reason.TIER_AVAILABLE
    assert stage.refusal(stage.join_waitlist(2))[0] is TOO_MANY  # which could be had by others
    stage.ask(stage.place_order((FLOOR, 2), buyer_id=STRANGER.subject))
    assert stage.reason(stage.join_waitlist(2)) is TOO_MANY
    a(f.WaitlistJoined, stage.ask(stage.join_waitlist(1)))


def test_an_offer_lifts_no_limit() -> None:
    stage = Stage(terms(quantity=3, per_buyer_max=3))
    stage.ask(stage.place_order((FLOOR, 3), buyer_id=STRANGER.subject))
    joined = a(f.WaitlistJoined, stage.ask(stage.join_waitlist(2)))
    stage.configure(terms(quantity=5, per_buyer_max=1))
    offer_id = f"off_{joined.entry_id[4:]}"
    assert stage.reason(stage.place_order((FLOOR, 2), offer_id=offer_id)) is TOO_MANY
    stage.ask(stage.place_order((FLOOR, 1), offer_id=offer_id))
    assert held(stage, 1) == 1


def test_a_sale_that_did_not_count_would_be_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: what the auditor says of more than the limit."""
    monkeypatch.setattr("engine.limits.count", lambda *_: None)
    stage = Stage(terms(per_buyer_max=2))
    stage.place((FLOOR, 2))
    with pytest.raises(AssertionError, match="OrderPlaced"):
        stage.place((FLOOR, 1))
