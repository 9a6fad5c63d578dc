"""Money that goes back, as asked or because the event is cancelled: one promise a test."""

import pytest

from engine import commands as c
from engine import facts as f
from engine.order import OrderStatus, OrderView
from engine.purchase import RefundStatus
from engine.rejections import Reason
from engine.ticket import TicketStatus
from tests.engine.stage import (
    BALCONY,
    FLOOR,
    GUEST,
    HOLD_MS,
    ORGANIZER,
    STRANGER,
    Stage,
    a,
    terms,
)

BY_EVENT = f.CancelReason.EVENT_CANCELLED


def ended(view: OrderView) -> tuple[OrderStatus, f.CancelReason | None]:
    return view.status, view.cancel_reason


# Refunds.


def test_refund_of_all_gives_money_and_places_back() -> None:
    stage = Stage()
    order = stage.sell((FLOOR, 2))
    view = a(OrderView, stage.ask(stage.refund_order(order.order_id)))
    assert (view.status, view.refunded_minor) == (OrderStatus.REFUNDED, 10_000)
    assert [ticket.status for ticket in view.tickets] == [TicketStatus.CANCELLED] * 2
    assert stage.inventory() == (0, 0)


def test_partly_refunded_order_stays_confirmed_with_what_was_refunded() -> None:
    stage = Stage(terms(FLOOR), terms(BALCONY, price_minor=9000))
    order = stage.sell((FLOOR, 1), (BALCONY, 2))
    view = a(OrderView, stage.ask(stage.refund_order(order.order_id, 1)))
    assert (view.status, view.refunded_minor) == (OrderStatus.CONFIRMED, 9000)
    assert stage.inventory(BALCONY) == (0, 1)
    view = a(OrderView, stage.ask(stage.refund_order(order.order_id)))
    assert (view.status, view.refunded_minor) == (OrderStatus.REFUNDED, 23_000)


def test_refund_with_the_same_key_pays_once() -> None:
    stage = Stage()
    order = stage.sell((FLOOR, 3))
    first = stage.refund_order(order.order_id, 0)
    refunded = stage.ask(first)
    stage.ask(stage.refund_order(order.order_id, 1))
    assert stage.replay(stage.refund_order(order.order_id, 0, key=first.key)) == refunded


def test_ticket_named_twice_in_one_refund_is_paid_once() -> None:
    stage = Stage()
    order = stage.sell((FLOOR, 2))
    view = a(OrderView, stage.ask(stage.refund_order(order.order_id, 1, 1)))
    assert view.refunded_minor == 5000


def test_ticket_that_was_refunded_is_not_refunded_again() -> None:
    stage = Stage()
    order = stage.sell((FLOOR, 2))
    stage.ask(stage.refund_order(order.order_id, 0))
    again = stage.refund_order(order.order_id, 0, 1)
    assert stage.reason(again) is Reason.TICKET_NOT_VALID
    assert stage.inventory() == (0, 1)


def test_ticket_that_the_order_has_not_is_unknown() -> None:
    stage = Stage()
    order = stage.sell((FLOOR, 2))
    assert stage.reason(stage.refund_order(order.order_id, 2)) is Reason.UNKNOWN_TICKET


def test_order_that_is_not_confirmed_is_not_refunded() -> None:
    stage = Stage()
    order_id = stage.place()
    pending = stage.refusal(stage.refund_order(order_id))
    stage.pass_ms(HOLD_MS)
    expired = stage.refusal(stage.refund_order(order_id))
    assert pending == (Reason.ORDER_NOT_CONFIRMED, {"status": "PENDING"})
    assert expired == (Reason.ORDER_NOT_CONFIRMED, {"status": "CANCELLED"})


def test_refunded_used_ticket_needs_force() -> None:
    stage = Stage()
    order = stage.sell((FLOOR, 2))
    stage.scan(order.tickets[1].token)
    reason, facts = stage.refusal(stage.refund_order(order.order_id))
    assert reason is Reason.TICKET_USED
    assert str(facts["ticket_id"]).endswith("-1")
    unused = a(OrderView, stage.ask(stage.refund_order(order.order_id, 0)))
    assert unused.refunded_minor == 5000
    forced = a(OrderView, stage.ask(stage.refund_order(order.order_id, force=True)))
    assert forced.status is OrderStatus.REFUNDED


