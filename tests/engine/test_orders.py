"""Orders, from the first request to the end of the hold: one promise a test."""

from collections import Counter

import pytest

from engine import commands as c
from engine import facts as f
from engine.order import OrderStatus, OrderView
from engine.orders import Orders
from engine.rejections import Reason, Rejection
from engine.state import SaleView
from tests.engine.stage import (
    BALCONY,
    BUYER,
    DAY_MS,
    FLOOR,
    HOLD_MS,
    ORGANIZER,
    STRANGER,
    Stage,
    a,
    terms,
)

EXPIRED, BY_BUYER = f.CancelReason.EXPIRED, f.CancelReason.BUYER


def ended(view: OrderView) -> tuple[OrderStatus, f.CancelReason | None]:
    return view.status, view.cancel_reason


# Placing.


def test_order_holds_its_places_until_a_time_fixed_at_the_start() -> None:
    stage = Stage()
    placed = a(f.OrderPlaced, stage.ask(stage.place_order((FLOOR, 3))))
    assert placed.expires_at_ms == stage.now_ms + HOLD_MS
    assert stage.inventory() == (3, 0)


def test_all_selections_are_held_or_none() -> None:
    stage = Stage(terms(FLOOR), terms(BALCONY, quantity=1))
    assert stage.reason(stage.place_order((FLOOR, 2), (BALCONY, 2))) is Reason.SOLD_OUT
    assert stage.inventory(FLOOR) == stage.inventory(BALCONY) == (0, 0)


def test_same_tier_twice_is_added_up_before_any_check() -> None:
    stage = Stage(terms(quantity=5, per_order_max=4))
    too_many = {"tier_id": FLOOR, "requested": 5, "max_per_order": 4}
    twice = stage.place_order((FLOOR, 2), (FLOOR, 3))
    assert stage.refusal(twice) == (Reason.MAX_PER_ORDER_EXCEEDED, too_many)
    placed = a(f.OrderPlaced, stage.ask(stage.place_order((FLOOR, 2), (FLOOR, 2))))
    assert placed.items == (f.Item(FLOOR, 4, 5000),)


def test_last_place_is_sold_and_the_next_is_refused_with_what_is_available() -> None:
    stage = Stage(terms(quantity=3))
    stage.place((FLOOR, 2))
    short = {"tier_id": FLOOR, "requested": 2, "available": 1}
    assert stage.refusal(stage.place_order((FLOOR, 2))) == (Reason.SOLD_OUT, short)
    stage.place((FLOOR, 1))
    assert stage.inventory() == (3, 0)


def test_sale_is_active_from_its_start_to_before_its_end() -> None:
    stage = Stage()
    start_ms = stage.now_ms + 10
    stage.configure(terms(sale_start_ms=start_ms, sale_end_ms=start_ms + 10))
    expected = {9: False, 10: True, 19: True, 20: False}
    for after_ms, active in expected.items():
        stage.now_ms = start_ms - 10 + after_ms
        decided = stage.decide(stage.place_order())
        assert isinstance(decided, list) is active, after_ms


def test_price_change_is_for_new_orders_only() -> None:
    stage = Stage()
    before = stage.place()
    stage.configure(terms(price_minor=7000))
    after = stage.place()
    prices = [stage.read(order_id).items[0].unit_price_minor for order_id in (before, after)]
    assert prices == [5000, 7000]
    paid = a(OrderView, stage.ask(stage.confirm_order(before, stage.request(before), 5000)))
    assert paid.status is OrderStatus.CONFIRMED


def test_quantity_shrinks_to_what_is_committed_and_no_further() -> None:
    stage = Stage(terms(quantity=10))
    stage.sell((FLOOR, 2))
    stage.place((FLOOR, 1))
    below = c.ConfigureTier(stage.version(), terms(quantity=2))
    case = {"tier_id": FLOOR, "requested": 2, "committed": 3}
    assert stage.refusal(below) == (Reason.BELOW_COMMITTED, case)
    stage.configure(terms(quantity=3))
    assert stage.reason(stage.place_order()) is Reason.SOLD_OUT


