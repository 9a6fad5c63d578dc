"""Brings snapshots in Redis forward: what is saved at the same time goes there in one call a shard.

In Redis a sale is one hash, a field an entity, its value behind its checksum; the field `meta` says
(epoch, seq, journal_seq) and whether it is whole, with the count of its entities and the XOR of
their checksums, which the script keeps by itself. A piece is taken only on top of the (epoch, seq)
that it was made for, or of what its sender has sent since without hearing of it, and takes out what
is gone. As the pieces of a rewrite may share those, the last one of an abandoned rewrite can land
among those of the next: so it is whole only with as many entities as the sale has.

All keys of a sale carry its shard as a hash tag, so that nothing crosses slots of a cluster.
"""

import asyncio
import time
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from engine.runtime.ports import SnapshotDelta, StoreUnavailable

CRC_BYTES = 4  # before each value
ENTITIES_MAX = 1_000  # of several sales in a call: Redis does nothing else meanwhile
_TTL_MS_MIN = 60_000

# KEYS: of each sale its snapshot's hash and its view. ARGV (few, since each costs both sides): as
# MessagePack of each sale the base's epoch and seq (false begins anew), the latest seq that may be
# stored on top of it, epoch, seq, journal_seq, entities when whole, ttl_ms, the view's size, and by
# turns names and sizes of entities (0: it is gone); then what is stored, one behind the other.
_SAVE = """
local values, at = ARGV[2], 1
local function next_value(size)
  at = at + size
  return values:sub(at - size, at - 1)
end
local function skip(entities)
  for i = 2, #entities, 2 do at = at + entities[i] end
end
local function save(hash, view, delta)
  local base_epoch, base, sent, epoch, seq, journal_seq, wanted, ttl = unpack(delta, 1, 8)
  local seen, entities = next_value(delta[9]), delta[10]
  local count, xor = 0, 0
  if not base_epoch then
    redis.call('DEL', hash)
  else
    local meta = redis.call('HGET', hash, 'meta')
    local m = meta and cjson.decode(meta)
    local at_base = m and m[1] == base_epoch and m[2] == base
    local since = m and m[1] == epoch and m[2] >= base and m[2] <= sent
    if not (at_base or since) then
      skip(entities)
      return 0
    end
    count, xor = m[5], m[6]
  end
  for first = 1, #entities, 600 do  -- 300 a call: what unpack puts on the stack is bounded
    local names, pairs, gone = {}, {}, {}
    for i = first, math.min(first + 599, #entities), 2 do
      local name, size = entities[i], entities[i + 1]
      names[#names + 1] = name
      if size == 0 then
        gone[#gone + 1] = name
      else
        local value = next_value(size)
        xor = bit.bxor(xor, (struct.unpack('>I4', value)))  -- in (): it answers a position, too
        count = count + 1
        pairs[#pairs + 1] = name
        pairs[#pairs + 1] = value
      end
    end
    for _, old in ipairs(redis.call('HMGET', hash, unpack(names))) do
      if old then
        xor = bit.bxor(xor, (struct.unpack('>I4', old)))
        count = count - 1
      end
    end
    if #pairs > 0 then redis.call('HSET', hash, unpack(pairs)) end
    if #gone > 0 then redis.call('HDEL', hash, unpack(gone)) end
  end
  local whole = wanted > 0 and wanted == count
  local meta = {epoch, seq, journal_seq, whole and 1 or 0, count, bit.tobit(xor)}
  redis.call('HSET', hash, 'meta', '[' .. table.concat(meta, ',') .. ']')
  redis.call('PEXPIRE', hash, ttl)
  redis.call('SET', view, seen, 'PX', ttl)
  return (whole or wanted == 0) and 1 or 0
end
local stored = {}
for i, delta in ipairs(cmsgpack.unpack(ARGV[1])) do
  stored[i] = save(KEYS[2 * i - 1], KEYS[2 * i], delta)
end
return stored
"""

_encode = msgspec.msgpack.Encoder().encode


def snapshot_key(shard_id: int, sale_id: str) -> str:
    return f"stampede:{{{shard_id}}}:sale:{sale_id}"


def view_key(shard_id: int, sale_id: str) -> str:
    return f"stampede:{{{shard_id}}}:view:{sale_id}"


class _Call(NamedTuple):
    """One to Redis, about to be made."""

    deltas: list[SnapshotDelta]
    stored: asyncio.Task[list[int]]


class Saves:
    def __init__(self, redis: Redis) -> None:
        self._script = redis.register_script(_SAVE)
        self._call_by_shard: dict[int, _Call] = {}

    async def save(self, delta: SnapshotDelta) -> bool:
        """Whether it is stored. Raises StoreUnavailable where nobody knows."""
        call = self._call_by_shard.get(delta.shard_id)
        if call is None:
            sending = asyncio.create_task(self._send(delta.shard_id))
            call = self._call_by_shard[delta.shard_id] = _Call([], sending)
        place = len(call.deltas)
        call.deltas.append(delta)
        try:
            stored = await asyncio.shield(call.stored)
        except (RedisError, OSError) as error:
            raise StoreUnavailable from error
        return bool(stored[place])

    async def _send(self, shard_id: int) -> list[int]:
        """Of each delta that was gathered by now whether it is stored."""
        deltas = self._call_by_shard.pop(shard_id).deltas
        return [stored for some in _portions(deltas) for stored in await self._store(some)]

    async def _store(self, deltas: list[SnapshotDelta]) -> list[int]:
        now_ms = int(time.time() * 1000)
        keys: list[str] = []
        told: list[tuple[object, ...]] = []
        values: list[bytes] = []
        for delta in deltas:
            of_sale = (delta.shard_id, delta.sale_id)
            keys += (snapshot_key(*of_sale), view_key(*of_sale))
            told.append(_told(delta, now_ms, values))
        stored: list[int] = await self._script(keys=keys, args=[_encode(told), b"".join(values)])
        return stored


def _portions(deltas: list[SnapshotDelta]) -> Iterator[list[SnapshotDelta]]:
    some: list[SnapshotDelta] = []
    entities = 0
    for delta in deltas:
        if some and entities + len(delta.entities) > ENTITIES_MAX:
            yield some
            some, entities = [], 0
        some.append(delta)
        entities += len(delta.entities)
    yield some


def _told(delta: SnapshotDelta, now_ms: int, values: list[bytes]) -> tuple[object, ...]:
    """`values` gets what is stored."""
    view = _encode(delta.view)
    values.append(view)
    entities: list[str | int] = []
    for name, value in delta.entities:
        if value:
            entities += (name, CRC_BYTES + len(value))
            values += (zlib.crc32(value).to_bytes(CRC_BYTES, "big"), value)
        else:
            entities += (name, 0)
    return (
        *(delta.base or (False, False)),
        *(delta.sent_seq, delta.epoch, delta.seq, delta.journal_seq, delta.whole),
        *(max(delta.expires_at_ms - now_ms, _TTL_MS_MIN), len(view), entities),
    )
