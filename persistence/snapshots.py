"""Snapshots: incremental ones in Redis behind every commit, seldom ones in Postgres.

How they are stored in Redis is told in `persistence.saves`. A snapshot is used only if the count of
its entities and the XOR of their checksums agree and it is not ahead of the journal.
"""

import struct
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
from engine.runtime.ports import Grant, Snapshot, SnapshotDelta
from engine.state import SaleView
from persistence.durable_snapshots import Draft, PostgresSnapshots
from persistence.saves import CRC_BYTES, Saves, snapshot_key, view_key
from persistence.transactions import AWAY

META = b"meta"
_SCAN_COUNT = 1_000
_crc = itemgetter(slice(CRC_BYTES))
_behind_crc = itemgetter(slice(CRC_BYTES, None))

decode_view = msgspec.msgpack.Decoder(SaleView).decode


class _Meta(msgspec.Struct, array_like=True, frozen=True):
    epoch: int
    seq: int
    journal_seq: int
    whole: int
    count: int
    xor: int


decode_meta = msgspec.json.Decoder(_Meta).decode


class RedisSnapshots:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.save = Saves(redis).save

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
