"""A scan as it is kept, and the tally of the admissions that stand."""

from typing import TypeVar

from msgspec import Struct

from engine.facts import InvalidReason, TicketScanned
from engine.telling import Outcome

SCAN_MARK = "\n"  # stands in the name of a scan and in no other entity's
GATES_MAX = 200  # that are counted by their names
MINUTES_MAX = 14 * 24 * 60
OTHER_GATES = "(other)"
OTHER_MINUTES_MS = 0
_MINUTE_MS = 60 * 1000
_K = TypeVar("_K", str, int)


class Scan(Struct, array_like=True, gc=False):
    """A scan that was answered, kept so that its nonce answers the same again."""

    fact: TicketScanned
    at_ms: int
    undone_at_ms: int | None = None
    displaced: bool = False  # told by its device later than one that came before it
    resolved: bool = False  # an exit told of later made it the admission of another stay


class ScanView(Struct, frozen=True, tag=True, array_like=True, gc=False):
    fact: TicketScanned
    tier_name: str | None
    sealed: bytes | None  # the order's named attendees
    ticket_sealed: bytes | None  # the attendee named afterwards
    undone_at_ms: int | None


class SyncedScan(Struct, frozen=True, array_like=True, gc=False):
    """`reason`: why the ticket was worth nothing. `checked_in_at_ms`, `gate`: of the admission
    that stood.
    """

    outcome: Outcome
    reason: InvalidReason | None
    order_id: str | None
    number: int | None
    checked_in_at_ms: int | None
    gate: str | None
    displaced: bool
    undone_at_ms: int | None
    resolved: bool = False


class SyncView(Struct, frozen=True, tag=True, array_like=True, gc=False):
    """In the order in which they were told."""

    scans: tuple[SyncedScan, ...]


class Tally(Struct, array_like=True, gc=False):
    """Scans that count. Keys: tier id, gate name ("" where none was told), minute in ms.

    A name or minute that has been counted once stays, though it come to nought: beyond the most
    that there may be, new ones are counted together, and must be so when they are taken back.
    """

    total: int = 0
    by_tier: dict[str, int] = {}
    by_gate: dict[str, int] = {}
    by_minute: dict[int, int] = {}

    def count(self, tier_id: str, gate: str | None, at_ms: int, change: int) -> None:
        self.total += change
        minute_ms = at_ms - at_ms % _MINUTE_MS
        self.by_tier[tier_id] = self.by_tier.get(tier_id, 0) + change
        _add(self.by_gate, gate or "", change, GATES_MAX, OTHER_GATES)
        _add(self.by_minute, minute_ms, change, MINUTES_MAX, OTHER_MINUTES_MS)


class Doors(Tally, array_like=True, gc=False):
    """Admissions that stand, and exits that ended one."""

    exits: Tally | None = None

    def count_exit(self, tier_id: str, gate: str | None, at_ms: int, change: int) -> None:
        if self.exits is None:
            self.exits = Tally()
        self.exits.count(tier_id, gate, at_ms, change)


class DoorsView(Struct, frozen=True, tag=True, array_like=True, gc=False):
    admitted: int
    by_tier: dict[str, int]
    by_gate: dict[str, int]
    by_minute: dict[int, int]
    exited: int = 0
    exited_by_tier: dict[str, int] = {}
    exited_by_gate: dict[str, int] = {}
    exited_by_minute: dict[int, int] = {}


def view(doors: Doors) -> DoorsView:
    exits = doors.exits
    return DoorsView(*_tallied(doors), *(_tallied(exits) if exits is not None else ()))


def _tallied(tally: Tally) -> tuple[int, dict[str, int], dict[str, int], dict[int, int]]:
    return (
        tally.total,
        _counted(tally.by_tier),
        _counted(tally.by_gate),
        _counted(tally.by_minute),
    )


def _counted(tally: dict[_K, int]) -> dict[_K, int]:
    return {key: count for key, count in tally.items() if count}


def _add(tally: dict[_K, int], key: _K, change: int, most: int, other: _K) -> None:
    counted = key if key in tally or len(tally) < most else other
    tally[counted] = tally.get(counted, 0) + change


def scan_key(device_id: str, nonce: str) -> str:
    return f"{device_id}{SCAN_MARK}{nonce}"


def device_of(key: str) -> str:
    return key.partition(SCAN_MARK)[0]
