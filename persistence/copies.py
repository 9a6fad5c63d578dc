"""What is kept of a sale beside the journal: two snapshots and the public's view, as of a fact.

They are read as they are stored, broken ones too, to be held against a replay of the journal.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import cast

import asyncpg
import msgspec
from msgspec import Struct
from redis.asyncio import Redis

from engine import snapshot
from engine.state import State
from persistence.durable_snapshots import stored_of
from persistence.saves import snapshot_key, view_key
from persistence.snapshots import META, decode_meta, decode_view, whole

_encode = msgspec.msgpack.Encoder().encode


class Kind(StrEnum):
    """The words are shown as they are."""

    FAST = "Redis snapshot"
    DURABLE = "Postgres snapshot"
    VIEW = "public view"


class Copy(Struct):
    """`written`: the (epoch, journal_seq) that it names. `broken`: why it can't be read."""

    kind: Kind
    seq: int = 0
    written: tuple[int, int] | None = None
    content: dict[str, bytes] = {}
    broken: str | None = None

    def difference(self, state: State) -> str | None:
        """Where it is not, byte for byte, the sale as of this state."""
        left = dict(self.content)
        for name, wanted in self._wanted(state):
            stored = left.pop(name, None)
            if stored != wanted:
                return f"{_named(name)} {'is missing' if stored is None else 'differs'}"
        return next((f"{_named(name)} follows from no fact" for name in left), None)

    def _wanted(self, state: State) -> Iterable[tuple[str, bytes]]:
        if self.kind is Kind.VIEW:
            return [(self.kind.value, _encode(state.view()))]
        return snapshot.encode(state, snapshot.names(state))


def _named(entity: str) -> str:
    return entity.replace("\n", " ")  # a scan's: device and nonce


async def from_redis(redis: Redis, shard_id: int, sale_id: str) -> list[Copy]:
    """One look at both. A snapshot that says itself that it is not whole yet is none."""
    async with redis.pipeline(transaction=True) as both:
        both.hgetall(snapshot_key(shard_id, sale_id))
        both.get(view_key(shard_id, sale_id))
        stored, view = await both.execute()
    copies = [_fast(shard_id, sale_id, cast(dict[bytes, bytes], stored))] if stored else []
    copies += [_view(cast(bytes, view))] if view is not None else []
    return [copy for copy in copies if copy is not None]


def _fast(shard_id: int, sale_id: str, stored: dict[bytes, bytes]) -> Copy | None:
    try:
        meta = decode_meta(stored.get(META, b""))
    except msgspec.DecodeError:
        return Copy(Kind.FAST, broken="says nothing of itself that can be read")
    if not meta.whole:
        return None
    found = whole(shard_id, sale_id, stored)
    if found is None:
        return Copy(Kind.FAST, broken="does not agree with its own checksums")
    return Copy(Kind.FAST, found.seq, (found.epoch, found.journal_seq), found.entities)


def _view(packed: bytes) -> Copy:
    try:
        view = decode_view(packed)
    except msgspec.DecodeError:
        return Copy(Kind.VIEW, broken="can't be read")
    return Copy(Kind.VIEW, view.seq, None, {Kind.VIEW.value: packed})


async def from_postgres(connection: asyncpg.Connection, shard_id: int, sale_id: str) -> list[Copy]:
    stored = await stored_of(connection, sale_id)
    if stored is None:
        return []
    if stored.shard_id != shard_id:
        return [Copy(Kind.DURABLE, broken=f"names shard {stored.shard_id}")]
    if stored.broken is not None:
        return [Copy(Kind.DURABLE, broken=stored.broken)]
    written = (stored.epoch, stored.journal_seq)
    return [Copy(Kind.DURABLE, stored.seq, written, stored.entities)]
