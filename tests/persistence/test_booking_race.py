"""Ten thousand ask for halls, two hundred at once; an independent check counts what they got.

The check (`loadtests/halls.py`) knows what was asked and answered, and nothing of the catalogue.
That it finds what it is for is shown by taking both guards away, the lock and the constraint.
"""

import asyncio
import itertools
import random
import time

import pytest

from engine.catalogue import Booking, Event, Venue
from engine.rejections import Reason, Rejection
from loadtests.halls import Given, Refused, Window, overlaps, unfounded
from persistence import venues
from tests.persistence.catalogue_world import HOUR, NOON, ORGANIZER, World, done, draft

REQUESTS = 10_000
CROWDS_MAX = 5
AT_ONCE = 200
HALLS = 10


class Crowd:
    """Asks for random windows, and gives one in ten of its bookings up again."""

    def __init__(self, world: World, halls: list[Venue], seed: int) -> None:
        self._world = world
        self._halls = halls
        self._chance = random.Random(seed)
        self.given: dict[str, Given] = {}
        self.refused: list[Refused] = []

    async def ask(self, requests: int) -> None:
        numbers = itertools.repeat(None, requests)

        async def one_after_another() -> None:
            for _ in numbers:
                await self._act()

        await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))

    async def _act(self) -> None:
        live = [given for given in self.given.values() if given.ended_s is None]
        if live and self._chance.random() < 0.1:
            await self._give_up(self._chance.choice(live))
        else:
            await self._request()

    async def _request(self) -> None:
        chance = self._chance
        start = NOON + chance.randrange(60 * 24) * HOUR
        wanted = draft(
            chance.choice(self._halls),
            start_time=start,
            end_time=start + chance.randint(1, 6) * HOUR,
            setup_hours_before=chance.choice((0, 0.5, 2)),
            teardown_hours_after=chance.choice((0, 0.25, 1)),
        )
        window, asked_s = Window(*wanted.slot.window), time.monotonic()
        outcome = await self._world.catalogue.add_event(wanted, None)
        if isinstance(outcome, Event):
            self.given[wanted.booking_id] = Given(
                wanted.booking_id, wanted.venue_id, window, asked_s
            )
            return
        refusal = done(outcome, Rejection)
        assert refusal.reason is Reason.VENUE_CONFLICT
        facts = refusal.facts or {}
        named = Window(facts["from"], facts["to"])  # type: ignore[arg-type]
        named_id = str(facts["booking_id"])
        self.refused.append(
            Refused(wanted.venue_id, window, named_id, named, asked_s, time.monotonic())
        )

    async def _give_up(self, given: Given) -> None:
        asked_s = time.monotonic()
        span = (asked_s, float("inf"))
        self.given[given.booking_id] = Given(
            given.booking_id, given.hall, given.window, given.asked_s, span
        )
        outcome = await self._world.desk.cancel_booking(ORGANIZER, given.booking_id, None)
        done(outcome, Booking)
        span = (asked_s, time.monotonic())
        self.given[given.booking_id] = Given(
            given.booking_id, given.hall, given.window, given.asked_s, span
        )

    @property
    def live(self) -> list[Given]:
        return [given for given in self.given.values() if given.ended_s is None]


async def _crowd(world: World, requests: int) -> Crowd:
    halls = [await world.venue() for _ in range(HALLS)]
    crowd = Crowd(world, halls, seed=requests)
    await crowd.ask(requests)
    kept = await world.pool.fetch("SELECT booking_id FROM bookings WHERE status <> 'CANCELLED'")
    assert {row["booking_id"] for row in kept} == {given.booking_id for given in crowd.live}
    return crowd


async def test_no_two_of_ten_thousand_meet_and_each_refusal_names_who_was_there(
    world: World,
) -> None:
    crowd = await _crowd(world, REQUESTS)
    assert overlaps(crowd.live) == []
    assert unfounded(crowd.refused, crowd.given) == []
    ended = len(crowd.given) - len(crowd.live)
    assert len(crowd.given) + ended + len(crowd.refused) == REQUESTS
    assert min(len(crowd.live), ended, len(crowd.refused)) > REQUESTS / 50


async def test_the_check_finds_overlaps_where_lock_and_constraint_are_both_off(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(venues, "LOCKED", venues.LOCKED.removesuffix(" FOR NO KEY UPDATE"))
    await world.pool.execute("ALTER TABLE bookings DROP CONSTRAINT bookings_never_overlap")
    for _ in range(CROWDS_MAX):  # a race is a matter of chance: of one it may not come about
        crowd = await _crowd(world, REQUESTS // 5)
        if overlaps(crowd.live):
            return
    pytest.fail("nobody was let into a hall that was taken")


def test_the_check_knows_a_refusal_that_is_unfounded() -> None:
    window = Window(NOON, NOON + HOUR)
    later = Window(NOON + HOUR, NOON + 2 * HOUR)
    named = Given("bkg_1", "hall", window, asked_s=1.0, ended_s=(2.0, 3.0))
    fair = Refused("hall", window, "bkg_1", window, asked_s=2.5, answered_s=4.0)
    cases = {
        fair: [],
        Refused("hall", window, "bkg_2", window, 2.5, 4.0): ["bkg_2 was never given"],
        Refused("other", window, "bkg_1", window, 2.5, 4.0): ["bkg_1 is elsewhere"],
        Refused("hall", later, "bkg_1", window, 2.5, 4.0): ["bkg_1 is not in the way"],
        Refused("hall", window, "bkg_1", window, 0.1, 0.9): ["bkg_1 was asked for later"],
        Refused("hall", window, "bkg_1", window, 3.1, 4.0): ["bkg_1 had been cancelled"],
    }
    for refusal, wrong in cases.items():
        assert unfounded([refusal], {"bkg_1": named}) == wrong
