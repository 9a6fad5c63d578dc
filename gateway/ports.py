"""What the edge asks of the world. The composition root hands in who offers it."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol

from aiohttp import web
from msgspec import Struct

from engine.catalogue import Category, Event, Venue
from engine.finding import Found, Hit, Search, Suggestion, Trend
from engine.outgoing import DeadMail, Delivery, Endpoint
from engine.projection import (
    AttendeeRow,
    CheckInRow,
    ConflictRow,
    EntryRow,
    OrderRow,
    SettlementRow,
    TokenList,
)
from engine.runtime.ports import Clock, Mailbox
from engine.state import SaleView
from gateway.auth import Credentials
from gateway.bookings import Bookings
from gateway.catalogue import Catalogue
from gateway.devices import Fleet
from gateway.payments.asking import Payments
from gateway.rates import Guesses
from gateway.settings import Settings
from gateway.wallets import Wallets


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

    async def reached(self, event_id: str) -> int:
        """The latest fact of the sale that the tables have."""
        ...

    async def conflicts(self, event_id: str, after_seq: int, limit: int) -> list[ConflictRow]:
        """Where devices disagree, in the order of what was heard of."""
        ...

    async def attendees(
        self, event_id: str, after: tuple[str, int], limit: int
    ) -> list[AttendeeRow]:
        """Tickets of an event by order and number, from the one after `after`."""
        ...


class Settlements(Protocol):
    async def of_event(self, event_id: str) -> list[SettlementRow]:
        """Money by day, provider and currency."""
        ...


class Tokens(Protocol):
    """What devices carry with them, as the tables have it."""

    async def all(self, event_id: str, tier_ids: Sequence[str]) -> TokenList:
        """Every token of the event that is worth something, or was until its ticket ended."""
        ...

    async def changed(
        self, event_id: str, tier_ids: Sequence[str], life: str, since: int, most: int
    ) -> TokenList | None:
        """Those whose worth has changed; None: it is not known any more, or it is too many."""
        ...

    async def latest(self, event_id: str) -> str:
        """The cursor of the latest change."""
        ...

    async def forget(self, before: datetime, limit: int) -> None:
        """Changes that are older than that: whoever knows no newer one must read it all."""
        ...


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


class MailBooks(Protocol):
    """What those on call see of the mails, and may do."""

    async def counts(self) -> tuple[int, int]:
        """How many wait, and how many were given up."""
        ...

    async def dead(self, after: int, limit: int) -> list[DeadMail]:
        """Those that were given up, from the one after `after`."""
        ...

    async def try_again(self, mail_id: int) -> bool:
        """False where there is no such dead mail."""
        ...


class Webhooks(Protocol):
    """Organizers' endpoints. `organizer_id` None: of all organizers."""

    async def add(self, endpoint: Endpoint, most: int) -> bool:
        """False where the organizer has so many already."""
        ...

    async def of(self, organizer_id: str | None, after: str, limit: int) -> list[Endpoint]:
        """By id, from the one after `after`."""
        ...

    async def find(self, organizer_id: str | None, endpoint_id: str) -> Endpoint | None: ...

    async def set_active(self, endpoint_id: str, active: bool) -> None: ...

    async def remove(self, endpoint_id: str) -> None: ...

    async def deliveries(self, endpoint_id: str, before: int, limit: int) -> list[Delivery]:
        """Newest first, from the one before `before`."""
        ...

    async def redeliver(self, endpoint_id: str, delivery_id: int) -> bool:
        """Call again, whatever became of it; False where there is no such delivery."""
        ...

    async def counts(self) -> tuple[int, int]:
        """How many calls wait, and how many were given up."""
        ...


class Outgoing(Struct, frozen=True):
    """What leaves the house."""

    mails: MailBooks
    webhooks: Webhooks


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
    payments: Payments
    settlements: Settlements
    finding: Finding
    outgoing: Outgoing
    fleet: Fleet
    tokens: Tokens
    guesses: Guesses
    wallets: Wallets


READINESS: web.AppKey[Callable[[], Awaitable[Readiness]]] = web.AppKey("readiness")
PORTS: web.AppKey[Ports] = web.AppKey("ports", Ports)
