"""The search index on Elasticsearch, or a server that speaks its language.

Rules of this file:

- Words are made by our own code (`engine.wording`) and kept as keywords: no analyzer is needed, so
  no plugin, and both indexes find the same.
- Every clause has a constant score, by `engine.ranking`: a document's score is of it alone, and
  `search_after` goes on where the last page ended whatever was indexed between them.
"""

from typing import Any, assert_never

from elasticsearch import ApiError, AsyncElasticsearch, TransportError

from engine import wording
from engine.catalogue import from_ms, to_ms
from engine.finding import Closeness, Facets, Found, Hit, Mark, Point, Search, Sort, Suggestion
from engine.ranking import (
    BEGINNING,
    CLOSE,
    EXACT,
    NEAR,
    NEAR_HALVED_KM,
    SOON,
    SOON_HALVED_DAYS,
    TASTE,
    WHOLE_TITLE,
)
from engine.wording import Question, Slot, typos_max
from persistence.search.fallback import SearchUnavailable

SOURCE = "elasticsearch"
COUNTED_MAX = 10_000
CITIES_MAX = 100
SUGGESTED_MAX = 200
RADIUS_KM_LEAST = 0.0001  # a point is kept to a centimetre

Json = dict[str, Any]

_SHOWN = ["event_id", "min_price", "max_price", "available"]
_NOTHING = Facets({}, {})


class ElasticIndex:
    def __init__(self, client: AsyncElasticsearch, alias: str) -> None:
        self._client = client
        self._alias = alias

    async def search(self, search: Search) -> Found:
        """Raises SearchUnavailable."""
        question = wording.question(search.text)
        if search.text and not question.slots:
            return Found([], 0, True, _NOTHING, None)
        for closeness in _ways(search, question):
            answer = await self._ask(body_of(search, question, closeness))
            if answer["hits"]["total"]["value"]:
                break
        return _found(search, closeness, answer)

    async def suggest(self, text: str, limit: int) -> list[Suggestion]:
        """Raises SearchUnavailable."""
        question = wording.question(text)
        if not question.slots:
            return []
        for closeness in (Closeness.EXACT, Closeness.CLOSE):
            answer = await self._ask(_suggestions(text, question, closeness))
            if answer["hits"]["hits"]:
                break
        by_title: dict[str, Suggestion] = {}
        for hit in answer["hits"]["hits"]:
            title = hit["_source"]["title_shown"]
            by_title.setdefault(wording.joined(title), Suggestion(hit["_id"], title))
        return list(by_title.values())[:limit]

    async def _ask(self, body: Json) -> Json:
        try:
            answer = await self._client.search(index=self._alias, body=body)
        except (ApiError, TransportError) as error:
            raise SearchUnavailable(str(error)) from error
        found: Json = answer.body
        return found


def _ways(search: Search, question: Question) -> list[Closeness]:
    if search.after is not None:
        return [search.after.closeness]
    ways = list(Closeness)
    return ways[: 1 if not question.slots else 2 if len(question.slots) == 1 else 3]


def body_of(search: Search, question: Question, closeness: Closeness) -> Json:
    """The request of one page."""
    category = [{"term": {"category": search.category}}] if search.category else []
    city = [{"term": {"city_key": wording.key(search.city)}}] if search.city else []
    last = [{"exists": {"field": "near"}}] if search.sort is Sort.DISTANCE else []
    mark = search.after
    ours = (
        mark if mark and (mark.source == SOURCE or mark.sort in (Sort.DATE, Sort.PRICE)) else None
    )
    body: Json = {
        "size": search.limit + 1,
        "track_total_hits": COUNTED_MAX + 1,
        "_source": _SHOWN,
        "query": _query(search, question, closeness),
        # What follows filters the results, not the facets.
        "post_filter": {"bool": {"filter": [*category, *city, *last]}},
        "sort": [*_sort(search), {"event_id": "asc"}],
        "aggs": {
            "category": _facet(city, {"field": "category", "size": 10}),
            "city": _facet(category, {"field": "city_key", "size": CITIES_MAX}, _CITY_NAME),
        },
    }
    if ours is not None:
        body["search_after"] = [ours.key, ours.event_id]
    elif mark is not None:
        body["from"] = min(mark.seen, COUNTED_MAX - search.limit - 1)
    return body


_CITY_NAME = {"name": {"terms": {"field": "city", "size": 1, "order": {"_key": "asc"}}}}


def _facet(filters: list[Json], terms: Json, within: Json | None = None) -> Json:
    values: Json = {"terms": terms, **({"aggs": within} if within else {})}
    return {"filter": {"bool": {"filter": filters}}, "aggs": {"values": values}}


def _query(search: Search, question: Question, closeness: Closeness) -> Json:
    asked: Json = {"filter": [{"term": {"findable": True}}, *_filters(search)]}
    ways = [_slot(slot, closeness) for slot in question.slots]
    if ways and closeness is Closeness.ANY:
        asked["must"] = [{"bool": {"should": ways, "minimum_should_match": 1}}]
    elif ways:
        asked["must"] = ways
    if ways:
        asked["should"] = [_constant({"terms": {"title_joined": question.titles}}, WHOLE_TITLE)]
    if search.sort is not Sort.RELEVANCE:
        return {"bool": asked}
    return {
        "function_score": {
            "query": {"bool": asked},
            "functions": _functions(search),
            "score_mode": "sum",
            "boost_mode": "sum",
        }
    }


