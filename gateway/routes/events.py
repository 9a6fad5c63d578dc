"""Events: what they are, the steps of their life, and their gates."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Any

from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType, defstruct
from msgspec.structs import asdict, fields, replace

from engine import ids
from engine.catalogue import Category, Event, Venue
from engine.commands import Caller, Gate, Role
from engine.lifecycle import EventStatus, Step
from engine.planning import refuse_caller, refuse_change
from engine.rejections import Rejection
from gateway import exporting
from gateway.auth import forbidden, unauthenticated
from gateway.catalogue import (
    Catalogue,
    Currency,
    Hours,
    Name,
    Text,
    given,
    new_id,
    once,
    optional,
    refuse_body,
    respond,
    respond_page,
)
from gateway.http import Body, answer, decode, decode_bytes, page_cursor, page_limit, unknown
from gateway.media import CSV, JSON_LINES
from gateway.problems import malformed, refused
from gateway.routing import ANYONE, ORGANIZERS, Route, ports_of, principal_of
from gateway.times import resolve

GATES_MAX = 500
TIERS_OF_GATE_MAX = 500

Url = Annotated[str, Meta(max_length=2000, pattern=r"^https?://[!-~]+$")]

_PageAfter = Callable[[str | None, int], Awaitable[list[Event]]]

_INTERNAL = ("opened", "version")
_TIMES = ("start_time", "end_time")


class _Details(Body, frozen=True, kw_only=True):
    title: Name
    description: Text = ""
    category: Category
    start_time: datetime
    end_time: datetime
    cover_image_url: Url | None = None
    age_restriction: Annotated[int, Meta(ge=0, le=150)] | None = None
    currency: Currency | UnsetType = UNSET
    setup_hours_before: Hours = 0
    teardown_hours_after: Hours = 0
    reentry: bool = False


class NewEvent(_Details, frozen=True, kw_only=True):
    """`currency`: the venue's if none is given."""

    venue_id: str


EventChange = optional(_Details)


class GateBody(Body, frozen=True):
    """A door; no `tier_ids` admits every tier."""

    name: Name
    tier_ids: Annotated[tuple[str, ...], Meta(max_length=TIERS_OF_GATE_MAX)] = ()


class EventLine(Struct, frozen=True):
    """An event in a file; `places`: those of all its tiers."""

    event_id: str
    title: str
    category: Category
    status: EventStatus
    venue_id: str
    booking_id: str
    organizer_id: str
    start_time: datetime
    end_time: datetime
    setup_hours_before: float
    teardown_hours_after: float
    currency: str
    places: int
    age_restriction: int | None
    series_id: str | None
    cover_image_url: str | None
    description: str


class Gates(Body, frozen=True):
    gates: Annotated[tuple[GateBody, ...], Meta(max_length=GATES_MAX)]


async def create(request: web.Request) -> web.Response:
    raw = await request.read()
    body = decode_bytes(raw, NewEvent)
    catalogue, principal = ports_of(request).catalogue, principal_of(request)
    venue = await catalogue.venue(body.venue_id)
    if isinstance(venue, Rejection):
        return refused(venue)
    event = Event(
        event_id=ids.event_id(os.urandom(ids.EVENT_RANDOM_BYTES)),
        organizer_id=principal.subject,
        booking_id=new_id("bkg"),
        status=EventStatus.DRAFT,
        **{"currency": venue.currency, **in_utc(given(body), venue)},
    )
    key = once(request, raw, principal, shown, 201)
    return respond(await catalogue.add_event(event, key), shown, 201)


async def change(request: web.Request) -> web.Response:
    changes = given(await decode(request, EventChange))
    catalogue, caller = ports_of(request).catalogue, principal_of(request).caller
    event = await catalogue.event(request.match_info["event_id"])
    if isinstance(event, Rejection):
        return refused(event)
    if refusal := refuse_change(event, caller):
        return refused(refusal)
    venue = await catalogue.venue(event.venue_id)
    assert isinstance(venue, Venue)
    changes = in_utc(changes, venue)
    return respond(await catalogue.change_event(caller, event.event_id, changes), shown)


async def read(request: web.Request) -> web.Response:
    event = await ports_of(request).catalogue.event(request.match_info["event_id"])
    if isinstance(event, Rejection):
        return refused(event)
    viewer = ports_of(request).credentials.principal(request.headers)
    caller = viewer.caller if viewer is not None else None
    if event.status is EventStatus.DRAFT and not _owns(caller, event):
        return unknown("event")
    return answer(shown(seen_by(event, caller)))


async def list_newest(request: web.Request) -> web.StreamResponse:
    """The public's list, or with `mine=true` an organizer's own: as a file, too."""
    ports = ports_of(request)
    viewer = ports.credentials.principal(request.headers)
    caller = viewer.caller if viewer is not None else None
    page_after: _PageAfter = partial(ports.catalogue.events, caller)
    if _wants_own(request):
        page_after = _own_events(ports.catalogue, caller)
    if media := exporting.wanted(request):
        if caller is None:
            raise unauthenticated("a whole list is for those who show a credential")
        lines = _lines(page_after, caller)
        return await exporting.stream(request, media, "events", EventLine, lines)
    limit, after = page_limit(request), page_cursor(request)
    found = await page_after(after, limit + 1)
    seen = [seen_by(event, caller) for event in found]
    return respond_page(seen, limit, shown, lambda event: event.event_id)


