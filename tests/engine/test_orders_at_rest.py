"""An order that rests is packed, and nobody can tell."""

import random

from engine import commands as c
from engine import ids, moments
from engine.facts import ScanResult
from engine.keys import KeysByAge
from engine.order import OrderStatus
from tests.engine.stage import BUYER, EVENT, Stage


def test_what_is_read_of_a_packed_order_changes_nothing() -> None:
    stage = Stage()
    order_id = stage.sell().order_id
    orders = stage.state.order_by_id
    packed = stage.entities()[order_id]
    orders[order_id].buyer_id = "somebody else"
    stage.sell()
    assert orders.packed(order_id) == packed


def test_what_is_changed_stays_so_whether_it_was_read_or_not() -> None:
    stage = Stage()
    orders, order_ids = stage.state.order_by_id, [stage.sell().order_id for _ in range(3)]
    stage.entities()
    _ = orders[order_ids[0]], orders[order_ids[1]]
    for order_id in order_ids:
        orders.change(order_id).buyer_id = f"buyer of {order_id}"
        assert orders[order_id].buyer_id == f"buyer of {order_id}"
    orders.rest()
    assert [orders[order_id].buyer_id for order_id in order_ids] == [
        f"buyer of {order_id}" for order_id in order_ids
    ]


def test_pending_orders_never_rest() -> None:
    stage = Stage()
    pending, sold = stage.place(), stage.sell().order_id
    orders = stage.state.order_by_id
    stage.entities()
    assert orders.change(pending) is orders[pending]
    assert orders.pending(pending) and not orders.pending(sold)
    assert orders.status(sold) is OrderStatus.CONFIRMED


def test_an_order_that_is_removed_and_comes_back_is_the_new_one() -> None:
    stage = Stage()
    order_id = stage.place()
    stage.ask(c.CancelOrder(order_id, BUYER))
    orders = stage.state.order_by_id
    orders.rest()
    before = orders[order_id]
    orders.remove(order_id)
    before.buyer_id = "the old one"
    orders.add(before)
    orders.rest()
    assert orders[order_id].buyer_id == "the old one"


def test_tickets_are_admitted_out_of_packed_orders() -> None:
    stage = Stage()
    tokens = [ticket.token for ticket in stage.sell().tickets]
    stage.entities()
    assert stage.scan(tokens[0]).fact.result is ScanResult.ADMIT
    stage.entities()
    assert stage.scan(tokens[0]).fact.result is ScanResult.ALREADY_ADMITTED


def test_keys_leave_by_their_age() -> None:
    by_age = KeysByAge(EVENT)
    randoms = [random.Random(n).randbytes(10) for n in range(6)]
    by_age.extend(b"".join(moments.pack(at_ms, r) for at_ms, r in enumerate(randoms[:5])))
    by_age.add(5, randoms[5])
    by_age.remove(1, randoms[1])
    assert [by_age.at_ms(position) for position in range(len(by_age))] == [0, 2, 3, 4, 5]
    assert by_age.take(3) == [ids.order_id(EVENT, randoms[n]) for n in (0, 2, 3)]
    assert by_age.at_ms(0) == 4
