"""Devices at the doors: their codes and credentials, who of them may work, and how they are.

The database says who may work. What it said is good for less than a second: a device that has been
revoked is refused everywhere by then, whatever else is away. Codes and the events' signing keys
follow from the secret that signs credentials; whoever changes that secret enrols anew anyway.

A device may tell of itself in the headers of any call: `Device-Battery` (0 to 1), `Device-Queue`
(scans that it has not told of yet), `Device-Clock` (its time, RFC 3339, when it sends).
"""

import base64
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any, Protocol

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Meta

from engine.catalogue import Once, Stored, from_ms
from engine.fleet import Device, Sign
from engine.rejections import Rejection
from engine.runtime.ports import Clock
from gateway.auth import unauthenticated
from gateway.rates import RateLimiter
from gateway.times import clock_ms

GOOD_S = 0.9
POLL_S = 0.3
NOTED_EVERY_S = 5.0
QUIET_S = 60.0  # then a device is not asked about any more until it comes again
KNOWN_MAX = 20_000
_CODE_BYTES = 10  # 80 random bits: nobody guesses that
_GROUP = 4
BATTERY_HEADER = "device-battery"
QUEUE_HEADER = "device-queue"
CLOCK_HEADER = "device-clock"

_battery = Annotated[float, Meta(ge=0, le=1)]
_queued = Annotated[int, Meta(ge=0, le=1_000_000)]
_instant = Annotated[datetime, Meta(tz=True)]


class DeviceBooks(Protocol):
    async def add(
        self, device: Device, code_digest: bytes, once: Once | None
    ) -> Device | Stored | Rejection: ...

    async def enrol(
        self, code_digest: bytes, key: bytes | None, now: datetime, expires_at: datetime
    ) -> Device | Rejection:
        """The device, now enrolled, or again under the same key."""
        ...

    async def event_by_code(self, code_digest: bytes) -> str | None: ...

    async def device(self, device_id: str) -> Device | None: ...

    async def of_event(self, event_id: str, after: str, limit: int) -> list[Device]:
        """Revoked ones too, by id, from the one after `after`."""
        ...

    async def revoke(self, device_id: str, now: datetime) -> None: ...

    async def allowed(self, device_ids: Sequence[str]) -> set[str]:
        """Those of them that are enrolled and not revoked."""
        ...

    async def note(self, signs: Mapping[str, Sign]) -> None: ...


