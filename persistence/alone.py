"""Work that one process does at a time, for ever: the others wait to take it over.

Who works is whose connection holds an advisory lock, so a process that dies lets go of it. A
database that goes away and comes back costs a line in the log, not the process.
"""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import structlog

from persistence.transactions import AWAY, heed_cancellation, session

RETRY_S = 0.5
TIMEOUT_S = 30.0


async def alone(
    dsn: str,
    name: str,
    lock: int,
    work: Callable[[asyncpg.Connection], Awaitable[None]],
    **settings: str,
) -> None:
    """Do `work`, which ends only by an error, on a connection that has the lock."""
    log = structlog.get_logger(name)
    while True:
        try:
            await _on_one_connection(dsn, name, lock, work, settings)
        except AWAY as error:
            heed_cancellation(error)
            log.warning("it waits for the database", error=repr(error))
            await asyncio.sleep(RETRY_S)


async def first_of(work: Awaitable[None]) -> None:
    """Work in several tasks fails with a group; what ended them all is the first of it."""
    try:
        await work
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


async def _on_one_connection(
    dsn: str,
    name: str,
    lock: int,
    work: Callable[[asyncpg.Connection], Awaitable[None]],
    settings: dict[str, str],
) -> None:
    connection = await asyncpg.connect(
        dsn,
        timeout=TIMEOUT_S,
        command_timeout=TIMEOUT_S,
        server_settings=session(name, **settings),
    )
    try:
        await _have(connection, lock)
        await work(connection)
    finally:
        connection.terminate()  # an orderly end could fail, and hide why this one ends


async def _have(connection: asyncpg.Connection, lock: int) -> None:
    """By asking again: to wait in the database would keep it from clearing what is dead."""
    while True:
        if await connection.fetchval("SELECT pg_try_advisory_lock($1)", lock):
            return
        await asyncio.sleep(RETRY_S)
