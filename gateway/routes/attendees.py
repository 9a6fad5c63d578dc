"""Who holds an event's tickets: found by name, or all of them as a file.

Names and addresses are kept sealed and are opened here, for those who may see them. What has been
erased, or was never given, reads as null.
"""

import unicodedata
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from engine import ids
from engine.projection import AttendeeRow
from gateway import exporting
from gateway.http import instant, page, page_cursor, page_limit
from gateway.media import CSV, JSON_LINES
from gateway.ownership import refuse_stranger
from gateway.personal import Buyer, unseal
from gateway.ports import Projections
from gateway.problems import malformed, refused
from gateway.rendering import attendee_of
from gateway.routing import DOORS, Route, ports_of

QUERY_MAX = 200
SCANNED_MAX = 20_000  # rows opened for one page of a search; then it goes on from the cursor

_START = ("", -1)


class AttendeeLine(Struct, frozen=True):
    ticket_id: str
    order_id: str
    buyer_id: str
    tier_id: str
    tier: str
    attendee_name: str | None
    attendee_email: str | None
    status: str
    issued_at: str
    checked_in_at: str | None


async def attendees(request: web.Request) -> web.StreamResponse:
    event_id = request.match_info["event_id"]
    refusal = await refuse_stranger(request, event_id)
    if refusal is not None:
        return refused(refusal)
    sought = _sought(request)
    projections = ports_of(request).projections
    if media := exporting.wanted(request):
        pages = _all(projections, event_id, sought)
        return await exporting.stream(request, media, f"attendees-{event_id}", AttendeeLine, pages)
    limit, after = page_limit(request), _after(page_cursor(request))
    found: list[AttendeeLine] = []
    scanned = 0
    while len(found) < limit and scanned < SCANNED_MAX:
        rows = await projections.attendees(event_id, after, exporting.ROWS_A_PAGE)
        for row, line in zip(rows, await _opened(projections, rows), strict=True):
            after = (row.order_id, row.number)
            if _fits(line, sought):
                found.append(line)
            if len(found) == limit:
                break
        scanned += len(rows)
        if len(rows) < exporting.ROWS_A_PAGE and len(found) < limit:
            return page(found, None)
    more = await projections.attendees(event_id, after, 1)
    return page(found, f"{after[0]} {after[1]}" if more else None)


async def _all(
    projections: Projections, event_id: str, sought: str
) -> AsyncIterator[Sequence[AttendeeLine]]:
    after = _START
    while rows := await projections.attendees(event_id, after, exporting.ROWS_A_PAGE):
        after = (rows[-1].order_id, rows[-1].number)
        lines = [line for line in await _opened(projections, rows) if _fits(line, sought)]
        if lines:
            yield lines


async def _opened(projections: Projections, rows: Sequence[AttendeeRow]) -> list[AttendeeLine]:
    sealed = {row.order_id for row in rows if row.sealed or row.ticket_sealed}
    keys = await projections.personal_keys(sorted(sealed)) if sealed else {}
    buyers = {
        row.order_id: unseal(row.sealed, keys, row.order_id, Buyer) or Buyer(None) for row in rows
    }
    lines = []
    for row in rows:
        buyer = buyers[row.order_id]
        named = attendee_of(row.order_id, row.number, row.ticket_sealed, keys, buyer)
        lines.append(
            AttendeeLine(
                ids.ticket_id(row.order_id, row.number),
                row.order_id,
                row.buyer_id,
                row.tier_id,
                row.tier_name,
                named.name,
                named.email,
                row.status,
                instant(int(row.issued_at.timestamp() * 1000)),
                instant(int(row.checked_in_at.timestamp() * 1000)) if row.checked_in_at else None,
            )
        )
    return lines


def _sought(request: web.Request) -> str:
    text = request.query.get("q", "")
    if len(text) > QUERY_MAX:
        raise malformed(f"q: at most {QUERY_MAX} characters")
    return _plain(text)


def _fits(line: AttendeeLine, sought: str) -> bool:
    within = (line.attendee_name, line.attendee_email, line.ticket_id, line.order_id, line.buyer_id)
    return not sought or any(sought in _plain(text) for text in within if text)


def _plain(text: str) -> str:
    """Without accents and case: at the doors nobody looks for the right key."""
    apart = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in apart if not unicodedata.combining(c)).strip()


def _after(cursor: str | None) -> tuple[str, int]:
    if cursor is None:
        return _START
    order_id, _, number = cursor.partition(" ")
    if not (number.isascii() and number.isdigit() and len(number) <= 6):
        raise malformed("cursor: take it from next_cursor as it is")
    return order_id, int(number)


ROUTES = [
    Route(
        "GET",
        "/v1/events/{event_id}/attendees",
        attendees,
        DOORS,
        "Who holds tickets, by name; for organizers and supervisors' devices",
        answers={200: list[AttendeeLine]},
        media=("application/json", CSV, JSON_LINES),
        query={"q": Annotated[str, Meta(max_length=QUERY_MAX)]},
    )
]
