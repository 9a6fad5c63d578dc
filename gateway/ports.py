"""What the edge asks of the world. The composition root hands in who offers it."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol

from aiohttp import web
from msgspec import Struct

from engine.catalogue import Category, Event, Venue
from engine.finding import Found, Hit, Search, Suggestion, Trend
from engine.projection import AttendeeRow, CheckInRow, EntryRow, OrderRow, PendingRefund
from engine.runtime.ports import Clock, Mailbox
from engine.state import SaleView
from gateway.auth import Credentials
from gateway.bookings import Bookings
from gateway.catalogue import Catalogue
from gateway.payments.provider import PaymentProvider
from gateway.settings import Settings


class SaleViews(Protocol):
    """The public's view of each sale, written after every commit, at most 250 ms old."""

    async def read(self, event_id: str) -> SaleView | None: ...


class Projections(Protocol):
    """What is read from the tables that the projector fills."""

    async def token_elsewhere(self, token_digest: bytes, event_id: str) -> bool:
        """Whether another event has issued this token."""
        ...

    async def personal_keys(self, order_ids: Sequence[str]) -> dict[bytes, bytes]:
        """Key by key id, of the personal data of these orders."""
        ...

    async def orders(self, event_id: str, after: str, limit: int) -> list[OrderRow]:
        """Orders of an event by id, from the one after `after`."""
        ...

    async def waitlist_entry(self, entry_id: str) -> EntryRow | None: ...

    async def check_ins(
        self, event_id: str, since: datetime | None, after_seq: int, limit: int
    ) -> list[CheckInRow]:
        """Scans of an event in the order they were decided."""
        ...

    async def attendees(
        self, event_id: str, after: tuple[str, int], limit: int
    ) -> list[AttendeeRow]:
        """Tickets of an event by order and number, from the one after `after`."""
        ...

    async def pending_refunds(self, limit: int) -> list[PendingRefund]: ...


class SearchIndex(Protocol):
    """Where events are found; which server keeps it is nobody's business here."""

    async def search(self, search: Search) -> Found: ...

    async def suggest(self, text: str, limit: int) -> list[Suggestion]:
        """Titles for a text that is being typed, each once."""
        ...


class Showings(Protocol):
    async def among(self, event_ids: Sequence[str]) -> dict[str, tuple[Event, Venue]]:
        """The events and their venues by event id, as the catalogue has them now."""
        ...

    async def hits(self, event_ids: Sequence[str]) -> dict[str, Hit]:
        """The same events as an index has them, by event id."""
        ...


class Tastes(Protocol):
    async def of(self, buyer_id: str, as_of: datetime) -> tuple[tuple[Category, float], ...]:
        """How a buyer likes the categories it has attended, above 0 to 1."""
        ...


class Trending(Protocol):
    async def top(self, city: str | None, limit: int, now: datetime) -> list[Trend]:
        """Events that can still be gone to, by the tickets confirmed in the last 24 hours."""
        ...


class Finding(Struct, frozen=True):
    """What buyers look for events with."""

    index: SearchIndex
    showings: Showings
    tastes: Tastes
    trending: Trending


class Readiness(Struct, frozen=True):
    """Whether this process can serve, the reasons if not, and the state of each part."""

    ready: bool
    reasons: list[str]
    parts: dict[str, str]


class Ports(Struct, frozen=True):
    """Everything that a route may use."""

    settings: Settings
    clock: Clock
    credentials: Credentials
    mailbox: Mailbox
    catalogue: Catalogue
    bookings: Bookings
    sale_views: SaleViews
    projections: Projections
    payments: PaymentProvider | None
    finding: Finding


READINESS: web.AppKey[Callable[[], Awaitable[Readiness]]] = web.AppKey("readiness")
PORTS: web.AppKey[Ports] = web.AppKey("ports", Ports)
