"""What can be bought right now: read from the sale's view in Redis, at most 250 ms old.

A sale's owner writes the view after every commit; only where none is stored is the owner asked.
"""

import asyncio
import time

from aiohttp import web
from msgspec import Struct
from msgspec.json import encode

from engine import ids
from engine.catalogue import Event, tier_terms
from engine.commands import ReadSale
from engine.lifecycle import EventStatus
from engine.rejections import Rejection
from engine.state import Phase, SaleView
from engine.tier import Tier
from gateway.http import answer, instant, unknown
from gateway.ports import Ports
from gateway.routing import ANYONE, Route, ports_of

_STREAM_PAUSE_S = 0.25
_STREAM_COMMENT_S = 15.0

_STATUS = {
    Phase.OPEN: EventStatus.ON_SALE,
    Phase.CLOSED: EventStatus.PUBLISHED,
    Phase.CANCELLED: EventStatus.CANCELLED,
    Phase.COMPLETED: EventStatus.COMPLETED,
}


class TierAvailability(Struct, frozen=True):
    tier_id: str
    name: str
    price: int
    total_quantity: int
    available_quantity: int
    sold_quantity: int
    held_quantity: int
    waitlisted: int
    on_sale: bool


class Availability(Struct, frozen=True):
    event_id: str
    status: str
    as_of: str
    version: int
    tiers: list[TierAvailability]


async def availability(request: web.Request) -> web.Response:
    found = await _availability(ports_of(request), request.match_info["event_id"])
    return unknown("event") if found is None else answer(found)


async def _availability(ports: Ports, event_id: str) -> Availability | None:
    if not ids.is_event(event_id):
        return None
    now_ms = ports.clock.now_ms()
    view = await _view(ports, event_id)
    if view is not None:
        return _of_sale(view, now_ms)
    event = await ports.catalogue.event(event_id)
    if isinstance(event, Rejection) or event.status is EventStatus.DRAFT:
        return None
    return _of_unopened(event, now_ms)


async def _view(ports: Ports, event_id: str) -> SaleView | None:
    stored = await ports.sale_views.read(event_id)
    if stored is not None:
        return stored
    reply = await ports.mailbox.ask(event_id, ReadSale())
    return None if isinstance(reply, Rejection) else _expected(reply)


def _expected(reply: object) -> SaleView:
    assert isinstance(reply, SaleView)
    return reply


def _of_sale(view: SaleView, now_ms: int) -> Availability:
    status = _STATUS[view.phase]
    if status is EventStatus.ON_SALE and sold_out(view):
        status = EventStatus.SOLD_OUT
    open_now = view.phase is Phase.OPEN
    shown = [tier for tier in view.tiers if not tier.terms.hidden]
    tiers = [_tier(tier, open_now and tier.on_sale(now_ms)) for tier in shown]
    return Availability(view.sale_id, status, instant(now_ms), view.seq, tiers)


def sold_out(view: SaleView) -> bool:
    """Every tier fully sold; holds do not count."""
    return bool(view.tiers) and all(t.sold >= t.terms.quantity for t in view.tiers)


def _of_unopened(event: Event, now_ms: int) -> Availability:
    shown = [tier for tier in event.tiers if not tier.hidden]
    tiers = [_tier(Tier(tier_terms(tier)), on_sale=False) for tier in shown]
    return Availability(event.event_id, event.status, instant(now_ms), 0, tiers)


def _tier(tier: Tier, on_sale: bool) -> TierAvailability:
    terms = tier.terms
    return TierAvailability(
        terms.tier_id,
        terms.name,
        terms.price_minor,
        terms.quantity,
        tier.public,
        tier.sold,
        tier.held,
        tier.waiting,
        on_sale,
    )


async def availability_stream(request: web.Request) -> web.StreamResponse:
    """Server-Sent Events: the availability whenever its version has changed."""
    ports, event_id = ports_of(request), request.match_info["event_id"]
    found = await _availability(ports, event_id)
    if found is None:
        return unknown("event")
    stream = web.StreamResponse(headers={"Cache-Control": "no-store"})
    stream.content_type = "text/event-stream"
    await stream.prepare(request)
    version, told_s = -1, time.monotonic()
    while found is not None:
        if found.version != version:
            await stream.write(b"id: %d\ndata: %s\n\n" % (found.version, encode(found)))
            version, told_s = found.version, time.monotonic()
        elif time.monotonic() - told_s > _STREAM_COMMENT_S:
            await stream.write(b": still here\n\n")
            told_s = time.monotonic()
        await asyncio.sleep(_STREAM_PAUSE_S)
        found = await _availability(ports, event_id)
    return stream


_PATH = "/v1/events/{event_id}/availability"

ROUTES = [
    Route(
        "GET",
        _PATH,
        availability,
        ANYONE,
        "What can be bought right now",
        answers={200: Availability},
    ),
    Route(
        "GET",
        f"{_PATH}/stream",
        availability_stream,
        ANYONE,
        "The same, as it changes",
        answers={200: Availability},
        media=("text/event-stream",),
    ),
]
