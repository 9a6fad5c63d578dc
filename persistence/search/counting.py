"""How many results a search has, and its facets: counted up to a limit."""

from collections import Counter
from collections.abc import Sequence

import asyncpg
from msgspec import Struct

from engine.finding import Facets, Search
from persistence.search.conditions import Conditions, filtered
from persistence.search.texts import Term
from persistence.transactions import Connection

COUNTED_MAX = 10_000
CITIES_MAX = 100


class Counted(Struct, frozen=True):
    total: int
    exact: bool
    facets: Facets


async def count(connection: Connection, search: Search, terms: Sequence[Term]) -> Counted:
    """One statement, and one more for each filter that must not narrow its own facet."""
    rows = await _grouped(connection, filtered(search, terms))
    counted = sum(row["events"] for row in rows)
    by_category = by_city = rows
    if search.category is not None:
        by_category = await _grouped(connection, filtered(search, terms, category=False))
    if search.city is not None:
        by_city = await _grouped(connection, filtered(search, terms, city=False))
    facets = Facets(_categories(by_category), _cities(by_city))
    return Counted(min(counted, COUNTED_MAX), counted <= COUNTED_MAX, facets)


async def _grouped(connection: Connection, found: Conditions) -> Sequence[asyncpg.Record]:
    return await connection.fetch(
        "SELECT category, city_key, min(city) AS city, count(*) AS events"
        f" FROM (SELECT category, city_key, city FROM search_documents WHERE {found.where}"
        f" LIMIT {COUNTED_MAX + 1}) AS found GROUP BY category, city_key",
        *found.values,
    )


def _categories(rows: Sequence[asyncpg.Record]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for row in rows:
        counts[row["category"]] += row["events"]
    return dict(counts.most_common())


def _cities(rows: Sequence[asyncpg.Record]) -> dict[str, int]:
    """Cities that differ in case or accents are one, under the spelling that sorts first."""
    counts: Counter[str] = Counter()
    name_by_key: dict[str, str] = {}
    for row in rows:
        city_key, name = row["city_key"], row["city"]
        counts[city_key] += row["events"]
        name_by_key[city_key] = min(name_by_key.get(city_key, name), name)
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return {name_by_key[city_key]: events for city_key, events in ordered[:CITIES_MAX]}
