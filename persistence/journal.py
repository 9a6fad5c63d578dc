"""The journal in Postgres: one blob row a shard and turn, fenced by the shard's epoch.

The fence is the row lock of `UPDATE shards ... WHERE epoch = mine AND last_seq = old` in the very
statement that writes: an owner that was taken over finds no row and writes nothing. (A mere
`WHERE EXISTS (... epoch = mine)` takes no lock and lets the old owner commit after the takeover.)
A takeover bumps the epoch in a statement of its own and reads afterwards, or it could miss the
last batch.
"""

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, TypeVar
from uuid import uuid4

import asyncpg
import msgspec

from engine.facts import Entry
from engine.ids import personal_key_id
from engine.runtime.faults import JournalUnavailable, OutcomeUnknown
from engine.runtime.ports import Batch, Consumed, Grant
from persistence.transactions import AWAY, session

APPEND_TIMEOUT_S = 5.0
READ_ROWS = 500

_encode = msgspec.msgpack.Encoder().encode
_decode_consumed = msgspec.msgpack.Decoder(Consumed).decode
_decode = msgspec.msgpack.Decoder(tuple[Entry, ...]).decode
_T = TypeVar("_T")

_APPEND = """
WITH batches AS (
    SELECT * FROM unnest($1::int[], $2::bigint[], $3::bigint[], $4::text[], $5::bytea[],
                         $6::bigint[], $7::bytea[])
        AS b (shard_id, epoch, seq, sale_ids, batch, crc, inbox)
), fenced AS (
    UPDATE shards s SET last_seq = b.seq, inbox = coalesce(b.inbox, s.inbox)
    FROM batches b
    WHERE s.shard_id = b.shard_id AND s.epoch = b.epoch
      AND s.last_seq = b.seq - (b.batch IS NOT NULL)::int
    RETURNING s.shard_id
), written AS (
    INSERT INTO journal (shard_id, seq, epoch, sale_ids, batch, crc)
    SELECT b.shard_id, b.seq, b.epoch, string_to_array(b.sale_ids, ','), b.batch, b.crc
    FROM batches b JOIN fenced USING (shard_id)
    WHERE b.batch IS NOT NULL
), keys AS (
    INSERT INTO personal_keys (order_id, key_id, key)
    SELECT k.order_id, k.key_id, k.key
    FROM unnest($8::int[], $9::text[], $10::bytea[], $11::bytea[])
        AS k (shard_id, order_id, key_id, key)
    JOIN fenced USING (shard_id)
)
SELECT shard_id FROM fenced
"""

# The same for a batch of one shard without keys, which nearly every turn of a hot sale is.
_APPEND_ONE = """
WITH fenced AS (
    UPDATE shards SET last_seq = $3::bigint, inbox = coalesce($7, inbox)
    WHERE shard_id = $1 AND epoch = $2::bigint AND last_seq = $3::bigint - 1
    RETURNING shard_id
)
INSERT INTO journal (shard_id, seq, epoch, sale_ids, batch, crc)
SELECT shard_id, $3::bigint, $2::bigint, string_to_array($4::text, ','), $5::bytea, $6::bigint
FROM fenced RETURNING shard_id
"""

# What another live node owns stays its own; a process that was replaced by another of its name
# takes nothing any more. The owner's lease is read under a lock, as it is once we have the shard's
# row: we may have waited there for the owner's append, and the owner may have renewed meanwhile.
_ACQUIRE = """
INSERT INTO shards (shard_id, epoch, owner)
SELECT shard_id, 1, $2 FROM unnest($1::int[]) AS s (shard_id)
WHERE NOT EXISTS (SELECT FROM nodes WHERE name = $2 AND incarnation <> $3)
ON CONFLICT (shard_id) DO UPDATE SET epoch = shards.epoch + 1, owner = excluded.owner
WHERE shards.owner IS NOT DISTINCT FROM excluded.owner
   OR coalesce((SELECT lease_until FROM nodes WHERE name = shards.owner FOR SHARE)
               <= clock_timestamp(), true)
RETURNING shard_id
"""

_REACQUIRE = """
UPDATE shards s SET epoch = s.epoch + 1
FROM unnest($1::int[], $2::bigint[]) AS g (shard_id, epoch)
WHERE s.shard_id = g.shard_id AND s.epoch = g.epoch
RETURNING s.shard_id
"""

