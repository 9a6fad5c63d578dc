"""The rows of the devices at the doors. They are the truth of who may scan."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from engine.catalogue import Once, Stored
from engine.fleet import DEVICES_MAX, Device, Profile, Sign
from engine.rejections import Reason, Rejection
from persistence import idempotency
from persistence.statements import clean, insert
from persistence.transactions import Connection, changing, reading

_COLUMNS = Device.__struct_fields__
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM devices"
_INSERT = insert("devices", ("code_digest", *_COLUMNS))
_COUNT = "SELECT count(*) FROM devices WHERE event_id = $1"

# Not before another that enrols by the same code has ended.
_BY_CODE = f"""
SELECT {", ".join(_COLUMNS)}, enrolled_under FROM devices WHERE code_digest = $1 FOR UPDATE
"""
_ENROL = """
UPDATE devices SET enrolled_at = $2, expires_at = $3, enrolled_under = $4 WHERE device_id = $1
"""
_REVOKE = """
UPDATE devices SET revoked_at = coalesce(revoked_at, $2) WHERE device_id = $1
"""
_ALLOWED = """
SELECT device_id FROM devices
WHERE device_id = ANY($1) AND enrolled_at IS NOT NULL AND revoked_at IS NULL
"""
_SIGNS = """
UPDATE devices SET seen_at = greatest(devices.seen_at, s.seen_at),
    battery = coalesce(s.battery, devices.battery), queued = coalesce(s.queued, devices.queued),
    clock_offset_ms = coalesce(s.clock_offset_ms, devices.clock_offset_ms)
FROM unnest($1::text[], $2::timestamptz[], $3::real[], $4::int[], $5::bigint[])
    AS s (device_id, seen_at, battery, queued, clock_offset_ms)
WHERE devices.device_id = s.device_id
"""


class Devices:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def add(
        self, device: Device, code_digest: bytes, once: Once | None
    ) -> Device | Stored | Rejection:
        async def work(connection: Connection) -> Device | Stored | Rejection:
            used = await idempotency.claim(connection, once) if once is not None else None
            if used is not None:
                return used
            if await connection.fetchval(_COUNT, device.event_id) >= DEVICES_MAX:
                return Rejection(Reason.TOO_MANY_DEVICES, {"max": DEVICES_MAX})
            values = (getattr(device, name) for name in _COLUMNS)
            await connection.execute(_INSERT, code_digest, *values)
            if once is not None:
                await idempotency.keep(connection, once, device)
            return device

        return await changing(self._pool, work)

    async def enrol(
        self, code_digest: bytes, key: bytes | None, now: datetime, expires_at: datetime
    ) -> Device | Rejection:
        async def work(connection: Connection) -> Device | Rejection:
            row = await connection.fetchrow(_BY_CODE, code_digest)
            if row is None or row["revoked_at"] is not None:
                return Rejection(Reason.UNKNOWN_CODE)
            if row["enrolled_at"] is not None:
                again = key is not None and row["enrolled_under"] == key
                return _device(row) if again else Rejection(Reason.CODE_USED)
            if row["code_expires_at"] <= now:
                return Rejection(Reason.CODE_EXPIRED)
            await connection.execute(_ENROL, row["device_id"], now, expires_at, key)
            return _device({**row, "enrolled_at": now, "expires_at": expires_at})

        return await changing(self._pool, work)

    async def event_by_code(self, code_digest: bytes) -> str | None:
        async with reading(self._pool) as connection:
            found: str | None = await connection.fetchval(
                "SELECT event_id FROM devices WHERE code_digest = $1", code_digest
            )
        return found

    async def device(self, device_id: str) -> Device | None:
        async with reading(self._pool) as connection:
            row = await connection.fetchrow(f"{_SELECT} WHERE device_id = $1", clean(device_id))
        return _device(row) if row is not None else None

    async def of_event(self, event_id: str, after: str, limit: int) -> list[Device]:
        async with reading(self._pool) as connection:
            rows = await connection.fetch(
                f"{_SELECT} WHERE event_id = $1 AND device_id > $2 ORDER BY device_id LIMIT $3",
                event_id,
                clean(after),
                limit,
            )
        return [_device(row) for row in rows]

    async def revoke(self, device_id: str, now: datetime) -> None:
        async def work(connection: Connection) -> None:
            await connection.execute(_REVOKE, device_id, now)

        await changing(self._pool, work)

    async def allowed(self, device_ids: Sequence[str]) -> set[str]:
        async with reading(self._pool) as connection:
            rows = await connection.fetch(_ALLOWED, list(device_ids))
        return {row["device_id"] for row in rows}

    async def note(self, signs: Mapping[str, Sign]) -> None:
        async def work(connection: Connection) -> None:
            columns = zip(
                *((name, *msgspec.structs.astuple(sign)) for name, sign in sorted(signs.items())),
                strict=True,
            )
            await connection.execute(_SIGNS, *map(list, columns))

        await changing(self._pool, work)


def _device(row: asyncpg.Record | dict[str, Any]) -> Device:
    read = {name: row[name] for name in _COLUMNS}
    return Device(**{**read, "profile": Profile(row["profile"])})
