"""Search by brute force: what an index must find, by looking at every document."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random

from engine import wording
from engine.catalogue import Category, to_ms
from engine.finding import Document, Point, Search, Sort
from engine.ranking import distance_km

NOON = datetime(2031, 5, 1, 12, tzinfo=UTC)
_CITIES = {
    "Berlin": Point(52.52, 13.405),
    "Potsdam": Point(52.39, 13.065),
    "Kraków": Point(50.06, 19.94),
    "São Paulo": Point(-23.55, -46.63),
    "Auckland": Point(-36.85, 174.76),
    "Suva": Point(-18.14, 178.44),
}
_RADII_KM = (0.0, 1.0, 30.0, 500.0, 9_000.0, 20_040.0)


def document(number: int, title: str = "Concert", **changes: object) -> Document:
    fields: dict[str, object] = {
        "event_id": f"evt_{number:016x}",
        "version": number,
        "findable": True,
        "title": title,
        "description": "",
        "venue": "Hall",
        "city": "Berlin",
        "country": "Germany",
        "year": 2031,
        "category": Category.CONCERT,
        "start_time": NOON,
        "end_time": NOON + timedelta(hours=3),
        "near": _CITIES["Berlin"],
        "prices": (2_500,),
        "available": True,
    }
    return Document(**{**fields, **changes})  # type: ignore[arg-type]


def some_documents(random: Random, count: int) -> list[Document]:
    return [_some_document(random, number) for number in range(1, count + 1)]


def _some_document(random: Random, number: int) -> Document:
    city = random.choice([*_CITIES, "krakow"])
    centre = _CITIES["Kraków" if city == "krakow" else city]
    near: Point | None = centre
    if random.random() < 0.7:
        away = (random.uniform(-0.5, 0.5), random.uniform(-0.5, 0.5))
        near = Point(centre.latitude + away[0], centre.longitude + away[1])
    elif random.random() < 0.3:
        near = None
    start = NOON + timedelta(hours=random.randrange(0, 24 * 400))
    return document(
        number,
        title=f"Event {number}",
        findable=random.random() < 0.9,
        city=city,
        category=random.choice(list(Category)),
        start_time=start,
        near=near,
        prices=tuple(sorted(random.sample(range(0, 10_000, 500), random.randrange(4)))),
        available=random.random() < 0.5,
    )


def some_search(random: Random) -> Search:
    """Each filter in some of them, in every combination."""

    def maybe(share: float, value: object) -> object:
        return value if random.random() < share else None

    start, end = sorted(random.choices(range(24 * 400), k=2))
    cheap, dear = sorted(random.choices(range(0, 10_000, 250), k=2))
    sort = random.choice([Sort.DATE, Sort.PRICE, Sort.DISTANCE])
    near = maybe(0.5, random.choice(list(_CITIES.values())))
    if sort is Sort.DISTANCE:
        near = random.choice(list(_CITIES.values()))
    return Search(
        category=maybe(0.3, random.choice(list(Category))),  # type: ignore[arg-type]
        city=maybe(0.3, random.choice(["berlin", "KRAKÓW", "Sao Paulo", "Auckland", "Oslo"])),  # type: ignore[arg-type]
        starts_from=maybe(0.3, NOON + timedelta(hours=start)),  # type: ignore[arg-type]
        starts_before=maybe(0.3, NOON + timedelta(hours=end)),  # type: ignore[arg-type]
        near=near,  # type: ignore[arg-type]
        radius_km=maybe(0.5, random.choice(_RADII_KM)) if near else None,  # type: ignore[arg-type]
        price_least=maybe(0.3, cheap),  # type: ignore[arg-type]
        price_most=maybe(0.3, dear),  # type: ignore[arg-type]
        available=maybe(0.3, random.random() < 0.5),  # type: ignore[arg-type]
        sort=sort,
        limit=random.choice([60, 200]),
        as_of=NOON,
    )


def expected(documents: Sequence[Document], search: Search) -> list[str]:
    """Ids in the order of the search, every page of it."""
    found = [each for each in documents if _fits(each, search, category=True, city=True)]
    if search.sort is Sort.DISTANCE:
        found = [each for each in found if each.near is not None]
    return [each.event_id for each in sorted(found, key=lambda each: _key(each, search))]


def expected_facets(
    documents: Sequence[Document], search: Search
) -> tuple[dict[str, int], dict[str, int]]:
    """By category, and by city as `wording.key` writes it."""
    categories = (d for d in documents if _fits(d, search, category=False, city=True))
    cities = (d for d in documents if _fits(d, search, category=True, city=False))
    return (
        dict(Counter(d.category.value for d in categories)),
        dict(Counter(wording.key(d.city) for d in cities)),
    )


def _fits(each: Document, search: Search, *, category: bool, city: bool) -> bool:
    return (
        each.findable
        and (not category or search.category in (None, each.category))
        and (not city or search.city is None or wording.key(search.city) == wording.key(each.city))
        and (search.starts_from is None or each.start_time >= search.starts_from)
        and (search.starts_before is None or each.start_time < search.starts_before)
        and search.available in (None, each.available)
        and _affordable(each, search)
        and _within(each, search)
    )


def _affordable(each: Document, search: Search) -> bool:
    least, most = search.price_least, search.price_most
    if least is None and most is None:
        return True
    return any(
        (least is None or price >= least) and (most is None or price <= most)
        for price in each.prices
    )


def _within(each: Document, search: Search) -> bool:
    if search.near is None or search.radius_km is None:
        return True
    return each.near is not None and distance_km(search.near, each.near) <= search.radius_km


def _key(each: Document, search: Search) -> tuple[float, str]:
    match search.sort:
        case Sort.DATE:
            return to_ms(each.start_time), each.event_id
        case Sort.PRICE:
            return each.prices[0] if each.prices else float("inf"), each.event_id
        case _:
            assert search.near is not None
            assert each.near is not None
            return distance_km(search.near, each.near), each.event_id
