"""What the edge asks of the bookings, and how it shows them."""

from datetime import datetime
from typing import Protocol

from msgspec.structs import asdict

from engine.catalogue import Booking, Event, Once, Slot, Stored, Venue
from engine.commands import Caller
from engine.hiring import Addon, Deposit, Invoice
from engine.rejections import Rejection


class Bookings(Protocol):
    async def booking(self, caller: Caller, booking_id: str) -> Booking | Rejection: ...

    async def invoice(
        self, caller: Caller, booking_id: str
    ) -> tuple[Invoice, Booking, Event, Venue] | Rejection:
        """The invoice and what it is for."""
        ...

    async def add_booking(
        self, caller: Caller, event_id: str, booking_id: str, slot: Slot, once: Once | None
    ) -> Booking | Stored | Rejection: ...

    async def cancel_booking(
        self, caller: Caller, booking_id: str, once: Once | None
    ) -> Booking | Stored | Rejection: ...

    async def request_deposit(
        self, caller: Caller, booking_id: str, payment_id: str, method: str, once: Once | None
    ) -> Deposit | Stored | Rejection:
        """The open payment of a booking's deposit; a new one where there is none."""
        ...

    async def deposit_paid(self, payment_id: str, amount_minor: int) -> Booking | Rejection: ...

    async def deposit_declined(self, payment_id: str) -> Booking | Rejection: ...

    async def settle_refund(self, refund_id: str, done: bool) -> None: ...

    async def retry_refund(self, caller: Caller, refund_id: str) -> Booking | Rejection:
        """One that failed is on its way again; the others stay as they are."""
        ...

    async def add_addon(
        self, caller: Caller, addon: Addon, once: Once | None
    ) -> Addon | Stored | Rejection: ...

    async def remove_addon(
        self, caller: Caller, booking_id: str, addon_id: str
    ) -> Rejection | None: ...

    async def lapse_unpaid(self, now: datetime, limit: int) -> int:
        """Cancel requests whose deposit has not been paid by `now`; how many it were."""
        ...

    async def bring_back_astray(self, limit: int) -> int:
        """Make events and bookings agree again that a crash left apart; how many it were."""
        ...


def shown(booking: Booking) -> dict[str, object]:
    refund = {"status": booking.refund} if booking.refund is not None else None
    return {**asdict(booking), "refund": refund}
