"""Bookings of halls once they are asked for: deposits, what is ordered with them, their end.

A booking's changes hold the lock on its event's row. Money that comes for a booking either confirms
it or goes back, whole, once: what was paid too late, twice, or not as asked.
"""

from datetime import datetime

import asyncpg
from msgspec.structs import replace

from engine import commands as c
from engine.catalogue import (
    Booking,
    BookingStatus,
    CancelReason,
    Event,
    Once,
    Slot,
    Stored,
    Venue,
)
from engine.hiring import (
    ADDONS_MAX,
    Addon,
    Deposit,
    DepositStatus,
    Invoice,
    invoice,
)
from engine.planning import (
    refuse_caller,
    refuse_capacity,
    refuse_change,
    refuse_deposit,
    refuse_giving_up,
)
from engine.rejections import Reason, Rejection
from engine.runtime.faults import Fault
from engine.runtime.ports import Mailbox
from persistence import addons, bookings, deposits, events, venues
from persistence.changes import Changes, bookable, changeable
from persistence.hire import Hire
from persistence.transactions import Connection, changing, reading

_UNKNOWN_BOOKING = Rejection(Reason.UNKNOWN_BOOKING)
_UNKNOWN_PAYMENT = Rejection(Reason.UNKNOWN_PAYMENT)


