"""The doors: scans, their undoing, their history, and who is in."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.json import encode
from msgspec.structs import replace

from engine import ids
from engine.commands import CheckIn, ReadDoors, Role, UndoCheckIn
from engine.facts import ScanResult
from engine.projection import CheckInRow
from engine.rejections import Reason, Rejection
from engine.replies import Replayed, Reply
from engine.scan import DoorsView, ScanView
from gateway import exporting
from gateway.answers import Answer
from gateway.auth import Principal, forbidden
from gateway.hot import Call, Hot
from gateway.http import (
    Body,
    answer,
    decode,
    decode_bytes,
    encoded,
    instant,
    page,
    page_cursor,
    page_limit,
    unknown,
)
from gateway.media import CSV, JSON_LINES
from gateway.ownership import refuse_stranger
from gateway.personal import Buyer, unseal
from gateway.ports import Projections
from gateway.problems import malformed, refusal, refused, told
from gateway.reached import reached
from gateway.rendering import attendee_of
from gateway.routing import DOORS, Route, call_of, ports_of, principal_of
from gateway.times import clock_ms, corrected_ms

_HOUR_MS = 60 * 60 * 1000
_STREAM_PAUSE_S = 1.0

Nonce = Annotated[str, Meta(pattern=r"^[\x21-\x7e]{1,128}$")]
GateName = Annotated[str, Meta(min_length=1, max_length=64)]
DeviceId = Annotated[str, Meta(pattern=r"^[\x21-\x7e]{1,160}$")]


class Direction(StrEnum):
    ENTRY = "entry"
    EXIT = "exit"


class ScanBody(Body, frozen=True):
    """`direction`: out of the house goes who may come back, where the event allows re-entry.

    `scanned_at`, `sent_at`: by the device's clock, which the latter is measured by.
    """

    token: Annotated[str, Meta(min_length=1, max_length=512)]
    nonce: Nonce
    gate: GateName | None = None
    scanned_at: datetime | None = None
    override: bool = False
    reason: Annotated[str, Meta(max_length=200)] | None = None
    direction: Direction = Direction.ENTRY
    sent_at: Annotated[datetime, Meta(tz=True)] | None = None


class UndoBody(Body, frozen=True):
    nonce: Nonce
    device_id: DeviceId | None = None


class ScanAnswer(Struct, frozen=True, omit_defaults=True, gc=False):
    result: str
    reason: str | None = None
    ticket_id: str | None = None
    tier: str | None = None
    attendee_name: str | None = None
    checked_in_at: str | None = None
    gate: str | None = None
    undone_at: str | None = None


class HistoryLine(Struct, frozen=True):
    device_id: str
    nonce: str
    direction: str
    result: str
    reason: str | None
    ticket_id: str | None
    tier_id: str | None
    gate: str | None
    scanned_at: str | None
    checked_in_at: str  # when it was decided
    outcome: str | UnsetType = UNSET
    told: str | UnsetType = UNSET
    corrected_at: str | UnsetType = UNSET
    override_reason: str | UnsetType = UNSET
    undone_at: str | UnsetType = UNSET
    undone_by: str | UnsetType = UNSET


class DoorsAnswer(Struct, frozen=True):
    """Keys: tier id, gate name, minute (RFC 3339). Where one may come back, who does is admitted
    again; `inside` are those who have not left since.
    """

    event_id: str
    admitted: int
    by_tier: dict[str, int]
    by_gate: dict[str, int]
    by_minute: dict[str, int]
    inside: int = 0
    exited: int = 0
    exited_by_tier: dict[str, int] = {}
    exited_by_gate: dict[str, int] = {}
    exited_by_minute: dict[str, int] = {}


async def check_in(request: web.Request) -> web.Response:
    call = await call_of(request)
    command = _scan(call)
    await may_work_here(request, call.principal, call.event_id)
    return (await _CHECKING_IN.answer(call, command)).response()


def _scan(call: Call) -> CheckIn:
    body = decode_bytes(call.body, ScanBody)
    if not ids.is_event(call.event_id):
        raise refusal(Rejection(Reason.UNKNOWN_EVENT))
    _may_scan_here(call.principal, call.event_id)
    if body.override and not supervises(call.principal):
        raise forbidden("override: only a supervisor's device may")
    scanned_at_ms = _milliseconds(body.scanned_at)
    return CheckIn(
        device_of_principal(call.principal),
        body.nonce,
        hashlib.sha256(body.token.encode()).digest(),
        gate_of(call.principal, body.gate),
        scanned_at_ms,
        int(call.ports.settings.doors_open_hours * _HOUR_MS),
        None,
        body.override,
        body.reason,
        body.direction is Direction.EXIT,
        _corrected(call, scanned_at_ms, body.sent_at),
    )


def _corrected(call: Call, scanned_at_ms: int | None, sent_at: datetime | None) -> int | None:
    """By our clock, and never later than now."""
    if scanned_at_ms is None and sent_at is None:
        return None
    fleet, principal = call.ports.fleet, call.principal
    now_ms = call.ports.clock.now_ms()
    offset_ms = fleet.known_offset_ms(principal.subject)
    if sent_at is not None and principal.enrolled:
        offset_ms = fleet.set_clock(principal.subject, sent_at)
    elif sent_at is not None:
        offset_ms = now_ms - clock_ms(sent_at)
    return corrected_ms(scanned_at_ms, offset_ms, now_ms) if scanned_at_ms is not None else None


def _scanned(call: Call, reply: Reply) -> Answer | None:
    """None: the name, or whose the token is, must be looked up."""
    view = reply.view if isinstance(reply, Replayed) else reply
    if isinstance(view, Rejection):
        return None if view.reason is Reason.TOKEN_NOT_HERE else told(refusal(view))
    assert isinstance(view, ScanView)
    named = view.sealed is not None or view.ticket_sealed is not None
    return None if named else encoded(_shown(view, None))


async def _with_what_is_looked_up(call: Call, command: CheckIn, reply: Reply) -> Answer:
    if isinstance(reply, Rejection):
        reply = await _ask_elsewhere(call, command, reply)
    return await _scan_answer(call.ports.projections, reply)


async def _ask_elsewhere(call: Call, command: CheckIn, not_here: Rejection) -> Reply:
    """The sale does not know the token: does the projection, from another event?"""
    ports, event_id = call.ports, call.event_id
    if not (not_here.facts or {}).get("opened"):  # there may be no such event
        event = await ports.catalogue.event(event_id)
        if isinstance(event, Rejection):
            return event
    elsewhere = await ports.projections.token_elsewhere(command.token_digest, event_id)
    return await ports.mailbox.ask(event_id, replace(command, elsewhere=elsewhere))


async def may_work_here(request: web.Request, principal: Principal, event_id: str) -> None:
    _may_scan_here(principal, event_id)
    if principal.role is Role.ORGANIZER:
        rejection = await refuse_stranger(request, event_id)
        if rejection is not None and rejection.reason is Reason.NOT_THE_ORGANIZER:
            raise forbidden("this event has another organizer")


def _may_scan_here(principal: Principal, event_id: str) -> None:
    if principal.role is Role.SCANNER and principal.event_id != event_id:
        raise forbidden("this device belongs to another event")


def gate_of(principal: Principal, gate: str | None) -> str | None:
    """Where the device works, which may be said once for all."""
    if principal.gate is not None and gate not in (None, principal.gate):
        raise forbidden(f"this device works at the gate {principal.gate}")
    return principal.gate or gate


def supervises(principal: Principal) -> bool:
    return principal.supervisor or principal.role is not Role.SCANNER


def device_of_principal(principal: Principal) -> str:
    if principal.role is Role.SCANNER:
        return principal.subject
    return f"{principal.role.value}:{principal.subject}"


def _milliseconds(when: datetime | None) -> int | None:
    if when is None:
        return None
    if when.tzinfo is None:
        raise malformed("scanned_at: RFC 3339 with an offset")
    return clock_ms(when)


async def _scan_answer(projections: Projections, reply: Reply) -> Answer:
    view = reply.view if isinstance(reply, Replayed) else reply
    if isinstance(view, Rejection):
        return told(refusal(view))
    assert isinstance(view, ScanView)
    return encoded(_shown(view, await _attendee_name(projections, view)))


def _shown(view: ScanView, attendee_name: str | None) -> ScanAnswer:
    fact = view.fact
    admitted = fact.result is not ScanResult.INVALID
    return ScanAnswer(
        fact.result,
        fact.reason,
        ids.ticket_id(fact.order_id, fact.number or 0) if fact.order_id else None,
        view.tier_name,
        attendee_name,
        instant(fact.checked_in_at_ms) if fact.checked_in_at_ms else None,
        fact.admitted_gate if admitted else fact.gate,
        instant(view.undone_at_ms) if view.undone_at_ms else None,
    )


async def _attendee_name(projections: Projections, view: ScanView) -> str | None:
    order_id, number = view.fact.order_id, view.fact.number
    nobody_named = view.sealed is None and view.ticket_sealed is None
    if nobody_named or order_id is None or number is None:
        return None
    keys = await projections.personal_keys([order_id])
    buyer = unseal(view.sealed, keys, order_id, Buyer) or Buyer(None)
    return attendee_of(order_id, number, view.ticket_sealed, keys, buyer).name


async def undo(request: web.Request) -> web.Response:
    principal, event_id = principal_of(request), request.match_info["event_id"]
    body = await decode(request, UndoBody)
    if not ids.is_event(event_id):
        return unknown("event")
    await may_work_here(request, principal, event_id)
    own = device_of_principal(principal)
    if body.device_id not in (None, own) and not supervises(principal):
        raise forbidden("device_id: only a supervisor may undo what another device did")
    command = UndoCheckIn(body.device_id or own, body.nonce, own)
    ports = ports_of(request)
    reply = await ports.mailbox.ask(event_id, command)
    return (await _scan_answer(ports.projections, reply)).response()


async def history(request: web.Request) -> web.StreamResponse:
    principal, event_id = principal_of(request), request.match_info["event_id"]
    await may_work_here(request, principal, event_id)
    ports, limit = ports_of(request), page_limit(request)
    if isinstance(event := await ports.catalogue.event(event_id), Rejection):
        return refused(event)
    await reached(request, event_id)  # whoever has just scanned wants to see it
    since = _since(request)
    if media := exporting.wanted(request):
        pages = _history_pages(ports.projections, event_id, since)
        return await exporting.stream(request, media, f"checkins-{event_id}", HistoryLine, pages)
    after = page_cursor(request) or "0"
    if not after.isdigit():
        raise malformed("cursor: take it from next_cursor as it is")
    rows = await ports.projections.check_ins(event_id, since, int(after), limit + 1)
    last = str(rows[limit - 1].seq) if len(rows) > limit else None
    return page([_history_line(row) for row in rows[:limit]], last)


async def _history_pages(
    projections: Projections, event_id: str, since: datetime | None
) -> AsyncIterator[list[HistoryLine]]:
    after = 0
    while rows := await projections.check_ins(event_id, since, after, exporting.ROWS_A_PAGE):
        after = rows[-1].seq
        yield [_history_line(row) for row in rows]


def _since(request: web.Request) -> datetime | None:
    text = request.query.get("since")
    if text is None:
        return None
    try:
        since = datetime.fromisoformat(text)
    except ValueError:
        raise malformed("since: RFC 3339 with an offset") from None
    return since if since.tzinfo else since.replace(tzinfo=UTC)


def _history_line(row: CheckInRow) -> HistoryLine:
    return HistoryLine(
        row.device_id,
        row.nonce,
        Direction.EXIT if row.leaving else Direction.ENTRY,
        row.result,
        row.reason,
        ids.ticket_id(row.order_id, row.number or 0) if row.order_id else None,
        row.tier_id,
        row.gate,
        _text(row.scanned_at),
        _text(row.decided_at) or "",
        row.outcome or UNSET,
        row.told or UNSET,
        _text(row.corrected_at) or UNSET,
        row.override_reason or UNSET,
        _text(row.undone_at) or UNSET,
        row.undone_by or UNSET,
    )


def _text(when: datetime | None) -> str | None:
    return instant(int(when.timestamp() * 1000)) if when else None


async def doors(request: web.Request) -> web.Response:
    found = await _doors(request)
    return refused(found) if isinstance(found, Rejection) else answer(found)


async def _doors(request: web.Request) -> DoorsAnswer | Rejection:
    principal, event_id = principal_of(request), request.match_info["event_id"]
    if not ids.is_event(event_id):
        return Rejection(Reason.UNKNOWN_EVENT)
    await may_work_here(request, principal, event_id)
    reply = await ports_of(request).mailbox.ask(event_id, ReadDoors())
    if isinstance(reply, Rejection):
        event = await ports_of(request).catalogue.event(event_id)
        return event if isinstance(event, Rejection) else DoorsAnswer(event_id, 0, {}, {}, {})
    assert isinstance(reply, DoorsView)
    return DoorsAnswer(
        event_id,
        reply.admitted,
        reply.by_tier,
        reply.by_gate,
        _minutes(reply.by_minute),
        reply.admitted - reply.exited,
        reply.exited,
        reply.exited_by_tier,
        reply.exited_by_gate,
        _minutes(reply.exited_by_minute),
    )


def _minutes(counts: dict[int, int]) -> dict[str, int]:
    return {instant(ms): count for ms, count in sorted(counts.items())}


async def doors_stream(request: web.Request) -> web.StreamResponse:
    """Server-Sent Events: the counts whenever they have changed, looked at once a second."""
    found = await _doors(request)
    if isinstance(found, Rejection):
        return refused(found)
    stream = web.StreamResponse(headers={"Cache-Control": "no-store"})
    stream.content_type = "text/event-stream"
    await stream.prepare(request)
    shown = None
    while isinstance(found, DoorsAnswer):
        if found != shown:
            await stream.write(b"data: " + encode(found) + b"\n\n")
            shown = found
        await asyncio.sleep(_STREAM_PAUSE_S)
        found = await _doors(request)
    return stream


_EVENT = "/v1/events/{event_id}"
# An organizer's scan is another matter: whose event it is must be looked up first.
_CHECKING_IN = Hot(
    _scan,
    _scanned,
    _with_what_is_looked_up,
    roles=frozenset({Role.SCANNER, Role.ADMIN}),
)

ROUTES = [
    Route(
        "POST",
        f"{_EVENT}/checkins",
        check_in,
        DOORS,
        "May this one in?",
        ScanBody,
        answers={200: ScanAnswer},
        hot=_CHECKING_IN,
    ),
    Route(
        "POST",
        f"{_EVENT}/checkins/undo",
        undo,
        DOORS,
        "Take an admission back",
        UndoBody,
        answers={200: ScanAnswer},
    ),
    Route(
        "GET",
        f"{_EVENT}/checkins",
        history,
        DOORS,
        "The history of the scans",
        answers={200: list[HistoryLine]},
        media=("application/json", CSV, JSON_LINES),
        query={"since": datetime},
    ),
    Route("GET", f"{_EVENT}/doors", doors, DOORS, "Who is in", answers={200: DoorsAnswer}),
    Route(
        "GET",
        f"{_EVENT}/doors/stream",
        doors_stream,
        DOORS,
        "Who is in, as it changes",
        answers={200: DoorsAnswer},
        media=("text/event-stream",),
    ),
]
