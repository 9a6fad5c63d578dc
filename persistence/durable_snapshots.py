"""Snapshots in Postgres: seldom written, in pieces.

A whole sale in one statement is tens of megabytes, which every commit behind it waits for. A piece
is a small commit like any other; the row in `snapshots` comes last and makes them count. They are
written while the sale goes on, so a later one may tell otherwise of what an earlier one has told.
"""

import asyncio
import zlib
from collections.abc import Awaitable, Mapping
from itertools import islice
from typing import TypeAlias, TypeVar, cast

import asyncpg
import msgspec
from msgspec import Struct

from engine.runtime.ports import Snapshot, StoreUnavailable
from persistence.transactions import AWAY, Connection

ENTITIES_A_PIECE = 1_000

Database: TypeAlias = "asyncpg.Pool | Connection"

_T = TypeVar("_T")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, bytes | None]).decode

_ADD = """
INSERT INTO snapshot_pieces (draft, piece, sale_id, entities, crc) VALUES ($1, $2, $3, $4, $5)
"""

_FINISH = """
INSERT INTO snapshots (sale_id, shard_id, epoch, seq, journal_seq, draft, pieces)
SELECT $1::text, $2::int, $3::bigint, $4::bigint, $5::bigint, $6::bigint, $7::int
WHERE (SELECT count(*) FROM snapshot_pieces WHERE draft = $6) = $7
ON CONFLICT (sale_id) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq,
    journal_seq = excluded.journal_seq, draft = excluded.draft, pieces = excluded.pieces,
    taken_at = now()
WHERE snapshots.seq < excluded.seq
"""

# This one, if it was not newer, and those before, which are done with or were never finished.
_TIDY = """
DELETE FROM snapshot_pieces p USING snapshots s
WHERE p.sale_id = $1 AND s.sale_id = $1 AND p.draft <= $2 AND p.draft <> s.draft
"""

_STORED = """
SELECT s.shard_id, s.epoch, s.seq, s.journal_seq, s.pieces, p.entities, p.crc
FROM snapshots s LEFT JOIN snapshot_pieces p USING (draft)
WHERE s.sale_id = $1 ORDER BY p.piece
"""


class Draft:
    def __init__(self, pool: Database, sale_id: str, number: int) -> None:
        self._pool = pool
        self._sale_id = sale_id
        self._number = number
        self._pieces = 0

    async def add(self, entities: Mapping[str, bytes | None]) -> None:
        blob = _encode(entities)
        place = (self._number, self._pieces, self._sale_id)
        await _done(self._pool.execute(_ADD, *place, blob, zlib.crc32(blob)))
        self._pieces += 1

    async def finish(self, shard_id: int, epoch: int, seq: int, journal_seq: int) -> None:
        place = (self._sale_id, shard_id, epoch, seq, journal_seq)
        await _done(self._pool.execute(_FINISH, *place, self._number, self._pieces))
        await _done(self._pool.execute(_TIDY, self._sale_id, self._number))


class Stored(Struct):
    """`broken`: why it can't be used."""

    shard_id: int
    epoch: int
    seq: int
    journal_seq: int
    entities: dict[str, bytes] = {}
    broken: str | None = None


async def stored_of(pool: Database, sale_id: str) -> Stored | None:
    rows = await pool.fetch(_STORED, sale_id)
    if not rows:
        return None
    stored = Stored(*rows[0][:4])
    pieces = [(row["entities"], row["crc"]) for row in rows if row["entities"] is not None]
    if len(pieces) != rows[0]["pieces"]:
        stored.broken = "lacks a piece"
    for blob, crc in pieces:
        stored.broken = stored.broken or _take(stored.entities, blob, crc)
        await asyncio.sleep(0)  # a piece costs the loop a millisecond
    return stored


def _take(entities: dict[str, bytes], blob: bytes, crc: int) -> str | None:
    """Why the piece can't be used, or None."""
    if zlib.crc32(blob) != crc:
        return "does not have its checksum"
    try:
        told = _decode(blob)
    except msgspec.DecodeError:
        return "can't be read"
    for name in [name for name, entity in told.items() if entity is None]:
        del told[name]
        entities.pop(name, None)
    entities |= cast(dict[str, bytes], told)
    return None


async def _done(work: Awaitable[_T]) -> _T:
    try:
        return await work
    except AWAY as error:
        raise StoreUnavailable from error


class PostgresSnapshots:
    def __init__(self, pool: Database) -> None:
        self._pool = pool

    async def keep(self, snapshot: Snapshot) -> None:
        draft = await self.draft(snapshot.sale_id)
        entities = iter(snapshot.entities.items())
        while some := dict(islice(entities, ENTITIES_A_PIECE)):
            await draft.add(some)
        await draft.finish(snapshot.shard_id, snapshot.epoch, snapshot.seq, snapshot.journal_seq)

    async def draft(self, sale_id: str) -> "Draft":
        """A snapshot that is to be written."""
        number = await _done(self._pool.fetchval("SELECT nextval('snapshot_drafts')"))
        return Draft(self._pool, sale_id, number)

    async def load(self, sale_id: str) -> Snapshot | None:
        stored = await stored_of(self._pool, sale_id)
        if stored is None or stored.broken is not None:
            return None
        return Snapshot(
            sale_id,
            stored.shard_id,
            stored.epoch,
            stored.seq,
            stored.journal_seq,
            stored.entities,
            incremental=False,
        )

    async def is_history(self, snapshot: Snapshot) -> bool:
        """Whether the journal has the batch that the snapshot ends with, as it was written.

        Of what went to the archive our own snapshots are the history.
        """
        row = await self._pool.fetchrow(
            """
            SELECT j.epoch, s.archived_seq FROM shards s
            LEFT JOIN journal j ON j.shard_id = s.shard_id AND j.seq = $2 WHERE s.shard_id = $1
            """,
            snapshot.shard_id,
            snapshot.journal_seq,
        )
        if row is None:
            return False
        if row["epoch"] is None:
            return not snapshot.incremental and snapshot.journal_seq <= row["archived_seq"]
        return bool(row["epoch"] <= snapshot.epoch)
