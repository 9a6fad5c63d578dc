"""Connections and transactions, and what it means to a caller when Postgres goes away in one.

A refusal rolls its transaction back: it leaves nothing behind.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias, TypeVar

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from engine.rejections import Rejection
from engine.runtime.faults import Fault, JournalUnavailable, OutcomeUnknown

ACQUIRE_S_MAX = 5.0

Connection: TypeAlias = "asyncpg.Connection | PoolConnectionProxy"

_T = TypeVar("_T")

# What a healthy database does not raise, whatever it is asked.
AWAY = (
    OSError,  # a time-out as well
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection that is just being cut off
)


# Over TCP: how soon Postgres ends a session, and frees its locks, when the machine at the other end
# has vanished without a word. Without these it may take two hours.
_VANISHED = {
    "tcp_keepalives_idle": "3",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "6000",  # milliseconds, where an answer is under way
}


def session(name: str, **settings: str) -> dict[str, str]:
    """What each connection that stays tells the server: who we are, and when to give us up."""
    return {"application_name": f"stampede {name}", **_VANISHED, **settings}


def heed_cancellation(error: BaseException | None = None) -> None:
    """Raise CancelledError where we are cancelled: a connection that is lost at that moment raises
    an error of its own instead, or none at all, and whoever waits for our end would wait for ever.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from error


class Undone(Exception):
    """Raised in a transaction, and caught around it, to leave nothing behind."""


@asynccontextmanager
async def reading(pool: asyncpg.Pool) -> AsyncIterator[Connection]:
    """A connection. Raises JournalUnavailable where the database is away."""
    async with _connection(pool, JournalUnavailable) as connection:
        yield connection


async def changing(
    pool: asyncpg.Pool, work: Callable[[Connection], Awaitable[_T | Rejection]]
) -> _T | Rejection:
    """Do `work` in one transaction; its Rejection undoes it.

    Raises JournalUnavailable where nothing was begun, OutcomeUnknown where nobody can tell.
    """
    async with _connection(pool, OutcomeUnknown) as connection:
        with suppress(Undone):
            async with connection.transaction():
                outcome = await work(connection)
                if isinstance(outcome, Rejection):
                    raise Undone
    return outcome


@asynccontextmanager
async def _connection(pool: asyncpg.Pool, broken: type[Fault]) -> AsyncIterator[Connection]:
    began = False
    try:
        async with pool.acquire(timeout=ACQUIRE_S_MAX) as connection:
            began = True
            yield connection
    except AWAY as error:
        raise (broken if began else JournalUnavailable) from error
