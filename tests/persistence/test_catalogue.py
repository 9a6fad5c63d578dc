"""The catalogue on its own: the events' life, their tiers and gates, lists."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from engine.catalogue import BookingStatus, Event, Tier
from engine.commands import Caller, Gate, Role
from engine.lifecycle import EventStatus, Step
from engine.planning import TIERS_MAX
from engine.rejections import Reason, Rejection
from tests.persistence.catalogue_world import (
    HOUR,
    NOON,
    ORGANIZER,
    World,
    done,
    reason,
    tier_of,
)

STRANGER = Caller(Role.ORGANIZER, "somebody else")
ADMIN = Caller(Role.ADMIN, "root")

S = EventStatus
LEGAL = {
    (S.DRAFT, Step.PUBLISH): S.PUBLISHED,
    (S.DRAFT, Step.CANCEL): S.CANCELLED,
    (S.PUBLISHED, Step.OPEN_SALES): S.ON_SALE,
    (S.PUBLISHED, Step.CANCEL): S.CANCELLED,
    (S.PUBLISHED, Step.COMPLETE): S.COMPLETED,
    (S.ON_SALE, Step.CLOSE_SALES): S.PUBLISHED,
    (S.ON_SALE, Step.CANCEL): S.CANCELLED,
    (S.ON_SALE, Step.COMPLETE): S.COMPLETED,
    (S.SOLD_OUT, Step.CLOSE_SALES): S.PUBLISHED,
    (S.SOLD_OUT, Step.CANCEL): S.CANCELLED,
    (S.SOLD_OUT, Step.COMPLETE): S.COMPLETED,
}
TARGET = {step: status for (_, step), status in LEGAL.items()}
WAY_TO = {
    S.DRAFT: [],
    S.PUBLISHED: [Step.PUBLISH],
    S.ON_SALE: [Step.PUBLISH, Step.OPEN_SALES],
    S.SOLD_OUT: [Step.PUBLISH, Step.OPEN_SALES],
    S.COMPLETED: [Step.PUBLISH, Step.COMPLETE],
    S.CANCELLED: [Step.CANCEL],
}


async def brought_to(world: World, status: EventStatus) -> Event:
    event = await world.event(await world.venue())
    tier = await world.tier(event)
    await world.step(event, *WAY_TO[status])
    if status is S.SOLD_OUT:
        await world.sell_out(tier)
    return await world.read(event)


# -- life --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", list(EventStatus))
async def test_steps_lead_where_the_contract_says_and_nowhere_else(
    world: World, status: EventStatus
) -> None:
    for step in Step:
        event = await brought_to(world, status)
        assert event.status is status
        outcome = await world.catalogue.take_step(ORGANIZER, event.event_id, step, None)
        if target := LEGAL.get((status, step)):
            assert done(outcome, Event).status is target
            assert (await world.read(event)).status is target
        else:
            facts: dict[str, object] = {"from": status.value, "to": TARGET[step].value}
            assert outcome == Rejection(Reason.ILLEGAL_TRANSITION, facts)
            assert await world.read(event) == event


async def test_sold_out_and_back_follow_the_counters(world: World) -> None:
    event, tier = await world.on_sale()
    await world.sell_out(tier)
    assert (await world.read(event)).status is S.SOLD_OUT
    await world.catalogue.change_event(ORGANIZER, event.event_id, {"title": "Extra"})
    await world.catalogue.change_tier(ORGANIZER, tier.tier_id, {"total_quantity": 101})
    again = await world.read(event)
    assert (again.status, again.title) == (S.ON_SALE, "Extra")


async def test_a_cancelled_event_gives_its_venue_back(world: World) -> None:
    venue = await world.venue()
    event = await world.event(venue)
    await world.step(event, Step.CANCEL)
    assert (await world.booking(event)).status is BookingStatus.CANCELLED
    await world.event(venue)


async def test_only_the_organizer_and_admins_change_an_event(world: World) -> None:
    event, tier = await world.on_sale()
    catalogue, event_id = world.catalogue, event.event_id
    refused = [
        await catalogue.change_event(STRANGER, event_id, {"title": "Mine"}),
        await catalogue.take_step(STRANGER, event_id, Step.CANCEL, None),
        await catalogue.set_gates(STRANGER, event_id, (Gate("A", ()),)),
        await catalogue.add_tier(STRANGER, tier_of(event), None),
        await catalogue.change_tier(STRANGER, tier.tier_id, {"price": 1}),
        await world.desk.cancel_booking(STRANGER, event.booking_id, None),
        await world.desk.booking(STRANGER, event.booking_id),
        await world.desk.add_booking(STRANGER, event_id, "bkg_1", event.slot, None),
    ]
    assert {reason(outcome) for outcome in refused} == {Reason.NOT_THE_ORGANIZER}
    assert await world.read(event) == event
    changed = await catalogue.change_event(ADMIN, event_id, {"title": "Ours"})
    assert done(changed, Event).title == "Ours"


@pytest.mark.parametrize("status", [S.CANCELLED, S.COMPLETED])
async def test_an_event_that_is_over_stays_as_it_is(world: World, status: EventStatus) -> None:
    event = await brought_to(world, status)
    catalogue = world.catalogue
    refused = [
        await catalogue.change_event(ORGANIZER, event.event_id, {"title": "Late"}),
        await catalogue.set_gates(ORGANIZER, event.event_id, (Gate("A", ()),)),
        await catalogue.add_tier(ORGANIZER, tier_of(event), None),
        await catalogue.change_tier(ORGANIZER, event.tiers[0].tier_id, {"price": 1}),
    ]
    assert {reason(outcome) for outcome in refused} == {Reason.EVENT_NOT_EDITABLE}
    assert await world.read(event) == event


async def test_what_is_not_there_is_unknown_whatever_its_id_looks_like(world: World) -> None:
    catalogue = world.catalogue
    for text in ("", "nope", "\0", "é", "\ud800", "x" * 10_000):
        assert reason(await catalogue.event(text)) is Reason.UNKNOWN_EVENT
        assert reason(await catalogue.venue(text)) is Reason.UNKNOWN_VENUE
        assert reason(await world.desk.booking(ADMIN, text)) is Reason.UNKNOWN_BOOKING
        assert reason(await catalogue.change_venue(text, {})) is Reason.UNKNOWN_VENUE
        assert reason(await catalogue.change_event(ADMIN, text, {})) is Reason.UNKNOWN_EVENT
        assert reason(await catalogue.change_tier(ADMIN, text, {})) is Reason.UNKNOWN_TIER
        assert await catalogue.events(None, text, 10) == []


async def test_events_complete_by_themselves_once_they_are_over(world: World) -> None:
    over, _ = await world.on_sale()
    published = await brought_to(world, S.PUBLISHED)
    drafted = await brought_to(world, S.DRAFT)
    later, _ = await world.on_sale(end_time=NOON + 3 * HOUR)
    assert await world.catalogue.complete_ended(over.end_time - timedelta(seconds=1), 10) == 0
    assert await world.catalogue.complete_ended(over.end_time, 10) == 2
    assert await world.catalogue.complete_ended(over.end_time, 10) == 0
    statuses = [(await world.read(e)).status for e in (over, published, drafted, later)]
    assert statuses == [S.COMPLETED, S.COMPLETED, S.DRAFT, S.ON_SALE]


# -- tiers and gates ---------------------------------------------------------------------------


async def test_tiers_never_exceed_the_capacity_however_many_come_at_once(world: World) -> None:
    event = await world.event(await world.venue(capacity=100))
    tiers = [tier_of(event, total_quantity=11) for _ in range(20)]
    add, change = world.catalogue.add_tier, world.catalogue.change_tier
    outcomes = await asyncio.gather(*(add(ORGANIZER, tier, None) for tier in tiers))
    assert Counter(type(outcome) for outcome in outcomes) == {Tier: 9, Rejection: 11}
    refusal = Rejection(Reason.EXCEEDS_CAPACITY, {"capacity": 100, "requested": 110})
    assert all(outcome == refusal for outcome in outcomes if isinstance(outcome, Rejection))
    tier_id = (await world.read(event)).tiers[0].tier_id
    done(await change(ORGANIZER, tier_id, {"total_quantity": 12}), Tier)
    refused = await change(ORGANIZER, tier_id, {"total_quantity": 13})
    assert reason(refused) is Reason.EXCEEDS_CAPACITY


async def test_an_event_has_so_many_tiers_at_most_however_many_come_at_once(world: World) -> None:
    event = await world.event(await world.venue())
    tiers = [tier_of(event, total_quantity=1) for _ in range(TIERS_MAX + 3)]
    add = world.catalogue.add_tier
    outcomes = await asyncio.gather(*(add(ORGANIZER, tier, None) for tier in tiers))
    refused = [outcome for outcome in outcomes if isinstance(outcome, Rejection)]
    assert refused == [Rejection(Reason.TOO_MANY_TIERS, {"max": TIERS_MAX})] * 3


async def test_capacity_is_looked_at_again_when_publishing(world: World) -> None:
    venue = await world.venue(capacity=100)
    event = await world.event(venue)
    tier = await world.tier(event, total_quantity=100)
    await world.catalogue.change_venue(venue.venue_id, {"capacity": 99})
    publish = world.catalogue.take_step(ORGANIZER, event.event_id, Step.PUBLISH, None)
    assert reason(await publish) is Reason.EXCEEDS_CAPACITY
    done(await world.catalogue.change_tier(ORGANIZER, tier.tier_id, {"price": 1}), Tier)
    await world.catalogue.change_tier(ORGANIZER, tier.tier_id, {"total_quantity": 99})
    await world.step(event, Step.PUBLISH)


async def test_a_tiers_window_has_its_end_after_its_start(world: World) -> None:
    event = await world.event(await world.venue())
    upside_down = tier_of(event, sale_start=NOON, sale_end=NOON)
    refused = await world.catalogue.add_tier(ORGANIZER, upside_down, None)
    assert reason(refused) is Reason.INVALID_TIMES


async def test_gates_admit_tiers_of_their_event_only(world: World) -> None:
    event, tier = await world.on_sale()
    _, other = await world.on_sale()
    gates = (Gate("North", (tier.tier_id,)), Gate("South", ()))
    changed = await world.catalogue.set_gates(ORGANIZER, event.event_id, gates)
    assert done(changed, Event).gates == gates
    assert (await world.read(event)).gates == gates
    foreign = (Gate("North", (other.tier_id,)),)
    refused = await world.catalogue.set_gates(ORGANIZER, event.event_id, foreign)
    assert refused == Rejection(Reason.UNKNOWN_TIER, {"tier_id": other.tier_id})


# -- lists ----------------------------------------------------------------------------


async def test_lists_are_newest_first_page_by_page_and_hide_others_drafts(world: World) -> None:
    venue = await world.venue()
    events = [
        await world.event(venue, start_time=start, end_time=start + HOUR)
        for start in (NOON + hours * HOUR for hours in range(5))
    ]
    for event in events[:3]:
        await world.step(event, Step.PUBLISH)
    newest = [event.event_id for event in reversed(events)]

    async def listed(viewer: Caller | None) -> list[str]:
        found: list[str] = []
        while page := await world.catalogue.events(viewer, found[-1] if found else None, 2):
            found += [event.event_id for event in page]
        return found

    assert await listed(ORGANIZER) == await listed(ADMIN) == newest
    assert await listed(None) == await listed(STRANGER) == newest[2:]
    assert [v.venue_id for v in await world.catalogue.venues(None, 9)] == [venue.venue_id]
