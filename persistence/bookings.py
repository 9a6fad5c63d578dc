"""The rows of the bookings, and the one rule they keep: no two live ones of a venue overlap.

Whoever books or moves a booking holds the lock on the venue's row, so that a refusal can name the
window that is in the way; the table's constraint is what makes an overlap impossible.
"""

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from engine.catalogue import (
    Booking,
    BookingStatus,
    CancelReason,
    RefundStatus,
    Slot,
    Venue,
)
from engine.rejections import Reason, Rejection
from persistence import statements
from persistence.statements import clean
from persistence.transactions import Connection

COLUMNS = tuple(name for name in Booking.__struct_fields__ if name != "refund")

_READ = f"""
SELECT {", ".join(COLUMNS)}, (
    SELECT r.status FROM deposit_refunds r WHERE r.booking_id = bookings.booking_id
    ORDER BY r.created_at DESC LIMIT 1
) AS refund FROM bookings
"""
_SELECT = _READ + "WHERE booking_id = $1"
_INSERT = statements.insert("bookings", (*COLUMNS, "held_window"))
_ASK = "UPDATE bookings SET payment_id = $2 WHERE booking_id = $1"
_CONFIRM = """
UPDATE bookings SET status = 'CONFIRMED', payment_id = $2, deposit_paid = $3, expires_at = NULL
WHERE booking_id = $1
"""
_CANCEL = """
UPDATE bookings SET status = 'CANCELLED', cancel_reason = $2, expires_at = NULL,
    deposit_refunded = deposit_refunded + $3
WHERE booking_id = $1
"""
_MOVE = """
UPDATE bookings SET start_time = $2, end_time = $3, setup_hours_before = $4,
    teardown_hours_after = $5, held_window = $6, astray = false
WHERE booking_id = $1
"""
_UNPAID = """
SELECT booking_id FROM bookings WHERE status = 'REQUESTED' AND expires_at <= $1
ORDER BY expires_at LIMIT $2
"""
_ASTRAY = "SELECT booking_id FROM bookings WHERE astray LIMIT $1"
_SET_ASTRAY = "UPDATE bookings SET astray = $2 WHERE booking_id = $1"

_IN_THE_WAY = """
SELECT booking_id, lower(held_window) AS held_from, upper(held_window) AS held_to FROM bookings
WHERE venue_id = $1 AND status <> 'CANCELLED' AND held_window && $2 AND event_id <> $3
ORDER BY held_window LIMIT 1
"""

_CALENDAR = (
    _READ
    + """
WHERE venue_id = $1 AND status <> 'CANCELLED' AND held_window && $2
    AND ($3::text IS NULL
         OR held_window > (SELECT held_window FROM bookings WHERE booking_id = $3))
ORDER BY held_window LIMIT $4
"""
)


async def find(connection: Connection, booking_id: str) -> Booking | None:
    row = await connection.fetchrow(_SELECT, clean(booking_id))
    return _booking(row) if row else None


async def live(connection: Connection, booking_id: str) -> Booking | None:
    booking = await find(connection, booking_id)
    return booking if booking and booking.status is not BookingStatus.CANCELLED else None


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
    connection: Connection,
    booking_id: str,
    event_id: str,
    venue: Venue,
    slot: Slot,
    expires_at: datetime,
) -> Rejection | None:
    """Book the venue, whose row is locked; without a deposit that is confirmed at once."""
    waits = venue.deposit_amount > 0
    asked = Booking(
        booking_id=booking_id,
        venue_id=slot.venue_id,
        event_id=event_id,
        start_time=slot.start_time,
        end_time=slot.end_time,
        setup_hours_before=slot.setup_hours_before,
        teardown_hours_after=slot.teardown_hours_after,
        status=BookingStatus.REQUESTED if waits else BookingStatus.CONFIRMED,
        hire_amount=venue.hire_amount,
        deposit_amount=venue.deposit_amount,
        deposit_refundable_days=venue.deposit_refundable_days,
        deposit_paid=0,
        deposit_refunded=0,
        payment_id=None,
        currency=venue.currency,
        expires_at=expires_at if waits else None,
        cancel_reason=None,
    )
    values = [getattr(asked, name) for name in COLUMNS]
    return await _write(connection, event_id, slot, _INSERT, (*values, _held(slot)))


async def move(connection: Connection, booking: Booking, slot: Slot) -> Rejection | None:
    """Give a live booking another time in its venue, whose row is locked."""
    times = (slot.start_time, slot.end_time, slot.setup_hours_before, slot.teardown_hours_after)
    values = (booking.booking_id, *times, _held(slot))
    return await _write(connection, booking.event_id, slot, _MOVE, values)


async def ask(connection: Connection, booking_id: str, payment_id: str) -> None:
    await connection.execute(_ASK, booking_id, payment_id)


async def confirm(
    connection: Connection, booking_id: str, payment_id: str, paid_minor: int
) -> None:
    await connection.execute(_CONFIRM, booking_id, payment_id, paid_minor)


async def cancel(
    connection: Connection, booking_id: str, reason: CancelReason, refunded_minor: int
) -> None:
    await connection.execute(_CANCEL, booking_id, reason, refunded_minor)


async def unpaid(connection: Connection, now: datetime, limit: int) -> list[str]:
    return [row["booking_id"] for row in await connection.fetch(_UNPAID, now, limit)]


async def astray(connection: Connection, limit: int) -> list[str]:
    """Bookings whose event is said to be at another time than they are."""
    return [row["booking_id"] for row in await connection.fetch(_ASTRAY, limit)]


async def set_astray(connection: Connection, booking_id: str, is_astray: bool) -> None:
    await connection.execute(_SET_ASTRAY, booking_id, is_astray)


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
    reason, refund = row["cancel_reason"], row["refund"]
    read = {
        "status": BookingStatus(row["status"]),
        "cancel_reason": CancelReason(reason) if reason else None,
        "refund": RefundStatus(refund) if refund else None,
    }
    return Booking(**{**row, **read})
