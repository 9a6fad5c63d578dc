"""Finding events: search, suggestions as one types, what trends, and the home page."""

import base64
import math
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from engine.catalogue import Category
from engine.commands import Role
from engine.finding import Facets, Mark, Point, Search, Sort, Suggestion
from engine.rejections import Reason, Rejection
from gateway.http import PAGE_DEFAULT, PAGE_MAX, answer, page_limit
from gateway.ports import Ports
from gateway.problems import malformed, refused, unprocessable
from gateway.routes.found import FoundEvent, Home, results, trending
from gateway.routing import ANYONE, Route, ports_of
from gateway.times import from_query

TEXT_LETTERS_MAX = 200
RADIUS_KM_MAX = 20_040.0  # half around the Earth
PRICE_MAX = 1_000_000_000_000
SUGGESTIONS_DEFAULT, SUGGESTIONS_MAX = 10, 20
CURSOR_BYTES_MAX = 500

HOME: web.AppKey[Home] = web.AppKey("home", Home)

_T = TypeVar("_T")
_decode_mark = msgspec.json.Decoder(Mark).decode
_encode_mark = msgspec.json.Encoder().encode


class FoundEvents(Struct, frozen=True):
    """`total_is_exact` false: there are more, and the facets count only so many.

    `degraded`: the search server is away, and another one has answered.
    """

    items: list[FoundEvent]
    total: int
    total_is_exact: bool
    facets: Facets
    next_cursor: str | None
    degraded: bool


class Items(Struct, frozen=True):
    items: list[FoundEvent]


class Suggestions(Struct, frozen=True):
    items: list[Suggestion]


async def search_events(request: web.Request) -> web.Response:
    ports = ports_of(request)
    search = _search(request, _now(ports))
    start, end = search.starts_from, search.starts_before
    if start is not None and end is not None and end <= start:
        return refused(Rejection(Reason.INVALID_TIMES, {"from": start, "to": end}))
    tastes = await _tastes(request, search)
    search = msgspec.structs.replace(search, tastes=tastes)
    found = await ports.finding.index.search(search)
    shown = FoundEvents(
        await results(ports.finding, found.hits, search.near),
        found.total,
        found.total_is_exact,
        found.facets,
        _cursor(found.next) if found.next else None,
        found.degraded,
    )
    return answer(shown, headers={"Cache-Control": "private, no-store", "Vary": "Authorization"})


async def suggest(request: web.Request) -> web.Response:
    text = _text(request, "q") or ""
    limit = min(page_limit(request), SUGGESTIONS_MAX) if "limit" in request.query else None
    found = await ports_of(request).finding.index.suggest(text, limit or SUGGESTIONS_DEFAULT)
    return answer(Suggestions(found))


async def list_trending(request: web.Request) -> web.Response:
    ports = ports_of(request)
    found = await trending(ports.finding, _text(request, "city"), page_limit(request), _now(ports))
    return answer(Items(found))


async def home(request: web.Request) -> web.Response:
    found = await request.app[HOME].of(_text(request, "city"), _now(ports_of(request)))
    return answer(Items(found))


def _now(ports: Ports) -> datetime:
    return datetime.fromtimestamp(ports.clock.now_ms() / 1000, UTC)


async def _tastes(request: web.Request, search: Search) -> tuple[tuple[Category, float], ...]:
    """What the signed-in buyer itself likes, as of the first page; of nobody else."""
    ports = ports_of(request)
    principal = ports.credentials.principal(request.headers)
    if principal is None or principal.role is not Role.BUYER or search.sort is not Sort.RELEVANCE:
        return ()
    mark = search.after
    as_of = datetime.fromtimestamp(mark.as_of_ms / 1000, UTC) if mark else search.as_of
    return await ports.finding.tastes.of(principal.subject, as_of)


def _search(request: web.Request, now: datetime) -> Search:
    """Raises Problem 400 on a parameter that does not fit, 422 on some that do not together."""
    near = _point(request)
    sort = _one_of(request, "sort", Sort) or Sort.RELEVANCE
    radius_km = _number(request, "radius_km", 0, RADIUS_KM_MAX)
    if near is None and (radius_km is not None or sort is Sort.DISTANCE):
        name = "radius_km" if radius_km is not None else "sort"
        raise malformed(f"{name}: needs a point, `lat` and `lon`")
    least, most = _price(request, "min_price"), _price(request, "max_price")
    if least is not None and most is not None and most < least:
        raise unprocessable(
            "impossible_range", "max_price lies below min_price", min_price=least, max_price=most
        )
    return Search(
        text=_text(request, "q") or "",
        category=_one_of(request, "category", Category),
        city=_text(request, "city"),
        starts_from=_instant(request, "from"),
        starts_before=_instant(request, "to"),
        near=near,
        radius_km=radius_km,
        price_least=least,
        price_most=most,
        available=_truth(request, "available"),
        sort=sort,
        limit=page_limit(request),
        as_of=now,
        after=_mark(request, sort),
    )


