"""Events from files: each row with a booking of its own, and a key by which it is known again.

Venues are locked in the order of their ids, so that two imports never wait for each other in a
ring; the rows of one venue stay in the order of the file.
"""

from collections.abc import Sequence
from contextlib import suppress

import asyncpg

from engine.catalogue import ImportedRow, Venue
from engine.rejections import Rejection
from persistence import venues
from persistence.hire import Hire
from persistence.transactions import Connection, Undone, reading

_KNOWN = """
SELECT organizer_id, import_key FROM imported_rows
JOIN unnest($1::text[], $2::text[]) AS asked (organizer_id, import_key)
    USING (organizer_id, import_key)
"""
_CLAIM = """
INSERT INTO imported_rows (organizer_id, import_key, event_id) VALUES ($1, $2, $3)
ON CONFLICT DO NOTHING RETURNING event_id
"""


class EventImports:
    def __init__(self, pool: asyncpg.Pool, hire: Hire) -> None:
        self._pool = pool
        self._hire = hire

    async def venue(self, venue_id: str) -> Venue | None:
        async with reading(self._pool) as connection:
            return await venues.find(connection, venue_id)

    async def add(
        self, rows: Sequence[ImportedRow], *, all_or_none: bool, dry_run: bool
    ) -> list[bool | Rejection]:
        """Of each row: whether it is new, or why not. One transaction; `dry_run` leaves nothing."""
        outcome_by_place: dict[int, bool | Rejection] = {}
        in_order = sorted(enumerate(rows), key=lambda numbered: numbered[1].event.venue_id)
        async with reading(self._pool) as connection:
            with suppress(Undone):
                async with connection.transaction():
                    known = await _known(connection, rows)
                    for place, row in in_order:
                        is_known = _key(row) in known
                        outcome_by_place[place] = not is_known and await self._add(connection, row)
                    refused = any(isinstance(o, Rejection) for o in outcome_by_place.values())
                    if dry_run or (all_or_none and refused):
                        raise Undone
        return [outcome_by_place[place] for place in range(len(rows))]

    async def _add(self, connection: Connection, row: ImportedRow) -> bool | Rejection:
        attempt = connection.transaction()
        await attempt.start()
        added = await self._hire.add_event(connection, row.event)
        if isinstance(added, Rejection):
            await attempt.rollback()
            # Another import may have brought this very row in while we waited for its hall.
            return False if await _known(connection, [row]) else added
        if await connection.fetchval(_CLAIM, *_key(row), row.event.event_id) is None:
            await attempt.rollback()  # by another import, at this moment
            return False
        await attempt.commit()
        return True


def _key(row: ImportedRow) -> tuple[str, str]:
    return row.event.organizer_id, row.import_key


async def _known(connection: Connection, rows: Sequence[ImportedRow]) -> set[tuple[str, str]]:
    keys = [_key(row) for row in rows]
    organizers, import_keys = [key[0] for key in keys], [key[1] for key in keys]
    return {(row[0], row[1]) for row in await connection.fetch(_KNOWN, organizers, import_keys)}
