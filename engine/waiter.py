"""An entry of a waitlist: who waits for how many places of a tier, and what may be read of it.

    WAITING -> OFFERED -> FULFILLED | LAPSED,  WAITING | OFFERED -> LEFT

An offer ends at its `expires_at_ms`: at that instant or later it reads as lapsed, swept or not.
"""

from enum import StrEnum

from msgspec import Struct

from engine.commands import Caller, Key, Role


class EntryStatus(StrEnum):
    WAITING = "WAITING"
    OFFERED = "OFFERED"
    FULFILLED = "FULFILLED"
    LAPSED = "LAPSED"
    LEFT = "LEFT"


class LeaveReason(StrEnum):
    BUYER = "buyer"
    EVENT_CANCELLED = "event_cancelled"
    EVENT_OVER = "event_over"


class NoOffer(StrEnum):
    """Why a tier's free places are not offered, or that there are none."""

    NO_PLACES = "no_places_free"
    OTHERS_FIRST = "others_first"
    SALE_NOT_BEGUN = "sale_not_begun"
    SALE_OVER = "sale_over"
    SALES_CLOSED = "sales_closed"
    EVENT_CANCELLED = "event_cancelled"
    EVENT_OVER = "event_over"


class WaitlistEntry(Struct, array_like=True, gc=False):
    """`rank`: who has the least is first in the line of the tier. `key`: its own; a rest has none.

    `origin_id`: the entry that was joined, for which the mail address is sealed; of a rest another.
    `ended_at_ms`: when it was fulfilled, lapsed or left.
    """

    entry_id: str
    tier_id: str
    buyer_id: str
    quantity: int
    rank: int
    joined_at_ms: int
    offer_ttl_ms: int
    sealed: bytes | None
    key: Key | None
    wanted: int  # when it was joined
    position: int  # and in what place
    origin_id: str
    status: EntryStatus = EntryStatus.WAITING
    expires_at_ms: int | None = None
    rest_entry_id: str | None = None
    order_id: str | None = None
    left_because: LeaveReason | None = None
    ended_at_ms: int | None = None


class EntryView(Struct, frozen=True, tag=True, array_like=True, gc=False):
    """An entry as it was when the answer was decided.

    `position` in the line, from 1, and why there is no offer yet: where it waits.
    """

    entry_id: str
    tier_id: str
    buyer_id: str
    quantity: int
    status: EntryStatus
    joined_at_ms: int
    position: int | None
    waits_for: NoOffer | None
    expires_at_ms: int | None
    rest_entry_id: str | None
    order_id: str | None
    left_because: LeaveReason | None
    origin_id: str
    sealed: bytes | None


def may_use(entry: WaitlistEntry, caller: Caller, organizer_id: str) -> bool:
    """Whether the caller may know of this entry at all; to all others it does not exist."""
    match caller.role:
        case Role.BUYER:
            return caller.subject == entry.buyer_id
        case Role.ORGANIZER:
            return caller.subject == organizer_id
        case Role.ADMIN | Role.BOX_OFFICE:
            return True
        case Role.SCANNER:
            return False
