"""The rows of the venues."""

from collections.abc import Sequence
from typing import Any

import asyncpg
from msgspec import Raw

from engine.catalogue import Venue, VenueType
from persistence import statements
from persistence.statements import clean
from persistence.transactions import Connection

COLUMNS = Venue.__struct_fields__

_SELECT = f"SELECT {', '.join(COLUMNS)} FROM venues WHERE venue_id = $1"
_AMONG = f"SELECT {', '.join(COLUMNS)} FROM venues WHERE venue_id = ANY($1)"
_INSERT = statements.insert("venues", COLUMNS)
_UPDATE = statements.update("venues", COLUMNS)
_NEWEST = statements.newest("venues", COLUMNS)

# Whoever books a venue or moves a booking there waits for the others who do.
LOCKED = _SELECT + " FOR NO KEY UPDATE"


async def find(connection: Connection, venue_id: str) -> Venue | None:
    row = await connection.fetchrow(_SELECT, clean(venue_id))
    return _venue(row) if row else None


async def among(connection: Connection, venue_ids: Sequence[str]) -> list[Venue]:
    """Those of the venues that there are, in no order."""
    return [_venue(row) for row in await connection.fetch(_AMONG, list(venue_ids))]


async def lock(connection: Connection, venue_id: str) -> Venue | None:
    row = await connection.fetchrow(LOCKED, clean(venue_id))
    return _venue(row) if row else None


async def newest(connection: Connection, after: str | None, limit: int) -> list[Venue]:
    return [_venue(row) for row in await connection.fetch(_NEWEST, limit, clean(after))]


async def insert(connection: Connection, venue: Venue) -> None:
    await connection.execute(_INSERT, *_values(venue))


async def save(connection: Connection, venue: Venue) -> None:
    await connection.execute(_UPDATE, *_values(venue))


def _venue(row: asyncpg.Record) -> Venue:
    kind, facilities = VenueType(row["type"]), Raw(row["facilities"].encode())
    return Venue(**{**row, "type": kind, "facilities": facilities})


def _values(venue: Venue) -> list[Any]:
    values = {name: getattr(venue, name) for name in COLUMNS}
    return list((values | {"facilities": bytes(venue.facilities).decode()}).values())
