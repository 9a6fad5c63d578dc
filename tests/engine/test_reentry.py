"""Where one may leave and come back: one promise a test."""

import itertools

import pytest

from engine import commands as c
from engine.facts import InvalidReason, ScanResult
from engine.rejections import Reason
from engine.scan import DoorsView, SyncView
from engine.stays import VISITS_MAX
from engine.telling import OfflineScan
from engine.ticket import TicketStatus
from tests.engine.stage import FLOOR, MINUTE_MS, Stage, a

EXIT = ScanResult.EXIT
LATER_MS = 10 * MINUTE_MS


def sold(*, reentry: bool = True) -> tuple[Stage, str, bytes]:
    """A stage ten minutes after a sale, the order, and the token of its only ticket."""
    stage = Stage(reentry=reentry)
    order = stage.sell()
    stage.pass_ms(LATER_MS)
    return stage, order.order_id, order.tickets[0].token


def doors(stage: Stage) -> DoorsView:
    return a(DoorsView, stage.ask(c.ReadDoors()))


def inside(stage: Stage) -> int:
    return doors(stage).admitted - doors(stage).exited


def results(stage: Stage, token: bytes, way: str) -> list[str]:
    """Of scans in (i) and out (o), one after another."""
    found = []
    for step in way:
        stage.pass_ms(1)
        view = stage.scan(token) if step == "i" else stage.leave(token)
        found.append(view.fact.result.value)
    return found


def test_who_has_left_is_admitted_again_once_a_stay() -> None:
    stage, order_id, token = sold()
    admit, already, out = "ADMIT", "ALREADY_ADMITTED", "EXIT"
    assert results(stage, token, "iioioo") == [admit, already, out, admit, out, out]
    assert stage.read(order_id).tickets[0].status is TicketStatus.USED
    told = doors(stage)
    assert (told.admitted, told.exited, told.by_gate) == (2, 2, {"north": 2})
    assert (told.exited_by_gate, told.exited_by_tier) == ({"north": 2}, {FLOOR: 2})


def test_without_the_setting_exits_are_refused_and_one_admission_stands() -> None:
    stage, _, token = sold(reentry=False)
    assert results(stage, token, "ioi") == ["ADMIT", "INVALID", "ALREADY_ADMITTED"]
    assert stage.leave(token).fact.reason is InvalidReason.NO_REENTRY
    told = stage.told(token, told=EXIT)
    view = a(SyncView, stage.ask(c.SyncScans("device-1", (told,))))
    assert (view.scans[0].outcome, view.scans[0].reason) == ("recorded", "no_reentry")
    assert inside(stage) == 1


def test_who_left_while_it_was_allowed_comes_back_when_it_is_no_more() -> None:
    stage, _, token = sold()
    assert results(stage, token, "io") == ["ADMIT", "EXIT"]
    stage.allow_reentry(False)
    assert results(stage, token, "ioi") == ["ADMIT", "INVALID", "ALREADY_ADMITTED"]


def test_exit_tells_the_admission_that_it_ends_and_replays_the_same() -> None:
    stage, _, token = sold()
    at_ms = stage.now_ms
    stage.scan(token, "n1", gate="south")
    stage.pass_ms(MINUTE_MS)
    out = stage.leave(token, "n2")
    assert (out.fact.checked_in_at_ms, out.fact.admitted_gate) == (at_ms, "south")
    stage.scan(token)
    assert stage.replay(stage.check_in(token, "n2", leaving=True)) == out
    assert stage.reason(stage.check_in(token, "n2")) is Reason.NONCE_REUSED
    nobody_was_in = stage.leave(stage.sell().tickets[0].token)
    assert nobody_was_in.fact.result is EXIT
    assert nobody_was_in.fact.checked_in_at_ms is None


def test_dead_ticket_leaves_once_and_never_comes_back() -> None:
    stage, order_id, token = sold()
    stage.scan(token)
    stage.ask(stage.refund_order(order_id, force=True))
    assert results(stage, token, "oio") == ["EXIT", "INVALID", "INVALID"]
    assert inside(stage) == 0


def test_ticket_that_is_out_can_be_neither_transferred_nor_refunded_without_force() -> None:
    stage, order_id, token = sold()
    results(stage, token, "io")
    assert stage.reason(stage.transfer_ticket(order_id)) is Reason.TICKET_USED
    assert stage.reason(stage.refund_order(order_id)) is Reason.TICKET_USED


