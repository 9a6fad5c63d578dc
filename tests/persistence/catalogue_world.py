"""A catalogue on a database of its own; its sales decide by the rules, without a journal."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import uuid4

import asyncpg
from msgspec import Raw
from msgspec.structs import replace

from engine.catalogue import (
    Booking,
    Category,
    Event,
    Tier,
    Venue,
    VenueType,
    to_ms,
)
from engine.commands import Caller, Command, Key, PlaceOrder, Role, Selection
from engine.configuring import Configured
from engine.facts import Entry, Fact
from engine.lifecycle import EventStatus, Step
from engine.rejections import Reason, Rejection
from engine.replies import Reply
from engine.runtime.faults import OutcomeUnknown
from engine.sale import apply, decide, reply
from engine.state import Header, State
from persistence.booking_desk import BookingDesk
from persistence.catalogue import Catalogue
from persistence.healing import heal
from persistence.hire import Hire
from persistence.migrations import migrate

NOON = datetime(2031, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
NOW_MS = to_ms(NOON - 24 * HOUR)
REQUEST_KEPT = timedelta(days=7)
ORGANIZER = Caller(Role.ORGANIZER, "orga")

_T = TypeVar("_T")
_numbers = itertools.count(1)


def done(outcome: object, kind: type[_T]) -> _T:
    assert isinstance(outcome, kind), outcome
    return outcome


def reason(outcome: object) -> Reason:
    return done(outcome, Rejection).reason


class Sales:
    """All sales. With `losing`, what they decided stands but nobody hears of it."""

    def __init__(self) -> None:
        self.asked: list[Command] = []
        self.entries: list[Entry] = []
        self.losing = False
        self._state_by_sale: dict[str, State] = {}

    async def ask(self, sale_id: str, command: Command) -> Reply:
        await asyncio.sleep(0)
        self.asked.append(command)
        state = self._state_by_sale.setdefault(sale_id, State(Header(sale_id)))
        decided = decide(state, command, NOW_MS)
        answer = self._decided(state, command, decided) if isinstance(decided, list) else decided
        if self.losing:
            raise OutcomeUnknown
        return answer

    async def order(self, tier: Tier, quantity: int) -> Reply:
        """Hold places, as a buyer does."""
        number = next(_numbers)
        order_id = f"ord_{tier.event_id[4:]}{number:020x}"
        key = Key(number.to_bytes(16, "big"), bytes(16))
        selections = (Selection(tier.tier_id, quantity),)
        return await self.ask(
            tier.event_id, PlaceOrder(order_id, "buyer", selections, None, 900_000, key)
        )

    def _decided(self, state: State, command: Command, facts: list[Fact]) -> Reply:
        for fact in facts:
            entry = Entry(state.header.sale_id, state.header.seq + 1, NOW_MS, fact)
            apply(state, entry)
            self.entries.append(entry)
        return reply(state, command, facts)


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.instant_ms = NOW_MS

    def now_ms(self) -> int:
        return self.instant_ms

    def monotonic_s(self) -> float:
        return self.instant_ms / 1000

    async def sleep(self, seconds: float) -> None:
        self.instant_ms += int(seconds * 1000)

    def set(self, instant: datetime) -> None:
        self.instant_ms = to_ms(instant)


@dataclass(frozen=True)
class World:
    database: str
    pool: asyncpg.Pool
    sales: Sales
    clock: Clock
    catalogue: Catalogue
    desk: BookingDesk

    async def venue(self, **changes: Any) -> Venue:
        venue = Venue(
            venue_id=f"ven_{uuid4().hex[:20]}",
            name="Hall",
            address="",
            city="Berlin",
            country="Germany",
            latitude=None,
            longitude=None,
            capacity=1000,
            type=VenueType.ARENA,
            facilities=Raw(b"{}"),
            timezone="Europe/Berlin",
            is_active=True,
            hire_amount=0,
            deposit_amount=0,
            currency="EUR",
        )
        return done(await self.catalogue.add_venue(replace(venue, **changes), None), Venue)

    async def event(self, venue: Venue, **changes: Any) -> Event:
        return done(await self.catalogue.add_event(draft(venue, **changes), None), Event)

    async def tier(self, event: Event, **changes: Any) -> Tier:
        return done(await self.catalogue.add_tier(ORGANIZER, tier_of(event, **changes), None), Tier)

    async def step(self, event: Event, *steps: Step) -> Event:
        for step in steps:
            event = done(
                await self.catalogue.take_step(ORGANIZER, event.event_id, step, None), Event
            )
        return event

    async def on_sale(self, **changes: Any) -> tuple[Event, Tier]:
        event = await self.event(await self.venue(), **changes)
        tier = await self.tier(event)
        return await self.step(event, Step.PUBLISH, Step.OPEN_SALES), tier

    async def read(self, event: Event) -> Event:
        return done(await self.catalogue.event(event.event_id), Event)

    async def booking(self, event: Event) -> Booking:
        return done(await self.desk.booking(ORGANIZER, event.booking_id), Booking)

    async def sell_out(self, tier: Tier) -> None:
        await self.pool.execute(
            "INSERT INTO tier_counters (tier_id, event_id, quantity, held, sold)"
            " VALUES ($1, $2, $3, 0, $3)",
            tier.tier_id,
            tier.event_id,
            tier.total_quantity,
        )

    async def heal(self, *entries: Entry) -> None:
        """What the projector does with these facts."""
        for entry in entries:
            if isinstance(entry.fact, Configured):
                async with self.pool.acquire() as connection, connection.transaction():
                    await heal(connection, entry.sale_id, entry.fact)

    async def overlaps(self, venue: Venue) -> list[tuple[str, str]]:
        """Pairs of live bookings that share an instant, found by comparing each with each."""
        rows = await self.pool.fetch(
            "SELECT booking_id, start_time, end_time, setup_hours_before, teardown_hours_after"
            " FROM bookings WHERE venue_id = $1 AND status <> 'CANCELLED'",
            venue.venue_id,
        )
        held = [
            (
                row["booking_id"],
                row["start_time"] - row["setup_hours_before"] * HOUR,
                row["end_time"] + row["teardown_hours_after"] * HOUR,
            )
            for row in rows
        ]
        pairs = itertools.combinations(held, 2)
        return [(a[0], b[0]) for a, b in pairs if a[1] < b[2] and b[1] < a[2]]


@asynccontextmanager
async def catalogue_world(dsn: str) -> AsyncIterator[World]:
    name = f"catalogue_{uuid4().hex}"
    server = await asyncpg.connect(dsn)
    await server.execute(f"CREATE DATABASE {name}")
    connection = await asyncpg.connect(dsn, database=name)
    await migrate(connection)
    await connection.close()
    async with asyncpg.create_pool(dsn, database=name, min_size=1, max_size=16) as pool:
        sales, clock = Sales(), Clock()
        hire = Hire(clock, REQUEST_KEPT)
        catalogue, desk = Catalogue(pool, sales, hire), BookingDesk(pool, sales, hire)
        yield World(name, pool, sales, clock, catalogue, desk)
    await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await server.close()


def draft(venue: Venue, **changes: Any) -> Event:
    event = Event(
        event_id=f"evt_{uuid4().hex[:16]}",
        venue_id=venue.venue_id,
        organizer_id=ORGANIZER.subject,
        booking_id=f"bkg_{uuid4().hex[:20]}",
        title="Concert",
        description="",
        category=Category.CONCERT,
        start_time=NOON,
        end_time=NOON + 2 * HOUR,
        cover_image_url=None,
        age_restriction=None,
        currency="EUR",
        setup_hours_before=0,
        teardown_hours_after=0,
        status=EventStatus.DRAFT,
    )
    return replace(event, **changes)


def tier_of(event: Event, **changes: Any) -> Tier:
    tier = Tier(
        tier_id=f"tier_{uuid4().hex[:20]}",
        event_id=event.event_id,
        name="GENERAL",
        price=2500,
        total_quantity=100,
        sale_start=datetime(2020, 1, 1, tzinfo=UTC),
        sale_end=event.end_time,
        max_per_order=10,
    )
    return replace(tier, **changes)