_RELEASE = """
WITH released AS (
    UPDATE shards s SET owner = r.successor
    FROM unnest($1::int[], $2::bigint[], $3::text[]) AS r (shard_id, epoch, successor)
    WHERE s.shard_id = r.shard_id AND s.epoch = r.epoch
    RETURNING coalesce(r.successor, '') AS successor
)
SELECT pg_notify('stampede_shards', successor) FROM (SELECT DISTINCT successor FROM released) AS r
"""

_GRANTS = """
SELECT s.shard_id, s.epoch, s.last_seq, s.inbox,
       coalesce((SELECT max(seq) FROM journal j WHERE j.shard_id = s.shard_id), s.archived_seq)
           AS newest
FROM shards s WHERE s.shard_id = ANY($1::int[])
"""

_SUFFIX = """
SELECT seq, epoch, batch, crc FROM journal
WHERE shard_id = $1 AND seq > $2 AND sale_ids @> ARRAY[$3]
ORDER BY seq LIMIT $4
"""

# Rows of the sale that come after may have gone to the archive: a durable snapshot has them.
_CUT = """
SELECT s.archived_seq > $2 AND coalesce(k.journal_seq, 0) > $2
FROM shards s LEFT JOIN snapshots k ON k.sale_id = $3 WHERE s.shard_id = $1
"""

# Sales with places held or with somebody who waits by the projection, whatever their shard, and
# all of these shards that the projection has not read yet.
_UNSETTLED = """
SELECT DISTINCT event_id FROM tier_counters WHERE held > 0
UNION
SELECT DISTINCT event_id FROM waitlist WHERE status IN ('WAITING', 'OFFERED')
UNION
SELECT DISTINCT unnest(j.sale_ids)
FROM journal j LEFT JOIN projection_offsets o USING (shard_id)
WHERE j.shard_id = ANY($1::int[]) AND j.seq > coalesce(o.seq, 0)
UNION
SELECT e.event_id FROM events e
WHERE e.status = 'CANCELLED' AND e.opened
  AND EXISTS (SELECT FROM tier_counters c WHERE c.event_id = e.event_id AND c.sold > 0)
"""


class NodeName(msgspec.Struct, frozen=True):
    """Who writes: `incarnation` tells a process from others of that name."""

    name: str
    incarnation: str

    @classmethod
    def of_this_process(cls, name: str) -> "NodeName":
        return cls(name, f"{int(time.time() * 1000):012x}{uuid4().hex}")


class CorruptJournal(Exception):
    """The journal contradicts itself; nothing may be decided on it."""


