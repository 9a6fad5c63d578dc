"""The doors: one promise a test."""

import pytest
from msgspec.structs import replace

from engine import commands as c
from engine import facts as f
from engine.facts import InvalidReason, ScanResult
from engine.order import OrderView
from engine.rejections import Reason
from engine.scan import DoorsView, ScanView
from engine.ticket import TicketStatus
from tests.engine.stage import (
    BALCONY,
    DOORS_OPEN_BEFORE_MS,
    FLOOR,
    HOUR_MS,
    MINUTE_MS,
    NOON_MS,
    Stage,
    a,
    terms,
)

GATES = (c.Gate("north", ()), c.Gate("vip", (BALCONY,)))
UNDO_WINDOW_MS = 15 * MINUTE_MS


def doors(stage: Stage) -> DoorsView:
    return a(DoorsView, stage.ask(c.ReadDoors()))


def why(view: ScanView) -> InvalidReason | None:
    assert view.fact.result is ScanResult.INVALID
    return view.fact.reason


def status(stage: Stage, order_id: str) -> TicketStatus:
    return stage.read(order_id).tickets[0].status


# Admission.


def test_valid_ticket_is_admitted_and_used() -> None:
    stage = Stage()
    order = stage.sell()
    view = stage.scan(order.tickets[0].token)
    assert (view.fact.result, view.fact.reason) == (ScanResult.ADMIT, None)
    assert (view.fact.checked_in_at_ms, view.fact.admitted_gate) == (stage.now_ms, "north")
    assert view.tier_name == FLOOR.upper()
    assert status(stage, order.order_id) is TicketStatus.USED


def test_already_admitted_carries_the_first_time_and_gate() -> None:
    stage = Stage()
    token = stage.sell().tickets[0].token
    first_at_ms = stage.now_ms
    stage.scan(token, gate="north")
    for gate in ("south", None, "north"):
        stage.pass_ms(MINUTE_MS)
        fact = stage.scan(token, gate=gate).fact
        assert fact.result is ScanResult.ALREADY_ADMITTED
        assert (fact.checked_in_at_ms, fact.admitted_gate) == (first_at_ms, "north")


def test_tickets_of_one_order_are_admitted_each_for_itself() -> None:
    stage = Stage()
    order = stage.sell((FLOOR, 3))
    results = [stage.scan(ticket.token).fact.result for ticket in order.tickets]
    assert results == [ScanResult.ADMIT] * 3


def test_every_scan_is_a_fact_refused_too() -> None:
    stage = Stage(starts_at_ms=NOON_MS + 99 * HOUR_MS)
    token = stage.sell().tickets[0].token
    before = len(stage.entries)
    stage.scan(token)
    stage.scan(bytes(16))
    results = [a(f.TicketScanned, entry.fact).result for entry in stage.entries[before:]]
    assert results == [ScanResult.INVALID] * 2


# The nonce.


def test_same_nonce_gets_the_same_answer_whatever_happened_since() -> None:
    stage = Stage(starts_at_ms=NOON_MS + DOORS_OPEN_BEFORE_MS + 1)
    order = stage.sell((FLOOR, 2))
    early, late = (ticket.token for ticket in order.tickets)
    refused = stage.scan(early, "a")
    stage.pass_ms(1)
    admitted = stage.scan(late, "b")
    stage.ask(stage.name_attendee(order.order_id, 0))
    stage.configure(replace(terms(FLOOR), name="renamed"))
    stage.ask(stage.refund_order(order.order_id, force=True))
    assert stage.replay(stage.check_in(early, "a")) == refused
    assert stage.replay(stage.check_in(late, "b")) == admitted


def test_nonce_with_another_token_is_refused() -> None:
    stage = Stage()
    one, two = (ticket.token for ticket in stage.sell((FLOOR, 2)).tickets)
    stage.scan(one, "n")
    assert stage.reason(stage.check_in(two, "n")) is Reason.NONCE_REUSED


def test_nonce_is_of_its_device() -> None:
    stage = Stage()
    token = stage.sell().tickets[0].token
    stage.scan(token, "n")
    other = a(ScanView, stage.ask(stage.check_in(token, "n", device_id="device-2")))
    assert other.fact.result is ScanResult.ALREADY_ADMITTED


def test_nonce_replayed_after_undo_shows_undone() -> None:
    stage = Stage()
    token = stage.sell().tickets[0].token
    admitted = stage.scan(token, "n")
    stage.pass_ms(MINUTE_MS)
    stage.ask(stage.undo_check_in("n"))
    again = a(ScanView, stage.replay(stage.check_in(token, "n")))
    assert (again.fact, again.undone_at_ms) == (admitted.fact, stage.now_ms)