class Secrets:
    """What follows from the secret of this installation."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def code(self, device_id: str) -> str:
        """In groups, for whoever must type it."""
        made = hmac.digest(self._key("enrolment"), device_id.encode(), sha256)
        text = base64.b32encode(made[:_CODE_BYTES]).decode()
        return "-".join(text[at : at + _GROUP] for at in range(0, len(text), _GROUP))

    def event_public_key(self, event_id: str) -> str:
        """Raw Ed25519, base64url."""
        return base64url(self._event_key(event_id).public_key().public_bytes_raw())

    def sign(self, event_id: str, message: bytes) -> str:
        """Ed25519, base64url."""
        return base64url(self._event_key(event_id).sign(message))

    def _event_key(self, event_id: str) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self._key(f"event {event_id}"))

    def _key(self, purpose: str) -> bytes:
        info = f"stampede {purpose}".encode()
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(self._secret)


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def code_digest(code: str) -> bytes:
    """However it was typed."""
    plain = "".join(sign for sign in code.upper() if sign.isalnum())
    return sha256(plain.encode()).digest()


class Fleet:
    """The devices that work by way of this process."""

    def __init__(self, books: DeviceBooks, secrets: Secrets, clock: Clock) -> None:
        self.books = books
        self.secrets = secrets
        self.enrolling = RateLimiter()
        self._clock = clock
        self._good_until_s: dict[str, float] = {}
        self._seen_s: dict[str, float] = {}
        self._signs: dict[str, Sign] = {}
        self._offset_ms: dict[str, int] = {}
        self._noted_s = 0.0

    def allows(self, device_id: str) -> bool:
        """Whether it may work, as far as is known just now."""
        now_s = self._clock.monotonic_s()
        self._seen_s[device_id] = now_s
        return self._good_until_s.get(device_id, 0.0) > now_s

    async def check(self, device_id: str) -> None:
        """Raises Problem 401 where it may not work, JournalUnavailable where nobody can tell."""
        if self.allows(device_id):
            return
        asked_s = self._clock.monotonic_s()
        if device_id not in await self.books.allowed([device_id]):
            self._forget(device_id)
            raise unauthenticated("this device has been revoked")
        self._good_until_s[device_id] = asked_s + GOOD_S

    def hear(self, device_id: str, headers: Mapping[str, str]) -> None:
        """What a device that may work tells of itself; what can't be is passed over.

        `headers` are found by their names in lower case.
        """
        battery, queued = headers.get(BATTERY_HEADER), headers.get(QUEUE_HEADER)
        clock = headers.get(CLOCK_HEADER)
        if battery is None and queued is None and clock is None:
            return
        self._note(device_id, _told(battery, _battery), _told(queued, _queued))
        if (sent_at := _told(clock, _instant)) is not None:
            self.set_clock(device_id, sent_at)

    def set_clock(self, device_id: str, sent_at: datetime) -> int:
        """Its time when it sent what has come now: how far it is behind, in milliseconds."""
        offset_ms = self._clock.now_ms() - clock_ms(sent_at)
        self._offset_ms[device_id] = offset_ms
        self._note(device_id, clock_offset_ms=offset_ms)
        return offset_ms

    async def offset_ms(self, device_id: str) -> int:
        """As measured last, wherever that was; 0 where it has never been."""
        if device_id in self._offset_ms:
            return self._offset_ms[device_id]
        device = await self.books.device(device_id)
        return (device.clock_offset_ms if device is not None else None) or 0

    def known_offset_ms(self, device_id: str) -> int:
        """As far as this process knows."""
        return self._offset_ms.get(device_id, 0)

    def _note(
        self,
        device_id: str,
        battery: float | None = None,
        queued: int | None = None,
        clock_offset_ms: int | None = None,
    ) -> None:
        before = self._signs.get(device_id, Sign(from_ms(0)))
        self._signs[device_id] = Sign(
            from_ms(self._clock.now_ms()),
            before.battery if battery is None else battery,
            before.queued if queued is None else queued,
            before.clock_offset_ms if clock_offset_ms is None else clock_offset_ms,
        )

    async def poll(self) -> None:
        """Ask who of those that are about may still work, and now and then write down who is."""
        began_s = self._clock.monotonic_s()
        self._forget_the_quiet(began_s)
        asked = list(self._good_until_s)
        if asked:
            allowed = await self.books.allowed(asked)
            for device_id in asked:
                if device_id in allowed:
                    self._good_until_s[device_id] = began_s + GOOD_S
                else:
                    self._forget(device_id)
        if began_s >= self._noted_s + NOTED_EVERY_S:
            await self._write_down(began_s)

    async def _write_down(self, began_s: float) -> None:
        """Who was seen since the last time; what a device tells of itself is not lost meanwhile."""
        now_ms = self._clock.now_ms()
        seen = {
            device_id: Sign(from_ms(now_ms - round((began_s - at_s) * 1000)))
            for device_id, at_s in self._seen_s.items()
            if at_s >= self._noted_s and device_id in self._good_until_s
        }
        told, self._signs = self._signs, {}
        if seen or told:
            await self.books.note({**seen, **told})
        self._noted_s = began_s

    def _forget_the_quiet(self, now_s: float) -> None:
        most = len(self._seen_s) > KNOWN_MAX
        quiet = [d for d, at_s in self._seen_s.items() if most or at_s < now_s - QUIET_S]
        for device_id in quiet:
            self._forget(device_id)

    def _forget(self, device_id: str) -> None:
        self._good_until_s.pop(device_id, None)
        self._seen_s.pop(device_id, None)
        self._signs.pop(device_id, None)
        self._offset_ms.pop(device_id, None)


def _told(text: str | None, kind: Any) -> Any:
    if text is None:
        return None
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError:
        return None
