"""Tiers: the kinds of ticket of an event. They may change while it is on sale."""

from datetime import datetime
from typing import Annotated

from aiohttp import web
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import asdict

from engine.catalogue import Tier, from_ms
from engine.rejections import Rejection
from gateway.catalogue import Amount, Name, given, id_once, once, optional, respond
from gateway.http import Body, decode, decode_bytes
from gateway.problems import refused
from gateway.routing import ORGANIZERS, Route, ports_of, principal_of
from gateway.times import utc

QUANTITY_MAX = 10_000_000

Instant = Annotated[datetime, Meta(tz=True)]


class _Terms(Body, frozen=True, kw_only=True):
    name: Name
    price: Amount
    total_quantity: Annotated[int, Meta(ge=0, le=QUANTITY_MAX)]
    sale_start: Instant | UnsetType = UNSET
    sale_end: Instant | UnsetType = UNSET
    max_per_order: Annotated[int, Meta(ge=1, le=QUANTITY_MAX)] = 10
    max_per_buyer: Annotated[int, Meta(ge=1, le=QUANTITY_MAX)] | None = None
    hidden: bool = False


class NewTier(_Terms, frozen=True, kw_only=True):
    """Sold from now and until the event's end, where nothing else is said. `hidden`: to those only
    who have a promo code that unlocks it.
    """

    total_quantity: Annotated[int, Meta(ge=1, le=QUANTITY_MAX)]


TierChange = optional(_Terms)


async def create(request: web.Request) -> web.Response:
    raw = await request.read()
    body = decode_bytes(raw, NewTier)
    ports, principal = ports_of(request), principal_of(request)
    event = await ports.catalogue.event(request.match_info["event_id"])
    if isinstance(event, Rejection):
        return refused(event)
    key = once(request, raw, principal, asdict, 201)
    window = {"sale_start": from_ms(ports.clock.now_ms()), "sale_end": event.end_time}
    fields = {**window, **utc(given(body))}
    tier = Tier(tier_id=id_once("tier", key), event_id=event.event_id, **fields)
    return respond(await ports.catalogue.add_tier(principal.caller, tier, key), asdict, 201)


async def change(request: web.Request) -> web.Response:
    changes = utc(given(await decode(request, TierChange)))
    caller, tier_id = principal_of(request).caller, request.match_info["tier_id"]
    return respond(await ports_of(request).catalogue.change_tier(caller, tier_id, changes), asdict)


ROUTES = [
    Route(
        "POST",
        "/v1/events/{event_id}/tiers",
        create,
        ORGANIZERS,
        "Add a tier",
        NewTier,
        answers={201: Tier},
    ),
    Route(
        "PATCH",
        "/v1/tiers/{tier_id}",
        change,
        ORGANIZERS,
        "Change a tier",
        TierChange,
        answers={200: Tier},
    ),
]
