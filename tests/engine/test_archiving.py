"""Memory holds what lives: what is finished leaves by a fact, and comes back when it is needed."""

import copy

import pytest

from engine import commands as c
from engine import facts as f
from engine import sale, snapshot
from engine.keys import KEYS_MAX, used_keys
from engine.order import OrderStatus, OrderView
from engine.purchase import PaymentStatus
from engine.rejections import Reason, Rejection
from engine.replies import Replayed
from engine.state import GATHER_MS, HEADER, Archived
from tests.engine.stage import (
    BUYER,
    DAY_MS,
    FLOOR,
    HOLD_MS,
    HOUR_MS,
    KEPT_MS,
    ORGANIZER,
    Stage,
    a,
    terms,
)

LONG = terms(sale_end_ms=Stage().now_ms + 9 * DAY_MS)


def given_up(stage: Stage) -> str:
    order_id = stage.place()
    stage.ask(c.CancelOrder(order_id, BUYER))
    return order_id


def expired(stage: Stage, *wanted: tuple[str, int]) -> tuple[str, str]:
    """An order whose payment was asked for, and did not come in time; and that payment."""
    order_id = stage.place(*wanted)
    payment_id = stage.request(order_id)
    stage.pass_ms(HOLD_MS)
    stage.sweep_all()
    return order_id, payment_id


def swept(stage: Stage, orders_max: int = 1000, kept_ms: int = KEPT_MS) -> list[f.Fact]:
    facts = a(list, stage.decide(stage.sweep(orders_max, kept_ms)))
    stage.write(facts)
    return facts


def test_cancelled_order_stays_for_a_while_and_leaves_by_a_fact() -> None:
    stage = Stage()
    order_id = given_up(stage)
    assert stage.state.next_tidying_ms(KEPT_MS) == stage.now_ms + KEPT_MS + GATHER_MS
    stage.pass_ms(KEPT_MS + GATHER_MS - 1)
    assert swept(stage) == []
    stage.pass_ms(1)
    assert swept(stage) == [f.OrdersArchived((order_id,))]
    assert order_id not in stage.state.order_by_id
    assert stage.decide(c.ReadOrder(order_id, BUYER)) == Archived(
        order_id, stage.state.header.seq, ORGANIZER.subject
    )


def test_sweep_archives_a_bounded_number_and_is_due_again_until_none_is_left() -> None:
    stage = Stage()
    orders = [given_up(stage) for _ in range(5)]
    stage.pass_ms(KEPT_MS + GATHER_MS)
    for lot in (orders[:2], orders[2:4], orders[4:]):
        due_ms = stage.state.next_tidying_ms(KEPT_MS)
        assert due_ms is not None
        assert due_ms <= stage.now_ms
        assert swept(stage, orders_max=2) == [f.OrdersArchived(tuple(lot))]
    due_ms = stage.state.next_tidying_ms(KEPT_MS)
    assert due_ms is not None
    assert due_ms > stage.now_ms, "the keys, tomorrow"


