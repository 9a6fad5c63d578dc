"""Moves the old part of the journal into files, so that the database stops growing.

Only a shard's beginning is moved: rows that are old enough, that the projector has read, and whose
sales all have a durable snapshot at least as new. A file is on the disk before its rows go. It is
gzip over msgpack rows of (seq, epoch, sale ids, batch, crc, instant), so a sale can be replayed
from its files and the rest of the journal.
"""

import asyncio
import gzip
import os
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import asyncpg
import msgspec

from persistence.alone import alone

ROWS_MAX = 1_000  # in a file
LOOK_S = 60.0
LOCK = 7_308_052_002  # an arbitrary number that is ours

_SHARDS = "SELECT shard_id FROM shards WHERE last_seq > archived_seq ORDER BY shard_id"

# The beginning of the journal up to the first row that is still needed.
_UNNEEDED = """
WITH first AS (
    SELECT j.seq, j.epoch, j.sale_ids, j.batch, j.crc, j.recorded_at,
           j.recorded_at >= now() - $2::interval
           OR j.seq > coalesce((SELECT seq FROM projection_offsets WHERE shard_id = $1), 0)
           OR EXISTS (SELECT FROM unnest(j.sale_ids) AS named (sale_id)
                      LEFT JOIN snapshots USING (sale_id)
                      WHERE coalesce(snapshots.journal_seq, 0) < j.seq) AS needed
    FROM journal j WHERE j.shard_id = $1 ORDER BY j.seq LIMIT $3
)
SELECT seq, epoch, sale_ids, batch, crc, recorded_at FROM first
WHERE seq < coalesce((SELECT min(seq) FROM first WHERE needed), 9223372036854775807)
ORDER BY seq
"""


class ArchivedRow(msgspec.Struct, frozen=True, array_like=True):
    seq: int
    epoch: int
    sale_ids: list[str]
    batch: bytes
    crc: int
    recorded_at: datetime


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[ArchivedRow]).decode


async def retain(dsn: str, folder: Path, kept: timedelta) -> None:
    """For ever, one process at a time."""
    await alone(
        dsn, "retention", LOCK, lambda connection: Retention(connection, folder, kept).run()
    )


class Retention:
    """`kept`: how long a row stays in the database at least."""

    def __init__(self, connection: asyncpg.Connection, folder: Path, kept: timedelta) -> None:
        self._connection = connection
        self._folder = folder
        self._kept = kept

    async def run(self) -> None:
        while True:
            while await self.step():
                pass
            await asyncio.sleep(LOOK_S)

    async def step(self) -> int:
        """Move the next piece of every shard; how many rows went."""
        moved = 0
        for shard in await self._connection.fetch(_SHARDS):
            moved += await self._archive(shard["shard_id"])
        return moved

    async def _archive(self, shard_id: int) -> int:
        found = await self._connection.fetch(_UNNEEDED, shard_id, self._kept, ROWS_MAX)
        rows = [ArchivedRow(*row) for row in found]
        if rows:
            await asyncio.to_thread(_write, self._folder, shard_id, rows)
            async with self._connection.transaction():
                await self._connection.execute(
                    "UPDATE shards SET archived_seq = $2 WHERE shard_id = $1",
                    shard_id,
                    rows[-1].seq,
                )
                await self._connection.execute(
                    "DELETE FROM journal WHERE shard_id = $1 AND seq <= $2", shard_id, rows[-1].seq
                )
        return len(rows)


def _write(folder: Path, shard_id: int, rows: Sequence[ArchivedRow]) -> None:
    """All of it is on the disk, or nothing under its name."""
    shard = folder / f"shard-{shard_id:04}"
    shard.mkdir(parents=True, exist_ok=True)
    path = shard / f"{rows[0].seq:012}-{rows[-1].seq:012}.gz"
    draft = path.with_suffix(".new")
    with draft.open("wb") as file:
        file.write(gzip.compress(_encode(rows), compresslevel=6))
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    directory = os.open(shard, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def archived(folder: Path, shard_id: int) -> Iterator[ArchivedRow]:
    """What was moved of a shard, in order."""
    for path in files(folder, shard_id):
        yield from read(path)


def files(folder: Path, shard_id: int) -> list[Path]:
    """A shard's, in order."""
    return sorted((folder / f"shard-{shard_id:04}").glob("*.gz"))


def read(path: Path) -> list[ArchivedRow]:
    return decode_file(path.read_bytes())


def decode_file(content: bytes) -> list[ArchivedRow]:
    """Raises OSError, EOFError, zlib.error or msgspec.DecodeError on what is none of ours."""
    return _decode(gzip.decompress(content))
