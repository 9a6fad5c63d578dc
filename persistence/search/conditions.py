"""The conditions of a search and the order of its results, written as one statement for Postgres.

Values never stand in the text of a statement: each is a parameter.
"""

from collections.abc import Sequence
from datetime import datetime

from engine import wording
from engine.catalogue import Category, from_ms
from engine.finding import Point, Search
from engine.ranking import (
    EARTH_KM,
    NEAR,
    NEAR_HALVED_KM,
    SOON,
    SOON_HALVED_DAYS,
    TASTE,
    WHOLE_TITLE,
)
from engine.wording import Question
from persistence.search import texts
from persistence.search.texts import Term

DAY_S = 86_400

# earthdistance takes the equator's radius for the Earth's.
_METRES_OF_KM = 6_378_168 / EARTH_KM

HIT = "event_id, min_price, max_price, available"
START_MS = "(extract(epoch FROM start_time) * 1000)::bigint"

After = tuple[int | float, str]


class Conditions:
    def __init__(self) -> None:
        self._parts = ["findable"]
        self.values: list[object] = []

    @property
    def where(self) -> str:
        return " AND ".join(self._parts)

    def value(self, value: object) -> str:
        """A parameter's place."""
        self.values.append(value)
        return f"${len(self.values)}"

    def add(self, template: str, *values: object) -> None:
        """A condition with `{}` where its values go."""
        self._parts.append(template.format(*(self.value(value) for value in values)))

    def point(self, point: Point) -> str:
        latitude, longitude = self.value(point.latitude), self.value(point.longitude)
        return f"ll_to_earth({latitude}::float8, {longitude}::float8)"


def filtered(
    search: Search, terms: Sequence[Term], *, category: bool = True, city: bool = True
) -> Conditions:
    """What every result must be; without the filters that a facet is not narrowed by."""
    found = Conditions()
    if terms:
        found.add("words @@ {}::text::tsquery", texts.match(terms))
    if category and search.category is not None:
        found.add("category = {}", search.category)
    if city and search.city is not None:
        found.add("city_key = {}", wording.key(search.city))
    if search.starts_from is not None:
        found.add("start_time >= {}", search.starts_from)
    if search.starts_before is not None:
        found.add("start_time < {}", search.starts_before)
    if search.available is not None:
        found.add("available = {}", search.available)
    _priced(found, search)
    if search.near is not None and search.radius_km is not None:
        point, metres = found.point(search.near), search.radius_km * _METRES_OF_KM
        found.add(f"earth_box({point}, {{}}::float8) @> position", metres * 1.001)
        found.add(f"earth_distance({point}, position) <= {{}}::float8", metres)
    return found


def _priced(found: Conditions, search: Search) -> None:
    """Some one price lies between the bounds; the first two conditions only save looking."""
    least, most = search.price_least, search.price_most
    if least is not None:
        found.add("max_price >= {}", least)
    if most is not None:
        found.add("min_price <= {}", most)
    if least is not None and most is not None:
        found.add(
            "EXISTS (SELECT FROM unnest(prices) AS price WHERE price BETWEEN {} AND {})",
            least,
            most,
        )


def rising(
    found: Conditions, key: str, shown: str, after: tuple[object, str] | None, limit: str
) -> str:
    """Results by a rising `key`; `shown` is what a mark keeps of it."""
    if after is not None:
        found.add(f"({key}, event_id) > ({{}}, {{}})", *after)
    return (
        f"SELECT {HIT}, {shown} AS key FROM search_documents WHERE {found.where}"
        f" ORDER BY {key}, event_id {limit}"
    )


def by_score(found: Conditions, score: str, after: After | None, limit: str) -> str:
    beyond = ""
    if after is not None:
        worth, event_id = found.value(float(after[0])), found.value(after[1])
        beyond = f"WHERE key < {worth}::float8 OR (key = {worth}::float8 AND event_id > {event_id})"
    return (
        f"SELECT {HIT}, key FROM (SELECT {HIT}, {score} AS key FROM search_documents"
        f" WHERE {found.where}) AS scored {beyond} ORDER BY key DESC, event_id {limit}"
    )


def score(
    found: Conditions, search: Search, question: Question, terms: Sequence[Term], as_of: datetime
) -> str:
    """The score by `engine.ranking` as an expression."""
    parts = [_worth(found, term) for term in terms]
    if terms:
        titles = found.value(list(question.titles))
        parts.append(f"CASE WHEN title_joined = ANY({titles}) THEN {WHOLE_TITLE} ELSE 0 END")
    now = found.value(as_of)
    days = f"abs(extract(epoch FROM start_time - {now}::timestamptz))::float8 / {DAY_S}"
    parts.append(f"{SOON} * power(0.5::float8, {days} / {SOON_HALVED_DAYS})")
    if search.near is not None:
        km = f"earth_distance({found.point(search.near)}, position) / {_METRES_OF_KM}"
        parts.append(f"coalesce({NEAR} * power(0.5::float8, {km} / {NEAR_HALVED_KM}), 0)")
    for category, liking in search.tastes:
        liked = f"category = {found.value(category)} THEN {found.value(liking * TASTE)}::float8"
        parts.append(f"CASE WHEN {liked} ELSE 0 END")
    return f"({' + '.join(parts)})::float8"


def _worth(found: Conditions, term: Term) -> str:
    """Of the best place that one word of the query is found in."""
    ways = (
        f"WHEN words @@ {found.value(query)}::text::tsquery THEN {worth}"
        for worth, query in term.graded()
    )
    return f"CASE {' '.join(ways)} ELSE 0 END"


def by_date_ahead(
    found: Conditions,
    ahead_ms_by_category: dict[Category, int],
    after: After | None,
    wanted: int,
    skipped: int,
) -> str:
    """By date, with categories moved ahead; an index gives each of them in order."""
    branches = []
    where = found.where
    for category in Category:
        ahead_ms = ahead_ms_by_category.get(category, 0)
        ours = f"{where} AND category = {found.value(category)}"
        if after is not None:
            start = found.value(from_ms(max(0, min(int(after[0]) + ahead_ms, 2**47))))
            ours += f" AND (start_time, event_id) > ({start}, {found.value(after[1])})"
        branches.append(
            f"(SELECT {HIT}, {START_MS} - {ahead_ms} AS key FROM search_documents WHERE {ours}"
            f" ORDER BY start_time, event_id LIMIT {wanted + skipped})"
        )
    everything = " UNION ALL ".join(branches)
    return (
        f"SELECT * FROM ({everything}) AS everything ORDER BY key, event_id"
        f" LIMIT {wanted} OFFSET {skipped}"
    )
