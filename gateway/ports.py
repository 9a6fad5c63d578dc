"""What the edge asks of the world. The composition root hands in who offers it."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol

from aiohttp import web
from msgspec import Struct

from engine.projection import AttendeeRow, CheckInRow, OrderRow, PendingRefund
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


READINESS: web.AppKey[Callable[[], Awaitable[Readiness]]] = web.AppKey("readiness")
PORTS: web.AppKey[Ports] = web.AppKey("ports", Ports)