class BookingDesk:
    """`pool` is not the journal's: a change may hold a connection while a sale's actor decides."""

    def __init__(self, pool: asyncpg.Pool, mailbox: Mailbox, hire: Hire) -> None:
        self._pool = pool
        self._changes = Changes(pool, mailbox)
        self._hire = hire

    async def booking(self, caller: c.Caller, booking_id: str) -> Booking | Rejection:
        async with reading(self._pool) as connection:
            found = await _found(connection, caller, booking_id)
            return found if isinstance(found, Rejection) else found[1]

    async def invoice(
        self, caller: c.Caller, booking_id: str
    ) -> tuple[Invoice, Booking, Event, Venue] | Rejection:
        """The invoice and what it is for."""
        async with reading(self._pool) as connection:
            found = await _found(connection, caller, booking_id)
            if isinstance(found, Rejection):
                return found
            event, booking = found
            ordered = await addons.of_booking(connection, booking_id)
            venue = await venues.find(connection, booking.venue_id)
            assert venue is not None
            return invoice(booking, ordered), booking, event, venue

    async def add_booking(
        self, caller: c.Caller, event_id: str, booking_id: str, slot: Slot, once: Once | None
    ) -> Booking | Stored | Rejection:
        """A new booking for an event that has none that lives; the event goes where it is."""

        async def work(connection: Connection) -> Booking | Rejection:
            event = await changeable(connection, event_id, caller)
            if isinstance(event, Rejection):
                return event
            if await bookings.live(connection, event.booking_id):
                return Rejection(Reason.ALREADY_BOOKED, {"booking_id": event.booking_id})
            venue = await bookable(connection, slot)
            if isinstance(venue, Rejection):
                return venue
            refused = await self._hire.request(connection, booking_id, event_id, venue, slot)
            refused = refused or refuse_capacity(venue, event.tiers)
            if refused is not None:
                return refused
            booked = replace(event, booking_id=booking_id, **_fields(slot))
            saved = await self._changes.save(connection, event, booked)
            if isinstance(saved, Rejection):
                return saved
            return await bookings.find(connection, booking_id) or _UNKNOWN_BOOKING

        return await self._changes.make_once(once, work)

    async def cancel_booking(
        self, caller: c.Caller, booking_id: str, once: Once | None
    ) -> Booking | Stored | Rejection:
        async def work(connection: Connection) -> Booking | Rejection:
            found = await _locked(connection, caller, booking_id)
            if isinstance(found, Rejection):
                return found
            event, booking = found
            if refused := refuse_giving_up(event, booking):
                return refused
            await self._hire.give_up(connection, booking, CancelReason.ORGANIZER)
            return await bookings.find(connection, booking_id) or _UNKNOWN_BOOKING

        return await self._changes.make_once(once, work)

    # -- deposits --------------------------------------------------------------------------

    async def request_deposit(
        self,
        caller: c.Caller,
        booking_id: str,
        payment_id: str,
        method: str,
        once: Once | None,
    ) -> Deposit | Stored | Rejection:
        """The open payment of a booking's deposit; a new one where there is none."""

        async def work(connection: Connection) -> Deposit | Rejection:
            found = await _locked(connection, caller, booking_id)
            if isinstance(found, Rejection):
                return found
            _, booking = found
            if refused := refuse_deposit(booking, self._hire.now()):
                return refused
            if booking.payment_id is not None:
                asked = await deposits.find(connection, booking.payment_id)
                if asked is not None and asked.status is DepositStatus.OPEN:
                    return asked
            deposit = Deposit(
                payment_id, booking_id, booking.deposit_amount, booking.currency, method
            )
            await deposits.insert(connection, deposit)
            await bookings.ask(connection, booking_id, payment_id)
            return deposit

        return await self._changes.make_once(once, work)

    async def deposit_paid(self, payment_id: str, amount_minor: int) -> Booking | Rejection:
        """The provider says that the money has come: it confirms the booking, or goes back."""

        async def work(connection: Connection) -> Booking | Rejection:
            found = await _locked_by_payment(connection, payment_id)
            if isinstance(found, Rejection):
                return found
            deposit, booking = found
            if deposit.status in (DepositStatus.SUCCEEDED, DepositStatus.RETURNED):
                return booking
            asked = amount_minor == deposit.amount_minor
            if booking.status is BookingStatus.REQUESTED and asked:
                status = DepositStatus.SUCCEEDED
                await bookings.confirm(connection, booking.booking_id, payment_id, amount_minor)
            else:
                status = DepositStatus.RETURNED
                await deposits.send_back(connection, payment_id, booking.booking_id, amount_minor)
            await deposits.set_status(connection, payment_id, status)
            return await bookings.find(connection, booking.booking_id) or _UNKNOWN_BOOKING

        return await self._changes.make(work)

    async def deposit_declined(self, payment_id: str) -> Booking | Rejection:
        """The booking stays requested; another payment may be tried."""

        async def work(connection: Connection) -> Booking | Rejection:
            found = await _locked_by_payment(connection, payment_id)
            if isinstance(found, Rejection):
                return found
            deposit, booking = found
            if deposit.status is DepositStatus.OPEN:
                await deposits.set_status(connection, payment_id, DepositStatus.DECLINED)
            return booking

        return await self._changes.make(work)

    async def settle_refund(self, refund_id: str, done: bool) -> None:
        async with reading(self._pool) as connection:
            await deposits.settle_refund(connection, refund_id, done)

    async def retry_refund(self, caller: c.Caller, refund_id: str) -> Booking | Rejection:
        """One that failed is on its way again; the others stay as they are."""

        async def work(connection: Connection) -> Booking | Rejection:
            booking_id = await deposits.booking_of_refund(connection, refund_id)
            if booking_id is None:
                return Rejection(Reason.UNKNOWN_REFUND)
            found = await _locked(connection, caller, booking_id)
            if isinstance(found, Rejection):
                return found
            await deposits.retry_refund(connection, refund_id)
            return await bookings.find(connection, booking_id) or _UNKNOWN_BOOKING

        return await self._changes.make(work)

    # -- what is ordered with it -----------------------------------------------------------

    async def add_addon(
        self, caller: c.Caller, addon: Addon, once: Once | None
    ) -> Addon | Stored | Rejection:
        async def work(connection: Connection) -> Addon | Rejection:
            refused = await _refuse_ordering(connection, caller, addon.booking_id)
            if refused is not None:
                return refused
            ordered = await addons.of_booking(connection, addon.booking_id)
            if len(ordered) >= ADDONS_MAX:
                return Rejection(Reason.TOO_MANY_ADDONS, {"max": ADDONS_MAX})
            await addons.insert(connection, addon)
            return addon

        return await self._changes.make_once(once, work)

    async def remove_addon(
        self, caller: c.Caller, booking_id: str, addon_id: str
    ) -> Rejection | None:
        async def work(connection: Connection) -> Rejection | None:
            refused = await _refuse_ordering(connection, caller, booking_id)
            if refused is not None:
                return refused
            known = await addons.delete(connection, booking_id, addon_id)
            return None if known else Rejection(Reason.UNKNOWN_ADDON)

        return await self._changes.make(work)

    # -- what time does --------------------------------------------------------------------

    async def lapse_unpaid(self, now: datetime, limit: int) -> int:
        """Cancel requests whose deposit has not been paid by `now`; how many it were."""
        async with reading(self._pool) as connection:
            unpaid = await bookings.unpaid(connection, now, limit)
        return sum([await self._lapse(booking_id, now) for booking_id in unpaid])

    async def _lapse(self, booking_id: str, now: datetime) -> bool:
        async def work(connection: Connection) -> Booking | Rejection:
            found = await _locked_unasked(connection, booking_id)
            if isinstance(found, Rejection):
                return found
            _, booking = found
            overdue = booking.expires_at is not None and booking.expires_at <= now
            if booking.status is not BookingStatus.REQUESTED or not overdue:
                return _UNKNOWN_BOOKING
            await self._hire.give_up(connection, booking, CancelReason.LAPSED)
            return booking

        return not isinstance(await self._changes.make(work), Rejection)

    async def bring_back_astray(self, limit: int) -> int:
        """Make events and their bookings agree again that a crash has left apart; how many it were.

        The booking goes to its event where the hall is free by now; else the event comes back to
        its booking: nobody was ever told that the move had succeeded.
        """
        async with reading(self._pool) as connection:
            astray = await bookings.astray(connection, limit)
        return sum([await self._bring_back(booking_id) for booking_id in astray])

    async def _bring_back(self, booking_id: str) -> bool:
        async def work(connection: Connection) -> Event | Rejection:
            found = await _locked_unasked(connection, booking_id)
            if isinstance(found, Rejection):
                return found
            event, booking = found
            await bookings.set_astray(connection, booking_id, False)
            over = refuse_change(event, c.Caller(c.Role.ADMIN, ""))
            moved_on = event.booking_id != booking_id
            if over or moved_on or booking.status is BookingStatus.CANCELLED:
                return event
            await venues.lock(connection, booking.venue_id)
            slot = replace(event.slot, venue_id=booking.venue_id)
            if await bookings.move(connection, booking, slot) is None:
                return event
            back = replace(event, **_fields(booking.slot))
            return await self._changes.save(connection, event, back)

        try:
            return not isinstance(await changing(self._pool, work), Rejection)
        except Fault:  # its sale can't be reached: the next turn will
            return False


