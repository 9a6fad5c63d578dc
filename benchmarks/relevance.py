"""How well an index answers the judged queries on the real conferences."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, time

import msgspec
from msgspec import Struct

from benchmarks.judged import Judged, description, judged, prices
from engine.catalogue import Category
from engine.finding import Document, Found, Point, Search
from loadtests.conferences import Conference, everything

AS_OF = datetime(2023, 6, 1, tzinfo=UTC)
LOOKED_AT = 10

Ask = Callable[[Search], Awaitable[Found]]


class Scores(Struct, frozen=True):
    """MRR: the mean of 1 / rank of the first right answer, 0 past the tenth."""

    queries: int
    success_at_1: float
    success_at_5: float
    mrr: float


def documents() -> list[Document]:
    return [document(number, each) for number, each in enumerate(everything(), start=1)]


def document(number: int, conference: Conference) -> Document:
    return Document(
        event_id=f"evt_{number:016x}",
        version=number,
        findable=True,
        title=conference.name,
        description=description(conference),
        venue="Congress Centre",
        city=conference.city,
        country=conference.country,
        year=conference.start.year,
        category=Category.CONFERENCE,
        start_time=datetime.combine(conference.start, time(9), UTC),
        end_time=datetime.combine(conference.end, time(18), UTC),
        near=Point(conference.lat, conference.lon),
        prices=prices(conference),
        available=True,
    )


def search_of(query: Judged) -> Search:
    given = query.params
    near = Point(float(given["lat"]), float(given["lon"])) if "lat" in given else None
    return Search(
        text=query.q,
        city=str(given["city"]) if "city" in given else None,
        starts_from=_instant(given.get("from")),
        starts_before=_instant(given.get("to")),
        near=near,
        radius_km=float(given["radius_km"]) if "radius_km" in given else None,
        price_most=int(given["max_price"]) if "max_price" in given else None,
        limit=LOOKED_AT,
        as_of=AS_OF,
    )


def _instant(text: object) -> datetime | None:
    return msgspec.convert(text, datetime) if text is not None else None


async def ranks(ask: Ask, queries: Sequence[Judged]) -> list[int | None]:
    """Of each query's first right answer, from 1; None: not among the first ten."""
    by_id = {d.event_id: (d.title, d.year) for d in documents()}
    found = []
    for query in queries:
        answer = await ask(search_of(query))
        right = [n for n, hit in enumerate(answer.hits, 1) if by_id[hit.event_id] in query.expect]
        found.append(right[0] if right else None)
    return found


def scores(ranks: Sequence[int | None]) -> Scores:
    within = [sum(rank is not None and rank <= most for rank in ranks) for most in (1, 5)]
    reciprocal = sum(1 / rank for rank in ranks if rank is not None)
    count = len(ranks)
    return Scores(count, within[0] / count, within[1] / count, reciprocal / count)


async def by_half(ask: Ask) -> dict[str, Scores]:
    halves: dict[str, list[Judged]] = {}
    for query in judged():
        halves.setdefault(query.half, []).append(query)
    return {half: scores(await ranks(ask, queries)) for half, queries in halves.items()}
