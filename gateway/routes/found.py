"""Search results as the API shows them, and the home page that is made of several searches.

An index says which events were found; what is shown of them is read from the catalogue, so an event
that has just been cancelled is not shown, whatever an index or a cache still says.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from engine.catalogue import Event, Venue
from engine.finding import Hit, Point, Search, Sort, Trend
from engine.lifecycle import EventStatus
from engine.ranking import distance_km
from gateway.ports import Finding
from gateway.routes.events import EventAnswer, seen_by, shown

HOME_MAX = 10
HOME_SPARE = 20  # for those that are cancelled while the page is remembered
HOME_NEAR_KM = 200.0
REMEMBERED_S = 5.0
REMEMBERED_MAX = 1_000

_FOUND = frozenset({EventStatus.PUBLISHED, EventStatus.ON_SALE, EventStatus.SOLD_OUT})


class FoundEvent(Struct, frozen=True):
    """`distance_km`: where the search was near a point; `tickets_24h`: confirmed in 24 hours."""

    event: EventAnswer  # type: ignore[valid-type]
    venue: Venue
    min_price: int | None
    max_price: int | None
    has_available_tickets: bool
    distance_km: float | UnsetType = UNSET
    tickets_24h: int | UnsetType = UNSET


class Remembered:
    """Values by key, made anew after a few seconds; at most so many."""

    def __init__(self, ttl_s: float, most: int) -> None:
        self._ttl_s = ttl_s
        self._most = most
        self._values: OrderedDict[Any, tuple[float, Any]] = OrderedDict()
        self._making = asyncio.Lock()

    async def get(self, key: object, make: Callable[[], Awaitable[Any]]) -> Any:
        if self._is_fresh(key):
            return self._values[key][1]
        async with self._making:  # a crowd that finds nothing waits for the first of it
            if not self._is_fresh(key):
                self._values[key] = (time.monotonic(), await make())
                self._values.move_to_end(key)
            if len(self._values) > self._most:
                self._values.popitem(last=False)
            return self._values[key][1]

    def _is_fresh(self, key: object) -> bool:
        known = self._values.get(key)
        return known is not None and time.monotonic() - known[0] < self._ttl_s


async def results(
    finding: Finding, hits: Sequence[Hit], near: Point | None, tickets: dict[str, int] | None = None
) -> list[FoundEvent]:
    found = await finding.showings.among([hit.event_id for hit in hits])
    return [
        _result(hit, *found[hit.event_id], near, tickets or {})
        for hit in hits
        if hit.event_id in found and found[hit.event_id][0].status in _FOUND
    ]


def _result(
    hit: Hit, event: Event, venue: Venue, near: Point | None, tickets: dict[str, int]
) -> FoundEvent:
    away: float | UnsetType = UNSET
    if near is not None and venue.latitude is not None and venue.longitude is not None:
        away = round(distance_km(near, Point(venue.latitude, venue.longitude)), 3)
    return FoundEvent(
        shown(seen_by(event, None)),
        venue,
        hit.min_price,
        hit.max_price,
        hit.has_available_tickets,
        away,
        tickets.get(hit.event_id, UNSET),
    )


async def trending(
    finding: Finding, city: str | None, limit: int, now: datetime
) -> list[FoundEvent]:
    trends = await finding.trending.top(city, limit, now)
    tickets = {trend.event_id: trend.tickets for trend in trends}
    return await results(finding, await _hits(finding, trends), None, tickets)


async def _hits(finding: Finding, trends: Sequence[Trend]) -> list[Hit]:
    found = await finding.showings.hits([trend.event_id for trend in trends])
    return [found[trend.event_id] for trend in trends if trend.event_id in found]


def _lies_ahead(found: FoundEvent, now: datetime) -> bool:
    shown_event: dict[str, Any] = found.event
    return bool(shown_event["end_time"] > now)


class Home:
    """The top of a city, filled up with what comes next there, then near it, then anywhere."""

    def __init__(self, finding: Finding) -> None:
        self._finding = finding
        self._remembered = Remembered(REMEMBERED_S, REMEMBERED_MAX)

    async def of(self, city: str | None, now: datetime) -> list[FoundEvent]:
        hits, tickets = await self._remembered.get(city, lambda: self._ranked(city, now))
        shown_now = await results(self._finding, hits, None, tickets)
        return [each for each in shown_now if _lies_ahead(each, now)][:HOME_MAX]

    async def _ranked(self, city: str | None, now: datetime) -> tuple[list[Hit], dict[str, int]]:
        trends = await self._finding.trending.top(city, HOME_MAX, now)
        hits = {hit.event_id: hit for hit in await _hits(self._finding, trends)}
        upcoming = Search(as_of=now, starts_from=now, sort=Sort.DATE, limit=HOME_SPARE)
        if city is not None:
            await self._fill(hits, replace(upcoming, city=city))
            near = await self._near(hits.values(), upcoming)
            if near is not None:
                await self._fill(hits, near)
        await self._fill(hits, upcoming)
        return list(hits.values())[:HOME_SPARE], {t.event_id: t.tickets for t in trends}

    async def _fill(self, hits: dict[str, Hit], search: Search) -> None:
        if len(hits) < HOME_SPARE:
            for hit in (await self._finding.index.search(search)).hits:
                hits.setdefault(hit.event_id, hit)

    async def _near(self, hits: Iterable[Hit], upcoming: Search) -> Search | None:
        """What comes next around the first of these events that has a place."""
        found = await self._finding.showings.among([hit.event_id for hit in hits])
        for _, venue in found.values():
            if venue.latitude is not None and venue.longitude is not None:
                point = Point(venue.latitude, venue.longitude)
                return replace(upcoming, near=point, radius_km=HOME_NEAR_KM)
        return None
