"""What devices tell of the scans that they judged without a network, and where they disagree."""

import hashlib
from datetime import datetime
from typing import Annotated

from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType

from engine import ids
from engine.catalogue import to_ms
from engine.commands import SyncScans
from engine.projection import ConflictRow
from engine.rejections import Rejection
from engine.replies import Reply
from engine.runtime.faults import TablesBehind
from engine.scan import SyncedScan, SyncView
from engine.telling import OfflineScan, ScanResult
from gateway.auth import Principal, forbidden
from gateway.http import Body, answer, decode, instant, page, page_cursor, page_limit
from gateway.ports import Ports
from gateway.problems import malformed, refused
from gateway.reached import reached
from gateway.routes.doors import (
    DeviceId,
    Direction,
    GateName,
    Nonce,
    device_of_principal,
    gate_of,
    may_work_here,
    supervises,
)
from gateway.routing import DOORS, Route, ports_of, principal_of
from gateway.times import clock_ms, corrected_ms

SCANS_MAX = 5_000
SCANS_AT_ONCE = 250  # what the sale decides in one turn, so that others are not kept waiting
BODY_BYTES_MAX = 4 * 1024 * 1024

Instant = Annotated[datetime, Meta(tz=True)]
Token = Annotated[str, Meta(min_length=1, max_length=512)]
TokenHash = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class ToldScan(Body, frozen=True):
    """`token` or `token_hash`, the SHA-256 of it; `scanned_at` by the device's own clock.

    `direction`: `exit` is understood where `result` is EXIT.
    """

    nonce: Nonce
    scanned_at: Instant
    result: ScanResult
    token: Token | UnsetType = UNSET
    token_hash: TokenHash | UnsetType = UNSET
    gate: GateName | None = None
    direction: Direction | None = None


class SyncBody(Body, frozen=True):
    """`sent_at`: by the device's clock, which is corrected by when it arrives; without, by what was
    measured when the device last told its time.
    """

    device_id: DeviceId
    scans: Annotated[list[ToldScan], Meta(max_length=SCANS_MAX)]
    sent_at: Instant | None = None


class Result(Struct, frozen=True, omit_defaults=True):
    """`checked_in_at`, `gate`: of the admission that stood when this was decided. `displaced`: an
    earlier scan was told of since, and is the admission now. `resolved`: an exit was told of since,
    so it is the admission of another stay.
    """

    nonce: str
    outcome: str
    reason: str | None = None
    ticket_id: str | None = None
    checked_in_at: str | None = None
    gate: str | None = None
    displaced: bool = False
    undone_at: str | None = None
    resolved: bool = False


class SyncAnswer(Struct, frozen=True):
    """In the order sent. `clock_offset_ms`: how far the device's clock is behind ours."""

    results: list[Result]
    clock_offset_ms: int


class Admission(Struct, frozen=True):
    device_id: str
    nonce: str
    gate: str | None
    admitted_at: str


class Conflict(Struct, frozen=True):
    """A scan by which somebody was let in, and what speaks against it: `kind`.

    `already_admitted`: the ticket's `admission` is another one. `ended`: the ticket was given back
    or its token replaced before we heard of it. `scanned_at`: as the device told it.
    """

    kind: str
    ticket_id: str
    tier_id: str
    device_id: str
    nonce: str
    gate: str | None
    scanned_at: str
    corrected_at: str
    received_at: str
    admission: Admission | None


async def sync(request: web.Request) -> web.Response:
    principal, event_id = principal_of(request), request.match_info["event_id"]
    body = await decode(request.clone(client_max_size=BODY_BYTES_MAX), SyncBody)
    await may_work_here(request, principal, event_id)
    if body.device_id != device_of_principal(principal) and not supervises(principal):
        raise forbidden("device_id: a device tells of its own scans")
    ports = ports_of(request)
    event = await ports.catalogue.event(event_id)
    if isinstance(event, Rejection):
        return refused(event)
    received_ms = ports.clock.now_ms()
    offset_ms = await _offset_ms(ports, principal, body)
    told = [_told(principal, scan, offset_ms, received_ms) for scan in body.scans]
    synced: dict[int, SyncedScan] = {}
    in_time = sorted(range(len(told)), key=lambda place: told[place].at_ms)
    for first in range(0, len(told), SCANS_AT_ONCE):
        places = in_time[first : first + SCANS_AT_ONCE]
        command = SyncScans(body.device_id, tuple([told[place] for place in places]))
        reply = await ports.mailbox.ask(event_id, command)
        synced |= dict(zip(places, _synced(reply), strict=True))
    results = [_result(scan.nonce, synced[place]) for place, scan in enumerate(told)]
    return answer(SyncAnswer(results, offset_ms))


