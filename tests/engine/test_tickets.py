"""Tickets between their sale and the doors: one promise a test."""

import uuid

from msgspec.structs import replace

from engine import commands as c
from engine import facts as f
from engine.order import OrderView
from engine.rejections import Reason
from engine.ticket import TOKEN_SEED_BYTES, TicketStatus, mint_tokens
from tests.engine.stage import FLOOR, HOUR_MS, ORGANIZER, STARTS_AT_MS, STRANGER, Stage, a


def test_tokens_are_random_uuids_that_follow_from_the_seed_alone() -> None:
    seed = bytes(range(TOKEN_SEED_BYTES))
    tokens = mint_tokens(seed, 50)
    assert len(set(tokens)) == 50
    assert {uuid.UUID(bytes=token).version for token in tokens} == {4}
    assert mint_tokens(seed, 3) == tokens[:3]
    assert not set(tokens) & set(mint_tokens(bytes(TOKEN_SEED_BYTES), 50))


def test_reissued_ticket_has_a_new_token_and_is_the_same_otherwise() -> None:
    stage = Stage()
    order = stage.sell((FLOOR, 2))
    view = a(OrderView, stage.ask(stage.reissue_ticket(order.order_id, 1)))
    before, after = order.tickets[1], view.tickets[1]
    assert after.token != before.token
    assert replace(after, token=before.token) == before
    assert view.tickets[0] == order.tickets[0]


def test_reissued_old_token_is_worth_nothing_and_the_new_one_admits() -> None:
    stage = Stage()
    order = stage.sell()
    stage.ask(stage.reissue_ticket(order.order_id))
    old = stage.scan(order.tickets[0].token).fact
    assert (old.result, old.reason) == (f.ScanResult.INVALID, f.InvalidReason.REISSUED)
    assert stage.scan(stage.token(order.order_id)).fact.result is f.ScanResult.ADMIT


def test_every_former_token_stays_worth_nothing() -> None:
    stage = Stage()
    order_id = stage.sell().order_id
    former = []
    for _ in range(3):
        former.append(stage.token(order_id))
        stage.ask(stage.reissue_ticket(order_id))
    assert {stage.scan(token).fact.reason for token in former} == {f.InvalidReason.REISSUED}


def test_reissue_with_the_same_key_gives_the_same_token() -> None:
    stage = Stage()
    order = stage.sell()
    first = stage.reissue_ticket(order.order_id)
    reissued = stage.ask(first)
    stage.ask(stage.reissue_ticket(order.order_id))
    assert stage.replay(stage.reissue_ticket(order.order_id, key=first.key)) == reissued


def test_organizer_may_reissue() -> None:
    stage = Stage()
    order = stage.sell()
    view = stage.ask(stage.reissue_ticket(order.order_id, caller=ORGANIZER))
    assert a(OrderView, view).tickets[0].token != order.tickets[0].token


def test_used_ticket_is_neither_reissued_nor_renamed() -> None:
    stage = Stage()
    order = stage.sell()
    stage.scan(order.tickets[0].token)
    for command in (stage.reissue_ticket(order.order_id), stage.name_attendee(order.order_id)):
        assert stage.refusal(command) == (Reason.TICKET_USED, {"status": "USED"})


def test_refunded_ticket_is_neither_reissued_nor_renamed() -> None:
    stage = Stage()
    order = stage.sell()
    stage.ask(stage.refund_order(order.order_id))
    for command in (stage.reissue_ticket(order.order_id), stage.name_attendee(order.order_id)):
        assert stage.refusal(command) == (Reason.TICKET_NOT_VALID, {"status": "CANCELLED"})


def test_somebody_elses_ticket_does_not_exist() -> None:
    stage = Stage()
    order_id = stage.sell().order_id
    renamed = c.NameAttendee(order_id, 0, STRANGER, b"", None)
    for command in (stage.reissue_ticket(order_id, caller=STRANGER), renamed):
        assert stage.reason(command) is Reason.UNKNOWN_TICKET


def test_ticket_that_the_order_has_not_is_unknown() -> None:
    stage = Stage()
    sold, pending = stage.sell((FLOOR, 2)).order_id, stage.place()
    for order_id, number in ((sold, 2), (pending, 0)):
        assert stage.reason(stage.reissue_ticket(order_id, number)) is Reason.UNKNOWN_TICKET
        assert stage.reason(stage.name_attendee(order_id, number)) is Reason.UNKNOWN_TICKET


def test_named_attendee_is_of_that_ticket_alone() -> None:
    stage = Stage()
    order = stage.sell((FLOOR, 2))
    view = a(OrderView, stage.ask(stage.name_attendee(order.order_id, 1, b"Ada")))
    assert [ticket.sealed for ticket in view.tickets] == [None, b"Ada"]
    assert view.tickets[1].status is TicketStatus.VALID


def test_tickets_are_transferred_until_a_while_before_the_start() -> None:
    stage = Stage()
    order = stage.sell((FLOOR, 2))
    closes_before_ms = HOUR_MS
    stage.pass_ms(STARTS_AT_MS - closes_before_ms - stage.now_ms - 1)
    last = replace(stage.transfer_ticket(order.order_id, 0), closes_before_ms=closes_before_ms)
    assert a(OrderView, stage.ask(last)).tickets[2].transfer is not None
    stage.pass_ms(1)
    late = replace(stage.transfer_ticket(order.order_id, 1), closes_before_ms=closes_before_ms)
    assert stage.reason(late) is Reason.TRANSFER_CLOSED


def test_a_cancelled_event_has_no_tickets_to_give_away() -> None:
    stage = Stage()
    order = stage.sell((FLOOR, 1))
    stage.cancel_event()
    assert stage.reason(stage.transfer_ticket(order.order_id)) is Reason.TRANSFER_CLOSED


def test_a_transferred_ticket_is_refunded_in_its_new_shape_and_its_place_comes_back() -> None:
    stage = Stage()
    order = stage.sell((FLOOR, 1))
    given = a(OrderView, stage.ask(stage.transfer_ticket(order.order_id)))
    assert [ticket.status for ticket in given.tickets] == ["TRANSFERRED", "VALID"]
    assert stage.inventory() == (0, 1)
    refunded = a(OrderView, stage.ask(stage.refund_order(order.order_id)))
    assert (refunded.status, refunded.refunded_minor) == ("REFUNDED", 5000)
    assert stage.inventory() == (0, 0)
