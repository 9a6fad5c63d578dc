"""Joins the parts of the search: with Elasticsearch where there is one, with Postgres in any case.

Elasticsearch's client takes a third of a second to import: only who has a server pays for it.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import asyncpg
from msgspec import Struct

from persistence.alone import alone
from persistence.search.fallback import Index, IndexWithFallback
from persistence.search.feeder import mark_all, waiting
from persistence.search.postgres import PostgresIndex

POLL_S = 0.1

Failed = Callable[[Exception], None]
Told = Callable[[int, int], None]


class Server(Struct, frozen=True):
    """`plain_json`: OpenSearch, or another server that speaks Elasticsearch's language."""

    url: str
    plain_json: bool


def index(
    pool: asyncpg.Pool, server: Server | None, failed: Failed, stack: AsyncExitStack
) -> Index:
    on_postgres = PostgresIndex(pool)
    if server is None:
        return on_postgres
    from persistence.search.elastic import ElasticIndex
    from persistence.search.elastic_indexes import ALIAS, connect

    client = connect(server.url, plain_json=server.plain_json)
    stack.push_async_callback(client.close)
    return IndexWithFallback(ElasticIndex(client, ALIAS), on_postgres, failed)


async def follow(dsn: str, server: Server, failed: Failed) -> None:
    """Keep the server as Postgres is, for ever, one process at a time."""
    from persistence.search.elastic_indexes import ElasticIndexes, connect
    from persistence.search.following import LOCK, Follower

    async with connect(server.url, plain_json=server.plain_json) as client:
        indexes = ElasticIndexes(client)
        await alone(
            dsn,
            "search follower",
            LOCK,
            lambda connection: Follower(connection, indexes, failed).run(),
        )


async def reindex(database_url: str, server: Server | None, told: Told) -> int:
    """Make the index anew; how many documents. `told` hears how many are done, of how many.

    On Postgres the feeder of a running node does it. Raises SearchUnavailable.
    """
    connection = await asyncpg.connect(database_url, timeout=10)
    try:
        if server is None:
            return await _feed_again(connection, told)
        return await _copy_all(connection, server, told)
    finally:
        await connection.close()


async def _feed_again(connection: asyncpg.Connection, told: Told) -> int:
    total = await mark_all(connection)
    while left := await waiting(connection):
        told(max(0, total - left), total)
        await asyncio.sleep(POLL_S)
    told(total, total)
    return total


async def _copy_all(connection: asyncpg.Connection, server: Server, told: Told) -> int:
    from persistence.search import following
    from persistence.search.elastic_indexes import ElasticIndexes, connect

    total, done = await following.documents_in_all(connection), 0

    def copied(written: int) -> None:
        nonlocal done
        done += written
        told(done, max(total, done))

    async with connect(server.url, plain_json=server.plain_json) as client:
        await following.reindex(connection, ElasticIndexes(client), copied)
    return done
