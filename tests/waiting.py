"""Waits for what must come true; how soon is the caller's promise."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

import asyncpg

POLL_S = 0.01
_BEHIND = """
SELECT sum(s.last_seq - coalesce(o.seq, 0))
FROM shards s LEFT JOIN projection_offsets o USING (shard_id)
"""


async def until(condition: Callable[[], Awaitable[object] | object], seconds: float = 60.0) -> None:
    """Raises TimeoutError where the condition does not hold within so long."""
    deadline = time.monotonic() + seconds
    while not await _asked(condition):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s")
        await asyncio.sleep(POLL_S)


async def until_projected(connection: asyncpg.Connection) -> None:
    """Until the tables are where the journal is."""

    async def is_projected() -> bool:
        return not await connection.fetchval(_BEHIND)

    await until(is_projected)


async def _asked(condition: Callable[[], Awaitable[object] | object]) -> object:
    found = condition()
    return await found if inspect.isawaitable(found) else found
