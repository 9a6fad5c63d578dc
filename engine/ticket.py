"""A ticket: how it is minted and what may be read from it.

A ticket is known at the doors by the SHA-256 of its token's text alone. A token that was replaced
stays known, so that the doors can say why it is worth nothing.
"""

import hashlib
from enum import StrEnum
from uuid import UUID

from msgspec import Struct

from engine.ids import token_text
from engine.rejections import Reason, Rejection

TOKEN_SEED_BYTES = 32


class TicketStatus(StrEnum):
    VALID = "VALID"
    USED = "USED"
    CANCELLED = "CANCELLED"
    TRANSFERRED = "TRANSFERRED"


class Transfer(Struct, frozen=True, array_like=True, gc=False):
    """How a ticket came to another: from which number of the order. `holder_id` None: it belongs
    to whoever holds the mail.
    """

    from_number: int
    holder_id: str | None
    at_ms: int


class Ticket(Struct, array_like=True, gc=False):
    """The `number`-th ticket of its order, for a place of the order's `line`-th item.

    `replaced`: digests of its former tokens.
    """

    token: bytes
    replaced: tuple[bytes, ...]
    number: int
    line: int
    status: TicketStatus = TicketStatus.VALID
    checked_in_at_ms: int | None = None
    admitted_gate: str | None = None
    sealed: bytes | None = None  # the attendee, where named after the purchase
    admitted_by: str | None = None  # the scan (its key) that it is in by
    ended_at_ms: int | None = None  # since when it has been worth nothing
    replaced_at_ms: tuple[int, ...] = ()  # of each former token
    transfer: Transfer | None = None
    visits: tuple[str, ...] = ()  # where it may come back: the scans that led in or out, as told


class TicketView(Struct, frozen=True, array_like=True, gc=False):
    """A ticket as it was when the answer was decided."""

    number: int
    tier_id: str
    token: bytes
    issued_at_ms: int
    status: TicketStatus
    checked_in_at_ms: int | None
    sealed: bytes | None
    transfer: Transfer | None = None


def view(ticket: Ticket, tier_id: str, issued_at_ms: int) -> TicketView:
    return TicketView(
        ticket.number,
        tier_id,
        ticket.token,
        issued_at_ms if ticket.transfer is None else ticket.transfer.at_ms,
        ticket.status,
        ticket.checked_in_at_ms,
        ticket.sealed,
        ticket.transfer,
    )


def mint_tokens(seed: bytes, count: int) -> tuple[bytes, ...]:
    """`count` random UUIDs (version 4, RFC 9562: 122 random bits) drawn from a secret seed."""
    return tuple(_mint(seed, number) for number in range(count))


def _mint(seed: bytes, number: int) -> bytes:
    random = hashlib.blake2b(number.to_bytes(4), key=seed, digest_size=16).digest()
    return UUID(bytes=random, version=4).bytes


def token_digest(token: bytes) -> bytes:
    return hashlib.sha256(token_text(token).encode()).digest()


def refuse_change(ticket: Ticket) -> Rejection | None:
    """Why a ticket can't get another token or holder, or None."""
    if ticket.status is TicketStatus.VALID:
        return None
    used = ticket.status is TicketStatus.USED
    reason = Reason.TICKET_USED if used else Reason.TICKET_NOT_VALID
    return Rejection(reason, {"status": ticket.status.value})