def test_change_that_was_heard_before_changes_nothing() -> None:
    stage = Stage()
    stage.configure(terms(quantity=20))
    stale = c.ConfigureTier(stage.state.header.version, terms(quantity=1))
    assert a(SaleView, stage.decide(stale)).tiers[0].terms.quantity == 20


def test_closed_sale_takes_no_order_and_lets_pending_ones_be_paid() -> None:
    stage = Stage()
    order_id = stage.place()
    payment_id = stage.request(order_id)
    stage.close()
    assert stage.reason(stage.place_order()) is Reason.EVENT_NOT_ON_SALE
    paid = a(OrderView, stage.ask(stage.confirm_order(order_id, payment_id)))
    assert paid.status is OrderStatus.CONFIRMED


# The same request again.


def test_same_key_gets_the_first_answer_and_no_second_order() -> None:
    stage = Stage()
    first = stage.place_order((FLOOR, 2))
    placed = stage.ask(first)
    stage.configure(terms(price_minor=1))
    stage.pass_ms(HOLD_MS)
    stage.sweep_all()
    again = stage.place_order((FLOOR, 2), key=first.key)
    assert stage.replay(again) == placed
    assert len(stage.state.order_by_id) == 1


def test_key_is_kept_for_24_hours_and_not_longer() -> None:
    stage = Stage(terms(sale_end_ms=Stage().now_ms + 2 * DAY_MS))
    key = stage.key()
    placed = stage.ask(stage.place_order(key=key))
    stage.pass_ms(DAY_MS - 1)
    assert stage.replay(stage.place_order(key=key)) == placed
    stage.pass_ms(1)
    later = stage.place_order(key=key)
    assert a(f.OrderPlaced, stage.ask(later)).order_id == later.order_id


def test_refused_request_does_not_use_its_key_up() -> None:
    stage = Stage(terms(quantity=1))
    key = stage.key()
    first = stage.place()
    assert stage.reason(stage.place_order(key=key)) is Reason.SOLD_OUT
    stage.ask(c.CancelOrder(first, BUYER))
    a(f.OrderPlaced, stage.ask(stage.place_order(key=key)))


def test_key_of_one_kind_of_request_is_refused_for_another() -> None:
    stage = Stage()
    order = stage.place_order()
    stage.ask(order)
    other = c.Key(order.key.digest, stage.random(16))
    for command in (
        stage.request_payment(order.order_id, key=other),
        stage.refund_order(order.order_id, key=other),
        stage.reissue_ticket(order.order_id, key=other),
    ):
        assert stage.reason(command) is Reason.IDEMPOTENCY_KEY_REUSED


# Who may.


@pytest.mark.parametrize(
    "caller",
    [STRANGER, c.Caller(c.Role.ORGANIZER, "another"), c.Caller(c.Role.SCANNER, BUYER.subject)],
)
def test_somebody_elses_order_does_not_exist(caller: c.Caller) -> None:
    stage = Stage()
    order_id = stage.place()
    for command in (
        c.ReadOrder(order_id, caller),
        c.CancelOrder(order_id, caller),
        stage.request_payment(order_id, caller),
        stage.refund_order(order_id, caller=caller),
    ):
        assert stage.reason(command) is Reason.UNKNOWN_ORDER


@pytest.mark.parametrize(
    "caller", [BUYER, ORGANIZER, c.Caller(c.Role.BOX_OFFICE, "shop"), c.Caller(c.Role.ADMIN, "")]
)
def test_buyer_organizer_box_office_and_admin_see_the_order(caller: c.Caller) -> None:
    stage = Stage()
    order_id = stage.place()
    assert a(OrderView, stage.ask(c.ReadOrder(order_id, caller))).order_id == order_id


# The end of a hold.


