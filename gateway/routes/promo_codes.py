"""Promo codes: what an organizer gives away, how often, and whose hidden tiers it sells."""

from datetime import datetime
from typing import Annotated

from aiohttp import web
from msgspec import Meta
from msgspec.structs import asdict

from engine.catalogue import PromoCode
from engine.commands import PromoKind
from engine.ids import PROMO_MARK
from engine.rejections import Rejection
from gateway.catalogue import Amount, given, id_once, once, optional, respond, respond_page
from gateway.http import Body, decode, decode_bytes, page_cursor, page_limit
from gateway.problems import refused
from gateway.routing import ORGANIZERS, Route, ports_of, principal_of
from gateway.times import utc

USES_MAX = 10_000_000
TIERS_MAX = 100

Code = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9_-]{3,40}$", description="Small letters and capitals are one")
]
Instant = Annotated[datetime, Meta(tz=True)]


class _PromoTerms(Body, frozen=True, kw_only=True):
    """`value`: per cent of what the tiers cost, or an amount off the order. No `tier_ids`: of every
    tier. `unlocks_hidden`: those that are hidden can be bought by it.
    """

    value: Amount = 0
    tier_ids: Annotated[tuple[str, ...], Meta(max_length=TIERS_MAX)] = ()
    uses_max: Annotated[int, Meta(ge=1, le=USES_MAX)] | None = None
    starts_at: Instant | None = None
    ends_at: Instant | None = None
    unlocks_hidden: bool = False


class NewPromoCode(_PromoTerms, frozen=True, kw_only=True):
    code: Code
    kind: PromoKind


PromoCodeChange = optional(_PromoTerms)


async def create(request: web.Request) -> web.Response:
    raw = await request.read()
    body = decode_bytes(raw, NewPromoCode)
    principal = principal_of(request)
    key = once(request, raw, principal, asdict, 201)
    promo = PromoCode(
        promo_code_id=id_once(PROMO_MARK.removesuffix("_"), key),
        event_id=request.match_info["event_id"],
        **utc(given(body)) | {"code": body.code.upper()},
    )
    added = await ports_of(request).catalogue.add_promo_code(principal.caller, promo, key)
    return respond(added, asdict, 201)


async def list_newest(request: web.Request) -> web.Response:
    caller, event_id = principal_of(request).caller, request.match_info["event_id"]
    limit, after = page_limit(request), page_cursor(request)
    found = await ports_of(request).catalogue.promo_codes(caller, event_id, after, limit + 1)
    if isinstance(found, Rejection):
        return refused(found)
    return respond_page(found, limit, asdict, lambda promo: promo.promo_code_id)


async def change(request: web.Request) -> web.Response:
    changes = utc(given(await decode(request, PromoCodeChange)))
    caller, match = principal_of(request).caller, request.match_info
    changed = await ports_of(request).catalogue.change_promo_code(
        caller, match["event_id"], match["promo_code_id"], changes
    )
    return respond(changed, asdict)


async def remove(request: web.Request) -> web.Response:
    caller, match = principal_of(request).caller, request.match_info
    refusal = await ports_of(request).catalogue.remove_promo_code(
        caller, match["event_id"], match["promo_code_id"]
    )
    return refused(refusal) if refusal is not None else web.Response(status=204)


_ALL = "/v1/events/{event_id}/promo-codes"
_ONE = f"{_ALL}/{{promo_code_id}}"

ROUTES = [
    Route(
        "POST",
        _ALL,
        create,
        ORGANIZERS,
        "Add a promo code",
        NewPromoCode,
        answers={201: PromoCode},
    ),
    Route(
        "GET",
        _ALL,
        list_newest,
        ORGANIZERS,
        "An event's promo codes and how often each is used",
        answers={200: list[PromoCode]},
    ),
    Route(
        "PATCH",
        _ONE,
        change,
        ORGANIZERS,
        "Change a promo code",
        PromoCodeChange,
        answers={200: PromoCode},
    ),
    Route("DELETE", _ONE, remove, ORGANIZERS, "Remove a promo code", answers={204: None}),
]
