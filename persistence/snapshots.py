"""Snapshots: incremental ones in Redis behind every commit, seldom ones in Postgres.

In Redis a sale is one hash, a field an entity; the field `meta` says (epoch, seq, journal_seq) and
whether it is whole, with the count of its entities and the XOR of their checksums, which the script
keeps by itself. A piece is taken only on top of the (epoch, seq) that it was made for, or of what
its sender has sent since without hearing of it, and takes out what is gone. As the pieces of a
rewrite may share those, the last one of an abandoned rewrite can land among those of the next: so
it is whole only with as many entities as the sale has. A snapshot is used only if count and XOR
agree and it is not ahead of the journal.

All keys of a sale carry its shard as a hash tag, so that nothing crosses slots of a cluster.
"""

import struct
import time
import zlib
from collections.abc import AsyncIterator
from functools import reduce
from operator import itemgetter, xor
from typing import cast

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from engine.ids import shard_of
from engine.runtime.faults import JournalUnavailable
from engine.runtime.ports import Grant, Snapshot, SnapshotDelta, StoreUnavailable
from engine.state import SaleView
from persistence.durable_snapshots import Draft, PostgresSnapshots
from persistence.transactions import AWAY

META = b"meta"
_SCAN_COUNT = 1_000
_CRC_BYTES = 4
_crc = itemgetter(slice(_CRC_BYTES))
_behind_crc = itemgetter(slice(_CRC_BYTES, None))

_encode = msgspec.msgpack.Encoder().encode
decode_view = msgspec.msgpack.Decoder(SaleView).decode

# KEYS: snapshot hash, view. ARGV: base epoch, base seq ("" begins anew), epoch, seq, journal_seq,
# entities when whole, ttl_ms, view, as MessagePack the list of all entities' fields, checksums and
# sizes (0: it is gone), what is stored, value behind checksum (few arguments, since each costs both
# sides), and the latest seq that may be stored on top of the base.
_SAVE = """
local count, xor = 0, 0
if ARGV[1] == '' then
  redis.call('DEL', KEYS[1])
else
  local meta = redis.call('HGET', KEYS[1], 'meta')
  if not meta then return 0 end
  local m = cjson.decode(meta)
  local base, ours = tonumber(ARGV[2]), m[1] == tonumber(ARGV[3])
  local at_base = m[1] == tonumber(ARGV[1]) and m[2] == base
  local since = ours and m[2] >= base and m[2] <= tonumber(ARGV[11])
  if not (at_base or since) then return 0 end
  count, xor = m[5], m[6]
end
local told, values, at = cmsgpack.unpack(ARGV[9]), ARGV[10], 1
for first = 1, #told, 900 do  -- 300 entities a call: what unpack puts on the stack is bounded
  local names, pairs, gone = {}, {}, {}
  for i = first, math.min(first + 899, #told), 3 do
    names[#names + 1] = told[i]
    local size = told[i + 2]
    if size == 0 then
      gone[#gone + 1] = told[i]
    else
      xor = bit.bxor(xor, told[i + 1])
      count = count + 1
      pairs[#pairs + 1] = told[i]
      pairs[#pairs + 1] = values:sub(at, at + size - 1)
      at = at + size
    end
  end
  for _, old in ipairs(redis.call('HMGET', KEYS[1], unpack(names))) do
    if old then
      xor = bit.bxor(xor, (struct.unpack('>I4', old)))  -- in (): it answers a position, too
      count = count - 1
    end
  end
  if #pairs > 0 then redis.call('HSET', KEYS[1], unpack(pairs)) end
  if #gone > 0 then redis.call('HDEL', KEYS[1], unpack(gone)) end
end
local wanted = tonumber(ARGV[6])
local whole = wanted > 0 and wanted == count
redis.call('HSET', KEYS[1], 'meta', '[' .. ARGV[3] .. ',' .. ARGV[4] .. ',' .. ARGV[5] .. ',' ..
  (whole and 1 or 0) .. ',' .. count .. ',' .. bit.tobit(xor) .. ']')
redis.call('PEXPIRE', KEYS[1], ARGV[7])
redis.call('SET', KEYS[2], ARGV[8], 'PX', ARGV[7])
return (whole or wanted == 0) and 1 or 0
"""


class _Meta(msgspec.Struct, array_like=True, frozen=True):
    epoch: int
    seq: int
    journal_seq: int
    whole: int
    count: int
    xor: int


decode_meta = msgspec.json.Decoder(_Meta).decode


def snapshot_key(shard_id: int, sale_id: str) -> str:
    return f"stampede:{{{shard_id}}}:sale:{sale_id}"


def view_key(shard_id: int, sale_id: str) -> str:
    return f"stampede:{{{shard_id}}}:view:{sale_id}"


