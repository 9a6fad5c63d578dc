"""A scan as it is kept, and the tally of the admissions that stand."""

from typing import TypeVar

from msgspec import Struct

from engine.facts import TicketScanned

SCAN_MARK = "\n"  # stands in the name of a scan and in no other entity's
_MINUTE_MS = 60 * 1000
_K = TypeVar("_K", str, int)


class Scan(Struct, array_like=True, gc=False):
    """A scan that was answered, kept so that its nonce answers the same again."""

    fact: TicketScanned
    at_ms: int
    undone_at_ms: int | None = None


class ScanView(Struct, frozen=True, tag=True, array_like=True, gc=False):
    fact: TicketScanned
    tier_name: str | None
    sealed: bytes | None  # the order's named attendees
    ticket_sealed: bytes | None  # the attendee named afterwards
    undone_at_ms: int | None


class Doors(Struct, array_like=True, gc=False):
    """Admissions that stand. Keys: tier id, gate name ("" where none was told), minute in ms."""

    admitted: int = 0
    by_tier: dict[str, int] = {}
    by_gate: dict[str, int] = {}
    by_minute: dict[int, int] = {}

    def count(self, tier_id: str, gate: str | None, at_ms: int, change: int) -> None:
        self.admitted += change
        minute_ms = at_ms - at_ms % _MINUTE_MS
        _add(self.by_tier, tier_id, change)
        _add(self.by_gate, gate or "", change)
        _add(self.by_minute, minute_ms, change)


class DoorsView(Struct, frozen=True, tag=True, array_like=True, gc=False):
    admitted: int
    by_tier: dict[str, int]
    by_gate: dict[str, int]
    by_minute: dict[int, int]


def view(doors: Doors) -> DoorsView:
    return DoorsView(
        doors.admitted, dict(doors.by_tier), dict(doors.by_gate), dict(doors.by_minute)
    )


def _add(tally: dict[_K, int], key: _K, change: int) -> None:
    total = tally.get(key, 0) + change
    if total:
        tally[key] = total
    else:
        tally.pop(key, None)


def scan_key(device_id: str, nonce: str) -> str:
    return f"{device_id}{SCAN_MARK}{nonce}"
