"""The rows of the projected tables, as they are read back. Data only."""

from datetime import datetime

from msgspec import Struct

from engine.purchase import ArchivedOrder


class OrderRow(Struct, frozen=True):
    order_id: str
    event_id: str
    buyer_id: str
    status: str
    cancel_reason: str | None
    currency: str
    total_minor: int
    refunded_minor: int
    placed_at: datetime
    expires_at: datetime
    confirmed_at: datetime | None
    promo_code: str | None = None


class OrderOnFile(Struct, frozen=True):
    """An order as it stood in the tables when they had come to its sale's fact `seq`, at least.

    `order` None though it is `known`: it is not cancelled, so its sale has it in memory.
    """

    seq: int
    known: bool
    order: ArchivedOrder | None


class EntryRow(Struct, frozen=True):
    """Of a waitlist. `sealed` for the entry `origin_id`."""

    entry_id: str
    event_id: str
    tier_id: str
    buyer_id: str
    quantity: int
    status: str
    joined_at: datetime
    expires_at: datetime | None
    rest_entry_id: str | None
    order_id: str | None
    left_because: str | None
    ended_at: datetime | None
    origin_id: str
    sealed: bytes | None


class CheckInRow(Struct, frozen=True):
    seq: int
    device_id: str
    nonce: str
    order_id: str | None
    number: int | None
    tier_id: str | None
    gate: str | None
    result: str
    reason: str | None
    override_reason: str | None
    scanned_at: datetime | None
    decided_at: datetime
    undone_at: datetime | None
    undone_by: str | None
    outcome: str | None
    told: str | None
    corrected_at: datetime | None
    leaving: bool


class ConflictRow(Struct, frozen=True):
    """A scan told of afterwards that does not agree, and the admission that stands, if any."""

    seq: int
    device_id: str
    nonce: str
    order_id: str
    number: int
    tier_id: str
    gate: str | None
    contested: bool
    scanned_at: datetime
    corrected_at: datetime
    decided_at: datetime
    admitted_device_id: str | None
    admitted_nonce: str | None
    admitted_gate: str | None
    admitted_at: datetime | None


class TokenList(Struct, frozen=True):
    """Tokens as of fact `seq` of their sale and change `change` of the tables' life.

    `tickets`: JSON, [[SHA-256 of the token in hex, place of its tier among those asked, status],
    ...].
    """

    life: str
    change: int
    seq: int
    tickets: bytes

    @property
    def cursor(self) -> str:
        return f"{self.life}-{self.change}"


class AttendeeRow(Struct, frozen=True):
    """A ticket. `sealed`, `ticket_sealed`: who was named when it was bought, and afterwards."""

    order_id: str
    number: int
    buyer_id: str
    tier_id: str
    tier_name: str
    status: str
    issued_at: datetime
    checked_in_at: datetime | None
    sealed: bytes | None
    ticket_sealed: bytes | None


class PendingRefund(Struct, frozen=True):
    refund_id: str
    order_id: str
    payment_id: str
    amount_minor: int


class SandboxPayment(Struct, frozen=True):
    """A payment in the embedded provider's books; `outcome` None: neither paid nor declined.

    `order_id`: what is paid for, an order or a booking.
    """

    payment_id: str
    order_id: str
    amount_minor: int
    currency: str
    outcome: str | None
