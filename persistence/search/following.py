"""Keeps Elasticsearch as the documents on Postgres are, and makes it anew from them.

The documents' versions are taken and committed in order by the one feeder, so an index that has all
up to a version needs only those above it. How far it has come stands in `search_followers` under
the index's own name: after a crash some documents are written again, and their version makes that
harmless; a new index begins at nothing.
"""

import asyncio
from collections.abc import Callable, Sequence

import asyncpg
import msgspec

from engine.finding import Document
from persistence.search.elastic_indexes import ElasticIndexes
from persistence.search.fallback import SearchUnavailable
from persistence.transactions import Connection

DOCUMENTS_MAX = 500  # at once
IDLE_S = 0.1
AWAY_S = 1.0
LOCK = 7_308_052_005  # an arbitrary number that is ours

_NEWER = """
SELECT version, document FROM search_sources WHERE version > $1 ORDER BY version LIMIT $2
"""
_FOLLOWED = "SELECT version FROM search_followers WHERE index_name = $1"
_KEEP = """
INSERT INTO search_followers (index_name, version) VALUES ($1, $2)
ON CONFLICT (index_name) DO UPDATE SET version = excluded.version
"""
_FORGET = "DELETE FROM search_followers WHERE index_name <> $1"

_decode = msgspec.json.Decoder(Document).decode


class Follower:
    """`failed` hears of a server that is away; sales and searches go on without it."""

    def __init__(
        self,
        connection: Connection,
        indexes: ElasticIndexes,
        failed: Callable[[Exception], None],
    ) -> None:
        self._connection = connection
        self._indexes = indexes
        self._failed = failed

    async def run(self) -> None:
        while True:
            try:
                written = await self.step()
                await asyncio.sleep(0 if written else IDLE_S)
            except SearchUnavailable as error:
                self._failed(error)
                await asyncio.sleep(AWAY_S)

    async def step(self) -> int:
        """Write the next documents; how many. Raises SearchUnavailable."""
        name = await self._indexes.current()
        if name is None:
            name = await self._indexes.make()
            await self._indexes.switch_to(name)
        followed = await self._connection.fetchval(_FOLLOWED, name) or 0
        return await _copy(self._connection, self._indexes, name, followed)


async def reindex(
    connection: Connection, indexes: ElasticIndexes, copied: Callable[[int], None]
) -> str:
    """A new index of all documents in place of the one there is; its name.

    Searches and changes go on meanwhile: what changes is written to the old one by the follower,
    and to the new one from where the copy ended. `copied` hears how many more have been written.
    """
    name = await indexes.make()
    while True:
        followed = await connection.fetchval(_FOLLOWED, name) or 0
        written = await _copy(connection, indexes, name, followed)
        copied(written)
        if not written:
            break
    await connection.execute(_KEEP, name, followed)
    await indexes.switch_to(name)
    await connection.execute(_FORGET, name)
    return name


async def documents_in_all(connection: Connection) -> int:
    return int(await connection.fetchval("SELECT count(*) FROM search_sources"))


async def _copy(connection: Connection, indexes: ElasticIndexes, name: str, followed: int) -> int:
    rows: Sequence[asyncpg.Record] = await connection.fetch(_NEWER, followed, DOCUMENTS_MAX)
    if rows:
        await indexes.write(name, [_decode(row["document"]) for row in rows])
        await connection.execute(_KEEP, name, rows[-1]["version"])
    return len(rows)
