"""Deposits and what they do to a booking, its end, its add-ons, and what time does to it."""

import asyncio
import random
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from engine import ids
from engine.catalogue import (
    Booking,
    BookingStatus,
    CancelReason,
    Event,
    RefundStatus,
    Slot,
)
from engine.commands import Caller, Role
from engine.hiring import ADDONS_MAX, Addon, Deposit
from engine.lifecycle import EventStatus, Step
from engine.rejections import Reason, Rejection
from engine.runtime.faults import OutcomeUnknown, SaleUnavailable
from tests.persistence.catalogue_world import (
    HOUR,
    NOON,
    ORGANIZER,
    REQUEST_KEPT,
    World,
    done,
    draft,
    reason,
)

STRANGER = Caller(Role.ORGANIZER, "somebody else")
DAY = timedelta(days=1)
MONTH_AHEAD = {"start_time": NOON + 30 * DAY, "end_time": NOON + 30 * DAY + HOUR}
_payments = iter(range(10**6))


async def requested(world: World, **changes: Any) -> Event:
    """An event whose booking waits for a deposit of 500."""
    venue = await world.venue(deposit_amount=500, hire_amount=2000, **changes)
    return await world.event(venue, **MONTH_AHEAD)


async def asked(world: World, event: Event) -> Deposit:
    payment_id = ids.deposit_id(next(_payments).to_bytes(16, "big"))
    desk, booking_id = world.desk, event.booking_id
    return done(
        await desk.request_deposit(ORGANIZER, booking_id, payment_id, "transfer", None), Deposit
    )


async def paid(world: World, event: Event) -> Booking:
    deposit = await asked(world, event)
    return done(await world.desk.deposit_paid(deposit.payment_id, deposit.amount_minor), Booking)


async def cancelled(world: World, event: Event) -> Booking:
    return done(await world.desk.cancel_booking(ORGANIZER, event.booking_id, None), Booking)


async def refunds(world: World) -> list[tuple[str, int]]:
    found = await world.pool.fetch(
        "SELECT payment_id, amount_minor FROM deposit_refunds WHERE status = 'pending' ORDER BY 1"
    )
    return [(row[0], row[1]) for row in found]


async def test_a_paid_deposit_confirms_the_booking_and_the_same_word_twice_counts_once(
    world: World,
) -> None:
    event = await requested(world)
    waiting = await world.booking(event)
    assert (waiting.status, waiting.expires_at) == (
        BookingStatus.REQUESTED,
        NOON - DAY + REQUEST_KEPT,
    )
    deposit = await asked(world, event)
    words = (world.desk.deposit_paid(deposit.payment_id, 500) for _ in range(5))
    for told in await asyncio.gather(*words):
        booking = done(told, Booking)
        assert (booking.status, booking.deposit_paid) == (BookingStatus.CONFIRMED, 500)
        assert (booking.payment_id, booking.expires_at) == (deposit.payment_id, None)
    assert await refunds(world) == []
    await world.step(event, Step.PUBLISH)


async def test_one_payment_is_open_at_a_time_and_after_a_declined_one_another_may_be_tried(
    world: World,
) -> None:
    event = await requested(world)
    first = await asked(world, event)
    assert await asked(world, event) == first
    declined = done(await world.desk.deposit_declined(first.payment_id), Booking)
    assert declined.status is BookingStatus.REQUESTED
    second = await asked(world, event)
    assert second.payment_id != first.payment_id
    confirmed = done(await world.desk.deposit_paid(second.payment_id, 500), Booking)
    assert confirmed.payment_id == second.payment_id
    done(await world.desk.deposit_declined(second.payment_id), Booking)
    assert (await world.booking(event)).status is BookingStatus.CONFIRMED


async def test_money_that_can_not_buy_the_booking_goes_back_once(world: World) -> None:
    event = await requested(world)
    first = await asked(world, event)
    await world.desk.deposit_declined(first.payment_id)
    second = await asked(world, event)
    await world.desk.deposit_paid(second.payment_id, 500)
    for _ in range(2):
        twice = done(await world.desk.deposit_paid(first.payment_id, 500), Booking)
        assert (twice.deposit_paid, twice.refund) == (500, RefundStatus.PENDING)
    assert await refunds(world) == [(first.payment_id, 500)]

    other = await requested(world)
    odd = await asked(world, other)
    told = done(await world.desk.deposit_paid(odd.payment_id, 499), Booking)
    assert (told.status, told.deposit_paid) == (BookingStatus.REQUESTED, 0)
    third = await requested(world)
    late = await asked(world, third)
    await cancelled(world, third)
    told = done(await world.desk.deposit_paid(late.payment_id, 500), Booking)
    assert (told.status, told.deposit_paid) == (BookingStatus.CANCELLED, 0)
    back = {(first.payment_id, 500), (odd.payment_id, 499), (late.payment_id, 500)}
    assert set(await refunds(world)) == back
    for told_of_nothing in (
        await world.desk.deposit_paid("dep_nope", 500),
        await world.desk.deposit_declined("dep_nope"),
    ):
        assert reason(told_of_nothing) is Reason.UNKNOWN_PAYMENT