def _filters(search: Search) -> list[Json]:
    found: list[Json] = []
    times = {"gte": search.starts_from, "lt": search.starts_before}
    prices = {"gte": search.price_least, "lte": search.price_most}
    if given := {name: to_ms(instant) for name, instant in times.items() if instant}:
        found.append({"range": {"start_time": {**given, "format": "epoch_millis"}}})
    if priced := {name: price for name, price in prices.items() if price is not None}:
        found.append({"range": {"prices": priced}})
    if search.available is not None:
        found.append({"term": {"available": search.available}})
    if search.near is not None and search.radius_km is not None:
        radius = f"{max(search.radius_km, RADIUS_KM_LEAST)}km"
        found.append({"geo_distance": {"distance": radius, "near": _point(search.near)}})
    return found


def _functions(search: Search) -> list[Json]:
    """What is added to the words' score."""
    as_of = from_ms(search.after.as_of_ms) if search.after else search.as_of
    soon = {"origin": as_of.isoformat(), "scale": f"{SOON_HALVED_DAYS:g}d", "decay": 0.5}
    functions: list[Json] = [{"exp": {"start_time": soon}, "weight": SOON}]
    if search.near is not None:
        near = {"origin": _point(search.near), "scale": f"{NEAR_HALVED_KM:g}km", "decay": 0.5}
        located = {"exists": {"field": "near"}}
        functions.append({"filter": located, "exp": {"near": near}, "weight": NEAR})
    for category, liking in search.tastes:
        liked = {"term": {"category": category}}
        functions.append({"filter": liked, "weight": liking * TASTE})
    return functions


def _slot(slot: Slot, closeness: Closeness) -> Json:
    """One word of the query, worth the best place that it is found in."""
    ways = [way for place in EXACT for way in _ways_in(place, slot, closeness)]
    return {"dis_max": {"queries": ways}}


def _ways_in(place: str, slot: Slot, closeness: Closeness) -> list[Json]:
    ways = [_constant({"terms": {place: slot.exact}}, EXACT[place])]
    if slot.beginning is not None:
        ways.append(_constant({"prefix": {place: slot.beginning}}, BEGINNING[place]))
    most = typos_max(slot.word)
    if closeness is not Closeness.EXACT and most:
        fuzzy = {"value": slot.word, "fuzziness": most, "transpositions": True}
        ways.append(_constant({"fuzzy": {place: fuzzy}}, CLOSE[place]))
    return ways


def _constant(query: Json, worth: float) -> Json:
    return {"constant_score": {"filter": query, "boost": worth}}


def _sort(search: Search) -> list[Json]:
    match search.sort:
        case Sort.RELEVANCE:
            return [{"_score": "desc"}]
        case Sort.DATE:
            return [{"start_time": "asc"}]
        case Sort.PRICE:
            return [{"price_key": "asc"}]
        case Sort.DISTANCE:
            assert search.near is not None
            return [{"_geo_distance": {"near": _point(search.near), "order": "asc", "unit": "km"}}]
        case _:
            assert_never(search.sort)


def _point(point: Point) -> Json:
    return {"lat": point.latitude, "lon": point.longitude}


def _suggestions(text: str, question: Question, closeness: Closeness) -> Json:
    having = [
        {"bool": {"should": _ways_in("title", slot, closeness), "minimum_should_match": 1}}
        for slot in question.slots
    ]
    ways = [
        _constant({"prefix": {"title_joined": wording.joined(text)}}, 2),
        _constant({"bool": {"filter": having}}, 1),
    ]
    return {
        "size": SUGGESTED_MAX,
        "track_total_hits": False,
        "_source": ["title_shown"],
        "query": {
            "bool": {
                "filter": [{"term": {"findable": True}}],
                "must": [{"dis_max": {"queries": ways}}],
            }
        },
        "sort": [{"_score": "desc"}, {"start_time": "asc"}, {"event_id": "asc"}],
    }


def _found(search: Search, closeness: Closeness, answer: Json) -> Found:
    hits, total = answer["hits"]["hits"], answer["hits"]["total"]["value"]
    shown = hits[: search.limit]
    more = len(hits) > len(shown)
    return Found(
        [Hit(*(hit["_source"].get(name) for name in _SHOWN)) for hit in shown],
        min(total, COUNTED_MAX),
        total <= COUNTED_MAX,
        _facets(answer["aggregations"]),
        _mark(search, closeness, shown) if more else None,
    )


def _mark(search: Search, closeness: Closeness, shown: list[Json]) -> Mark:
    before = search.after
    return Mark(
        SOURCE,
        search.sort,
        closeness,
        0,
        shown[-1]["sort"][0],
        shown[-1]["_id"],
        (before.seen if before else 0) + len(shown),
        before.as_of_ms if before else to_ms(search.as_of),
    )


def _facets(found: Json) -> Facets:
    categories = found["category"]["values"]["buckets"]
    cities = found["city"]["values"]["buckets"]
    return Facets(
        {bucket["key"]: bucket["doc_count"] for bucket in categories},
        {bucket["name"]["buckets"][0]["key"]: bucket["doc_count"] for bucket in cities},
    )
