"""The waitlist's table: facts folded into rows, and read back.

Rows are folded whole and written over what was there: an entry may have joined, been offered places
and lost them within one piece of the journal, and so may its rest.
"""

from collections.abc import Iterable
from datetime import datetime

import asyncpg
from msgspec import Struct

from engine import facts as f
from engine.catalogue import from_ms
from engine.projection import EntryRow
from engine.waiter import EntryStatus
from persistence.transactions import Connection

WaitlistFact = f.WaitlistJoined | f.OfferMade | f.OfferLapsed | f.WaitlistLeft

COLUMNS = EntryRow.__struct_fields__

_SELECT = f"SELECT {', '.join(COLUMNS)} FROM waitlist WHERE entry_id = ANY($1)"

WRITE = f"""
INSERT INTO waitlist ({", ".join(COLUMNS)})
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[],
                     $7::timestamptz[], $8::timestamptz[], $9::text[], $10::text[], $11::text[],
                     $12::timestamptz[], $13::text[], $14::bytea[])
ON CONFLICT (entry_id) DO UPDATE
SET quantity = excluded.quantity, status = excluded.status, expires_at = excluded.expires_at,
    rest_entry_id = excluded.rest_entry_id, order_id = excluded.order_id,
    left_because = excluded.left_because, ended_at = excluded.ended_at
"""


class Row(Struct):
    """An `EntryRow` that is being folded."""

    entry_id: str
    event_id: str
    tier_id: str
    buyer_id: str
    quantity: int
    status: str
    joined_at: datetime
    expires_at: datetime | None
    rest_entry_id: str | None
    order_id: str | None
    left_because: str | None
    ended_at: datetime | None
    origin_id: str
    sealed: bytes | None


async def known(connection: asyncpg.Connection, entries: Iterable[f.Entry]) -> dict[str, Row]:
    """The rows that are spoken of but were joined before."""
    spoken_of = set()
    for entry in entries:
        match entry.fact:
            case f.OrderPlaced(offer=None) | f.TicketScanned():
                pass  # as nearly all are
            case f.OfferMade() | f.OfferLapsed() | f.WaitlistLeft() as fact:
                spoken_of.add(fact.entry_id)
            case f.OrderPlaced(offer=f.OfferTaken() as taken):
                spoken_of.add(taken.entry_id)
    if not spoken_of:
        return {}
    rows = await connection.fetch(_SELECT, list(spoken_of))
    return {row["entry_id"]: Row(*row) for row in rows}


async def find(connection: Connection, entry_id: str) -> EntryRow | None:
    row = await connection.fetchrow(_SELECT, [entry_id])
    return EntryRow(*row) if row is not None else None


class WaitlistFold:
    """`row_by_entry`: it takes what it needs from there, and keeps it up."""

    def __init__(self, row_by_entry: dict[str, Row]) -> None:
        self._rows = row_by_entry
        self._changed: dict[str, None] = {}

    def rows(self) -> list[tuple[object, ...]]:
        chosen = [self._rows[entry_id] for entry_id in self._changed]
        return [tuple(getattr(row, name) for name in COLUMNS) for row in chosen]

    def take(self, event_id: str, fact: WaitlistFact, at: datetime) -> int:
        """How many places are held more than before."""
        self._changed[fact.entry_id] = None
        match fact:
            case f.WaitlistJoined():
                self._rows[fact.entry_id] = Row(
                    fact.entry_id,
                    event_id,
                    fact.tier_id,
                    fact.buyer_id,
                    fact.quantity,
                    EntryStatus.WAITING,
                    at,
                    *(None, None, None, None, None),
                    fact.entry_id,
                    fact.sealed,
                )
                return 0
            case f.OfferMade():
                self._offer(fact)
                return fact.quantity
            case f.OfferLapsed():
                self._end(fact.entry_id, EntryStatus.LAPSED, at)
                return -fact.quantity
            case f.WaitlistLeft():
                self._end(fact.entry_id, EntryStatus.LEFT, at)
                self._rows[fact.entry_id].left_because = fact.reason
                return -fact.quantity if fact.offered else 0

    def taken(self, offer: f.OfferTaken, order_id: str, at: datetime) -> None:
        self._changed[offer.entry_id] = None
        self._end(offer.entry_id, EntryStatus.FULFILLED, at)
        self._rows[offer.entry_id].order_id = order_id

    def _offer(self, fact: f.OfferMade) -> None:
        row = self._rows[fact.entry_id]
        if fact.rest_entry_id is not None:
            self._changed[fact.rest_entry_id] = None
            self._rows[fact.rest_entry_id] = Row(
                fact.rest_entry_id,
                row.event_id,
                row.tier_id,
                row.buyer_id,
                row.quantity - fact.quantity,
                EntryStatus.WAITING,
                row.joined_at,
                *(None, None, None, None, None),
                row.origin_id,
                row.sealed,
            )
        row.status, row.quantity = EntryStatus.OFFERED, fact.quantity
        row.expires_at, row.rest_entry_id = from_ms(fact.expires_at_ms), fact.rest_entry_id

    def _end(self, entry_id: str, status: EntryStatus, at: datetime) -> None:
        row = self._rows[entry_id]
        row.status, row.ended_at = status, at