async def _offset_ms(ports: Ports, principal: Principal, body: SyncBody) -> int:
    """Of the clock of the device that scanned, which may have told its time in an earlier call."""
    if body.sent_at is None:
        return await ports.fleet.offset_ms(body.device_id)
    if body.device_id == principal.subject and principal.enrolled:
        return ports.fleet.set_clock(principal.subject, body.sent_at)
    return ports.clock.now_ms() - clock_ms(body.sent_at)


def _told(principal: Principal, scan: ToldScan, offset_ms: int, received_ms: int) -> OfflineScan:
    if (scan.token is UNSET) == (scan.token_hash is UNSET):
        raise malformed("Expected either token or token_hash - at `$.scans`")
    digest = (
        hashlib.sha256(scan.token.encode()).digest()
        if scan.token is not UNSET
        else bytes.fromhex(str(scan.token_hash))
    )
    scanned_ms = clock_ms(scan.scanned_at)
    at_ms = corrected_ms(scanned_ms, offset_ms, received_ms)
    leaving = _leaving(scan)
    gate = gate_of(principal, scan.gate)
    return OfflineScan(scan.nonce, digest, gate, scanned_ms, at_ms, scan.result, leaving)


def _leaving(scan: ToldScan) -> bool:
    goes_out = scan.result is ScanResult.EXIT
    leaving = goes_out if scan.direction is None else scan.direction is Direction.EXIT
    entry_only = (ScanResult.ADMIT, ScanResult.ALREADY_ADMITTED)
    if (goes_out and not leaving) or (leaving and scan.result in entry_only):
        raise malformed("Expected a result of its direction - at `$.scans`")
    return leaving


def _synced(reply: Reply) -> tuple[SyncedScan, ...]:
    assert isinstance(reply, SyncView)
    return reply.scans


def _result(nonce: str, scan: SyncedScan) -> Result:
    return Result(
        nonce,
        scan.outcome.value,
        scan.reason.value if scan.reason else None,
        ids.ticket_id(scan.order_id, scan.number or 0) if scan.order_id else None,
        instant(scan.checked_in_at_ms) if scan.checked_in_at_ms else None,
        scan.gate,
        scan.displaced,
        instant(scan.undone_at_ms) if scan.undone_at_ms else None,
        scan.resolved,
    )


async def conflicts(request: web.Request) -> web.Response:
    principal, event_id = principal_of(request), request.match_info["event_id"]
    await may_work_here(request, principal, event_id)
    if not supervises(principal):
        raise forbidden("conflicts: for organizers and supervisors' devices")
    event = await ports_of(request).catalogue.event(event_id)
    if isinstance(event, Rejection):
        return refused(event)
    limit, after = page_limit(request), page_cursor(request) or "0"
    if not after.isdigit():
        raise malformed("cursor: take it from next_cursor as it is")
    if not await reached(request, event_id):
        raise TablesBehind
    rows = await ports_of(request).projections.conflicts(event_id, int(after), limit + 1)
    last = str(rows[limit - 1].seq) if len(rows) > limit else None
    return page([_conflict(row) for row in rows[:limit]], last)


def _conflict(row: ConflictRow) -> Conflict:
    admission = None
    if row.admitted_device_id is not None and row.admitted_at is not None:
        admission = Admission(
            row.admitted_device_id,
            row.admitted_nonce or "",
            row.admitted_gate,
            instant(to_ms(row.admitted_at)),
        )
    return Conflict(
        "ended" if row.contested else "already_admitted",
        ids.ticket_id(row.order_id, row.number),
        row.tier_id,
        row.device_id,
        row.nonce,
        row.gate,
        instant(to_ms(row.scanned_at)),
        instant(to_ms(row.corrected_at)),
        instant(to_ms(row.decided_at)),
        admission,
    )


_EVENT = "/v1/events/{event_id}"

ROUTES = [
    Route(
        "POST",
        f"{_EVENT}/checkins/sync",
        sync,
        DOORS,
        "Tell of scans made without a network",
        SyncBody,
        answers={200: SyncAnswer},
    ),
    Route(
        "GET",
        f"{_EVENT}/conflicts",
        conflicts,
        DOORS,
        "Where devices let in what others did, or what had ended",
        answers={200: list[Conflict]},
    ),
]