class RedisSnapshots:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._save = redis.register_script(_SAVE)

    async def save(self, delta: SnapshotDelta) -> bool:
        base = [str(delta.base[0]), str(delta.base[1])] if delta.base else ["", ""]
        ttl_ms = max(delta.expires_at_ms - int(time.time() * 1000), 60_000)
        told: list[str | int] = []
        values: list[bytes] = []
        for name, value in delta.entities:
            if not value:
                told += (name, 0, 0)
                continue
            crc = zlib.crc32(value)
            told += (name, crc, _CRC_BYTES + len(value))
            values += (crc.to_bytes(_CRC_BYTES, "big"), value)
        arguments: list[str | bytes | int] = [
            *base,
            delta.epoch,
            delta.seq,
            delta.journal_seq,
            delta.whole,
            ttl_ms,
            _encode(delta.view),
            _encode(told),
            b"".join(values),
            delta.sent_seq,
        ]
        keys = [
            snapshot_key(delta.shard_id, delta.sale_id),
            view_key(delta.shard_id, delta.sale_id),
        ]
        try:
            return bool(await self._save(keys=keys, args=arguments))
        except (RedisError, OSError) as error:
            raise StoreUnavailable from error

    async def load(self, shard_id: int, sale_id: str) -> Snapshot | None:
        """The stored snapshot if it is whole. Read in pieces: should somebody change it meanwhile,
        its count or its checksums don't agree.
        """
        key = snapshot_key(shard_id, sale_id)
        entities: dict[str, bytes] = {}
        try:
            check = await _checked(self._redis, key)
            if check is None:
                return None
            async for some in _scanned(self._redis, key, _SCAN_COUNT):
                entities |= check.take(_new(some, entities))
        except (RedisError, OSError):
            return None
        return _snapshot(shard_id, sale_id, check, entities)


class _Check:
    """Takes what a hash holds, each field once, and tells at the end whether that agrees with
    `meta`.
    """

    def __init__(self, meta: _Meta) -> None:
        self.meta = meta
        self._count = 0
        self._xor = 0
        self._sound = True

    def take(self, stored: dict[bytes, bytes]) -> dict[str, bytes]:
        """The entities of some fields. The loops run within calls: there may be a million."""
        stored.pop(META, None)
        names = list(map(bytes.decode, stored))
        self._count += len(names)
        entities = dict(zip(names, map(_behind_crc, stored.values()), strict=True))
        crcs = list(map(zlib.crc32, entities.values()))
        self._xor = reduce(xor, crcs, self._xor)
        told = b"".join(map(_crc, stored.values()))
        self._sound = self._sound and told == struct.pack(f">{len(crcs)}I", *crcs)
        return entities

    @property
    def agrees(self) -> bool:
        told = (self.meta.count, self.meta.xor & 0xFFFFFFFF)
        return self._sound and told == (self._count, self._xor)


async def _checked(redis: Redis, key: str) -> _Check | None:
    return _check(cast(bytes | None, await redis.hget(key, META)))


def _check(packed: bytes | None) -> _Check | None:
    """Of a whole snapshot; `packed`: what it says of itself."""
    try:
        meta = decode_meta(packed) if packed is not None else None
    except msgspec.DecodeError:
        return None
    return _Check(meta) if meta is not None and meta.whole else None


def _snapshot(
    shard_id: int, sale_id: str, check: _Check, entities: dict[str, bytes]
) -> Snapshot | None:
    if not check.agrees:
        return None
    meta = check.meta
    return Snapshot(
        sale_id, shard_id, meta.epoch, meta.seq, meta.journal_seq, entities, incremental=True
    )


def _new(some: dict[bytes, bytes], known: dict[str, bytes]) -> dict[bytes, bytes]:
    """Of a hash that grows, a scan may tell a field twice."""
    if known.keys().isdisjoint(map(bytes.decode, some)):
        return some
    return {name: value for name, value in some.items() if name.decode() not in known}


async def _scanned(redis: Redis, key: str, count: int) -> AsyncIterator[dict[bytes, bytes]]:
    cursor = -1
    while cursor:
        cursor, some = await redis.hscan(key, max(cursor, 0), count=count)
        yield cast(dict[bytes, bytes], some)


def whole(shard_id: int, sale_id: str, stored: dict[bytes, bytes]) -> Snapshot | None:
    """What a hash holds, or None where that is not a whole snapshot."""
    check = _check(stored.get(META))
    return _snapshot(shard_id, sale_id, check, check.take(stored)) if check is not None else None


class Snapshots:
    """Both stores behind the runtime's port; the fast one is asked first."""

    def __init__(self, fast: RedisSnapshots, durable: PostgresSnapshots) -> None:
        self._fast = fast
        self._durable = durable

    async def load(self, grant: Grant, sale_id: str) -> Snapshot | None:
        try:
            for found in (
                await self._fast.load(grant.shard_id, sale_id),
                await self._durable.load(sale_id),
            ):
                if found is not None and await self._fits(found, grant):
                    return found
        except AWAY as error:
            raise JournalUnavailable from error
        return None

    async def _fits(self, found: Snapshot, grant: Grant) -> bool:
        return found.epoch <= grant.epoch and await self._durable.is_history(found)

    async def save(self, delta: SnapshotDelta) -> bool:
        return await self._fast.save(delta)

    async def draft(self, sale_id: str) -> Draft:
        return await self._durable.draft(sale_id)


class RedisSaleViews:
    """The public's view of a sale, as the snapshots leave it behind."""

    def __init__(self, redis: Redis, shards: int) -> None:
        self._redis = redis
        self._shards = shards

    async def read(self, event_id: str) -> SaleView | None:
        """None where none is stored or Redis is away."""
        try:
            packed = await self._redis.get(view_key(shard_of(event_id, self._shards), event_id))
        except (RedisError, OSError):
            return None
        return decode_view(cast(bytes, packed)) if packed is not None else None