# Why not.


def test_token_of_no_ticket_is_looked_up_elsewhere_before_it_is_judged() -> None:
    stage = Stage()
    fake = bytes(16)
    before = len(stage.entries)
    assert stage.reason(stage.check_in(fake, "n")) is Reason.TOKEN_NOT_HERE
    assert len(stage.entries) == before
    known = a(ScanView, stage.ask(stage.check_in(fake, "n", elsewhere=True)))
    unknown = a(ScanView, stage.ask(stage.check_in(fake, "m", elsewhere=False)))
    assert (why(known), why(unknown)) == (InvalidReason.WRONG_EVENT, InvalidReason.UNKNOWN_TOKEN)


def test_doors_open_at_their_instant() -> None:
    stage = Stage(starts_at_ms=NOON_MS + DOORS_OPEN_BEFORE_MS + 10)
    token = stage.sell().tickets[0].token
    stage.pass_ms(9)
    assert why(stage.scan(token)) is InvalidReason.NOT_OPEN
    stage.pass_ms(1)
    assert stage.scan(token).fact.result is ScanResult.ADMIT


def test_doors_move_with_the_start_of_the_event() -> None:
    stage = Stage()
    token = stage.sell().tickets[0].token
    later = c.EventTerms("organizer-1", "EUR", NOON_MS + 9 * HOUR_MS, NOON_MS + 12 * HOUR_MS)
    stage.ask(c.ConfigureEvent(stage.version(), later))
    assert why(stage.scan(token)) is InvalidReason.NOT_OPEN


def test_gate_admits_its_tiers_only() -> None:
    stage = Stage(terms(FLOOR), terms(BALCONY), gates=GATES)
    floor = stage.sell((FLOOR, 1)).tickets[0].token
    balcony = stage.sell((BALCONY, 1)).tickets[0].token
    assert why(stage.scan(floor, gate="vip")) is InvalidReason.TIER_NOT_ADMITTED
    assert stage.scan(balcony, gate="vip").fact.result is ScanResult.ADMIT
    assert stage.scan(floor, gate="north").fact.result is ScanResult.ADMIT


def test_without_gates_set_every_gate_admits_all() -> None:
    stage = Stage(terms(FLOOR), gates=GATES)
    token = stage.sell().tickets[0].token
    stage.ask(c.ConfigureGates(stage.version(), ()))
    assert stage.scan(token, gate="vip").fact.result is ScanResult.ADMIT


def test_refunded_ticket_is_not_admitted() -> None:
    stage = Stage()
    order = stage.sell()
    stage.ask(stage.refund_order(order.order_id))
    assert why(stage.scan(order.tickets[0].token)) is InvalidReason.REFUNDED


@pytest.mark.parametrize("swept", [False, True])
def test_event_cancelled_is_told_before_refunded(swept: bool) -> None:
    stage = Stage()
    order = stage.sell()
    stage.cancel_event()
    if swept:
        stage.sweep_all()
    assert why(stage.scan(order.tickets[0].token)) is InvalidReason.EVENT_CANCELLED


def test_refunded_is_told_before_reissued() -> None:
    stage = Stage()
    order = stage.sell()
    stage.ask(stage.reissue_ticket(order.order_id))
    stage.ask(stage.refund_order(order.order_id))
    assert why(stage.scan(order.tickets[0].token)) is InvalidReason.REFUNDED


# Undo.


def test_undone_admission_may_be_made_again() -> None:
    stage = Stage()
    order = stage.sell()
    stage.scan(order.tickets[0].token, "n")
    undone = a(ScanView, stage.ask(stage.undo_check_in("n")))
    assert undone.undone_at_ms == stage.now_ms
    assert status(stage, order.order_id) is TicketStatus.VALID
    assert doors(stage).admitted == 0
    assert stage.scan(order.tickets[0].token).fact.result is ScanResult.ADMIT


def test_undo_is_possible_within_fifteen_minutes() -> None:
    stage = Stage()
    one, two = (ticket.token for ticket in stage.sell((FLOOR, 2)).tickets)
    stage.scan(one, "a")
    stage.scan(two, "b")
    stage.pass_ms(UNDO_WINDOW_MS - 1)
    a(ScanView, stage.ask(stage.undo_check_in("a")))
    stage.pass_ms(1)
    assert stage.reason(stage.undo_check_in("b")) is Reason.UNDO_WINDOW_PASSED


