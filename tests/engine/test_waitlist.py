"""Those who wait: one promise a test. That it all holds together is the stateful test's."""

import pytest
from msgspec.structs import replace

from engine import commands as c
from engine import facts as f
from engine import ids, sale, waiting
from engine.rejections import Reason, Rejection
from engine.waiter import EntryStatus, NoOffer
from tests.engine.stage import (
    BUYER,
    DAY_MS,
    FLOOR,
    HOLD_MS,
    HOUR_MS,
    MINUTE_MS,
    NOON_MS,
    OFFER_MS,
    STRANGER,
    Stage,
    terms,
)


def full(quantity: int = 2, sale_end_ms: int = NOON_MS + DAY_MS) -> tuple[Stage, str]:
    """A stage of which a confirmed order has all places; its id."""
    stage = Stage(terms(quantity=quantity, sale_end_ms=sale_end_ms))
    return stage, stage.sell((FLOOR, quantity)).order_id


def test_offers_follow_in_the_same_decision_as_what_freed_the_places() -> None:
    stage, order_id = full()
    first, second = stage.join(1), stage.join(2, buyer_id="buyer-2")
    before = len(stage.entries)
    stage.ask(stage.refund_order(order_id))
    refunded, *offers = [entry.fact for entry in stage.entries[before:]]
    assert isinstance(refunded, f.OrderRefunded)
    expires_at_ms = stage.now_ms + OFFER_MS
    rest_id = ids.rest_entry_id(second)
    assert offers == [
        f.OfferMade(first, FLOOR, 1, expires_at_ms, None),
        f.OfferMade(second, FLOOR, 1, expires_at_ms, rest_id),
    ]
    assert stage.inventory() == (2, 0)
    assert stage.entry(rest_id).waits_for is NoOffer.NO_PLACES


def test_an_offer_ends_at_its_instant_swept_or_not() -> None:
    stage, order_id = full(1)
    entry_id, after = stage.join(), stage.join(buyer_id="buyer-2")
    stage.ask(stage.refund_order(order_id))
    order = stage.place_order((FLOOR, 1), offer_id=ids.offer_id(entry_id))
    stage.pass_ms(OFFER_MS - 1)
    assert isinstance(stage.decide(order), list)
    stage.pass_ms(1)
    assert stage.entry(entry_id).status is EntryStatus.LAPSED
    assert stage.reason(order) is Reason.UNKNOWN_OFFER
    assert stage.entry(after).status is EntryStatus.WAITING
    assert sale.next_deadline_ms(stage.state, stage.now_ms) == stage.now_ms
    stage.sweep_all()
    assert stage.entry(after).status is EntryStatus.OFFERED


def test_an_offer_ends_with_the_sale_even_if_that_is_put_forward() -> None:
    stage, order_id = full(1, sale_end_ms=NOON_MS + HOUR_MS)
    entry_id = stage.join()
    stage.pass_ms(HOUR_MS - 10 * MINUTE_MS)
    stage.ask(stage.refund_order(order_id))
    assert stage.entry(entry_id).expires_at_ms == NOON_MS + HOUR_MS
    stage.configure(terms(quantity=1, sale_end_ms=NOON_MS + HOUR_MS - 5 * MINUTE_MS))
    ends_at_ms = NOON_MS + HOUR_MS - 5 * MINUTE_MS
    assert stage.entry(entry_id).expires_at_ms == ends_at_ms
    assert sale.next_deadline_ms(stage.state, stage.now_ms) == ends_at_ms
    stage.pass_ms(5 * MINUTE_MS)
    stage.sweep_all()
    assert stage.inventory() == (0, 0)
    assert stage.entry(entry_id).status is EntryStatus.LAPSED


def test_after_the_sale_nothing_is_offered_and_nothing_is_due() -> None:
    stage, order_id = full(1, sale_end_ms=NOON_MS + HOUR_MS)
    entry_id = stage.join()
    stage.pass_ms(HOUR_MS)
    stage.ask(stage.refund_order(order_id))
    told = stage.entry(entry_id)
    assert (told.status, told.waits_for) == (EntryStatus.WAITING, NoOffer.SALE_OVER)
    assert sale.next_deadline_ms(stage.state, stage.now_ms) is None


