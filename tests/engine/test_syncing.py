"""What devices tell afterwards of the scans they judged alone: one promise a test."""

import pytest

from engine import commands as c
from engine.facts import InvalidReason, ScanResult
from engine.rejections import Reason
from engine.scan import GATES_MAX, DoorsView, SyncView
from engine.ticket import TicketStatus
from tests.engine.stage import FLOOR, MINUTE_MS, Stage, a, terms

LATER_MS = 10 * MINUTE_MS


def sold() -> tuple[Stage, str, bytes]:
    """A stage ten minutes after a sale, the order, and the token of its only ticket."""
    stage = Stage()
    order = stage.sell()
    stage.pass_ms(LATER_MS)
    return stage, order.order_id, order.tickets[0].token


def admitted_at(stage: Stage, order_id: str) -> int | None:
    return stage.read(order_id).tickets[0].checked_in_at_ms


def doors(stage: Stage) -> DoorsView:
    return a(DoorsView, stage.ask(c.ReadDoors()))


def test_of_offline_admissions_the_earliest_stands_in_whatever_order_they_are_told() -> None:
    for order in ((1, 2, 3), (3, 2, 1), (2, 3, 1), (2, 1, 3)):
        stage, order_id, token = sold()
        outcomes = {}
        for n in order:
            told = stage.told(token, stage.now_ms - LATER_MS + n, gate=f"gate {n}")
            (outcomes[n],) = stage.sync(f"device-{n}", told)
        assert outcomes[1] == "recorded"
        assert admitted_at(stage, order_id) == stage.now_ms - LATER_MS + 1
        assert (doors(stage).admitted, doors(stage).by_gate) == (1, {"gate 1": 1})
        displaced = {key for key, scan in stage.state.scan_by_key.items() if scan.displaced}
        others = {n for n in (2, 3) if outcomes[n] == "conflict"}
        assert others | {int(key[7]) for key in displaced} == {2, 3}


def test_online_admission_is_never_displaced() -> None:
    stage, order_id, token = sold()
    at_ms = stage.now_ms
    stage.scan(token, gate="north")
    told = stage.told(token, at_ms - MINUTE_MS)
    assert stage.sync("device-2", told) == ["conflict"]
    assert admitted_at(stage, order_id) == at_ms
    assert stage.sync("device-1", stage.told(token, at_ms - 1)) == ["duplicate"]


def test_told_again_a_scan_gets_the_stored_outcome_and_changes_nothing() -> None:
    stage, _, token = sold()
    first, second = (stage.told(token, stage.now_ms - n) for n in (5, 9))
    assert stage.sync("device-1", first) == ["recorded"]
    assert stage.sync("device-2", second) == ["recorded"]
    length = len(stage.entries)
    assert stage.sync("device-1", first) == ["recorded"]
    view = a(SyncView, stage.ask(c.SyncScans("device-1", (first,))))
    assert view.scans[0].displaced, "and it hears what became of it"
    assert len(stage.entries) == length


def test_scan_that_was_made_online_is_recorded_already() -> None:
    stage, _, token = sold()
    stage.scan(token, "n1")
    length = len(stage.entries)
    assert stage.sync("device-1", stage.told(token, nonce="n1")) == ["recorded"]
    assert len(stage.entries) == length
    synced = stage.told(token, nonce="n2")
    assert stage.sync("device-1", synced) == ["duplicate"]
    replayed = stage.replay(stage.check_in(token, "n2"))
    assert replayed.fact.result is ScanResult.ALREADY_ADMITTED  # type: ignore[attr-defined]


def test_same_device_twice_is_a_duplicate_and_another_device_a_conflict() -> None:
    stage, _, token = sold()
    now = stage.now_ms
    told = [stage.told(token, now - 9), stage.told(token, now - 8)]
    assert stage.sync("device-1", *told) == ["recorded", "duplicate"]
    told = [stage.told(token, now - 7), stage.told(token, now - 6)]
    assert stage.sync("device-2", *told) == ["conflict", "duplicate"]


