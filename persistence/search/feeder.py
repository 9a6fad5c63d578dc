"""Feeds the index on Postgres from the outbox that the catalogue's changes are written to.

One feeder at a time (an advisory lock). The documents and the end of their entries in the outbox
are one transaction, so a crash loses no change; what is read twice is written as the same.
"""

import asyncio
from collections.abc import Callable

import asyncpg

from persistence.alone import alone
from persistence.search import documents, writing

EVENTS_MAX = 500  # at once
IDLE_S = 0.1
LOCK = 7_308_052_003  # an arbitrary number that is ours

_CHANGES = "SELECT change_id, event_id FROM search_changes ORDER BY change_id LIMIT $1"
_DUE = "SELECT event_id FROM search_sources WHERE refresh_at <= clock_timestamp() LIMIT $1"
_DONE = "DELETE FROM search_changes WHERE change_id = ANY($1)"
_MARK_ALL = "INSERT INTO search_changes (event_id) SELECT event_id FROM events"


async def feed(dsn: str, fed: Callable[[int], None]) -> None:
    """For ever, one process at a time."""
    # What it writes can be made again: it need not wait for the disk.
    await alone(
        dsn,
        "search feeder",
        LOCK,
        lambda connection: Feeder(connection).run(fed),
        synchronous_commit="off",
    )


class Feeder:
    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def run(self, fed: Callable[[int], None]) -> None:
        """For ever; `fed` hears how many documents were written."""
        while True:
            written = await self.step()
            fed(written)
            await asyncio.sleep(0 if written else IDLE_S)

    async def step(self) -> int:
        """Write the documents of the next events that have changed; how many."""
        async with self._connection.transaction():
            changes = await self._connection.fetch(_CHANGES, EVENTS_MAX)
            due = await self._connection.fetch(_DUE, EVENTS_MAX)
            event_ids = {row["event_id"] for row in (*changes, *due)}
            if not event_ids:
                return 0
            await writing.write(
                self._connection, await documents.read(self._connection, sorted(event_ids))
            )
            await self._connection.execute(_DONE, [row["change_id"] for row in changes])
        return len(event_ids)


async def mark_all(connection: asyncpg.Connection) -> int:
    """Have every event's document written anew; how many."""
    return int((await connection.execute(_MARK_ALL)).rpartition(" ")[2])


async def waiting(connection: asyncpg.Connection) -> int:
    return int(await connection.fetchval("SELECT count(*) FROM search_changes"))
