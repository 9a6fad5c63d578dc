"""The rows of the projected tables, as they are read back. Data only."""

from datetime import date, datetime

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


class Asked(Struct, frozen=True):
    """A payment that a provider was asked for. `paid_for`: an order or a booking.

    `reference`: the provider's own name for it, None where its answer was lost.
    """

    payment_id: str
    paid_for: str
    amount_minor: int
    currency: str
    reference: str | None = None


class DueLook(Struct, frozen=True):
    """A payment whose provider is to be asked what became of it.

    `over`: nothing can be bought with it any more, as far as the tables know.
    """

    asked: Asked
    over: bool


class DueRefund(Struct, frozen=True):
    """Money that is to go back. `attempt`: how often somebody has sent it anew."""

    refund_id: str
    attempt: int
    amount_minor: int
    asked: Asked


class RefundCounts(Struct, frozen=True):
    """`stuck`: of those pending, what has been asked for again and again for a while."""

    pending: int
    stuck: int
    failed: int


class RefundRow(Struct, frozen=True):
    refund_id: str
    order_id: str
    payment_id: str | None
    amount_minor: int
    currency: str
    status: str
    attempt: int
    owed_at: datetime | None
    settled_at: datetime | None


class SettlementRow(Struct, frozen=True):
    """Money of a day (UTC) by one provider, in minor units.

    `taken` = `confirmed` + `returned`: what bought its places, and what came for nothing.
    `refunded` is of what was confirmed, on the day it was decided; `sent_back` of both, on the day
    it was done.
    """

    date: date
    provider: str
    currency: str
    taken: int
    returned: int
    refunded: int
    sent_back: int

    @property
    def confirmed(self) -> int:
        return self.taken - self.returned

    @property
    def net(self) -> int:
        return self.confirmed - self.refunded


class SandboxPayment(Struct, frozen=True):
    """A payment in the embedded provider's books; `outcome` None: neither paid nor declined.

    `order_id`: what is paid for, an order or a booking. `faults`: what goes wrong with it.
    """

    payment_id: str
    order_id: str
    amount_minor: int
    currency: str
    outcome: str | None
    cancelled: bool
    faults: tuple[str, ...]


class SandboxRefund(Struct, frozen=True):
    """`calls`: how often it was asked for, this time included."""

    refund_id: str
    payment_id: str
    amount_minor: int
    status: str
    calls: int


class SandboxWebhook(Struct, frozen=True):
    webhook_id: int
    payment_id: str
    outcome: str
    amount_minor: int