async def test_a_deposit_is_asked_for_while_the_booking_waits_and_at_no_other_time(
    world: World,
) -> None:
    free = await world.event(await world.venue())
    confirmed = await requested(world)
    await paid(world, confirmed)
    gone = await requested(world)
    await cancelled(world, gone)
    late = await requested(world)
    ask = world.desk.request_deposit
    for event, status in ((free, "CONFIRMED"), (confirmed, "CONFIRMED"), (gone, "CANCELLED")):
        refused = await ask(ORGANIZER, event.booking_id, "dep_0", "transfer", None)
        facts: dict[str, object] = {"from": status, "to": "CONFIRMED"}
        assert refused == Rejection(Reason.ILLEGAL_TRANSITION, facts)
    world.clock.set(NOON - DAY + REQUEST_KEPT)
    refused = await ask(ORGANIZER, late.booking_id, "dep_0", "transfer", None)
    assert reason(refused) is Reason.ILLEGAL_TRANSITION
    for caller, booking_id, why in (
        (STRANGER, late.booking_id, Reason.NOT_THE_ORGANIZER),
        (ORGANIZER, "bkg_nope", Reason.UNKNOWN_BOOKING),
    ):
        assert reason(await ask(caller, booking_id, "dep_0", "transfer", None)) is why


async def test_an_unpaid_request_lapses_and_its_hall_is_free(world: World) -> None:
    event = await requested(world)
    other = await requested(world)
    await paid(world, other)
    due = NOON - DAY + REQUEST_KEPT
    assert await world.desk.lapse_unpaid(due - timedelta(seconds=1), 10) == 0
    assert await world.desk.lapse_unpaid(due, 10) == 1
    assert await world.desk.lapse_unpaid(due, 10) == 0
    lapsed = await world.booking(event)
    assert (lapsed.status, lapsed.cancel_reason) == (BookingStatus.CANCELLED, CancelReason.LAPSED)
    assert (await world.booking(other)).status is BookingStatus.CONFIRMED
    again = await world.desk.add_booking(ORGANIZER, event.event_id, "bkg_1", event.slot, None)
    assert done(again, Booking).status is BookingStatus.REQUESTED


@pytest.mark.parametrize(("days_before", "refunded"), [(14, 500), (13, 0)])
async def test_a_cancelled_bookings_deposit_goes_back_if_it_was_early_enough(
    world: World, days_before: int, refunded: int
) -> None:
    event = await requested(world)
    confirmed = await paid(world, event)
    world.clock.set(event.start_time - days_before * DAY)
    booking = await cancelled(world, event)
    assert (booking.status, booking.cancel_reason) == (
        BookingStatus.CANCELLED,
        CancelReason.ORGANIZER,
    )
    assert (booking.deposit_paid, booking.deposit_refunded) == (500, refunded)
    expected = [(confirmed.payment_id, refunded)] if refunded else []
    assert await refunds(world) == expected
    for payment_id, _ in await refunds(world):
        refund_id = ids.deposit_refund_id(payment_id)
        await world.desk.settle_refund(refund_id, False)
        assert (await world.booking(event)).refund is RefundStatus.FAILED
        stranger = Caller(Role.ORGANIZER, "somebody else")
        assert isinstance(await world.desk.retry_refund(stranger, refund_id), Rejection)
        done(await world.desk.retry_refund(ORGANIZER, refund_id), Booking)
        assert await refunds(world) == expected
        await world.desk.settle_refund(refund_id, True)
        await world.desk.settle_refund(refund_id, False)
        assert (await world.booking(event)).refund is RefundStatus.DONE
    assert await refunds(world) == []


async def test_a_cancelled_event_gives_its_booking_up_by_the_same_rule(world: World) -> None:
    event = await requested(world)
    await paid(world, event)
    await world.step(event, Step.PUBLISH, Step.CANCEL)
    booking = await world.booking(event)
    assert booking.cancel_reason is CancelReason.EVENT_CANCELLED
    assert booking.deposit_refunded == 500