def test_hold_ends_at_its_instant_swept_or_not() -> None:
    stage = Stage()
    order_id = stage.place()
    stage.pass_ms(HOLD_MS - 1)
    assert ended(stage.read(order_id)) == (OrderStatus.PENDING, None)
    stage.pass_ms(1)
    unswept = stage.read(order_id)
    assert ended(unswept) == (OrderStatus.CANCELLED, EXPIRED)
    stage.sweep_all()
    assert stage.read(order_id) == unswept


def test_sale_asks_to_be_swept_when_its_first_hold_ends() -> None:
    stage = Stage()
    first = stage.place()
    ends_at_ms = stage.now_ms + HOLD_MS
    stage.pass_ms(5)
    stage.place()
    assert stage.state.next_deadline_ms() == ends_at_ms
    stage.ask(c.CancelOrder(first, BUYER))
    assert stage.state.next_deadline_ms() == ends_at_ms + 5


def test_sweep_gives_back_what_is_due_and_nothing_else() -> None:
    stage = Stage()
    for quantity in (1, 2, 3):
        stage.place((FLOOR, quantity))
        stage.pass_ms(10)
    stage.pass_ms(HOLD_MS - 20)  # the second ends now, the third in 10 ms
    stage.sweep_all()
    assert stage.inventory() == (3, 0)


def test_sweep_ends_no_more_orders_than_it_may() -> None:
    stage = Stage()
    for _ in range(5):
        stage.place()
    stage.pass_ms(HOLD_MS)
    stage.ask(stage.sweep(3))
    assert stage.inventory() == (2, 0)
    stage.ask(stage.sweep(3))
    assert stage.inventory() == (0, 0)


def test_a_sweep_costs_what_it_ends_however_much_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(terms(FLOOR, quantity=400))
    for _ in range(400):
        stage.place()
        stage.pass_ms(1)
    stage.pass_ms(HOLD_MS)
    looks = Counter[str]()
    pending = Orders.pending

    def look(self: Orders, order_id: str) -> bool:
        looks[order_id] += 1
        return pending(self, order_id)

    monkeypatch.setattr(Orders, "pending", look)
    for _ in range(80):
        stage.ask(stage.sweep(5))
    assert stage.inventory() == (0, 0)
    assert looks.total() < 400 * 5


def test_order_given_up_gives_its_places_back_at_once() -> None:
    stage = Stage()
    order_id = stage.place((FLOOR, 4))
    view = a(OrderView, stage.ask(c.CancelOrder(order_id, BUYER)))
    assert ended(view) == (OrderStatus.CANCELLED, BY_BUYER)
    assert stage.inventory() == (0, 0)


def test_giving_up_twice_answers_the_same() -> None:
    stage = Stage()
    order_id = stage.place()
    first = stage.ask(c.CancelOrder(order_id, BUYER))
    assert stage.ask(c.CancelOrder(order_id, BUYER)) == first


def test_expired_order_can_be_neither_given_up_nor_paid_for() -> None:
    stage = Stage()
    order_id = stage.place()
    stage.pass_ms(HOLD_MS)
    for _ in ("before the sweep", "after it"):
        assert stage.reason(c.CancelOrder(order_id, BUYER)) is Reason.ORDER_EXPIRED
        assert stage.reason(stage.request_payment(order_id)) is Reason.ORDER_EXPIRED
        stage.sweep_all()


def test_confirmed_order_can_not_be_given_up() -> None:
    stage = Stage()
    order = stage.sell()
    case = {"status": "CONFIRMED"}
    refused = stage.refusal(c.CancelOrder(order.order_id, BUYER))
    assert refused == (Reason.ORDER_NOT_PENDING, case)


def test_refused_command_leaves_no_fact() -> None:
    stage = Stage()
    before, journal = stage.entities(), len(stage.entries)
    a(Rejection, stage.ask(stage.place_order((FLOOR, 7))))
    assert (stage.entities(), len(stage.entries)) == (before, journal)
