"""Series: one event on many dates, each with a booking of its own. All are made, or none."""

import os
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType

from engine import ids
from engine.catalogue import Event, Venue
from engine.lifecycle import EventStatus
from engine.planning import refuse_caller
from engine.recurring import OCCURRENCES_MAX, weekly
from engine.rejections import Reason, Rejection
from gateway.catalogue import given, new_id, once, respond
from gateway.http import Body, answer, decode_bytes
from gateway.problems import malformed, refused
from gateway.routes.events import EventAnswer, NewEvent, shown
from gateway.routing import ORGANIZERS, Route, ports_of, principal_of
from gateway.times import refuse_beyond_calendars, resolve

_Dates = Annotated[tuple[date, ...], Meta(min_length=1, max_length=OCCURRENCES_MAX)]
_Count = Annotated[int, Meta(ge=1, le=OCCURRENCES_MAX)]


class Repeat(Body, frozen=True, kw_only=True):
    """Either `dates`, all of them; or `every_weeks` from the first date on, with `count` of them,
    or `until` a last date."""

    dates: _Dates | UnsetType = UNSET
    every_weeks: Annotated[int, Meta(ge=1, le=52)] | UnsetType = UNSET
    count: _Count | UnsetType = UNSET
    until: date | UnsetType = UNSET


class NewSeries(NewEvent, frozen=True, kw_only=True):
    """The times are those of the first date; clock changes leave the local times as they are."""

    repeat: Repeat


class Series(Struct, frozen=True):
    series_id: str
    events: list[EventAnswer]  # type: ignore[valid-type]


async def create(request: web.Request) -> web.Response:
    raw = await request.read()
    body = decode_bytes(raw, NewSeries)
    catalogue, principal = ports_of(request).catalogue, principal_of(request)
    venue = await catalogue.venue(body.venue_id)
    if isinstance(venue, Rejection):
        return refused(venue)
    planned = _planned(body, venue, principal.subject)
    if refusal := _refuse_overlap(planned):
        return refused(refusal)
    key = once(request, raw, principal, _shown, 201)
    return respond(await catalogue.add_series(planned, key), _shown, 201)


async def read(request: web.Request) -> web.Response:
    found = await ports_of(request).catalogue.series(request.match_info["series_id"])
    if isinstance(found, Rejection):
        return refused(found)
    refusal = refuse_caller(found[0], principal_of(request).caller)
    return refused(refusal) if refusal else answer(_shown(found))


def _shown(events: list[Event]) -> dict[str, object]:
    return {"series_id": events[0].series_id, "events": [shown(event) for event in events]}


def _planned(body: NewSeries, venue: Venue, organizer_id: str) -> list[Event]:
    """An event a date. Raises Problem 422 where clocks skip or repeat one of the times."""
    series_id, zone = new_id("ser"), ZoneInfo(venue.timezone)
    for name in ("start_time", "end_time"):
        refuse_beyond_calendars(getattr(body, name).year, name)
    start, end = _local(body.start_time, zone), _local(body.end_time, zone)
    fields: dict[str, Any] = {"currency": venue.currency, **given(body)}
    del fields["repeat"]
    events = []
    for day in _dates(body.repeat, start.date()):
        later = timedelta(days=(day - start.date()).days)
        times = {
            "start_time": resolve(start + later, venue.timezone, "start_time"),
            "end_time": resolve(end + later, venue.timezone, "end_time"),
        }
        events.append(
            Event(
                event_id=ids.event_id(os.urandom(ids.EVENT_RANDOM_BYTES)),
                organizer_id=organizer_id,
                booking_id=new_id("bkg"),
                status=EventStatus.DRAFT,
                series_id=series_id,
                **{**fields, **times},
            )
        )
    return events


def _dates(repeat: Repeat, first: date) -> list[date]:
    """Raises Problem 400 on a rule that is none."""
    if repeat.dates is not UNSET:
        if any(rest is not UNSET for rest in (repeat.every_weeks, repeat.count, repeat.until)):
            raise malformed("Expected either dates or every_weeks - at `$.repeat`")
        if len(set(repeat.dates)) < len(repeat.dates):
            raise malformed("Expected every date once - at `$.repeat.dates`")
        for day in repeat.dates:
            refuse_beyond_calendars(day.year, "repeat.dates")
        return sorted(repeat.dates)
    if repeat.every_weeks is UNSET or (repeat.count is UNSET) == (repeat.until is UNSET):
        raise malformed("Expected dates, or every_weeks with count or until - at `$.repeat`")
    count = None if repeat.count is UNSET else repeat.count
    until = None if repeat.until is UNSET else repeat.until
    dates = weekly(first, repeat.every_weeks, count, until)
    if not 1 <= len(dates) <= OCCURRENCES_MAX:
        raise malformed(f"Expected 1 to {OCCURRENCES_MAX} dates - at `$.repeat.until`")
    return dates


def _local(given_time: datetime, zone: ZoneInfo) -> datetime:
    if given_time.tzinfo is None:
        return given_time
    return given_time.astimezone(zone).replace(tzinfo=None)


def _refuse_overlap(planned: list[Event]) -> Rejection | None:
    windows = sorted(event.slot.window for event in planned)
    for (_, ended), (begun, _) in pairwise(windows):
        if begun < ended:
            return Rejection(Reason.INVALID_TIMES, {"from": begun, "to": ended})
    return None


ROUTES = [
    Route(
        "POST",
        "/v1/series",
        create,
        ORGANIZERS,
        "Add an event on many dates, and book its venue for each; all or none",
        NewSeries,
        answers={201: Series},
    ),
    Route(
        "GET",
        "/v1/series/{series_id}",
        read,
        ORGANIZERS,
        "Read a series",
        answers={200: Series},
    ),
]
