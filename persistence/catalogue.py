"""The catalogue: what organizers keep, in ordinary transactions, and what a running sale is told.

Rules of this file:

- Locks are taken in this order: idempotency key, event, venue. A tier's and a booking's changes
  are their event's.
- A change that a sale must know (its event was opened once) is written first, then told to the
  sale's actor as the event's next version, then committed: a refusal of the actor undoes it.
- Where a crash comes between the actor's fact and the commit, `persistence.healing` brings the
  tables forward from the fact; until then no further change of that event is told.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import TypeVar

import asyncpg
from msgspec.structs import replace

from engine import commands as c
from engine.catalogue import (
    Booking,
    BookingStatus,
    Event,
    Once,
    Slot,
    Stored,
    Tier,
    Venue,
    event_terms,
    tier_terms,
)
from engine.configuring import Configuration
from engine.lifecycle import Step, after
from engine.planning import (
    refuse_caller,
    refuse_capacity,
    refuse_change,
    refuse_currency,
    refuse_times,
    refuse_window,
)
from engine.rejections import Reason, Rejection
from engine.runtime.faults import Fault
from engine.runtime.ports import Mailbox
from persistence import bookings, events, idempotency, venues
from persistence.telling import step_command, tell
from persistence.transactions import Connection, changing, reading

_T = TypeVar("_T")

_UNKNOWN_VENUE = Rejection(Reason.UNKNOWN_VENUE)
_UNKNOWN_EVENT = Rejection(Reason.UNKNOWN_EVENT)
_UNKNOWN_TIER = Rejection(Reason.UNKNOWN_TIER)
_UNKNOWN_BOOKING = Rejection(Reason.UNKNOWN_BOOKING)


class Catalogue:
    """`pool` is not the journal's: a change holds a connection while its sale's actor decides."""

    def __init__(self, pool: asyncpg.Pool, mailbox: Mailbox) -> None:
        self._pool = pool
        self._mailbox = mailbox

    # -- reading ---------------------------------------------------------------------------

    async def venue(self, venue_id: str) -> Venue | Rejection:
        async with reading(self._pool) as connection:
            return await venues.find(connection, venue_id) or _UNKNOWN_VENUE

    async def venues(self, after: str | None, limit: int) -> list[Venue]:
        async with reading(self._pool) as connection:
            return await venues.newest(connection, after, limit)

    async def calendar(
        self,
        venue_id: str,
        window: tuple[datetime | None, datetime | None],
        after: str | None,
        limit: int,
    ) -> list[Booking]:
        async with reading(self._pool) as connection:
            return await bookings.calendar(connection, venue_id, window, after, limit)

    async def event(self, event_id: str) -> Event | Rejection:
        async with reading(self._pool) as connection:
            return await events.find(connection, event_id) or _UNKNOWN_EVENT

    async def events(self, viewer: c.Caller | None, after: str | None, limit: int) -> list[Event]:
        async with reading(self._pool) as connection:
            return await events.newest(connection, viewer, after, limit)

    async def booking(self, caller: c.Caller, booking_id: str) -> Booking | Rejection:
        async with reading(self._pool) as connection:
            booking = await bookings.find(connection, booking_id)
            if booking is None:
                return _UNKNOWN_BOOKING
            event = await events.find(connection, booking.event_id)
            assert event is not None
            return refuse_caller(event, caller) or booking

    # -- venues ----------------------------------------------------------------------------

    async def add_venue(self, venue: Venue, once: Once | None) -> Venue | Stored | Rejection:
        async def work(connection: Connection) -> Venue:
            await venues.insert(connection, venue)
            return venue

        return await self._change(once, work)

    async def change_venue(self, venue_id: str, changes: Mapping[str, object]) -> Venue | Rejection:
        async def work(connection: Connection) -> Venue | Rejection:
            venue = await venues.lock(connection, venue_id)
            if venue is None:
                return _UNKNOWN_VENUE
            changed = replace(venue, **changes)
            await venues.save(connection, changed)
            return changed

        return await changing(self._pool, work)

    # -- events ----------------------------------------------------------------------------

    async def add_event(self, event: Event, once: Once | None) -> Event | Stored | Rejection:
        """A new event and its booking."""

        async def work(connection: Connection) -> Event | Rejection:
            venue = await _bookable(connection, event.slot)
            if isinstance(venue, Rejection):
                return venue
            await events.insert(connection, event)
            refused = await bookings.request(
                connection, event.booking_id, event.event_id, venue, event.slot
            )
            return refused or event

        return await self._change(once, work)

    async def change_event(
        self, caller: c.Caller, event_id: str, changes: Mapping[str, object]
    ) -> Event | Rejection:
        """Where and when it is moves its booking."""

        async def work(connection: Connection) -> Event | Rejection:
            event = await _changeable(connection, event_id, caller)
            if isinstance(event, Rejection):
                return event
            changed = replace(event, **changes)
            refused = refuse_currency(event, changed) or refuse_times(changed.slot)
            if refused is None and changed.slot != event.slot:
                refused = await _move_booking(connection, changed)
            return refused or await self._save(connection, event, changed)

        return await changing(self._pool, work)

    async def take_step(
        self, caller: c.Caller, event_id: str, step: Step, once: Once | None
    ) -> Event | Stored | Rejection:
        async def work(connection: Connection) -> Event | Rejection:
            event = await events.lock(connection, event_id)
            if event is None:
                return _UNKNOWN_EVENT
            return refuse_caller(event, caller) or await self._step(connection, event, step)

        return await self._change(once, work)

    async def complete_ended(self, now: datetime, limit: int) -> int:
        """Complete events that are over by `now`; how many it were."""
        async with reading(self._pool) as connection:
            over = await events.ended(connection, now, limit)
        return sum([await self._complete(event_id, now) for event_id in over])

    async def _complete(self, event_id: str, now: datetime) -> bool:
        async def work(connection: Connection) -> Event | Rejection:
            event = await events.lock(connection, event_id)
            if event is None or event.end_time > now:
                return _UNKNOWN_EVENT
            return await self._step(connection, event, Step.COMPLETE)

        try:
            return not isinstance(await changing(self._pool, work), Rejection)
        except Fault:  # one sale that can't be reached must not keep the others from ending
            return False

    async def set_gates(
        self, caller: c.Caller, event_id: str, gates: tuple[c.Gate, ...]
    ) -> Event | Rejection:
        async def work(connection: Connection) -> Event | Rejection:
            event = await _changeable(connection, event_id, caller)
            if isinstance(event, Rejection):
                return event
            known = {tier.tier_id for tier in event.tiers}
            for tier_id in (tier_id for gate in gates for tier_id in gate.tier_ids):
                if tier_id not in known:
                    return Rejection(Reason.UNKNOWN_TIER, {"tier_id": tier_id})
            return await self._save(connection, event, replace(event, gates=gates))

        return await changing(self._pool, work)

    async def _step(self, connection: Connection, event: Event, step: Step) -> Event | Rejection:
        status = after(step, event.status)
        if isinstance(status, Rejection):
            return status
        if step is Step.PUBLISH and (refused := await _refuse_publishing(connection, event)):
            return refused
        opened = event.opened or step is Step.OPEN_SALES
        version = event.version + 1 if opened else event.version
        stepped = replace(event, status=status, opened=opened, version=version)
        await events.save(connection, stepped)
        if step is Step.CANCEL:
            await bookings.cancel(connection, event.booking_id)
        if opened and (refused := await self._tell(event.event_id, step_command(step, stepped))):
            return refused
        return await events.find(connection, event.event_id) or _UNKNOWN_EVENT

    async def _save(
        self, connection: Connection, event: Event, changed: Event
    ) -> Event | Rejection:
        """Write what changed, and tell the sale what it must know of it."""
        if changed == event:
            return event
        command: Configuration | None = None
        version = event.version + 1
        if event.opened and event_terms(changed) != event_terms(event):
            command = c.ConfigureEvent(version, event_terms(changed))
        elif event.opened and changed.gates != event.gates:
            command = c.ConfigureGates(version, changed.gates)
        if command is not None:
            changed = replace(changed, version=version)
        await events.save(connection, changed)
        refused = await self._tell(event.event_id, command) if command is not None else None
        return refused or changed

    # -- tiers -----------------------------------------------------------------------------

    async def add_tier(
        self, caller: c.Caller, tier: Tier, once: Once | None
    ) -> Tier | Stored | Rejection:
        """A tier of that id that is there already came with this request before a crash."""

        async def work(connection: Connection) -> Tier | Rejection:
            event = await _changeable(connection, tier.event_id, caller)
            if isinstance(event, Rejection):
                return event
            if found := _tier(event, tier.tier_id):
                return found
            if refused := await _refuse_tier(connection, event, tier):
                return refused
            await events.insert_tier(connection, tier)
            return await self._tell_tier(connection, event, tier) or tier

        return await self._change(once, work)

    async def change_tier(
        self, caller: c.Caller, tier_id: str, changes: Mapping[str, object]
    ) -> Tier | Rejection:
        async def work(connection: Connection) -> Tier | Rejection:
            event_id = await events.event_of_tier(connection, tier_id)
            if event_id is None:
                return _UNKNOWN_TIER
            event = await _changeable(connection, event_id, caller)
            if isinstance(event, Rejection):
                return event
            tier = _tier(event, tier_id)
            assert tier is not None
            changed = replace(tier, **changes)
            if changed == tier:
                return tier
            if refused := await _refuse_tier(connection, event, changed):
                return refused
            await events.save_tier(connection, changed)
            return await self._tell_tier(connection, event, changed) or changed

        return await changing(self._pool, work)

    async def _tell_tier(
        self, connection: Connection, event: Event, tier: Tier
    ) -> Rejection | None:
        if not event.opened:
            return None
        version = event.version + 1
        await events.save(connection, replace(event, version=version))
        return await self._tell(event.event_id, c.ConfigureTier(version, tier_terms(tier)))

    # -- bookings --------------------------------------------------------------------------

    async def add_booking(
        self, caller: c.Caller, event_id: str, booking_id: str, slot: Slot, once: Once | None
    ) -> Booking | Stored | Rejection:
        """A new booking for an event that has none that lives; the event goes where it is."""

        async def work(connection: Connection) -> Booking | Rejection:
            event = await _changeable(connection, event_id, caller)
            if isinstance(event, Rejection):
                return event
            if await _live_booking(connection, event):
                return Rejection(Reason.ALREADY_BOOKED, {"booking_id": event.booking_id})
            venue = await _bookable(connection, slot)
            if isinstance(venue, Rejection):
                return venue
            refused = await bookings.request(connection, booking_id, event_id, venue, slot)
            refused = refused or refuse_capacity(venue, event.tiers)
            if refused is not None:
                return refused
            booked = replace(event, booking_id=booking_id, **_fields(slot))
            saved = await self._save(connection, event, booked)
            if isinstance(saved, Rejection):
                return saved
            return await bookings.find(connection, booking_id) or _UNKNOWN_BOOKING

        return await self._change(once, work)

    async def cancel_booking(
        self, caller: c.Caller, booking_id: str, once: Once | None
    ) -> Booking | Stored | Rejection:
        async def work(connection: Connection) -> Booking | Rejection:
            found = await bookings.find(connection, booking_id)
            if found is None:
                return _UNKNOWN_BOOKING
            event = await events.lock(connection, found.event_id)
            booking = await bookings.find(connection, booking_id)
            assert event is not None
            assert booking is not None
            if refused := refuse_caller(event, caller):
                return refused
            cancelled = BookingStatus.CANCELLED
            if booking.status is cancelled:
                facts: dict[str, object] = {"from": cancelled.value, "to": cancelled.value}
                return Rejection(Reason.ILLEGAL_TRANSITION, facts)
            await bookings.cancel(connection, booking_id)
            return replace(booking, status=cancelled)

        return await self._change(once, work)

    # -- what a change goes through --------------------------------------------------------

    async def _change(
        self, once: Once | None, work: Callable[[Connection], Awaitable[_T | Rejection]]
    ) -> _T | Stored | Rejection:
        """Do `work` in a transaction, once for each idempotency key."""

        async def work_once(connection: Connection) -> _T | Stored | Rejection:
            if once is None:
                return await work(connection)
            used = await idempotency.claim(connection, once)
            if used is not None:
                return used
            outcome = await work(connection)
            if not isinstance(outcome, Rejection):
                await idempotency.keep(connection, once, outcome)
            return outcome

        return await changing(self._pool, work_once)

    async def _tell(self, event_id: str, command: Configuration) -> Rejection | None:
        return await tell(self._mailbox, event_id, command)


async def _changeable(connection: Connection, event_id: str, caller: c.Caller) -> Event | Rejection:
    event = await events.lock(connection, event_id)
    if event is None:
        return _UNKNOWN_EVENT
    return refuse_change(event, caller) or event


async def _bookable(connection: Connection, slot: Slot) -> Venue | Rejection:
    """The venue, locked, if it takes bookings."""
    venue = await venues.lock(connection, slot.venue_id)
    if venue is None:
        return _UNKNOWN_VENUE
    if not venue.is_active:
        return Rejection(Reason.VENUE_INACTIVE, {"venue_id": venue.venue_id})
    return refuse_times(slot) or venue


async def _live_booking(connection: Connection, event: Event) -> Booking | None:
    booking = await bookings.find(connection, event.booking_id)
    return booking if booking and booking.status is not BookingStatus.CANCELLED else None


async def _move_booking(connection: Connection, event: Event) -> Rejection | None:
    booking = await _live_booking(connection, event)
    if booking is None:
        return None
    await venues.lock(connection, event.venue_id)
    return await bookings.move(connection, booking, event.slot)


async def _refuse_publishing(connection: Connection, event: Event) -> Rejection | None:
    booking = await bookings.find(connection, event.booking_id)
    venue = await venues.find(connection, event.venue_id)
    assert booking is not None
    assert venue is not None
    if booking.status is not BookingStatus.CONFIRMED:
        facts: dict[str, object] = {"booking_id": booking.booking_id, "status": booking.status}
        return Rejection(Reason.BOOKING_NOT_CONFIRMED, facts)
    return refuse_capacity(venue, event.tiers)


async def _refuse_tier(connection: Connection, event: Event, tier: Tier) -> Rejection | None:
    before = _tier(event, tier.tier_id)
    if refused := refuse_window(tier):
        return refused
    if before is not None and tier.total_quantity <= before.total_quantity:
        return None
    venue = await venues.find(connection, event.venue_id)
    assert venue is not None
    others = (other for other in event.tiers if other.tier_id != tier.tier_id)
    return refuse_capacity(venue, (*others, tier))


def _tier(event: Event, tier_id: str) -> Tier | None:
    return next((tier for tier in event.tiers if tier.tier_id == tier_id), None)


def _fields(slot: Slot) -> dict[str, object]:
    return {name: getattr(slot, name) for name in Slot.__struct_fields__}
