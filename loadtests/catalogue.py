"""The demo's catalogue, built over HTTP: a hall a city, an event a conference, one of them hot."""

import asyncio
from collections.abc import Sequence
from random import Random
from uuid import uuid4

import msgspec
from msgspec import Struct

from loadtests.api import Caller, code, expect, patiently
from loadtests.client import Answer, Client
from loadtests.conferences import Conference

HOT = "RubyConf"
HALL_CAPACITY_MIN = 5_000
SETUP_HOURS, TEARDOWN_HOURS = 24, 12
PER_ORDER_MAX = 4

# Name, price in minor units, share of the places in per cent.
TIERS = (("GENERAL", 14_900, 65), ("VIP", 39_900, 10), ("EARLY_BIRD", 9_900, 25))


class OnSale(Struct, frozen=True):
    """An event that can be bought; `tier_ids` in the order of `TIERS`."""

    event_id: str
    title: str
    places: int
    tier_ids: tuple[str, ...]


class Catalogue(Struct, frozen=True):
    """`conflicts`: conferences whose hall was taken at that time."""

    hot: OnSale
    others: list[OnSale]
    halls: int
    conflicts: list[str]


class _Venue(Struct, frozen=True):
    venue_id: str


class _Event(Struct, frozen=True):
    event_id: str


class _Tier(Struct, frozen=True):
    tier_id: str


class Builder:
    def __init__(self, client: Client, organizer: Caller, hot_places: int, random: Random) -> None:
        self._client = client
        self._organizer = organizer
        self._hot_places = hot_places
        self._random = random

    async def build(self, conferences: Sequence[Conference]) -> Catalogue:
        """Raises UnexpectedAnswer. The hot event is the first to ask for its hall."""
        cities = {(each.city, each.country): each for each in conferences}
        halls = await asyncio.gather(*(self._hall(each) for each in cities.values()))
        hall_by_city = dict(zip(cities, halls, strict=True))
        hot = next(each for each in conferences if each.name == HOT)
        others = [each for each in conferences if each is not hot]
        first = await self._event(hot, hall_by_city[hot.city, hot.country], self._hot_places)
        assert first is not None, "its hall was free"
        made = await asyncio.gather(
            *(
                self._event(each, hall_by_city[each.city, each.country], self._some_places())
                for each in others
            )
        )
        pairs = list(zip(others, made, strict=True))
        return Catalogue(
            hot=first,
            others=[event for _, event in pairs if event is not None],
            halls=len(halls),
            conflicts=[f"{each.name}, {each.city}" for each, event in pairs if event is None],
        )

    def _some_places(self) -> int:
        return self._random.choice((100, 200, 400, 1_000))

    async def _hall(self, conference: Conference) -> str:
        hall = {
            "name": f"{conference.city} Hall",
            "city": conference.city,
            "country": conference.country,
            "latitude": conference.lat,
            "longitude": conference.lon,
            "capacity": max(HALL_CAPACITY_MIN, self._hot_places),
            "type": "CONFERENCE_CENTER",
            "facilities": {"catering": True, "av_equipment": True},
            "timezone": conference.timezone,
            "currency": "EUR",
        }
        return expect(await self._post("/v1/venues", hall), 201, _Venue).venue_id

    async def _event(self, conference: Conference, venue_id: str, places: int) -> OnSale | None:
        """On sale, or None where the hall is taken. Its times are the hall's local ones."""
        event = {
            "venue_id": venue_id,
            "title": conference.name,
            "description": f"{conference.name}: {', '.join(conference.topics)}",
            "category": "CONFERENCE",
            "start_time": f"{conference.start}T09:00:00",
            "end_time": f"{conference.end}T18:00:00",
            "setup_hours_before": SETUP_HOURS,
            "teardown_hours_after": TEARDOWN_HOURS,
        }
        answer = await self._post("/v1/events", event)
        if code(answer) == "venue_conflict":
            return None
        event_id = expect(answer, 201, _Event).event_id
        tier_ids = [await self._tier(event_id, *tier, places) for tier in TIERS]
        for step in ("publish", "open-sales"):
            expect(await self._post(f"/v1/events/{event_id}/{step}", None), 200, _Event)
        return OnSale(event_id, conference.name, places, tuple(tier_ids))

    async def _tier(self, event_id: str, name: str, price: int, share: int, places: int) -> str:
        """The shares are rounded so that they add up to all the places."""
        rest = sum(places * other // 100 for other_name, _, other in TIERS if other_name != name)
        first = name == TIERS[0][0]
        tier = {
            "name": name,
            "price": price,
            "total_quantity": places - rest if first else places * share // 100,
            "max_per_order": PER_ORDER_MAX,
        }
        answer = await self._post(f"/v1/events/{event_id}/tiers", tier)
        return expect(answer, 201, _Tier).tier_id

    async def _post(self, path: str, body: object) -> Answer:
        content = b"" if body is None else msgspec.json.encode(body)
        headers = self._organizer.with_key(uuid4().hex)
        return await patiently(
            lambda: self._client.request("POST", path, content, headers, kind="catalogue")
        )