def test_refund_is_pending_until_the_provider_says_done() -> None:
    stage = Stage()
    order = stage.sell()
    refund = stage.refund_order(order.order_id)
    stage.ask(refund)

    def told(done: bool) -> RefundStatus | None:
        settle = c.SettleRefund(order.order_id, refund.refund_id, done)
        return a(OrderView, stage.ask(settle)).refund

    seen = [stage.read(order.order_id).refund, told(False), told(True), told(True), told(False)]
    assert seen == ["pending", "failed", "done", "done", "failed"], "banks change their minds"


def test_a_refund_that_failed_is_seen_before_those_that_are_well_and_may_be_sent_anew() -> None:
    stage = Stage()
    order = stage.sell((FLOOR, 2))
    first, second = (stage.refund_order(order.order_id, number) for number in (0, 1))
    for refund in (first, second):
        stage.ask(refund)
    stage.ask(c.SettleRefund(order.order_id, first.refund_id, False))
    settled = c.SettleRefund(order.order_id, second.refund_id, True)
    assert a(OrderView, stage.ask(settled)).refund is RefundStatus.FAILED

    def retried(refund_id: str, caller: c.Caller = ORGANIZER) -> c.RetryRefund:
        return c.RetryRefund(order.order_id, refund_id, caller)

    assert stage.reason(retried("ref_none")) is Reason.UNKNOWN_REFUND
    assert stage.reason(retried(first.refund_id, STRANGER)) is Reason.UNKNOWN_ORDER
    facts = len(stage.entries)
    for refund_id in (second.refund_id, first.refund_id, first.refund_id):
        view = a(OrderView, stage.ask(retried(refund_id)))
    assert view.refund is RefundStatus.PENDING
    assert len(stage.entries) == facts + 1, "only one that failed, and once"


def test_refund_of_what_cost_nothing_is_done_at_once() -> None:
    stage = Stage(terms(GUEST, price_minor=0))
    order_id = stage.place((GUEST, 1))
    stage.ask(stage.request_payment(order_id))
    view = a(OrderView, stage.ask(stage.refund_order(order_id)))
    assert (view.status, view.refund) == (OrderStatus.REFUNDED, RefundStatus.DONE)


# The event is cancelled.


def test_cancelled_event_unwinds_every_order_over_several_sweeps() -> None:
    stage = Stage()
    pending = [stage.place() for _ in range(3)]
    sold = [stage.sell().order_id for _ in range(3)]
    stage.scan(stage.token(sold[0]))
    stage.cancel_event()
    assert stage.sweep_all() == 3  # two at a time
    assert {ended(stage.read(key)) for key in pending} == {(OrderStatus.CANCELLED, BY_EVENT)}
    assert {stage.read(key).status for key in sold} == {OrderStatus.REFUNDED}
    assert stage.auditor.money_returned() == 15_000
    assert stage.inventory() == (0, 0)


def test_cancelled_event_wants_to_be_swept_until_all_is_unwound() -> None:
    stage = Stage()
    stage.place()
    stage.sell()
    stage.cancel_event()
    assert stage.state.next_deadline_ms() == 0
    stage.sweep_all()
    assert stage.state.next_deadline_ms() is None


def test_cancelled_event_refunds_what_is_left_of_a_partly_refunded_order() -> None:
    stage = Stage()
    order = stage.sell((FLOOR, 3))
    stage.ask(stage.refund_order(order.order_id, 1))
    stage.cancel_event()
    stage.sweep_all()
    assert stage.read(order.order_id).refunded_minor == 15_000


@pytest.mark.parametrize("price_minor", [0, 5000])
def test_cancelled_event_lets_no_order_be_paid_even_before_the_sweep(price_minor: int) -> None:
    stage = Stage(terms(price_minor=price_minor))
    order_id = stage.place()
    stage.cancel_event()
    assert stage.reason(stage.request_payment(order_id)) is Reason.ORDER_NOT_PENDING


def test_order_seen_as_expired_stays_expired_when_its_event_is_cancelled() -> None:
    stage = Stage()
    order_id = stage.place()
    stage.pass_ms(HOLD_MS)
    seen = stage.read(order_id)
    stage.cancel_event()
    stage.sweep_all()
    assert stage.read(order_id) == seen
