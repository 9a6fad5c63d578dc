"""The catalogue: what organizers keep, in ordinary transactions, and what a running sale is told.

Rules of this file:

- A change that a sale must know (its event was opened once) is written first, then told to the
  sale's actor as the event's next version, then committed: a refusal of the actor undoes it.
- Where a crash comes between the actor's fact and the commit, `persistence.healing` brings the
  tables forward from the fact; until then no further change of that event is told.
"""

from collections.abc import Mapping, Sequence
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
    PromoCode,
    Stored,
    Tier,
    Venue,
    promo_terms,
    tier_terms,
)
from engine.lifecycle import Step, after
from engine.planning import (
    refuse_caller,
    refuse_capacity,
    refuse_currency,
    refuse_one_more_tier,
    refuse_promo_code,
    refuse_times,
    refuse_window,
)
from engine.rejections import Reason, Rejection
from engine.runtime.faults import Fault
from engine.runtime.ports import Mailbox
from persistence import bookings, events, promo_codes, venues
from persistence.changes import UNKNOWN_EVENT, UNKNOWN_VENUE, Changes, changeable
from persistence.hire import Hire
from persistence.telling import step_command
from persistence.transactions import Connection, reading

_UNKNOWN_TIER = Rejection(Reason.UNKNOWN_TIER)
_UNKNOWN_PROMO_CODE = Rejection(Reason.UNKNOWN_PROMO_CODE)