async def test_the_terms_of_a_hire_are_those_of_the_day_it_was_asked_for(world: World) -> None:
    event = await requested(world, deposit_refundable_days=0)
    changes = {"hire_amount": 9, "deposit_amount": 9, "deposit_refundable_days": 99}
    await world.catalogue.change_venue(event.venue_id, changes)
    booking = await world.booking(event)
    terms = (booking.hire_amount, booking.deposit_amount, booking.deposit_refundable_days)
    assert terms == (2000, 500, 0)


@pytest.mark.parametrize("seed", range(3))
async def test_the_money_adds_up_whatever_comes_in_whatever_order(world: World, seed: int) -> None:
    chance = random.Random(seed)
    events = [await requested(world) for _ in range(6)]
    asked_for: list[Deposit] = []
    taken: dict[str, int] = {}

    async def act() -> None:
        event = chance.choice(events)
        match chance.choice(("ask", "pay", "pay", "decline", "cancel", "lapse")):
            case "ask":
                payment_id = ids.deposit_id(chance.randbytes(16))
                desk, booking_id = world.desk, event.booking_id
                told = await desk.request_deposit(ORGANIZER, booking_id, payment_id, "x", None)
                if isinstance(told, Deposit):
                    asked_for.append(told)
            case "pay" if asked_for:
                deposit = chance.choice(asked_for)
                taken[deposit.payment_id] = deposit.amount_minor
                await world.desk.deposit_paid(deposit.payment_id, deposit.amount_minor)
            case "decline" if asked_for:
                await world.desk.deposit_declined(chance.choice(asked_for).payment_id)
            case "cancel" if chance.random() < 0.2:
                await world.desk.cancel_booking(ORGANIZER, event.booking_id, None)
            case "lapse" if chance.random() < 0.05:
                await world.desk.lapse_unpaid(NOON + REQUEST_KEPT, 2)
            case _:
                pass

    for _ in range(15):
        await asyncio.gather(*(act() for _ in range(10)))
    bookings = [await world.booking(event) for event in events]
    back = dict(await refunds(world))
    kept = sum(booking.deposit_paid - booking.deposit_refunded for booking in bookings)
    assert sum(taken.values()) == kept + sum(back.values())
    assert set(back) <= set(taken)
    for booking in bookings:
        if booking.status is BookingStatus.CONFIRMED:
            assert booking.payment_id not in back
            assert booking.deposit_paid == taken[str(booking.payment_id)] == 500
    assert taken


# -- who may give a hall up --------------------------------------------------------------------


async def test_what_is_on_sale_keeps_its_hall_and_is_not_sold_again_without_one(
    world: World,
) -> None:
    event, _ = await world.on_sale()
    cancel = world.desk.cancel_booking
    refused = await cancel(ORGANIZER, event.booking_id, None)
    assert reason(refused) is Reason.EVENT_ON_SALE
    await world.step(event, Step.CLOSE_SALES)
    await cancelled(world, event)
    opened = await world.catalogue.take_step(ORGANIZER, event.event_id, Step.OPEN_SALES, None)
    assert reason(opened) is Reason.BOOKING_NOT_CONFIRMED
    elsewhere = await world.venue()
    slot = replace(event.slot, venue_id=elsewhere.venue_id)
    done(await world.desk.add_booking(ORGANIZER, event.event_id, "bkg_1", slot, None), Booking)
    moved = await world.step(event, Step.OPEN_SALES)
    assert (moved.status, moved.venue_id) == (EventStatus.ON_SALE, elsewhere.venue_id)
    await world.step(event, Step.COMPLETE)
    assert reason(await cancel(ORGANIZER, "bkg_1", None)) is Reason.EVENT_NOT_EDITABLE


async def test_a_venue_that_becomes_inactive_keeps_its_bookings_and_they_may_be_moved(
    world: World,
) -> None:
    venue = await world.venue()
    event = await world.event(venue)
    await world.catalogue.change_venue(venue.venue_id, {"is_active": False})
    later = {"start_time": NOON + HOUR, "end_time": NOON + 3 * HOUR}
    moved = done(await world.catalogue.change_event(ORGANIZER, event.event_id, later), Event)
    assert (await world.booking(moved)).slot == moved.slot
    await cancelled(world, event)
    slot = Slot(venue.venue_id, NOON, NOON + HOUR, 0, 0)
    refused = await world.desk.add_booking(ORGANIZER, event.event_id, "bkg_1", slot, None)
    assert reason(refused) is Reason.VENUE_INACTIVE


