"""The events and venues behind search results, as the catalogue has them now."""

from collections.abc import Sequence

import asyncpg

from engine.catalogue import Event, Venue
from engine.finding import Hit
from persistence import events, venues
from persistence.search.conditions import HIT
from persistence.transactions import reading

_HITS = f"SELECT {HIT} FROM search_documents WHERE event_id = ANY($1) AND findable"


class CatalogueShowings:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def among(self, event_ids: Sequence[str]) -> dict[str, tuple[Event, Venue]]:
        """By event id, those that there are."""
        if not event_ids:
            return {}
        async with reading(self._pool) as connection:
            found = await events.among(connection, event_ids)
            places = await venues.among(connection, sorted({event.venue_id for event in found}))
        venue_by_id = {venue.venue_id: venue for venue in places}
        return {event.event_id: (event, venue_by_id[event.venue_id]) for event in found}

    async def hits(self, event_ids: Sequence[str]) -> dict[str, Hit]:
        """What the index says of these events, by event id."""
        async with reading(self._pool) as connection:
            rows = await connection.fetch(_HITS, list(event_ids))
        return {row["event_id"]: Hit(*row) for row in rows}