def test_what_falls_due_one_by_one_is_tidied_by_the_lot() -> None:
    stage = Stage()
    orders = []
    for _ in range(4):
        orders.append(given_up(stage))
        stage.pass_ms(GATHER_MS // 4)
    stage.pass_ms(KEPT_MS)
    assert swept(stage) == [f.OrdersArchived(tuple(orders))]


def test_setting_may_change_without_changing_what_has_happened() -> None:
    stage = Stage()
    given_up(stage)
    stage.pass_ms(2 * GATHER_MS)
    assert len(swept(stage, kept_ms=GATHER_MS)) == 1
    given_up(stage)
    stage.pass_ms(KEPT_MS)
    swept(stage, kept_ms=2 * KEPT_MS)
    state = snapshot.fresh(stage.state.header.sale_id)
    for entry in stage.entries:
        sale.apply(state, entry)
    assert dict(snapshot.encode(state, snapshot.names(state))) == stage.entities()


def test_orders_that_hold_or_have_tickets_stay() -> None:
    stage = Stage(LONG)
    sold, refunded = stage.sell().order_id, stage.sell().order_id
    stage.ask(stage.refund_order(refunded))
    pending = stage.place()
    stage.pass_ms(HOLD_MS - 1)
    assert swept(stage, kept_ms=1) == []
    assert {sold, refunded, pending} == stage.state.order_by_id.keys()
    stage.pass_ms(1)
    stage.sweep_all()
    stage.archive_all()
    assert {sold, refunded} == stage.state.order_by_id.keys()


@pytest.mark.parametrize("done", [True, False])
def test_order_stays_until_its_money_is_back(done: bool) -> None:
    stage = Stage(terms(quantity=1))
    order_id, payment_id = expired(stage)
    stage.sell()
    stage.ask(stage.confirm_order(order_id, payment_id))
    stage.archive_all()
    refund_id = stage.state.order_by_id[order_id].refunds[0].refund_id
    stage.ask(c.SettleRefund(order_id, refund_id, done))
    stage.pass_ms(KEPT_MS)
    stage.sweep_all()
    assert order_id in stage.state.order_by_id, "counted from when it was settled"
    stage.pass_ms(GATHER_MS)
    stage.sweep_all()
    assert (order_id not in stage.state.order_by_id) == done


def test_key_outlives_its_order_and_goes_after_its_24_hours() -> None:
    stage = Stage(LONG)
    order = stage.place_order()
    stage.ask(order)
    payment = stage.request_payment(order.order_id)
    stage.ask(payment)
    stage.ask(c.CancelOrder(order.order_id, BUYER))
    stage.archive_all()
    seq = stage.state.header.archived_seq
    about = Archived(order.order_id, seq, ORGANIZER.subject)
    assert stage.decide(order) == Replayed(about)
    paid = Archived(order.order_id, seq, ORGANIZER.subject, payment.payment_id)
    assert stage.decide(payment) == Replayed(paid)
    reused = stage.place_order(key=c.Key(order.key.digest, bytes(16)))
    assert stage.reason(reused) is Reason.IDEMPOTENCY_KEY_REUSED
    assert len(stage.entities()) == 3, "the header and two keys"
    stage.state = snapshot.restore(stage.entities())
    assert stage.decide(order) == Replayed(about)
    stage.pass_ms(DAY_MS + GATHER_MS)
    assert [type(fact) for fact in swept(stage)] == [f.KeysForgotten]
    assert stage.entities().keys() == {HEADER}
    assert stage.state.next_tidying_ms(KEPT_MS) is None


def test_key_that_is_used_again_before_it_is_forgotten_is_kept_once() -> None:
    stage = Stage(LONG)
    order = stage.place_order()
    stage.ask(order)
    stage.ask(c.CancelOrder(order.order_id, BUYER))
    stage.archive_all()
    stage.pass_ms(DAY_MS)
    stage.state.touched.clear()
    again = stage.place_order(key=order.key)
    stage.ask(again)
    gone = [n for n, e in snapshot.changes(stage.state, stage.state.touched) if e is None]
    assert gone == [f"key:{order.key.digest.hex()}"]
    stage.state = snapshot.restore(stage.entities())
    assert a(f.OrderPlaced, stage.replay(order)).order_id == again.order_id


def test_orders_forget_their_keys_after_24_hours() -> None:
    stage = Stage()
    order = stage.sell()
    stage.ask(stage.reissue_ticket(order.order_id))
    assert len(used_keys(stage.state.order_by_id[order.order_id])) == 3
    stage.pass_ms(DAY_MS + GATHER_MS)
    stage.sweep_all()
    assert used_keys(stage.state.order_by_id[order.order_id]) == ()
    assert not stage.state.keys


def test_order_remembers_a_bounded_number_of_keys() -> None:
    stage = Stage()
    sold, pending = stage.sell(), stage.place()
    for _ in range(KEYS_MAX - 2):
        stage.ask(stage.reissue_ticket(sold.order_id))
    for _ in range(KEYS_MAX - 1):
        stage.request(pending)
    assert stage.reason(stage.reissue_ticket(sold.order_id)) is Reason.TOO_MANY_KEYS
    once_more = stage.request_payment(pending)
    assert stage.reason(once_more) is Reason.TOO_MANY_KEYS
    stage.pass_ms(DAY_MS + GATHER_MS)
    stage.sweep_all()
    assert isinstance(stage.ask(stage.reissue_ticket(sold.order_id)), OrderView)


def test_restored_sale_lets_go_in_the_order_of_time() -> None:
    stage = Stage()
    orders = [stage.place() for _ in range(3)]
    for order_id in reversed(orders):
        stage.ask(c.CancelOrder(order_id, BUYER))
        stage.pass_ms(1)
    stage.state = snapshot.restore(stage.entities())
    stage.pass_ms(KEPT_MS + GATHER_MS)
    assert swept(stage, orders_max=2) == [f.OrdersArchived((orders[2], orders[1]))]


def test_sale_does_not_grow_with_what_has_happened_in_it() -> None:
    stage = Stage(LONG)
    sizes = []
    for _ in range(4):
        for _ in range(48):
            stage.request(stage.place())
            stage.pass_ms(HOUR_MS // 2)
            stage.sweep_all()
            stage.state.next_deadline_ms()
        kept = stage.entities()
        state = stage.state
        sizes.append((len(kept), len(state.keys), len(state.finished), len(state.holds)))
        stage.state = snapshot.restore(kept)
    assert sizes[1] == sizes[2] == sizes[3]


def test_recalled_order_is_confirmed_where_its_places_are_free() -> None:
    stage = Stage()
    order_id, payment_id = expired(stage)
    stage.archive_all()
    confirmation = stage.confirm_order(order_id, payment_id)
    assert isinstance(stage.decide(confirmation), Archived)
    stage.ask(stage.recall(order_id))
    confirmed = a(OrderView, stage.ask(confirmation))
    assert confirmed.status is OrderStatus.CONFIRMED
    assert stage.inventory() == (0, 1)
    assert len(confirmed.tickets) == 1


def test_money_for_a_recalled_order_goes_back_where_its_places_are_gone() -> None:
    stage = Stage(terms(quantity=2))
    order_id, payment_id = expired(stage, (FLOOR, 2))
    stage.sell()
    stage.archive_all()
    stage.ask(stage.recall(order_id))
    view = a(OrderView, stage.ask(stage.confirm_order(order_id, payment_id)))
    assert view.status is OrderStatus.CANCELLED
    assert stage.auditor.money_returned() == 10_000


def test_recalling_twice_is_harmless_and_so_is_recalling_late() -> None:
    stage = Stage(terms(quantity=1))
    order_id, payment_id = expired(stage)
    stage.archive_all()
    read = stage.recall(order_id)
    stage.ask(read)
    before = stage.entities()
    assert a(OrderView, stage.ask(read)).status is OrderStatus.CANCELLED
    assert stage.entities() == before
    stage.sell()
    returned = stage.ask(stage.confirm_order(order_id, payment_id))
    refund_id = stage.state.order_by_id[order_id].refunds[0].refund_id
    stage.ask(c.SettleRefund(order_id, refund_id, True))
    stage.archive_all()
    assert isinstance(stage.decide(read), Archived), "it was read before the money went back"
    stage.ask(stage.recall(order_id))
    assert stage.ask(stage.confirm_order(order_id, payment_id)) == stage.read(order_id)
    assert a(OrderView, returned).refund == "pending"
    assert stage.auditor.money_returned() == 5_000


def test_recalled_order_is_kept_for_a_while_and_its_keys_stay_where_they_are() -> None:
    stage = Stage(LONG)
    order = stage.place_order()
    placed = stage.ask(order)
    stage.ask(c.CancelOrder(order.order_id, BUYER))
    stage.archive_all()
    stage.ask(stage.recall(order.order_id))
    assert stage.replay(order) == placed
    stage.pass_ms(KEPT_MS)
    stage.sweep_all()
    assert order.order_id in stage.state.order_by_id
    stage.pass_ms(GATHER_MS)
    stage.sweep_all()
    assert order.order_id not in stage.state.order_by_id
    assert isinstance(stage.decide(order), Replayed)


def test_facts_stay_what_they_were_whatever_becomes_of_a_recalled_order() -> None:
    stage = Stage(terms(quantity=1))
    order_id, payment_id = expired(stage)
    stage.archive_all()
    stage.ask(stage.recall(order_id))
    told = copy.deepcopy(stage.entries[-1])
    stage.ask(stage.confirm_order(order_id, payment_id, 1))
    assert stage.state.order_by_id[order_id].payments[0].status is PaymentStatus.RETURNED
    assert a(f.OrderRecalled, told.fact).order.payments[0].status is PaymentStatus.OPEN
    assert told in stage.entries


def test_sale_that_has_archived_nothing_knows_what_has_never_been() -> None:
    stage = Stage()
    stranger = stage.place_order().order_id
    assert stage.reason(c.ReadOrder(stranger, BUYER)) is Reason.UNKNOWN_ORDER
    given_up(stage)
    stage.archive_all()
    archived = a(Archived, stage.decide(c.ReadOrder(stranger, BUYER)))
    file = stage.tables.read(stranger)
    assert (file.known, file.seq >= archived.seq) == (False, True)
    told = sale.decide_archived(None, archived, c.ReadOrder(stranger, BUYER), stage.now_ms)
    assert told == Rejection(Reason.UNKNOWN_ORDER)
