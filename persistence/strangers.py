"""What is kept of sales that the journal knows nothing of: rows, snapshots, views."""

import re
from collections.abc import AsyncIterator, Collection
from typing import cast

import asyncpg
from msgspec import Struct
from redis.asyncio import Redis

from engine.ids import shard_of
from persistence.copies import Kind
from persistence.projected import TABLES, Table

_SCAN_COUNT = 1_000
_REDIS_KEY = re.compile(r"stampede:\{(\d+)\}:(sale|view):(evt_[0-9a-f]+)")
_KINDS = {"sale": Kind.FAST, "view": Kind.VIEW}

_KNOWN = """
SELECT sale_id FROM unnest($1::text[]) AS s (sale_id)
WHERE EXISTS (SELECT 1 FROM journal WHERE sale_ids @> ARRAY[s.sale_id])
"""


class Stranger(Struct, frozen=True):
    """`key`: where it lies in Redis."""

    sale_id: str
    place: Table | Kind
    key: str | None = None

    @property
    def name(self) -> str:
        if isinstance(self.place, Table):
            return f"the rows of {self.sale_id} in {self.place.name}"
        return f"the {self.place.value} of {self.sale_id}" + (f" at {self.key}" if self.key else "")


async def find(
    connection: asyncpg.Connection, redis: Redis, shards: int, known: Collection[str]
) -> AsyncIterator[Stranger]:
    """`known`: sales that are certainly in the journal, and need not be asked for."""
    for table in TABLES:
        query = f"SELECT DISTINCT {table.sale} FROM {table.name}"
        for sale_id in await _unknown(connection, query, known):
            yield Stranger(sale_id, table)
    for sale_id in await _unknown(connection, "SELECT sale_id FROM snapshots", known):
        yield Stranger(sale_id, Kind.DURABLE)
    async for stranger in _in_redis(connection, redis, shards, known):
        yield stranger


async def _unknown(connection: asyncpg.Connection, query: str, known: Collection[str]) -> list[str]:
    found = [row[0] for row in await connection.fetch(query)]
    return await _not_in_journal(connection, [s for s in found if s not in known])


async def _not_in_journal(connection: asyncpg.Connection, sale_ids: list[str]) -> list[str]:
    """Asked last: what has been copied out of the journal by then is in it."""
    journaled = {row[0] for row in await connection.fetch(_KNOWN, sale_ids)}
    return [sale_id for sale_id in sale_ids if sale_id not in journaled]


async def _in_redis(
    connection: asyncpg.Connection, redis: Redis, shards: int, known: Collection[str]
) -> AsyncIterator[Stranger]:
    async for key in redis.scan_iter(match="stampede:{*}:*:evt_*", count=_SCAN_COUNT):
        name = cast(bytes, key).decode(errors="replace")
        parts = _REDIS_KEY.fullmatch(name)
        if parts is None:
            continue  # a mailbox, or a copy that is being read
        shard_id, kind, sale_id = int(parts[1]), _KINDS[parts[2]], parts[3]
        misplaced = shard_id != shard_of(sale_id, shards)
        if misplaced or (sale_id not in known and await _not_in_journal(connection, [sale_id])):
            yield Stranger(sale_id, kind, name)