def _text(request: web.Request, name: str) -> str | None:
    text = request.query.get(name, "").strip()
    if len(text) > TEXT_LETTERS_MAX:
        raise malformed(f"{name}: at most {TEXT_LETTERS_MAX} characters")
    return text or None


def _one_of(request: web.Request, name: str, kind: type[_T]) -> _T | None:
    text = request.query.get(name)
    if text is None:
        return None
    try:
        return msgspec.convert(text, kind)
    except msgspec.ValidationError as error:
        raise malformed(f"{name}: {error}") from None


def _instant(request: web.Request, name: str) -> datetime | None:
    return from_query(request.query[name], "UTC", name) if name in request.query else None


def _truth(request: web.Request, name: str) -> bool | None:
    text = request.query.get(name)
    if text not in (None, "true", "false"):
        raise malformed(f"{name}: true or false")
    return None if text is None else text == "true"


def _price(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= PRICE_MAX):
        raise malformed(f"{name}: an amount in minor units, a whole number from 0")
    return int(text)


def _number(request: web.Request, name: str, least: float, most: float) -> float | None:
    text = request.query.get(name)
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        raise malformed(f"{name}: a number from {least:g} to {most:g}")
    return number


def _point(request: web.Request) -> Point | None:
    latitude, longitude = _number(request, "lat", -90, 90), _number(request, "lon", -180, 180)
    if latitude is None and longitude is None:
        return None
    if latitude is None or longitude is None:
        raise malformed(f"{'lat' if latitude is None else 'lon'}: a point needs both lat and lon")
    return Point(latitude, longitude)


def _mark(request: web.Request, sort: Sort) -> Mark | None:
    text = request.query.get("cursor")
    if text is None:
        return None
    try:
        if len(text) > CURSOR_BYTES_MAX:
            raise ValueError("too long")
        mark = _decode_mark(base64.urlsafe_b64decode(text.encode()))
    except (ValueError, msgspec.DecodeError):
        raise malformed("cursor: take it from next_cursor as it is") from None
    if mark.sort is not sort:
        raise malformed("cursor: belongs to another `sort`")
    return mark


def _cursor(mark: Mark) -> str:
    return base64.urlsafe_b64encode(_encode_mark(mark)).decode()


_Text = Annotated[str, Meta(max_length=TEXT_LETTERS_MAX)]
_Price = Annotated[int, Meta(ge=0, le=PRICE_MAX, description="Minor units")]
_Instant = Annotated[datetime, Meta(description="RFC 3339; without an offset it is UTC")]
_Limit = Annotated[
    int,
    Meta(ge=1, le=PAGE_MAX, description="How many", extra_json_schema={"default": PAGE_DEFAULT}),
]

ROUTES = [
    Route(
        "GET",
        "/v1/search/events",
        search_events,
        ANYONE,
        "Search the events; a buyer's own credential moves what it likes ahead",
        answers={200: FoundEvents},
        query={
            "q": Annotated[_Text, Meta(description="Title, venue, description; accents and typos")],
            "category": Category,
            "city": Annotated[_Text, Meta(description="Its name, in any case, without accents")],
            "from": Annotated[_Instant, Meta(description="`from <= start_time`")],
            "to": Annotated[_Instant, Meta(description="`start_time < to`")],
            "lat": Annotated[float, Meta(ge=-90, le=90)],
            "lon": Annotated[float, Meta(ge=-180, le=180)],
            "radius_km": Annotated[float, Meta(ge=0, le=RADIUS_KM_MAX)],
            "min_price": _Price,
            "max_price": _Price,
            "available": Annotated[bool, Meta(description="Whether tickets can be had now")],
            "sort": Annotated[Sort, Meta(description="`distance` needs `lat` and `lon`")],
            "limit": _Limit,
            "cursor": Annotated[str, Meta(description="`next_cursor` of the page before")],
        },
    ),
    Route(
        "GET",
        "/v1/suggest",
        suggest,
        ANYONE,
        "Titles for a text that is being typed",
        answers={200: Suggestions},
        query={"q": _Text, "limit": Annotated[int, Meta(ge=1, le=SUGGESTIONS_MAX)]},
    ),
    Route(
        "GET",
        "/v1/trending",
        list_trending,
        ANYONE,
        "Events by the tickets confirmed in the last 24 hours",
        answers={200: Items},
        query={"city": _Text, "limit": _Limit},
    ),
    Route(
        "GET",
        "/v1/home",
        home,
        ANYONE,
        "What trends in a city, filled up with what comes next there, near, and elsewhere",
        answers={200: Items},
        query={"city": _Text},
    ),
]