class PostgresJournal:
    """Writes on one connection of its own; reads, which may be long, on a pool."""

    append_statement = _APPEND
    append_one_statement: str | None = _APPEND_ONE

    def __init__(self, dsn: str, pool: asyncpg.Pool, node: NodeName) -> None:
        self._dsn = dsn
        self._node = node
        self.pool = pool
        self._writer: asyncpg.Connection | None = None
        self._append: Any = None
        self._append_one: Any = None
        self._given_up: list[tuple[Grant, str | None]] = []
        self._releasing: asyncio.Task[None] | None = None

    async def close(self) -> None:
        if self._writer is not None:
            await self._writer.close(timeout=2)

    async def acquire(self, shard_ids: Sequence[int]) -> list[Grant]:
        async def acquire() -> list[Grant]:
            if self._append is None:
                await self._reconnect()
            node = self._node
            rows = await self.pool.fetch(_ACQUIRE, sorted(shard_ids), node.name, node.incarnation)
            return await self._grants(rows)

        return await _translated(acquire())

    async def reacquire(self, grants: Sequence[Grant]) -> list[Grant]:
        async def reacquire() -> list[Grant]:
            await self._reconnect()
            columns = [grant.shard_id for grant in grants], [grant.epoch for grant in grants]
            return await self._grants(await self.pool.fetch(_REACQUIRE, *columns))

        return await _translated(reacquire())

    async def _grants(self, taken: Sequence[asyncpg.Record]) -> list[Grant]:
        """Read only after the epochs were bumped, or the last batch could be missed."""
        rows = await self.pool.fetch(_GRANTS, [row["shard_id"] for row in taken])
        for row in rows:
            if row["newest"] != row["last_seq"]:
                raise CorruptJournal(f"shard {row['shard_id']} ends at {row['newest']}: {row}")
        return [
            Grant(row["shard_id"], row["epoch"], row["last_seq"], _consumed(row["inbox"]))
            for row in rows
        ]

    async def release(self, grant: Grant, successor: str | None) -> None:
        """What is given up in the same turn of the loop goes together, and comes so."""
        self._given_up.append((grant, successor))
        if self._releasing is None:
            self._releasing = asyncio.create_task(self._release())
        await asyncio.shield(self._releasing)

    async def _release(self) -> None:
        await asyncio.sleep(0)
        given_up, self._given_up, self._releasing = self._given_up, [], None
        shard_ids = [grant.shard_id for grant, _ in given_up]
        epochs = [grant.epoch for grant, _ in given_up]
        successors = [successor for _, successor in given_up]
        await _translated(self.pool.execute(_RELEASE, shard_ids, epochs, successors))

    async def _reconnect(self) -> None:
        """A fresh connection: what an old one may still have in flight is fenced by the epoch."""
        if self._writer is not None:
            self._writer.terminate()
        self._writer = await asyncpg.connect(
            self._dsn,
            timeout=APPEND_TIMEOUT_S,
            command_timeout=APPEND_TIMEOUT_S,
            server_settings=session("journal"),
        )
        if self.append_one_statement is not None:
            self._append_one = await self._writer.prepare(self.append_one_statement)
        self._append = await self._writer.prepare(self.append_statement)

    async def append(self, batches: Sequence[Batch]) -> frozenset[int]:
        if self._append is None:
            raise JournalUnavailable
        try:
            if self._append_one is not None and _is_one(batches):
                rows = await self._append_one.fetch(*_values(batches[0]))
            else:
                rows = await self._append.fetch(*_columns(batches))
        except AWAY as error:
            self._append = None
            raise OutcomeUnknown from error
        except asyncpg.PostgresError as error:  # the statement itself was refused: nothing landed
            self._append = None
            raise JournalUnavailable from error
        return frozenset(row[0] for row in rows)

    async def landed(self, batch: Batch) -> bool:
        async def find() -> bool:
            found = await self.pool.fetchval(
                "SELECT epoch FROM journal WHERE shard_id = $1 AND seq = $2",
                batch.shard_id,
                batch.seq,
            )
            return bool(found == batch.epoch)

        return await _translated(find())

    async def suffix(self, shard_id: int, sale_id: str, after_seq: int) -> AsyncIterator[Batch]:
        begin = after_seq
        while True:
            rows = await _translated(
                self.pool.fetch(_SUFFIX, shard_id, after_seq, sale_id, READ_ROWS)
            )
            for row in rows:
                after_seq = row["seq"]
                yield Batch(shard_id, row["epoch"], after_seq, decode(row["batch"], row["crc"]))
            if len(rows) < READ_ROWS:
                break
        # Last, or what was archived meanwhile would be missed.
        if await _translated(self.pool.fetchval(_CUT, shard_id, begin, sale_id)):
            raise JournalUnavailable(
                f"the facts of {sale_id} went to the archive, and no snapshot that can be read has"
                " them: stop the server and run `stampede fsck --repair`, unless it was just taken"
            )

    async def unsettled(self, shard_ids: Sequence[int]) -> list[str]:
        rows = await _translated(self.pool.fetch(_UNSETTLED, list(shard_ids)))
        return [row[0] for row in rows]


def decode(blob: bytes, crc: int) -> tuple[Entry, ...]:
    """The entries of a journal row. Raises CorruptJournal where they are not what was written."""
    if zlib.crc32(blob) != crc:
        raise CorruptJournal("a batch does not have its checksum")
    return _decode(blob)


def _consumed(inbox: bytes | None) -> Consumed:
    return _decode_consumed(inbox) if inbox is not None else Consumed()


def _is_one(batches: Sequence[Batch]) -> bool:
    return len(batches) == 1 and bool(batches[0].entries) and not batches[0].personal_keys


def _values(batch: Batch) -> tuple[Any, ...]:
    blob = _encode(batch.entries) if batch.entries else None
    return (
        batch.shard_id,
        batch.epoch,
        batch.seq,
        ",".join({entry.sale_id for entry in batch.entries}),
        blob,
        zlib.crc32(blob) if blob is not None else None,
        _encode(batch.consumed) if batch.consumed is not None else None,
    )


def _columns(batches: Sequence[Batch]) -> tuple[list[Any], ...]:
    keys = [(b.shard_id, order_id, key) for b in batches for order_id, key in b.personal_keys]
    return (
        *(list(column) for column in zip(*map(_values, batches), strict=True)),
        [shard_id for shard_id, _, _ in keys],
        [order_id for _, order_id, _ in keys],
        [personal_key_id(key) for _, _, key in keys],
        [key for _, _, key in keys],
    )


async def _translated(work: Awaitable[_T]) -> _T:
    try:
        return await work
    except (*AWAY, asyncpg.PostgresError) as error:
        raise JournalUnavailable from error
