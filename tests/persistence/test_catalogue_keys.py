"""Idempotency keys of the catalogue."""

import asyncio
from collections import Counter

import msgspec

from engine.catalogue import Event, Once, Stored
from engine.commands import Key
from engine.rejections import Reason
from tests.persistence.catalogue_world import (
    HOUR,
    NOON,
    World,
    done,
    draft,
    reason,
)


def _once(digest: bytes, fingerprint: bytes = b"f") -> Once:
    key = Key(digest.ljust(16, b"\0"), fingerprint.ljust(16, b"\0"))
    return Once(key, 201, lambda record: msgspec.json.encode(record.event_id))


async def test_the_same_key_gives_the_first_answer_and_another_body_none(world: World) -> None:
    venue = await world.venue()
    first = done(await world.catalogue.add_event(draft(venue), _once(b"k")), Event)
    again = await world.catalogue.add_event(draft(venue), _once(b"k"))
    assert again == Stored(201, msgspec.json.encode(first.event_id))
    other = await world.catalogue.add_event(draft(venue), _once(b"k", b"other"))
    assert reason(other) is Reason.IDEMPOTENCY_KEY_REUSED
    assert await world.pool.fetchval("SELECT count(*) FROM events") == 1


async def test_two_at_once_with_one_key_have_one_effect(world: World) -> None:
    venue = await world.venue()
    slots = [NOON + hours * HOUR for hours in range(20)]
    drafts = [draft(venue, start_time=at, end_time=at + HOUR) for at in slots]
    add = world.catalogue.add_event
    outcomes = await asyncio.gather(*(add(event, _once(b"k")) for event in drafts))
    assert Counter(type(outcome) for outcome in outcomes) == {Event: 1, Stored: 19}
    assert await world.pool.fetchval("SELECT count(*) FROM bookings") == 1


async def test_a_refused_request_does_not_use_its_key_up(world: World) -> None:
    venue = await world.venue(is_active=False)
    refused = await world.catalogue.add_event(draft(venue), _once(b"k"))
    assert reason(refused) is Reason.VENUE_INACTIVE
    await world.catalogue.change_venue(venue.venue_id, {"is_active": True})
    done(await world.catalogue.add_event(draft(venue), _once(b"k", b"other")), Event)


async def test_keys_count_for_a_day_and_are_deleted_in_passing(world: World) -> None:
    await world.catalogue.add_event(draft(await world.venue()), _once(b"old"))
    await world.catalogue.add_event(draft(await world.venue()), _once(b"older"))
    await world.pool.execute(
        "UPDATE idempotency_keys SET created_at = created_at - interval '24 hours'"
    )
    again = await world.catalogue.add_event(draft(await world.venue()), _once(b"old", b"other"))
    done(again, Event)
    assert await world.pool.fetchval("SELECT count(*) FROM idempotency_keys") == 1