async def _found(
    connection: Connection, caller: c.Caller, booking_id: str
) -> tuple[Event, Booking] | Rejection:
    booking = await bookings.find(connection, booking_id)
    if booking is None:
        return _UNKNOWN_BOOKING
    event = await events.find(connection, booking.event_id)
    assert event is not None
    return refuse_caller(event, caller) or (event, booking)


async def _locked(
    connection: Connection, caller: c.Caller, booking_id: str
) -> tuple[Event, Booking] | Rejection:
    found = await _locked_unasked(connection, booking_id)
    if isinstance(found, Rejection):
        return found
    return refuse_caller(found[0], caller) or found


async def _locked_unasked(
    connection: Connection, booking_id: str
) -> tuple[Event, Booking] | Rejection:
    """The booking as it stays until the transaction ends, with its event: nobody has asked."""
    found = await bookings.find(connection, booking_id)
    if found is None:
        return _UNKNOWN_BOOKING
    event = await events.lock(connection, found.event_id)
    booking = await bookings.find(connection, booking_id)
    assert event is not None
    assert booking is not None
    return event, booking


async def _locked_by_payment(
    connection: Connection, payment_id: str
) -> tuple[Deposit, Booking] | Rejection:
    found = await deposits.find(connection, payment_id)
    if found is None:
        return _UNKNOWN_PAYMENT
    locked = await _locked_unasked(connection, found.booking_id)
    assert not isinstance(locked, Rejection)
    deposit = await deposits.find(connection, payment_id)
    assert deposit is not None
    return deposit, locked[1]


async def _refuse_ordering(
    connection: Connection, caller: c.Caller, booking_id: str
) -> Rejection | None:
    found = await _locked(connection, caller, booking_id)
    if isinstance(found, Rejection):
        return found
    if found[1].status is BookingStatus.CANCELLED:
        return Rejection(Reason.BOOKING_CANCELLED, {"booking_id": booking_id})
    return None


def _fields(slot: Slot) -> dict[str, object]:
    return {name: getattr(slot, name) for name in Slot.__struct_fields__}