def test_undo_again_answers_the_same_and_leaves_a_later_admission_alone() -> None:
    stage = Stage()
    token = stage.sell().tickets[0].token
    stage.scan(token, "a")
    undone = stage.ask(stage.undo_check_in("a"))
    stage.scan(token, "b")
    stage.pass_ms(UNDO_WINDOW_MS)
    assert stage.ask(stage.undo_check_in("a")) == undone
    assert doors(stage).admitted == 1


def test_only_an_admission_can_be_undone() -> None:
    stage = Stage()
    token = stage.sell().tickets[0].token
    stage.scan(token, "first")
    stage.scan(token, "second")
    assert stage.reason(stage.undo_check_in("second")) is Reason.NOT_ADMITTED
    assert stage.reason(stage.undo_check_in("never")) is Reason.UNKNOWN_CHECKIN
    assert stage.reason(stage.undo_check_in("first", "device-2")) is Reason.UNKNOWN_CHECKIN


def test_undo_does_not_bring_a_refunded_ticket_back_to_life() -> None:
    stage = Stage()
    order = stage.sell()
    stage.scan(order.tickets[0].token, "n")
    stage.ask(stage.refund_order(order.order_id, force=True))
    stage.ask(stage.undo_check_in("n"))
    assert status(stage, order.order_id) is TicketStatus.CANCELLED
    assert why(stage.scan(order.tickets[0].token)) is InvalidReason.REFUNDED


# A supervisor's override.


def test_override_admits_against_a_refusal_and_is_kept_as_such() -> None:
    stage = Stage(starts_at_ms=NOON_MS + 99 * HOUR_MS)
    order = stage.sell()
    token = order.tickets[0].token
    view = a(ScanView, stage.ask(stage.check_in(token, override=True)))
    assert view.fact.result is ScanResult.ADMIT
    assert view.fact.override_reason == "knows the band"
    assert status(stage, order.order_id) is TicketStatus.USED


def test_override_never_admits_an_unknown_token() -> None:
    stage = Stage()
    forged = stage.check_in(bytes(16), elsewhere=False, override=True)
    assert why(a(ScanView, stage.ask(forged))) is InvalidReason.UNKNOWN_TOKEN


def test_override_makes_no_second_admission() -> None:
    stage = Stage()
    token = stage.sell().tickets[0].token
    stage.scan(token)
    again = a(ScanView, stage.ask(stage.check_in(token, override=True)))
    assert again.fact.result is ScanResult.ALREADY_ADMITTED


def test_old_and_new_token_of_a_ticket_admit_once_between_them() -> None:
    stage = Stage()
    order = stage.sell()
    stage.ask(stage.reissue_ticket(order.order_id))
    old = stage.check_in(order.tickets[0].token, override=True)
    assert a(ScanView, stage.ask(old)).fact.result is ScanResult.ADMIT
    assert stage.scan(stage.token(order.order_id)).fact.result is ScanResult.ALREADY_ADMITTED


def test_refunded_ticket_let_in_by_a_supervisor_stays_refunded() -> None:
    stage = Stage()
    order = stage.sell()
    refunded = a(OrderView, stage.ask(stage.refund_order(order.order_id)))
    stage.ask(stage.check_in(order.tickets[0].token, "n", override=True))
    assert doors(stage).admitted == 1
    assert status(stage, order.order_id) is refunded.tickets[0].status is TicketStatus.CANCELLED


# The tally.


def test_tally_counts_standing_admissions_by_tier_gate_and_minute() -> None:
    stage = Stage(terms(FLOOR), terms(BALCONY))
    tokens = [ticket.token for ticket in stage.sell((FLOOR, 2), (BALCONY, 1)).tickets]
    first_minute_ms = stage.now_ms // MINUTE_MS * MINUTE_MS
    stage.scan(tokens[0], gate="north")
    stage.scan(tokens[0], gate="south")  # has been admitted already
    stage.scan(tokens[2], gate=None)
    stage.pass_ms(MINUTE_MS)
    stage.scan(tokens[1], "gone", gate="south")
    assert doors(stage) == DoorsView(
        3,
        {FLOOR: 2, BALCONY: 1},
        {"north": 1, "": 1, "south": 1},
        {first_minute_ms: 2, first_minute_ms + MINUTE_MS: 1},
    )
    stage.pass_ms(MINUTE_MS)
    stage.ask(stage.undo_check_in("gone"))
    assert doors(stage) == DoorsView(
        2, {FLOOR: 1, BALCONY: 1}, {"north": 1, "": 1}, {first_minute_ms: 2}
    )


def test_two_sales_count_their_doors_apart() -> None:
    one, other = Stage(), Stage()
    one.scan(one.sell().tickets[0].token)
    assert (doors(one).admitted, doors(other).admitted) == (1, 0)