class Catalogue:
    """`pool` is not the journal's: a change holds a connection while its sale's actor decides."""

    def __init__(self, pool: asyncpg.Pool, mailbox: Mailbox, hire: Hire) -> None:
        self._pool = pool
        self._changes = Changes(pool, mailbox)
        self._hire = hire

    # -- reading ---------------------------------------------------------------------------

    async def venue(self, venue_id: str) -> Venue | Rejection:
        async with reading(self._pool) as connection:
            return await venues.find(connection, venue_id) or UNKNOWN_VENUE

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
            return await events.find(connection, event_id) or UNKNOWN_EVENT

    async def event_of_tier(self, tier_id: str) -> str | None:
        async with reading(self._pool) as connection:
            return await events.event_of_tier(connection, tier_id)

    async def events(self, viewer: c.Caller | None, after: str | None, limit: int) -> list[Event]:
        async with reading(self._pool) as connection:
            return await events.newest(connection, viewer, after, limit)

    async def own_events(self, organizer: str | None, after: str | None, limit: int) -> list[Event]:
        """Of one organizer, or of all of them."""
        async with reading(self._pool) as connection:
            return await events.newest_of(connection, organizer, after, limit)

    async def series(self, series_id: str) -> list[Event] | Rejection:
        """Its events by their start."""
        async with reading(self._pool) as connection:
            found = await events.of_series(connection, series_id)
            return found or Rejection(Reason.UNKNOWN_SERIES)

    # -- venues ----------------------------------------------------------------------------

    async def add_venue(self, venue: Venue, once: Once | None) -> Venue | Stored | Rejection:
        async def work(connection: Connection) -> Venue:
            await venues.insert(connection, venue)
            return venue

        return await self._changes.make_once(once, work)

    async def change_venue(self, venue_id: str, changes: Mapping[str, object]) -> Venue | Rejection:
        async def work(connection: Connection) -> Venue | Rejection:
            venue = await venues.lock(connection, venue_id)
            if venue is None:
                return UNKNOWN_VENUE
            changed = replace(venue, **changes)
            await venues.save(connection, changed)
            return changed

        return await self._changes.make(work)

    # -- events ----------------------------------------------------------------------------

    async def add_event(self, event: Event, once: Once | None) -> Event | Stored | Rejection:
        """A new event and its booking."""
        return await self._changes.make_once(
            once, lambda connection: self._hire.add_event(connection, event)
        )

    async def add_series(
        self, planned: Sequence[Event], once: Once | None
    ) -> list[Event] | Stored | Rejection:
        """All of these events with a booking each, or none of them."""

        async def work(connection: Connection) -> list[Event] | Rejection:
            for event in planned:
                added = await self._hire.add_event(connection, event)
                if isinstance(added, Rejection):
                    facts = {**(added.facts or {}), "start_time": event.start_time}
                    return Rejection(added.reason, facts)
            return list(planned)

        return await self._changes.make_once(once, work)

    async def change_event(
        self, caller: c.Caller, event_id: str, changes: Mapping[str, object]
    ) -> Event | Rejection:
        """Where and when it is moves its booking."""

        async def work(connection: Connection) -> Event | Rejection:
            event = await changeable(connection, event_id, caller)
            if isinstance(event, Rejection):
                return event
            changed = replace(event, **changes)
            refused = refuse_currency(event, changed) or refuse_times(changed.slot)
            if refused is None and changed.slot != event.slot:
                refused = await _move_booking(connection, changed)
            return refused or await self._changes.save(connection, event, changed)

        return await self._changes.make(work)

    async def take_step(
        self, caller: c.Caller, event_id: str, step: Step, once: Once | None
    ) -> Event | Stored | Rejection:
        async def work(connection: Connection) -> Event | Rejection:
            event = await events.lock(connection, event_id)
            if event is None:
                return UNKNOWN_EVENT
            return refuse_caller(event, caller) or await self._step(connection, event, step)

        return await self._changes.make_once(once, work)

    async def complete_ended(self, now: datetime, limit: int) -> int:
        """Complete events that are over by `now`; how many it were."""
        async with reading(self._pool) as connection:
            over = await events.ended(connection, now, limit)
        return sum([await self._complete(event_id, now) for event_id in over])

    async def _complete(self, event_id: str, now: datetime) -> bool:
        async def work(connection: Connection) -> Event | Rejection:
            event = await events.lock(connection, event_id)
            if event is None or event.end_time > now:
                return UNKNOWN_EVENT
            return await self._step(connection, event, Step.COMPLETE)

        try:
            return not isinstance(await self._changes.make(work), Rejection)
        except Fault:  # one sale that can't be reached must not keep the others from ending
            return False

    async def set_gates(
        self, caller: c.Caller, event_id: str, gates: tuple[c.Gate, ...]
    ) -> Event | Rejection:
        async def work(connection: Connection) -> Event | Rejection:
            event = await changeable(connection, event_id, caller)
            if isinstance(event, Rejection):
                return event
            known = {tier.tier_id for tier in event.tiers}
            for tier_id in (tier_id for gate in gates for tier_id in gate.tier_ids):
                if tier_id not in known:
                    return Rejection(Reason.UNKNOWN_TIER, {"tier_id": tier_id})
            return await self._changes.save(connection, event, replace(event, gates=gates))

        return await self._changes.make(work)

    async def _step(self, connection: Connection, event: Event, step: Step) -> Event | Rejection:
        status = after(step, event.status)
        if isinstance(status, Rejection):
            return status
        if refused := await _refuse_step(connection, event, step):
            return refused
        opened = event.opened or step is Step.OPEN_SALES
        version = event.version + 1 if opened else event.version
        stepped = replace(event, status=status, opened=opened, version=version)
        await events.save(connection, stepped)
        if step is Step.CANCEL:
            booking = await bookings.live(connection, event.booking_id)
            if booking is not None:
                await self._hire.give_up(connection, booking, CancelReason.EVENT_CANCELLED)
        if opened:
            codes = await promo_codes.of_event(connection, event.event_id)
            command = step_command(step, stepped, codes)
            if refused := await self._changes.tell(event.event_id, command):
                return refused
        return await events.find(connection, event.event_id) or UNKNOWN_EVENT

    # -- tiers -----------------------------------------------------------------------------

    async def add_tier(
        self, caller: c.Caller, tier: Tier, once: Once | None
    ) -> Tier | Stored | Rejection:
        """A tier of that id that is there already came with this request before a crash."""

        async def work(connection: Connection) -> Tier | Rejection:
            event = await changeable(connection, tier.event_id, caller)
            if isinstance(event, Rejection):
                return event
            if found := _tier(event, tier.tier_id):
                return found
            refused = refuse_one_more_tier(event) or await _refuse_tier(connection, event, tier)
            if refused is not None:
                return refused
            await events.insert_tier(connection, tier)
            return await self._tell_tier(connection, event, tier) or tier

        return await self._changes.make_once(once, work)

    async def change_tier(
        self, caller: c.Caller, tier_id: str, changes: Mapping[str, object]
    ) -> Tier | Rejection:
        async def work(connection: Connection) -> Tier | Rejection:
            event_id = await events.event_of_tier(connection, tier_id)
            if event_id is None:
                return _UNKNOWN_TIER
            event = await changeable(connection, event_id, caller)
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

        return await self._changes.make(work)

    async def _tell_tier(
        self, connection: Connection, event: Event, tier: Tier
    ) -> Rejection | None:
        if not event.opened:
            return None
        return await self._tell(
            connection, event, c.ConfigureTier(event.version + 1, tier_terms(tier))
        )

    async def _tell(
        self,
        connection: Connection,
        event: Event,
        command: c.ConfigureTier | c.ConfigurePromo | c.RemovePromo,
    ) -> Rejection | None:
        await events.save(connection, replace(event, version=command.version))
        return await self._changes.tell(event.event_id, command)

    # -- promo codes -----------------------------------------------------------------------

    async def promo_codes(
        self, caller: c.Caller, event_id: str, after: str | None, limit: int
    ) -> list[PromoCode] | Rejection:
        """Newest first, from the one after `after`."""
        async with reading(self._pool) as connection:
            event = await events.find(connection, event_id)
            if event is None:
                return UNKNOWN_EVENT
            return refuse_caller(event, caller) or await promo_codes.newest(
                connection, event_id, after, limit
            )

    async def add_promo_code(
        self, caller: c.Caller, promo: PromoCode, once: Once | None
    ) -> PromoCode | Stored | Rejection:
        """One of that id that is there already came with this request before a crash."""

        async def work(connection: Connection) -> PromoCode | Rejection:
            event = await changeable(connection, promo.event_id, caller)
            if isinstance(event, Rejection):
                return event
            known = await promo_codes.find(connection, promo.event_id, promo.promo_code_id)
            if known is not None:
                return known
            refused = refuse_promo_code(event, promo) or await promo_codes.refuse_one_more(
                connection, promo
            )
            if refused is not None:
                return refused
            await promo_codes.put(connection, promo)
            return await self._tell_promo(connection, event, promo) or promo

        return await self._changes.make_once(once, work)

    async def change_promo_code(
        self,
        caller: c.Caller,
        event_id: str,
        promo_code_id: str,
        changes: Mapping[str, object],
    ) -> PromoCode | Rejection:
        async def work(connection: Connection) -> PromoCode | Rejection:
            event = await changeable(connection, event_id, caller)
            if isinstance(event, Rejection):
                return event
            promo = await promo_codes.find(connection, event_id, promo_code_id)
            if promo is None:
                return _UNKNOWN_PROMO_CODE
            changed = replace(promo, **changes)
            if changed == promo:
                return promo
            if refused := refuse_promo_code(event, changed):
                return refused
            await promo_codes.put(connection, changed)
            return await self._tell_promo(connection, event, changed) or changed

        return await self._changes.make(work)

    async def remove_promo_code(
        self, caller: c.Caller, event_id: str, promo_code_id: str
    ) -> Rejection | None:
        async def work(connection: Connection) -> Rejection | None:
            event = await changeable(connection, event_id, caller)
            if isinstance(event, Rejection):
                return event
            if not await promo_codes.delete(connection, event_id, promo_code_id):
                return _UNKNOWN_PROMO_CODE
            if not event.opened:
                return None
            return await self._tell(
                connection, event, c.RemovePromo(event.version + 1, promo_code_id)
            )

        return await self._changes.make(work)

    async def _tell_promo(
        self, connection: Connection, event: Event, promo: PromoCode
    ) -> Rejection | None:
        if not event.opened:
            return None
        command = c.ConfigurePromo(event.version + 1, promo_terms(promo))
        return await self._tell(connection, event, command)


async def _move_booking(connection: Connection, event: Event) -> Rejection | None:
    booking = await bookings.live(connection, event.booking_id)
    if booking is None:
        return None
    await venues.lock(connection, event.venue_id)
    return await bookings.move(connection, booking, event.slot)


async def _refuse_step(connection: Connection, event: Event, step: Step) -> Rejection | None:
    """What is announced or sold has its hall, and room in it for all its tiers."""
    if step not in (Step.PUBLISH, Step.OPEN_SALES):
        return None
    booking = await bookings.find(connection, event.booking_id)
    assert booking is not None
    if booking.status is not BookingStatus.CONFIRMED:
        facts: dict[str, object] = {"booking_id": booking.booking_id, "status": booking.status}
        return Rejection(Reason.BOOKING_NOT_CONFIRMED, facts)
    if step is Step.OPEN_SALES:
        return None
    venue = await venues.find(connection, event.venue_id)
    assert venue is not None
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
