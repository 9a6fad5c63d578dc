"""What a device tells later of scans that it judged without a network, and our word on it.

Data only.
"""

from enum import StrEnum

from msgspec import Struct


class ScanResult(StrEnum):
    ADMIT = "ADMIT"
    ALREADY_ADMITTED = "ALREADY_ADMITTED"
    INVALID = "INVALID"


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
