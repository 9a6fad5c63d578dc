"""What a device tells later of scans that it judged without a network, and our word on it.

Data only.
"""

from enum import StrEnum

from msgspec import Struct


class ScanResult(StrEnum):
    ADMIT = "ADMIT"
    ALREADY_ADMITTED = "ALREADY_ADMITTED"
    INVALID = "INVALID"
    EXIT = "EXIT"


class Outcome(StrEnum):
    """`RECORDED`: it stands as it was told. `CONFLICT`: another device's admission stands.

    `DUPLICATE`: the device had scanned that ticket before. `LATE_INVALID`: the ticket was worth
    nothing by then. `UNKNOWN`: no such token.
    """

    RECORDED = "recorded"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    UNKNOWN = "unknown"
    LATE_INVALID = "late_invalid"


class OfflineScan(Struct, frozen=True, array_like=True, gc=False):
    """`told`: what the device showed at the door. `scanned_at_ms`: by its own clock.

    `at_ms`: the same instant by ours, as far as we can tell, and never after its arrival.
    """

    nonce: str
    token_digest: bytes
    gate: str | None
    scanned_at_ms: int
    at_ms: int
    told: ScanResult
    leaving: bool = False


class Settled(Struct, frozen=True, array_like=True, gc=False):
    """What a scan told of afterwards changes where one may come back (`engine.stays`).

    `stands`, `falls`: scans (their keys) that are counted from now on, and those that are no more.
    `admitted_by`: the scan that the ticket is in by, None: it is out. `used`: it has been in.
    """

    stands: tuple[str, ...]
    falls: tuple[str, ...]
    admitted_by: str | None
    admitted_at_ms: int | None
    used: bool


class Offline(Struct, frozen=True, array_like=True, gc=False):
    """What a scan's fact holds more where the device was offline.

    `contested`: the ticket was refunded, or given another token, between the scan and its arrival.
    `displaced`: the scan (its key) of the later admission that this one takes the place of.
    """

    outcome: Outcome
    told: ScanResult
    at_ms: int
    contested: bool = False
    displaced: str | None = None
    settled: Settled | None = None
