"""Reads the documents of events from the catalogue's tables, as they are at this moment."""

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import asyncpg
from msgspec import Struct

from engine.catalogue import Category
from engine.finding import Document, Point
from engine.lifecycle import EventStatus
from persistence.transactions import Connection

_FINDABLE = frozenset({EventStatus.PUBLISHED, EventStatus.ON_SALE})

# One statement: the version is taken when its snapshot has been, so with one reader at a time a
# higher version has seen no less.
_READ = """
SELECT e.event_id, nextval('search_version') AS version, e.title, e.description, e.category,
       e.status, e.start_time, e.end_time, v.name AS venue, v.city, v.country, v.latitude,
       v.longitude, v.timezone, clock_timestamp() AS read_at, t.prices, t.free, t.sale_starts,
       t.sale_ends
FROM events e JOIN venues v USING (venue_id) CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(price), '{}') AS prices,
           coalesce(array_agg(total_quantity - coalesce(held + sold, 0)), '{}') AS free,
           coalesce(array_agg(sale_start), '{}') AS sale_starts,
           coalesce(array_agg(sale_end), '{}') AS sale_ends
    FROM tiers LEFT JOIN tier_counters USING (tier_id)
    WHERE tiers.event_id = e.event_id AND NOT tiers.hidden
) t
WHERE e.event_id = ANY($1)
"""


class Reading(Struct, frozen=True):
    """A document, and when it will change by itself."""

    document: Document
    refresh_at: datetime | None


async def read(connection: Connection, event_ids: Sequence[str]) -> list[Reading]:
    return [_reading(row) for row in await connection.fetch(_READ, list(event_ids))]


def _reading(row: asyncpg.Record) -> Reading:
    status, now = EventStatus(row["status"]), row["read_at"]
    windows = list(zip(row["sale_starts"], row["sale_ends"], strict=True))
    on_sale = [status is EventStatus.ON_SALE and starts <= now < ends for starts, ends in windows]
    prices = [price for price, sold_now in zip(row["prices"], on_sale, strict=True) if sold_now]
    boundaries = [instant for window in windows for instant in window if instant > now]
    findable = status in _FINDABLE
    place = (row["latitude"], row["longitude"])
    document = Document(
        event_id=row["event_id"],
        version=row["version"],
        findable=findable,
        title=row["title"],
        description=row["description"],
        venue=row["venue"],
        city=row["city"],
        country=row["country"],
        year=row["start_time"].astimezone(ZoneInfo(row["timezone"])).year,
        category=Category(row["category"]),
        start_time=row["start_time"],
        end_time=row["end_time"],
        near=Point(*place) if None not in place else None,
        prices=tuple(sorted(set(prices or row["prices"]))),
        available=any(free > 0 for free, now_ in zip(row["free"], on_sale, strict=True) if now_),
    )
    waits = status is EventStatus.ON_SALE and bool(boundaries)
    return Reading(document, min(boundaries) if waits else None)
