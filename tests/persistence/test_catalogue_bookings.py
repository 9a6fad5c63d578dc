"""Bookings of venues: one live one an event, and no two of a venue overlap."""

import asyncio
import random
from typing import Any

import pytest
from msgspec.structs import replace

from engine.catalogue import Booking, BookingStatus, Event, Slot, Stored, Venue
from engine.lifecycle import Step
from engine.rejections import Reason, Rejection
from persistence import bookings, venues
from tests.persistence.catalogue_world import (
    HOUR,
    NOON,
    ORGANIZER,
    World,
    done,
    draft,
    reason,
)


def _without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(venues, "LOCKED", venues.LOCKED.removesuffix(" FOR NO KEY UPDATE"))


async def _without_constraint(world: World) -> None:
    await world.pool.execute("ALTER TABLE bookings DROP CONSTRAINT bookings_never_overlap")


def _two_look_before_either_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    look, both_have_looked = bookings._conflict, asyncio.Barrier(2)

    async def look_together(*asked: Any) -> Rejection | None:
        found = await look(*asked)
        await both_have_looked.wait()
        return found

    monkeypatch.setattr(bookings, "_conflict", look_together)


def _one_inserts_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that do in one instant wait for each other, and Postgres ends one of them: a deadlock."""
    write, turn = bookings._write, asyncio.Lock()

    async def write_in_turn(*asked: Any) -> Rejection | None:
        async with turn:
            return await write(*asked)

    monkeypatch.setattr(bookings, "_write", write_in_turn)


async def _fifty_at_once(world: World, venue: Venue) -> list[Event | Stored | Rejection]:
    drafts = [draft(venue) for _ in range(50)]
    return await asyncio.gather(*(world.catalogue.add_event(event, None) for event in drafts))


@pytest.mark.parametrize("guard", ["lock and constraint", "lock", "constraint"])
async def test_of_fifty_who_ask_for_one_hall_at_once_one_gets_it(
    world: World, guard: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "lock" not in guard:
        _without_locks(monkeypatch)
        _one_inserts_at_a_time(monkeypatch)
    if "constraint" not in guard:
        await _without_constraint(world)
    venue = await world.venue()
    outcomes = await _fifty_at_once(world, venue)
    (winner,) = (outcome for outcome in outcomes if isinstance(outcome, Event))
    facts: dict[str, object] = {
        "venue_id": venue.venue_id,
        "booking_id": winner.booking_id,
        "from": winner.start_time,
        "to": winner.end_time,
    }
    refusal = Rejection(Reason.VENUE_CONFLICT, facts)
    assert [outcome for outcome in outcomes if outcome != winner] == [refusal] * 49
    assert await world.overlaps(venue) == []
    assert await world.pool.fetchval("SELECT count(*) FROM events") == 1


async def test_with_neither_lock_nor_constraint_bookings_do_overlap(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _without_locks(monkeypatch)
    await _without_constraint(world)
    _two_look_before_either_writes(monkeypatch)
    venue = await world.venue()
    await asyncio.gather(*(world.catalogue.add_event(draft(venue), None) for _ in range(2)))
    assert await world.overlaps(venue)


@pytest.mark.parametrize("seed", range(3))
async def test_bookings_asked_moved_and_cancelled_at_once_never_overlap(
    world: World, seed: int
) -> None:
    chance = random.Random(seed)
    venue = await world.venue()
    kept: list[Event] = []

    def slot() -> dict[str, object]:
        start = NOON + chance.randrange(150) * HOUR
        hours = {"setup_hours_before": chance.randrange(3), "teardown_hours_after": 0.5}
        return {"start_time": start, "end_time": start + chance.randint(1, 4) * HOUR, **hours}

    async def act() -> None:
        choice = chance.random()
        if choice < 0.6 or not kept:
            outcome = await world.catalogue.add_event(draft(venue, **slot()), None)
            if isinstance(outcome, Event):
                kept.append(outcome)
        elif choice < 0.9:
            event = chance.choice(kept)
            outcome = await world.catalogue.change_event(ORGANIZER, event.event_id, slot())
        else:
            event = kept.pop(chance.randrange(len(kept)))
            outcome = await world.catalogue.take_step(ORGANIZER, event.event_id, Step.CANCEL, None)
        if isinstance(outcome, Rejection):
            assert outcome.reason in (Reason.VENUE_CONFLICT, Reason.EVENT_NOT_EDITABLE)

    for _ in range(6):
        await asyncio.gather(*(act() for _ in range(20)))
    assert await world.overlaps(venue) == []
    assert len(kept) > 3
    for event in kept:
        stands = await world.read(event)
        assert (await world.booking(stands)).slot == stands.slot


async def test_back_to_back_is_no_conflict_and_setup_and_teardown_count(world: World) -> None:
    venue = await world.venue()
    await world.event(venue, teardown_hours_after=1.5)
    free_from = NOON + 3.5 * HOUR
    times = {"start_time": free_from + 2 * HOUR, "end_time": free_from + 3 * HOUR}
    touching = draft(venue, **times, setup_hours_before=2.0)
    overlapping = replace(touching, setup_hours_before=2.01)
    refused = await world.catalogue.add_event(overlapping, None)
    assert reason(refused) is Reason.VENUE_CONFLICT
    done(await world.catalogue.add_event(touching, None), Event)


async def test_moving_an_event_moves_its_booking_or_nothing(world: World) -> None:
    venue = await world.venue()
    first = await world.event(venue)
    later = {"start_time": NOON + 5 * HOUR, "end_time": NOON + 6 * HOUR}
    second = await world.event(venue, **later)
    change = world.catalogue.change_event
    refused = await change(ORGANIZER, first.event_id, {**later, "title": "Moved"})
    assert done(refused, Rejection).facts == {
        "venue_id": venue.venue_id,
        "booking_id": second.booking_id,
        "from": second.start_time,
        "to": second.end_time,
    }
    assert await world.read(first) == first
    longer = {"end_time": NOON + 4 * HOUR, "teardown_hours_after": 1.0}
    moved = done(await change(ORGANIZER, first.event_id, longer), Event)
    assert moved.booking_id == first.booking_id
    assert (await world.booking(moved)).slot == moved.slot
    assert reason(await change(ORGANIZER, first.event_id, {"end_time": NOON})) is (
        Reason.INVALID_TIMES
    )


async def test_a_venue_that_is_inactive_takes_no_new_booking(world: World) -> None:
    venue = await world.venue(is_active=False)
    refused = await world.catalogue.add_event(draft(venue, end_time=NOON), None)
    assert reason(refused) is Reason.VENUE_INACTIVE
    unknown = await world.catalogue.add_event(draft(replace(venue, venue_id="ven_0")), None)
    assert reason(unknown) is Reason.UNKNOWN_VENUE


async def test_a_venue_with_a_deposit_confirms_later_and_until_then_nothing_is_published(
    world: World,
) -> None:
    event = await world.event(await world.venue(deposit_amount=500, currency="CHF"))
    booking = await world.booking(event)
    asked = (booking.status, booking.deposit_amount, booking.deposit_paid, booking.currency)
    assert asked == (BookingStatus.REQUESTED, 500, 0, "CHF")
    refused = await world.catalogue.take_step(ORGANIZER, event.event_id, Step.PUBLISH, None)
    assert reason(refused) is Reason.BOOKING_NOT_CONFIRMED


async def test_an_event_has_one_live_booking_and_goes_where_the_next_one_is(world: World) -> None:
    first, second = await world.venue(), await world.venue()
    event = await world.event(first)
    await world.event(second)
    catalogue = world.catalogue
    taken = Slot(second.venue_id, NOON, NOON + HOUR, 0, 0)
    book = world.desk.add_booking
    refused = await book(ORGANIZER, event.event_id, "bkg_1", taken, None)
    assert reason(refused) is Reason.ALREADY_BOOKED
    cancelled = done(await world.desk.cancel_booking(ORGANIZER, event.booking_id, None), Booking)
    assert cancelled.status is BookingStatus.CANCELLED
    refused = await world.desk.cancel_booking(ORGANIZER, event.booking_id, None)
    assert refused == Rejection(Reason.ILLEGAL_TRANSITION, {"from": "CANCELLED", "to": "CANCELLED"})
    published = await catalogue.take_step(ORGANIZER, event.event_id, Step.PUBLISH, None)
    assert reason(published) is Reason.BOOKING_NOT_CONFIRMED
    refused = await book(ORGANIZER, event.event_id, "bkg_1", taken, None)
    assert reason(refused) is Reason.VENUE_CONFLICT
    free = Slot(second.venue_id, NOON + 2 * HOUR, NOON + 3 * HOUR, 0, 1)
    booking = done(await book(ORGANIZER, event.event_id, "bkg_1", free, None), Booking)
    assert (booking.slot, booking.status) == (free, BookingStatus.CONFIRMED)
    moved = await world.read(event)
    assert (moved.slot, moved.booking_id) == (free, "bkg_1")


async def test_the_calendar_shows_live_windows_by_time_page_by_page(world: World) -> None:
    venue = await world.venue()
    events = [
        await world.event(venue, start_time=start, end_time=start + HOUR, setup_hours_before=0.5)
        for start in (NOON + hours * HOUR for hours in (6, 2, 4, 0))
    ]
    await world.step(events[2], Step.CANCEL)
    live = [events[3], events[1], events[0]]

    async def shown(*window: object, after: str | None = None, limit: int = 10) -> list[str]:
        found = await world.catalogue.calendar(venue.venue_id, window, after, limit)  # type: ignore[arg-type]
        return [booking.event_id for booking in found]

    assert await shown(None, None) == [event.event_id for event in live]
    assert await shown(NOON + HOUR, None) == [event.event_id for event in live[1:]]
    assert await shown(None, NOON + 1.5 * HOUR) == [live[0].event_id]
    assert await shown(None, None, limit=1) == [live[0].event_id]
    after = live[0].booking_id
    assert await shown(None, None, after=after, limit=1) == [live[1].event_id]
