"""The devices at the doors of an event. Data only."""

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

DEVICES_MAX = 2_000  # of one event, revoked ones too


class Profile(StrEnum):
    SCAN = "scan"
    SUPERVISOR = "supervisor"


class Device(Struct, frozen=True):
    """`gate` None: it works at any. `expires_at`: until when its credential is good.

    `clock_offset_ms`: how far its clock is behind ours.
    """

    device_id: str
    event_id: str
    name: str
    gate: str | None
    profile: Profile
    code_expires_at: datetime
    created_at: datetime
    enrolled_at: datetime | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    seen_at: datetime | None = None
    battery: float | None = None
    queued: int | None = None
    clock_offset_ms: int | None = None


class Sign(Struct, frozen=True):
    """That a device lives, and what is known of it. `battery`: 0 to 1; `queued`: scans that it has
    not told of yet.
    """

    seen_at: datetime
    battery: float | None = None
    queued: int | None = None
    clock_offset_ms: int | None = None
