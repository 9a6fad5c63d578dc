"""The rows of the bookings, and the one rule they keep: no two live ones of a venue overlap.

Whoever books or moves a booking holds the lock on the venue's row, so that a refusal can name the
window that is in the way; the table's constraint is what makes an overlap impossible.
"""

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from engine.catalogue import Booking, BookingStatus, Slot, Venue
from engine.rejections import Reason, Rejection
from persistence import statements
from persistence.statements import clean
from persistence.transactions import Connection

COLUMNS = Booking.__struct_fields__

_SELECT = f"SELECT {', '.join(COLUMNS)} FROM bookings WHERE booking_id = $1"
_INSERT = statements.insert("bookings", (*COLUMNS, "held_window"))
_CANCEL = "UPDATE bookings SET status = 'CANCELLED' WHERE booking_id = $1"
_MOVE = """
UPDATE bookings SET start_time = $2, end_time = $3, setup_hours_before = $4,
    teardown_hours_after = $5, held_window = $6
WHERE booking_id = $1
"""

_IN_THE_WAY = """
SELECT booking_id, lower(held_window) AS held_from, upper(held_window) AS held_to FROM bookings
WHERE venue_id = $1 AND status <> 'CANCELLED' AND held_window && $2 AND event_id <> $3
ORDER BY held_window LIMIT 1
"""

_CALENDAR = f"""
SELECT {", ".join(COLUMNS)} FROM bookings
WHERE venue_id = $1 AND status <> 'CANCELLED' AND held_window && $2
    AND ($3::text IS NULL
         OR held_window > (SELECT held_window FROM bookings WHERE booking_id = $3))
ORDER BY held_window LIMIT $4
"""


async def find(connection: Connection, booking_id: str) -> Booking | None:
    row = await connection.fetchrow(_SELECT, clean(booking_id))
    return _booking(row) if row else None


async def calendar(
    connection: Connection,
    venue_id: str,
    window: tuple[datetime | None, datetime | None],
    after: str | None,
    limit: int,
) -> list[Booking]:
    """Live bookings whose held window touches `window`, earliest first."""
    held = asyncpg.Range(*window)
    rows = await connection.fetch(_CALENDAR, clean(venue_id), held, clean(after), limit)
    return [_booking(row) for row in rows]


async def request(
    connection: Connection, booking_id: str, event_id: str, venue: Venue, slot: Slot
) -> Rejection | None:
    """Book the venue, whose row is locked; without a deposit that is confirmed at once."""
    status = BookingStatus.REQUESTED if venue.deposit_amount else BookingStatus.CONFIRMED
    place = (booking_id, slot.venue_id, event_id, slot.start_time, slot.end_time)
    around = (slot.setup_hours_before, slot.teardown_hours_after)
    values = (*place, *around, status, venue.deposit_amount, 0, None, venue.currency)
    return await _write(connection, event_id, slot, _INSERT, (*values, _held(slot)))


async def move(connection: Connection, booking: Booking, slot: Slot) -> Rejection | None:
    """Give a live booking another time in its venue, whose row is locked."""
    times = (slot.start_time, slot.end_time, slot.setup_hours_before, slot.teardown_hours_after)
    values = (booking.booking_id, *times, _held(slot))
    return await _write(connection, booking.event_id, slot, _MOVE, values)


async def cancel(connection: Connection, booking_id: str) -> None:
    await connection.execute(_CANCEL, booking_id)


async def _write(
    connection: Connection, event_id: str, slot: Slot, statement: str, values: Sequence[object]
) -> Rejection | None:
    if in_the_way := await _conflict(connection, event_id, slot):
        return in_the_way
    try:
        async with connection.transaction():
            await connection.execute(statement, *values)
    except asyncpg.ExclusionViolationError:  # by somebody who did not take the lock
        found = await _conflict(connection, event_id, slot)
        return found or Rejection(Reason.VENUE_CONFLICT, {"venue_id": slot.venue_id})
    return None


async def _conflict(connection: Connection, event_id: str, slot: Slot) -> Rejection | None:
    row = await connection.fetchrow(_IN_THE_WAY, slot.venue_id, _held(slot), event_id)
    if row is None:
        return None
    facts = {
        "venue_id": slot.venue_id,
        "booking_id": row["booking_id"],
        "from": row["held_from"],
        "to": row["held_to"],
    }
    return Rejection(Reason.VENUE_CONFLICT, facts)


def _held(slot: Slot) -> "asyncpg.Range[datetime]":
    return asyncpg.Range(*slot.window)


def _booking(row: asyncpg.Record) -> Booking:
    return Booking(**{**row, "status": BookingStatus(row["status"])})