def test_places_that_came_before_the_sale_began_are_offered_when_it_does() -> None:
    stage, order_id = full(1)
    entry_id = stage.join()
    stage.configure(terms(quantity=1, sale_start_ms=NOON_MS + HOUR_MS))
    stage.ask(stage.refund_order(order_id))
    assert stage.entry(entry_id).waits_for is NoOffer.SALE_NOT_BEGUN
    assert sale.next_deadline_ms(stage.state, stage.now_ms) == NOON_MS + HOUR_MS
    stage.pass_ms(HOUR_MS)
    assert stage.reason(stage.place_order((FLOOR, 1), buyer_id="buyer-2")) is Reason.SOLD_OUT
    stage.sweep_all()
    assert stage.entry(entry_id).status is EntryStatus.OFFERED


def test_what_an_order_leaves_of_its_offer_goes_to_the_next() -> None:
    stage, order_id = full(2)
    first, second = stage.join(2), stage.join(1, buyer_id="buyer-2")
    stage.ask(stage.refund_order(order_id))
    order = stage.place_order((FLOOR, 1), offer_id=ids.offer_id(first))
    assert isinstance(stage.ask(order), f.OrderPlaced)
    assert stage.entry(second).status is EntryStatus.OFFERED


def test_late_money_gets_no_places_that_others_wait_for() -> None:
    """Though its own hold, which has ended, is not swept yet."""
    stage = Stage(terms(quantity=1))
    order_id = stage.place((FLOOR, 1))
    payment_id = stage.request(order_id)
    stage.join(buyer_id="buyer-2")
    stage.pass_ms(HOLD_MS)
    stage.ask(stage.confirm_order(order_id, payment_id))
    assert isinstance(stage.entries[-1].fact, f.MoneyReturned)
    stage.sweep_all()
    assert isinstance(stage.entries[-1].fact, f.OfferMade)


@pytest.mark.parametrize(
    ("end", "because"), [("cancel_event", "event_cancelled"), ("complete", "event_over")]
)
def test_an_event_that_is_over_has_no_line(end: str, because: str) -> None:
    stage, order_id = full(2)
    offered, waits = stage.join(1), stage.join(2, buyer_id="buyer-2")
    stage.ask(stage.refund_order(order_id, 0))
    getattr(stage, end)()
    assert sale.next_deadline_ms(stage.state, stage.now_ms) == 0
    stage.sweep_all()
    for entry_id in (offered, waits):
        told = stage.entry(entry_id)
        assert (told.status, told.left_because) == (EntryStatus.LEFT, because)
    assert sale.next_deadline_ms(stage.state, stage.now_ms) is None


def test_a_line_is_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LINE_MAX", 2)
    stage, _ = full(1)
    for number in range(2):
        stage.join(buyer_id=f"buyer-{number}")
    refused = stage.refusal(stage.join_waitlist(buyer_id="buyer-9"))
    assert refused == (Reason.WAITLIST_FULL, {"tier_id": FLOOR, "line_max": 2})


def test_many_places_at_once_are_offered_by_the_lot_and_nobody_gets_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "OFFERS_MAX", 2)
    stage, order_id = full(5)
    entries = [stage.join(buyer_id=f"buyer-{number}") for number in range(5)]
    stage.ask(stage.refund_order(order_id))
    assert stage.entry(entries[2]).waits_for is NoOffer.OTHERS_FIRST
    refused = stage.decide(stage.place_order((FLOOR, 1), buyer_id="public"))
    assert isinstance(refused, Rejection)
    assert sale.next_deadline_ms(stage.state, stage.now_ms) == 0
    for _ in range(2):
        stage.ask(stage.sweep())
    told = [stage.entry(entry_id).status for entry_id in entries]
    assert told == [EntryStatus.OFFERED] * 5


def test_others_know_nothing_of_an_entry() -> None:
    stage, _ = full()
    entry_id = stage.join()
    for command in (c.ReadWaitlistEntry(entry_id, STRANGER), c.LeaveWaitlist(entry_id, STRANGER)):
        assert stage.reason(command) is Reason.UNKNOWN_ENTRY
    assert not isinstance(stage.ask(c.ReadWaitlistEntry(entry_id, BUYER)), Rejection)


def test_an_entry_leaves_memory_a_day_after_it_ended_and_its_key_with_it() -> None:
    stage, _ = full()
    join = stage.join_waitlist()
    stage.ask(join)
    stage.ask(c.LeaveWaitlist(join.entry_id, BUYER))
    stage.pass_ms(DAY_MS - 1)
    stage.sweep_all()
    assert join.entry_id in stage.entities()
    stage.pass_ms(HOUR_MS)
    stage.sweep_all()
    assert join.entry_id not in stage.entities()
    later = replace(join, entry_id=stage.join_waitlist().entry_id)
    assert stage.reason(later) is Reason.SALE_NOT_ACTIVE, "it is not answered again"