def test_admission_that_an_exit_has_ended_cannot_be_undone_and_the_next_one_can() -> None:
    stage, order_id, token = sold()
    stage.scan(token, "n1")
    stage.leave(token, "n2")
    for nonce in ("n1", "n2"):
        refused = stage.refusal(stage.undo_check_in(nonce))
        assert refused == (Reason.NOT_ADMITTED, {"result": "EXIT"})
    stage.scan(token, "n3")
    stage.ask(stage.undo_check_in("n3"))
    assert stage.read(order_id).tickets[0].status is TicketStatus.USED
    assert inside(stage) == 0
    assert stage.scan(token).fact.result is ScanResult.ADMIT


def test_told_in_any_order_the_visits_come_to_the_same() -> None:
    for order in itertools.permutations(range(5)):
        stage, order_id, token = sold()
        start_ms = stage.now_ms - LATER_MS
        way = [
            ("device-1", stage.told(token, start_ms + 1)),
            ("device-2", stage.told(token, start_ms + 2)),  # a second one on the same ticket
            ("device-3", stage.told(token, start_ms + 3, told=EXIT, gate="out")),
            ("device-2", stage.told(token, start_ms + 4, gate="south")),
            ("device-1", stage.told(token, start_ms + 5)),  # again a second one
        ]
        for place in order:
            device_id, scan = way[place]
            stage.sync(device_id, scan)
        assert standing(stage, way) == [True, False, True, True, False], order
        assert stage.read(order_id).tickets[0].checked_in_at_ms == start_ms + 4
        told = doors(stage)
        assert (told.admitted, told.exited) == (2, 1)
        assert (told.by_gate, told.exited_by_gate) == ({"north": 1, "south": 1}, {"out": 1})


def standing(stage: Stage, way: list[tuple[str, OfflineScan]]) -> list[bool]:
    scans = [stage.state.scan_by_key[f"{device}\n{scan.nonce}"] for device, scan in way]
    return [
        scan.resolved or (scan.fact.result in ("ADMIT", "EXIT") and not scan.displaced)
        for scan in scans
    ]


def test_exit_told_late_makes_a_conflict_the_admission_of_the_next_stay() -> None:
    stage, _, token = sold()
    now_ms = stage.now_ms
    stage.scan(token, gate="north")
    stage.pass_ms(MINUTE_MS)
    again = stage.told(token, now_ms + 30)
    assert stage.sync("device-2", again) == ["conflict"]
    assert inside(stage) == 1
    assert stage.sync("device-3", stage.told(token, now_ms + 20, told=EXIT)) == ["recorded"]
    assert (doors(stage).admitted, inside(stage)) == (2, 1)
    view = a(SyncView, stage.ask(c.SyncScans("device-2", (again,))))
    assert (view.scans[0].outcome, view.scans[0].resolved) == ("conflict", True)
    assert stage.scan(token).fact.result is ScanResult.ALREADY_ADMITTED


def test_admission_given_online_is_never_displaced_within_its_stay() -> None:
    stage, _, token = sold()
    now_ms = stage.now_ms
    stage.leave(token)
    stage.pass_ms(MINUTE_MS)
    stage.scan(token)
    before, within = stage.told(token, now_ms - 1), stage.told(token, now_ms + 1)
    assert stage.sync("device-2", within, before) == ["conflict", "recorded"]
    assert (doors(stage).admitted, doors(stage).exited) == (2, 1)


def test_undone_admission_promotes_nobody() -> None:
    stage, _, token = sold()
    now_ms = stage.now_ms
    stage.scan(token, "n1")
    stage.pass_ms(MINUTE_MS)
    stage.sync("device-2", stage.told(token, now_ms + 2))
    stage.ask(stage.undo_check_in("n1"))
    assert inside(stage) == 0
    stage.sync("device-3", stage.told(token, now_ms + 1, told=EXIT))
    assert (doors(stage).admitted, inside(stage)) == (0, 0)


@pytest.mark.parametrize("offline", [True, False])
def test_ticket_has_so_many_visits_and_no_exit_beyond(offline: bool) -> None:
    stage, _, token = sold()
    now_ms = stage.now_ms
    stage.pass_ms(MINUTE_MS)
    if offline:
        ways = (ScanResult.ADMIT, EXIT) * VISITS_MAX
        told = [stage.told(token, now_ms + n, told=way) for n, way in enumerate(ways)]
        stage.sync("device-1", *told)
    else:
        results(stage, token, "io" * VISITS_MAX)
    ((order_id, *_),) = {(order,) for order in stage.auditor.orders}
    (ticket,) = stage.state.order_by_id[order_id].tickets
    assert len(ticket.visits) <= VISITS_MAX + 1
    assert stage.leave(token).fact.reason is InvalidReason.NO_REENTRY
