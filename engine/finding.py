"""The vocabulary of finding events: what an index is asked, and what it answers. Data only.

Prices are in minor units, instants timezone-aware in UTC.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from engine.catalogue import Category

# Of a rising price, an instant in milliseconds, a distance or a score.
_Key = Annotated[int, Meta(ge=-(2**47), le=2**62)] | Annotated[float, Meta(ge=-1e14, le=1e14)]


class Sort(StrEnum):
    RELEVANCE = "relevance"
    DATE = "date"
    PRICE = "price"
    DISTANCE = "distance"


class Closeness(StrEnum):
    """How a text is matched: the first of these that finds anything."""

    EXACT = "exact"  # every word of the query stands in the document, the last may be a beginning
    CLOSE = "close"  # ... or a word that is a typo away
    ANY = "any"  # one of them is enough


class Point(Struct, frozen=True):
    latitude: float
    longitude: float


class Mark(Struct, frozen=True, array_like=True):
    """The last result of a page: where the next one goes on.

    `source`: the index that gave it; `step`: the part of the answer that the page ended in; `key`:
    the value that it sorts by; `seen`: how many results there were so far. `as_of_ms` is the first
    page's: scores are of that instant on every page.
    """

    source: str
    sort: Sort
    closeness: Closeness
    step: Annotated[int, Meta(ge=0, le=3)]
    key: _Key
    event_id: Annotated[str, Meta(max_length=100, pattern="^[!-~]*$")]
    seen: Annotated[int, Meta(ge=0, le=2**31)]
    as_of_ms: Annotated[int, Meta(ge=0, le=2**43)]


class Search(Struct, frozen=True, kw_only=True):
    """`starts_from <= start < starts_before`. `tastes`: how the asker likes a category, 0 to 1."""

    text: str = ""
    category: Category | None = None
    city: str | None = None
    starts_from: datetime | None = None
    starts_before: datetime | None = None
    near: Point | None = None
    radius_km: float | None = None
    price_least: int | None = None
    price_most: int | None = None
    available: bool | None = None
    sort: Sort = Sort.RELEVANCE
    limit: int = 50
    as_of: datetime
    after: Mark | None = None
    tastes: tuple[tuple[Category, float], ...] = ()


class Hit(Struct, frozen=True):
    event_id: str
    min_price: int | None
    max_price: int | None
    has_available_tickets: bool


class Facets(Struct, frozen=True):
    """Counts by value; a filter does not narrow its own."""

    category: dict[str, int]
    city: dict[str, int]


class Found(Struct, frozen=True):
    """`total_is_exact` false: there are more than `total`, and the facets count that many."""

    hits: list[Hit]
    total: int
    total_is_exact: bool
    facets: Facets
    next: Mark | None
    degraded: bool = False


class Suggestion(Struct, frozen=True):
    event_id: str
    title: str


class Document(Struct, frozen=True):
    """An event as an index keeps it. `version`: the higher one wins, whatever comes last.

    `findable`: PUBLISHED or ON_SALE. `prices`: of the tiers on sale, or of all where none is.
    """

    event_id: str
    version: int
    findable: bool
    title: str
    description: str
    venue: str
    city: str
    country: str
    year: int
    category: Category
    start_time: datetime
    end_time: datetime
    near: Point | None
    prices: tuple[int, ...]
    available: bool


class Trend(Struct, frozen=True):
    event_id: str
    tickets: int