# -- add-ons and the invoice -------------------------------------------------------------------


def _addon(event: Event, number: int, cost: int = 100) -> Addon:
    return Addon(f"add_{number}", event.booking_id, "CATERING", "Buffet", cost)


async def test_addons_come_and_go_and_the_invoice_counts_them(world: World) -> None:
    event = await requested(world)
    add = world.desk.add_addon
    ordered = [_addon(event, number, cost) for number, cost in enumerate((100, 250))]
    for addon in ordered:
        assert await add(ORGANIZER, addon, None) == addon
    await paid(world, event)
    found = await world.desk.invoice(ORGANIZER, event.booking_id)
    assert not isinstance(found, Rejection)
    invoice, *_ = found
    assert invoice.addons == tuple(ordered)
    assert (invoice.hire, invoice.deposit_paid, invoice.balance) == (2000, 500, 1850)
    assert await world.desk.remove_addon(ORGANIZER, event.booking_id, "add_0") is None
    gone = await world.desk.remove_addon(ORGANIZER, event.booking_id, "add_0")
    assert reason(gone) is Reason.UNKNOWN_ADDON
    assert reason(await add(STRANGER, _addon(event, 9), None)) is Reason.NOT_THE_ORGANIZER
    assert reason(await world.desk.invoice(STRANGER, event.booking_id)) is Reason.NOT_THE_ORGANIZER
    await cancelled(world, event)
    refused = await add(ORGANIZER, _addon(event, 9), None)
    assert reason(refused) is Reason.BOOKING_CANCELLED


async def test_a_booking_has_so_many_addons_at_most_however_many_come_at_once(
    world: World,
) -> None:
    event = await requested(world)
    numbers = range(ADDONS_MAX + 5)
    adding = (world.desk.add_addon(ORGANIZER, _addon(event, number), None) for number in numbers)
    outcomes = await asyncio.gather(*adding)
    refused = [outcome for outcome in outcomes if isinstance(outcome, Rejection)]
    assert refused == [Rejection(Reason.TOO_MANY_ADDONS, {"max": ADDONS_MAX})] * 5


# -- an event and a booking that a crash has left apart ----------------------------------------


async def _left_apart(world: World) -> tuple[Event, Event]:
    """An event on sale that was moved to where somebody else is, and that other event."""
    event, _ = await world.on_sale()
    moved = {"start_time": NOON + HOUR, "end_time": NOON + 4 * HOUR}
    world.sales.losing = True
    with pytest.raises(OutcomeUnknown):
        await world.catalogue.change_event(ORGANIZER, event.event_id, moved)
    world.sales.losing = False
    venue = await world.catalogue.venue(event.venue_id)
    assert not isinstance(venue, Rejection)
    times = {"start_time": event.end_time, "end_time": event.end_time + HOUR}
    other = done(await world.catalogue.add_event(draft(venue, **times), None), Event)
    await world.heal(*world.sales.entries)
    healed = await world.read(event)
    assert healed.slot != (await world.booking(healed)).slot
    return healed, other


async def test_an_event_comes_back_to_its_booking_where_the_hall_was_taken(world: World) -> None:
    event, _ = await _left_apart(world)
    assert await world.desk.bring_back_astray(10) == 1
    back = await world.read(event)
    assert (back.start_time, back.version) == (NOON, event.version + 1)
    assert (await world.booking(back)).slot == back.slot
    assert await world.desk.bring_back_astray(10) == 0
    await world.heal(*world.sales.entries)
    assert await world.read(event) == back


async def test_or_its_booking_follows_where_the_hall_has_become_free(world: World) -> None:
    event, other = await _left_apart(world)
    await world.step(other, Step.CANCEL)
    assert await world.desk.bring_back_astray(10) == 1
    stands = await world.read(event)
    assert stands == event
    assert (await world.booking(stands)).slot == stands.slot


async def test_an_event_that_is_over_stays_apart_and_one_out_of_reach_is_tried_again(
    world: World,
) -> None:
    event, _ = await _left_apart(world)
    ask = world.sales.ask

    async def away(sale_id: str, command: object) -> object:
        raise SaleUnavailable

    world.sales.ask = away  # type: ignore[assignment, method-assign]
    assert await world.desk.bring_back_astray(10) == 0
    world.sales.ask = ask  # type: ignore[method-assign]
    await world.step(event, Step.COMPLETE)
    assert await world.desk.bring_back_astray(10) == 1
    assert (await world.read(event)).start_time == event.start_time