def _own_events(catalogue: Catalogue, caller: Caller | None) -> _PageAfter:
    """An admin's are all there are. Raises Problem 401, 403."""
    if caller is None:
        raise unauthenticated("mine: whose events are asked for is told by a credential")
    if caller.role not in ORGANIZERS:
        raise forbidden("mine: events are made by organizers")
    return partial(catalogue.own_events, None if caller.role is Role.ADMIN else caller.subject)


def _wants_own(request: web.Request) -> bool:
    text = request.query.get("mine", "false")
    if text not in ("true", "false"):
        raise malformed("mine: true or false")
    return text == "true"


async def _lines(page_after: _PageAfter, caller: Caller | None) -> AsyncIterator[list[EventLine]]:
    after = None
    while found := await page_after(after, exporting.ROWS_A_PAGE):
        after = found[-1].event_id
        yield [_line(seen_by(event, caller)) for event in found]


def _line(event: Event) -> EventLine:
    values = {
        name: getattr(event, name) for name in EventLine.__struct_fields__ if name != "places"
    }
    return EventLine(**values, places=sum(tier.total_quantity for tier in event.tiers))


async def take_step(request: web.Request) -> web.Response:
    raw = await request.read()
    refuse_body(raw)
    principal, step = principal_of(request), Step(request.path.rpartition("/")[2])
    key = once(request, raw, principal, shown)
    event_id = request.match_info["event_id"]
    catalogue = ports_of(request).catalogue
    return respond(await catalogue.take_step(principal.caller, event_id, step, key), shown)


async def set_gates(request: web.Request) -> web.Response:
    body = await decode(request, Gates)
    names = [gate.name for gate in body.gates]
    if len(set(names)) < len(names):
        raise malformed("Expected every gate's name once - at `$.gates`")
    gates = tuple(Gate(gate.name, gate.tier_ids) for gate in body.gates)
    caller, event_id = principal_of(request).caller, request.match_info["event_id"]
    return respond(await ports_of(request).catalogue.set_gates(caller, event_id, gates), shown)


def shown(event: Event) -> dict[str, object]:
    fields = {name: value for name, value in asdict(event).items() if name not in _INTERNAL}
    return {**fields, "gates": [asdict(gate) for gate in event.gates]}


def in_utc(fields: dict[str, Any], venue: Venue) -> dict[str, Any]:
    """`fields` with its times as instants; those without offset are the venue's local times."""
    times = {name: resolve(fields[name], venue.timezone, name) for name in _TIMES if name in fields}
    return {**fields, **times}


def _owns(caller: Caller | None, event: Event) -> bool:
    return caller is not None and refuse_caller(event, caller) is None


def seen_by(event: Event, caller: Caller | None) -> Event:
    """Hidden tiers are for its organizer alone."""
    if _owns(caller, event) or not any(tier.hidden for tier in event.tiers):
        return event
    return replace(event, tiers=tuple(tier for tier in event.tiers if not tier.hidden))


_STEPS = {
    Step.PUBLISH: "Publish a draft",
    Step.OPEN_SALES: "Put an event on sale",
    Step.CLOSE_SALES: "End the sale; it may be opened again",
    Step.CANCEL: "Cancel an event and refund its orders",
    Step.COMPLETE: "Complete an event before its end does",
}

_EVENT = "/v1/events/{event_id}"
_TYPE_BY_FIELD = {field.name: field.type for field in fields(Event) if field.name not in _INTERNAL}
EventAnswer = defstruct("Event", list((_TYPE_BY_FIELD | {"gates": tuple[GateBody, ...]}).items()))

ROUTES = [
    Route(
        "POST",
        "/v1/events",
        create,
        ORGANIZERS,
        "Add an event and book its venue",
        NewEvent,
        answers={201: EventAnswer},
    ),
    Route(
        "GET",
        "/v1/events",
        list_newest,
        ANYONE,
        "List the events, newest first",
        answers={200: list[EventAnswer]},  # type: ignore[valid-type]
        media=("application/json", CSV, JSON_LINES),
        query={"mine": bool},
    ),
    Route("GET", _EVENT, read, ANYONE, "Read an event", answers={200: EventAnswer}),
    Route(
        "PATCH",
        _EVENT,
        change,
        ORGANIZERS,
        "Change an event",
        EventChange,
        answers={200: EventAnswer},
    ),
    *(
        Route(
            "POST",
            f"{_EVENT}/{step}",
            take_step,
            ORGANIZERS,
            summary,
            answers={200: EventAnswer},
        )
        for step, summary in _STEPS.items()
    ),
    Route(
        "PUT",
        f"{_EVENT}/gates",
        set_gates,
        ORGANIZERS,
        "Say which gate admits which tiers",
        Gates,
        answers={200: EventAnswer},
    ),
]
