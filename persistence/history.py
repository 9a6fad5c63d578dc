"""The whole journal: its beginning in the archive's files, the rest in the table.

The files are read up to where a shard's row says that they go, so one that was just being written,
or was written twice, does no harm. What can't be read is left out: a gap that the reader sees.
"""

import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import msgspec

from persistence.retention import ArchivedRow, files, read

READ_ROWS = 200

_SHARD = """
SELECT seq, epoch, sale_ids, batch, crc, recorded_at FROM journal WHERE shard_id = $1 ORDER BY seq
"""
_SALE = """
SELECT seq, epoch, sale_ids, batch, crc, recorded_at FROM journal
WHERE shard_id = $1 AND sale_ids @> ARRAY[$2] ORDER BY seq
"""


class History:
    """Of one shard, inside transactions of the connection. `archived_seq`: how far the files go.

    `sale` opens only the files in which `shard` has met the sale.
    """

    def __init__(self, connection: asyncpg.Connection, archive: Path, shard_id: int) -> None:
        self._connection = connection
        self.archive = archive
        self.shard_id = shard_id
        self._files_by_sale: dict[str, list[Path]] = {}
        self.unreadable: list[Path] = []

    async def shard(self, archived_seq: int) -> AsyncIterator[ArchivedRow]:
        for path, rows in self.archived(archived_seq):
            for sale_id in dict.fromkeys(name for row in rows for name in row.sale_ids):
                self._files_by_sale.setdefault(sale_id, []).append(path)
            for row in rows:
                yield row
        async for found in self._connection.cursor(_SHARD, self.shard_id, prefetch=READ_ROWS):
            yield ArchivedRow(*found)

    async def sale(self, sale_id: str, archived_seq: int) -> AsyncIterator[ArchivedRow]:
        for _, rows in self._read(self._files_by_sale.get(sale_id, []), archived_seq):
            for row in rows:
                if sale_id in row.sale_ids:
                    yield row
        rest = self._connection.cursor(_SALE, self.shard_id, sale_id, prefetch=READ_ROWS)
        async for found in rest:
            yield ArchivedRow(*found)

    def archived(self, archived_seq: int) -> Iterator[tuple[Path, list[ArchivedRow]]]:
        return self._read(files(self.archive, self.shard_id), archived_seq)

    def _read(
        self, paths: list[Path], archived_seq: int
    ) -> Iterator[tuple[Path, list[ArchivedRow]]]:
        last = 0
        for path in paths:
            try:
                rows = read(path)
            except (OSError, EOFError, zlib.error, msgspec.DecodeError):
                self.unreadable.append(path)
                continue
            fresh = [row for row in rows if last < row.seq <= archived_seq]
            last = fresh[-1].seq if fresh else last
            yield path, fresh