def test_scan_after_the_end_of_a_ticket_is_late_and_one_before_it_is_recorded() -> None:
    stage, order_id, token = sold()
    refunded_at_ms = stage.now_ms
    stage.ask(stage.refund_order(order_id))
    stage.pass_ms(MINUTE_MS)
    at_the_instant = stage.told(token, refunded_at_ms)
    before = stage.told(token, refunded_at_ms - 1)
    view = a(SyncView, stage.ask(c.SyncScans("device-1", (at_the_instant, before))))
    assert [scan.outcome for scan in view.scans] == ["late_invalid", "recorded"]
    assert view.scans[0].reason is InvalidReason.REFUNDED
    scan = stage.state.scan_by_key[f"device-1\n{before.nonce}"]
    assert scan.fact.offline is not None and scan.fact.offline.contested
    assert stage.read(order_id).tickets[0].status is TicketStatus.CANCELLED
    assert doors(stage).admitted == 1


def test_token_that_was_replaced_is_late_from_then_on() -> None:
    stage, order_id, token = sold()
    reissued_at_ms = stage.now_ms
    stage.ask(stage.reissue_ticket(order_id))
    stage.pass_ms(MINUTE_MS)
    late, before = stage.told(token, reissued_at_ms), stage.told(token, reissued_at_ms - 1)
    assert stage.sync("device-1", late, before) == ["late_invalid", "recorded"]


def test_cancelled_event_makes_every_later_scan_late() -> None:
    stage, _, token = sold()
    cancelled_at_ms = stage.now_ms
    stage.cancel_event()
    stage.pass_ms(MINUTE_MS)
    stage.sweep_all()
    told = [stage.told(token, cancelled_at_ms), stage.told(token, cancelled_at_ms - 1)]
    assert stage.sync("device-1", *told) == ["late_invalid", "recorded"]


def test_unknown_token_is_kept_and_a_nonce_used_twice_hides_nothing() -> None:
    stage, _, token = sold()
    fake = stage.told(bytes(16), nonce="n1")
    other = stage.told(token, nonce="n1")
    assert stage.sync("device-1", fake, other) == ["unknown", "recorded"]
    assert stage.sync("device-1", other, fake) == ["recorded", "unknown"]
    assert len(stage.state.scan_by_key) == 2
    assert doors(stage).admitted == 1


@pytest.mark.parametrize("told", [ScanResult.INVALID, ScanResult.ALREADY_ADMITTED])
def test_scan_by_which_nobody_came_in_admits_nobody(told: ScanResult) -> None:
    stage, order_id, token = sold()
    assert stage.sync("device-1", stage.told(token, told=told)) == ["recorded"]
    assert admitted_at(stage, order_id) is None
    assert stage.scan(token).fact.result is ScanResult.ADMIT


def test_offline_admission_can_be_undone_and_a_displaced_one_cannot() -> None:
    stage, order_id, token = sold()
    later, earlier = stage.told(token, stage.now_ms - 5), stage.told(token, stage.now_ms - 9)
    stage.sync("device-1", later)
    stage.sync("device-2", earlier)
    assert stage.reason(stage.undo_check_in(later.nonce)) is Reason.NOT_ADMITTED
    stage.ask(stage.undo_check_in(earlier.nonce, "device-2"))
    assert admitted_at(stage, order_id) is None
    assert doors(stage).admitted == 0
    assert stage.sync("device-3", stage.told(token)) == ["recorded"]


def test_gates_are_counted_by_name_up_to_a_bound_and_taken_back_alike() -> None:
    stage = Stage(terms(quantity=GATES_MAX + 5, per_order_max=GATES_MAX + 5))
    tickets = stage.sell((FLOOR, GATES_MAX + 5)).tickets
    for number, ticket in enumerate(tickets):
        stage.scan(ticket.token, f"n{number}", gate=f"gate {number}")
    assert len(doors(stage).by_gate) == GATES_MAX + 1
    for number in range(len(tickets)):
        stage.ask(stage.undo_check_in(f"n{number}"))
    assert doors(stage) == DoorsView(0, {}, {}, {})
