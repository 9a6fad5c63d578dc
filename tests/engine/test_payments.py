"""Payments, in time, late, twice and wrong: one promise a test."""

from itertools import permutations, product

import pytest

from engine import commands as c
from engine import facts as f
from engine.order import OrderStatus, OrderView
from engine.purchase import RefundStatus
from engine.rejections import Reason
from tests.engine.stage import (
    BALCONY,
    BUYER,
    FLOOR,
    GUEST,
    HOLD_MS,
    Stage,
    a,
    terms,
)

EXPIRED, BY_BUYER = f.CancelReason.EXPIRED, f.CancelReason.BUYER


def ended(view: OrderView) -> tuple[OrderStatus, f.CancelReason | None]:
    return view.status, view.cancel_reason


def test_payment_in_time_confirms_and_issues_a_ticket_a_place() -> None:
    stage = Stage(terms(FLOOR), terms(BALCONY))
    order = stage.sell((BALCONY, 1), (FLOOR, 2))
    assert order.status is OrderStatus.CONFIRMED
    assert [ticket.tier_id for ticket in order.tickets] == [BALCONY, FLOOR, FLOOR]
    assert len({ticket.token for ticket in order.tickets}) == 3
    assert stage.inventory() == (0, 2)


def test_confirming_an_unexpired_order_never_fails_for_lack_of_places() -> None:
    stage = Stage(terms(quantity=2))
    order_id = stage.place((FLOOR, 2))
    payment_id = stage.request(order_id)
    stage.close()
    stage.configure(terms(quantity=2, per_order_max=1, sale_end_ms=stage.now_ms))
    stage.pass_ms(HOLD_MS - 1)
    paid = a(OrderView, stage.ask(stage.confirm_order(order_id, payment_id)))
    assert paid.status is OrderStatus.CONFIRMED


def test_order_that_costs_nothing_is_confirmed_at_once() -> None:
    stage = Stage(terms(GUEST, price_minor=0))
    order_id = stage.place((GUEST, 2))
    request = stage.request_payment(order_id)
    confirmed = a(OrderView, stage.ask(request))
    assert (confirmed.status, confirmed.payment_id) == (OrderStatus.CONFIRMED, None)
    stage.ask(stage.refund_order(order_id))
    assert stage.replay(request) == confirmed


def test_asking_for_a_payment_again_answers_the_open_one() -> None:
    stage = Stage()
    order_id = stage.place()
    first = stage.request(order_id)
    assert stage.request(order_id) == first


def test_key_that_was_answered_with_the_open_payment_gets_that_one_again() -> None:
    stage = Stage()
    order_id = stage.place()
    first = stage.request(order_id)
    again = stage.request_payment(order_id)
    stage.ask(again)
    stage.ask(c.DeclinePayment(order_id, first))
    retried = stage.request_payment(order_id, key=again.key)
    assert a(OrderView, stage.replay(retried)).payment_id == first


def test_declined_order_stays_pending_and_another_payment_may_be_tried() -> None:
    stage = Stage()
    order_id = stage.place()
    first = stage.request(order_id)
    declined = a(OrderView, stage.ask(c.DeclinePayment(order_id, first)))
    assert declined.status is OrderStatus.PENDING
    second = stage.request(order_id)
    assert second != first
    paid = a(OrderView, stage.ask(stage.confirm_order(order_id, second)))
    assert paid.status is OrderStatus.CONFIRMED


def test_word_of_the_provider_counts_once() -> None:
    stage = Stage()
    order_id = stage.place()
    paid = stage.confirm_order(order_id, stage.request(order_id))
    confirmed = stage.ask(paid)
    assert stage.decide(paid) == confirmed
    assert stage.decide(c.DeclinePayment(order_id, paid.payment_id)) == confirmed


def test_payment_that_nobody_asked_for_is_unknown() -> None:
    stage = Stage()
    order_id, other = stage.place(), stage.place()
    payment_id = stage.request(other)
    assert stage.reason(stage.confirm_order(order_id, payment_id)) is Reason.UNKNOWN_PAYMENT
    assert stage.reason(c.DeclinePayment(order_id, payment_id)) is Reason.UNKNOWN_PAYMENT


def test_wrong_amount_goes_back_and_leaves_the_order_pending() -> None:
    stage = Stage()
    order_id = stage.place()
    view = a(OrderView, stage.ask(stage.confirm_order(order_id, stage.request(order_id), 4999)))
    assert (view.status, view.refund) == (OrderStatus.PENDING, RefundStatus.PENDING)
    assert a(f.MoneyReturned, stage.entries[-1].fact).amount_minor == 4999


def test_money_that_came_once_goes_back_once() -> None:
    stage = Stage()
    order_id = stage.place()
    payment_id = stage.request(order_id)
    returned = stage.ask(stage.confirm_order(order_id, payment_id, 4999))
    assert stage.decide(stage.confirm_order(order_id, payment_id, 4999)) == returned


