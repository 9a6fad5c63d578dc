"""Negative controls: journals that must never be written do not pass the audit."""

import pytest
from msgspec.structs import replace

from engine import facts as f
from engine.commands import CancelOrder, ConfigureTier
from engine.ticket import token_digest
from tests.engine.auditor import Auditor
from tests.engine.stage import BUYER, EVENT, FLOOR, HOLD_MS, MINUTE_MS, Stage, a, terms


def told(stage: Stage, *facts: f.Fact) -> Auditor:
    """An auditor that has heard the stage's journal, and then these facts."""
    auditor = Auditor()
    for entry in stage.entries:
        auditor.hear(entry)
    for fact in facts:
        auditor.hear(f.Entry(EVENT, auditor.seq + 1, stage.now_ms, fact))
    return auditor


def test_auditor_finds_an_oversold_tier() -> None:
    stage = Stage(terms(quantity=1))
    stage.place()
    order = stage.place_order()
    item = f.Item(FLOOR, 1, 5000)
    expires_at_ms = stage.now_ms + HOLD_MS
    oversold = f.OrderPlaced(
        order.order_id, "buyer", (item,), "EUR", stage.now_ms, expires_at_ms, order.key, None
    )
    with pytest.raises(AssertionError):
        told(stage, oversold)


def test_auditor_finds_a_tier_made_smaller_than_what_is_committed() -> None:
    stage = Stage(terms(quantity=3))
    stage.place((FLOOR, 3))
    command = ConfigureTier(stage.version(), terms(quantity=2))
    with pytest.raises(AssertionError):
        told(stage, f.TierConfigured(command.version, command.tier))


def test_auditor_finds_a_second_admission() -> None:
    stage = Stage()
    order = stage.sell()
    stage.scan(order.tickets[0].token)
    first = a(f.TicketScanned, stage.entries[-1].fact)
    second = f.TicketScanned(
        "device-2",
        "another nonce",
        token_digest(order.tickets[0].token),
        *(first.gate, None, f.ScanResult.ADMIT, None, order.order_id, 0, FLOOR),
        *(stage.now_ms, first.gate),
    )
    with pytest.raises(AssertionError):
        told(stage, second)


def test_auditor_finds_an_order_confirmed_from_an_expired_hold() -> None:
    stage = Stage()
    order_id = stage.place()
    payment_id = stage.request(order_id)
    stage.pass_ms(HOLD_MS)
    with pytest.raises(AssertionError):
        told(stage, f.OrderConfirmed(order_id, payment_id, (bytes(16),), late=False))


def test_auditor_finds_a_hold_ended_before_its_time() -> None:
    stage = Stage()
    order_id = stage.place()
    stage.pass_ms(HOLD_MS - 1)
    with pytest.raises(AssertionError):
        told(stage, f.OrderCancelled(order_id, f.CancelReason.EXPIRED))


def test_auditor_finds_money_returned_that_was_spent() -> None:
    stage = Stage()
    order = stage.sell()
    assert order.payment_id is not None
    with pytest.raises(AssertionError):
        told(stage, f.MoneyReturned(order.order_id, order.payment_id, "ref_1", 5000))


def test_auditor_finds_a_ticket_refunded_twice() -> None:
    stage = Stage()
    order = stage.sell()
    refunded = f.OrderRefunded(order.order_id, "ref_1", order.payment_id, 5000, (0,), None, None)
    with pytest.raises(AssertionError):
        told(stage, refunded, refunded)


def test_auditor_finds_a_key_used_twice() -> None:
    stage = Stage()
    stage.place()
    placed = a(f.OrderPlaced, stage.entries[-1].fact)
    again = stage.place_order().order_id
    twice = f.OrderPlaced(
        *(again, "buyer", placed.items, "EUR", stage.now_ms, stage.now_ms + HOLD_MS),
        *(placed.key, None),
    )
    with pytest.raises(AssertionError):
        told(stage, twice)


def test_auditor_finds_a_gap_and_a_clock_that_goes_back() -> None:
    stage = Stage()
    closed = f.SaleClosed(stage.version())
    with pytest.raises(AssertionError):
        told(stage).hear(f.Entry(EVENT, stage.state.header.seq + 2, stage.now_ms, closed))
    with pytest.raises(AssertionError):
        told(stage).hear(
            f.Entry(EVENT, stage.state.header.seq + 1, stage.now_ms - MINUTE_MS, closed)
        )


def archived(stage: Stage) -> str:
    order_id = stage.place()
    stage.ask(CancelOrder(order_id, BUYER))
    stage.archive_all()
    return order_id


def test_auditor_finds_an_order_that_leaves_memory_with_a_hold_a_ticket_or_money_owed() -> None:
    stage = Stage(terms(quantity=2))
    pending, sold = stage.place(), stage.sell().order_id
    with pytest.raises(AssertionError):
        told(stage, f.OrdersArchived((pending,)))
    with pytest.raises(AssertionError):
        told(stage, f.OrdersArchived((sold,)))
    payment_id = stage.request(pending)
    stage.ask(CancelOrder(pending, BUYER))
    stage.ask(stage.confirm_order(pending, payment_id))
    with pytest.raises(AssertionError):
        told(stage, f.OrdersArchived((pending,)))


def test_auditor_finds_something_that_happens_to_an_order_out_of_memory() -> None:
    stage = Stage()
    order_id = archived(stage)
    with pytest.raises(AssertionError):
        told(stage, f.PaymentDeclined(order_id, "pay_1"))
    with pytest.raises(AssertionError):
        told(stage, f.OrdersArchived((order_id,)))


def test_auditor_finds_an_order_that_comes_back_as_another() -> None:
    stage = Stage()
    order = stage.recall(archived(stage)).order
    told(stage, f.OrderRecalled(order))
    richer = (f.Item(FLOOR, 2, 5000),)
    for other in (replace(order, items=richer), replace(order, reason=f.CancelReason.EXPIRED)):
        with pytest.raises(AssertionError):
            told(stage, f.OrderRecalled(other))


def test_auditor_finds_a_key_forgotten_too_early() -> None:
    stage = Stage()
    stage.place()
    with pytest.raises(AssertionError):
        told(stage, f.KeysForgotten(stage.now_ms))
