"""How halls are asked for and given up, whoever does it: an organizer, an import, the clock."""

from datetime import datetime, timedelta

from engine.catalogue import Booking, CancelReason, Event, Slot, Venue, from_ms
from engine.planning import refundable
from engine.rejections import Rejection
from engine.runtime.ports import Clock
from persistence import bookings, deposits, events
from persistence.changes import bookable
from persistence.transactions import Connection


class Hire:
    """`request_kept`: how long a request waits for its deposit."""

    def __init__(self, clock: Clock, request_kept: timedelta) -> None:
        self._clock = clock
        self._request_kept = request_kept

    def now(self) -> datetime:
        return from_ms(self._clock.now_ms())

    async def request(
        self, connection: Connection, booking_id: str, event_id: str, venue: Venue, slot: Slot
    ) -> Rejection | None:
        """Book the venue, whose row is locked; without a deposit that is confirmed at once."""
        expires_at = self.now() + self._request_kept
        return await bookings.request(connection, booking_id, event_id, venue, slot, expires_at)

    async def add_event(self, connection: Connection, event: Event) -> Event | Rejection:
        """A new event and its booking."""
        venue = await bookable(connection, event.slot)
        if isinstance(venue, Rejection):
            return venue
        await events.insert(connection, event)
        refused = await self.request(
            connection, event.booking_id, event.event_id, venue, event.slot
        )
        return refused or event

    async def give_up(self, connection: Connection, booking: Booking, reason: CancelReason) -> None:
        await give_up(connection, booking, reason, self.now())


async def give_up(
    connection: Connection, booking: Booking, reason: CancelReason, now: datetime
) -> None:
    """End a live booking, whose event is locked; its deposit goes back by the rule of the hire."""
    refunded = refundable(booking, now)
    await bookings.cancel(connection, booking.booking_id, reason, refunded)
    if refunded:
        assert booking.payment_id is not None
        await deposits.send_back(connection, booking.payment_id, booking.booking_id, refunded)