def late(stage: Stage, *, swept: bool) -> c.ConfirmOrder:
    """The word that an order has been paid, when its hold of all places has just ended."""
    order_id = stage.place((FLOOR, 2))
    payment_id = stage.request(order_id)
    stage.pass_ms(HOLD_MS)
    if swept:
        stage.sweep_all()
    return stage.confirm_order(order_id, payment_id)


def all_went_back(stage: Stage, view: OrderView) -> bool:
    last = stage.entries[-1].fact
    return isinstance(last, f.MoneyReturned) and view.refund is RefundStatus.PENDING


@pytest.mark.parametrize("swept", [False, True])
def test_late_payment_confirms_if_the_places_are_still_free(swept: bool) -> None:
    stage = Stage(terms(quantity=2))
    confirmed = a(OrderView, stage.ask(late(stage, swept=swept)))
    assert ended(confirmed) == (OrderStatus.CONFIRMED, None)
    assert a(f.OrderConfirmed, stage.entries[-1].fact).late
    assert stage.inventory() == (0, 2)


def test_late_payment_goes_back_if_the_places_are_taken() -> None:
    stage = Stage(terms(quantity=2))
    paid = late(stage, swept=True)
    stage.place((FLOOR, 1), buyer_id="quicker")
    view = a(OrderView, stage.ask(paid))
    assert ended(view) == (OrderStatus.CANCELLED, EXPIRED)
    assert all_went_back(stage, view)
    assert stage.inventory() == (1, 0)


def test_late_payment_takes_all_its_tiers_or_none() -> None:
    stage = Stage(terms(FLOOR, quantity=1), terms(BALCONY, quantity=1))
    order_id = stage.place((FLOOR, 1), (BALCONY, 1))
    payment_id = stage.request(order_id)
    stage.pass_ms(HOLD_MS)
    stage.sweep_all()
    stage.place((BALCONY, 1))
    assert all_went_back(stage, a(OrderView, stage.ask(stage.confirm_order(order_id, payment_id))))
    assert stage.inventory(FLOOR) == (0, 0)


@pytest.mark.parametrize("swept", [False, True])
def test_late_payment_for_an_event_that_is_over_goes_back(swept: bool) -> None:
    stage = Stage(terms(quantity=2))
    paid = late(stage, swept=swept)
    stage.complete()
    assert all_went_back(stage, a(OrderView, stage.ask(paid)))


@pytest.mark.parametrize("swept", [False, True])
def test_late_payment_for_a_cancelled_event_goes_back(swept: bool) -> None:
    stage = Stage(terms(quantity=2))
    paid = late(stage, swept=swept)
    stage.cancel_event()
    assert all_went_back(stage, a(OrderView, stage.ask(paid)))


def test_payment_for_an_order_that_was_given_up_goes_back_though_places_are_free() -> None:
    stage = Stage()
    order_id = stage.place()
    payment_id = stage.request(order_id)
    stage.ask(c.CancelOrder(order_id, BUYER))
    view = a(OrderView, stage.ask(stage.confirm_order(order_id, payment_id)))
    assert ended(view) == (OrderStatus.CANCELLED, BY_BUYER)
    assert all_went_back(stage, view)


def test_second_payment_of_a_confirmed_order_goes_back_and_the_order_stands() -> None:
    stage = Stage()
    order_id = stage.place()
    first = stage.request(order_id)
    stage.ask(c.DeclinePayment(order_id, first))
    second = stage.request(order_id)
    stage.ask(stage.confirm_order(order_id, first))  # the bank thought again
    tokens = [ticket.token for ticket in stage.read(order_id).tickets]
    view = a(OrderView, stage.ask(stage.confirm_order(order_id, second)))
    assert view.status is OrderStatus.CONFIRMED
    assert [ticket.token for ticket in view.tickets] == tokens
    assert all_went_back(stage, view)
    assert view.refunded_minor == 0


@pytest.mark.parametrize("late", [False, True])
def test_a_providers_words_count_once_in_any_order_and_however_often(late: bool) -> None:
    """A word says what a payment has come to, it is no step: the payment's own status, which is
    part of the facts, is all that is needed to know a word that was heard before."""
    for words in {*permutations("ddss"), *product("ds", repeat=3)}:
        stage = Stage(terms(FLOOR, quantity=1))
        order_id = stage.place()
        payment_id = stage.request(order_id)
        stage.pass_ms(HOLD_MS if late else 0)
        for word in words:
            paid, declined = (
                stage.confirm_order(order_id, payment_id),
                c.DeclinePayment(order_id, payment_id),
            )
            stage.ask(paid if word == "s" else declined)
        status = OrderStatus.CONFIRMED if "s" in words else stage.read(order_id).status
        assert stage.read(order_id).status is status
        kinds = [type(entry.fact) for entry in stage.entries]
        assert kinds.count(f.OrderConfirmed) == ("s" in words)
        assert kinds.count(f.PaymentDeclined) == (words[0] == "d")
        assert f.MoneyReturned not in kinds
