"""What every change of the catalogue goes through: one transaction, its key, and its sale's word.

Locks are taken in this order: idempotency key, event, venue. A tier's and a booking's changes are
their event's.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg
from msgspec.structs import replace

from engine import commands as c
from engine.catalogue import Event, Once, Slot, Stored, Venue, event_terms
from engine.configuring import Configuration
from engine.planning import refuse_change, refuse_times
from engine.rejections import Reason, Rejection
from engine.runtime.ports import Mailbox
from persistence import events, idempotency, venues
from persistence.telling import tell
from persistence.transactions import Connection, changing

_T = TypeVar("_T")

UNKNOWN_VENUE = Rejection(Reason.UNKNOWN_VENUE)
UNKNOWN_EVENT = Rejection(Reason.UNKNOWN_EVENT)


class Changes:
    def __init__(self, pool: asyncpg.Pool, mailbox: Mailbox) -> None:
        self._pool = pool
        self._mailbox = mailbox

    async def make(self, work: Callable[[Connection], Awaitable[_T | Rejection]]) -> _T | Rejection:
        """Do `work` in a transaction; its refusal undoes it."""
        return await changing(self._pool, work)

    async def make_once(
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

    async def tell(self, event_id: str, command: Configuration) -> Rejection | None:
        return await tell(self._mailbox, event_id, command)

    async def save(self, connection: Connection, event: Event, changed: Event) -> Event | Rejection:
        """Write what changed of a locked event, and tell the sale what it must know of it."""
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
        refused = await self.tell(event.event_id, command) if command is not None else None
        return refused or changed


async def changeable(connection: Connection, event_id: str, caller: c.Caller) -> Event | Rejection:
    """The event, locked, if this caller may change it now."""
    event = await events.lock(connection, event_id)
    if event is None:
        return UNKNOWN_EVENT
    return refuse_change(event, caller) or event


async def bookable(connection: Connection, slot: Slot) -> Venue | Rejection:
    """The venue, locked, if it takes bookings."""
    venue = await venues.lock(connection, slot.venue_id)
    if venue is None:
        return UNKNOWN_VENUE
    if not venue.is_active:
        return Rejection(Reason.VENUE_INACTIVE, {"venue_id": venue.venue_id})
    return refuse_times(slot) or venue
