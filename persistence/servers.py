"""Where the data is, for a tool that looks at it: servers with URLs, or those of a data folder.

A folder's servers may be running under somebody else, who has claimed the folder; then they are
reached through the links to their sockets. Else they are started for the while.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from persistence.data_folder import MARKER_NAME, EmbeddedServerError, claim_data_folder
from persistence.embedded import EmbeddedPostgres, EmbeddedRedis


class ToolError(Exception):
    """What was asked for can't be done: one line for whoever asked."""


@asynccontextmanager
async def servers_of(
    folder: Path, database_url: str | None, redis_url: str | None, *, new: bool = False
) -> AsyncIterator[tuple[str, str]]:
    """The URLs of Postgres and Redis. `new`: the folder may be absent, and is made then.

    Raises EmbeddedServerError.
    """
    if database_url is not None and redis_url is not None:
        yield database_url, redis_url
        return
    folder = folder.absolute()
    if not new and not (folder / MARKER_NAME).exists():
        raise EmbeddedServerError(f"{folder} is no data folder, and no DATABASE_URL is set")
    running = _running(folder)
    if running is not None:
        yield database_url or running[0], redis_url or running[1]
        return
    claim = claim_data_folder(folder)
    async with AsyncExitStack() as stack:
        stack.callback(claim.release)
        postgres, redis = EmbeddedPostgres(folder / "postgres"), EmbeddedRedis(folder / "redis")
        if database_url is None:
            stack.push_async_callback(postgres.stop)
        if redis_url is None:
            stack.push_async_callback(redis.stop)
        started = await asyncio.gather(
            postgres.start() if database_url is None else _given(database_url),
            redis.start() if redis_url is None else _given(redis_url),
        )
        yield started[0], started[1]


def _running(folder: Path) -> tuple[str, str] | None:
    """Of whoever has claimed the folder; None where nobody has."""
    try:
        claim_data_folder(folder).release()
    except EmbeddedServerError:
        sockets = [folder / f"{name}.sockets" for name in ("postgres", "redis")]
        if not all(link.exists() for link in sockets):
            raise
        # Resolved: the path of a socket must be short.
        postgres, redis = (link.resolve() for link in sockets)
        return (
            f"postgresql://stampede@/stampede?host={postgres}&port=5432",
            f"unix://{redis / 'redis.sock'}",
        )
    return None


async def _given(url: str) -> str:
    return url
