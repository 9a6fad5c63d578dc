"""Makes again what is derived from the journal. Journal and shards are never touched.

A snapshot or a view that is wrong is deleted: its owner writes it anew, and until then the sale is
replayed. Wrong tables are filled again by the projector's own folding, a sale in a transaction;
the projector must not run meanwhile, so its lock is held.
"""

from collections.abc import Iterable

import asyncpg
from redis.asyncio import Redis

from engine.facts import Item
from persistence.copies import Kind
from persistence.journal import decode
from persistence.projected import TABLES, Table
from persistence.projector import LOCK, ROWS_MAX, Fold
from persistence.servers import ToolError
from persistence.snapshots import snapshot_key, view_key
from persistence.strangers import Stranger

_FACTS = """
SELECT batch, crc FROM journal WHERE shard_id = $1 AND seq <= $2 AND sale_ids @> ARRAY[$3]
ORDER BY seq
"""


async def hold_projection(connection: asyncpg.Connection) -> None:
    """Until the connection ends. Raises ToolError."""
    if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
        raise ToolError("a projector writes the tables: stop the server, then mend them")


class Mender:
    def __init__(self, connection: asyncpg.Connection, redis: Redis) -> None:
        self._connection = connection
        self._redis = redis

    async def delete_copy(self, kind: Kind, shard_id: int, sale_id: str) -> None:
        match kind:
            case Kind.FAST:
                await self._redis.delete(snapshot_key(shard_id, sale_id))
            case Kind.VIEW:
                await self._redis.delete(view_key(shard_id, sale_id))
            case Kind.DURABLE:
                await self._delete_durable(sale_id)

    async def _delete_durable(self, sale_id: str) -> None:
        await self._connection.execute("DELETE FROM snapshots WHERE sale_id = $1", sale_id)

    async def remove(self, stranger: Stranger) -> None:
        if stranger.key is not None:
            await self._redis.delete(stranger.key)
        elif isinstance(stranger.place, Table):
            table = stranger.place
            await self._connection.execute(
                f"DELETE FROM {table.name} WHERE {table.sale} = $1", stranger.sale_id
            )
        else:
            await self._delete_durable(stranger.sale_id)

    async def rewrite_tables(
        self, shard_id: int, sale_id: str, projected: int, tier_ids: Iterable[str]
    ) -> None:
        """As the facts say up to the batch `projected`."""
        async with self._connection.transaction():
            for table in TABLES:
                await self._connection.execute(
                    f"DELETE FROM {table.name} WHERE {table.of_sale}", *table.bounds(sale_id)
                )
            # A counter that names another event is not among them.
            await self._connection.execute(
                "DELETE FROM tier_counters WHERE tier_id = ANY($1)", list(tier_ids)
            )
            await self._project(shard_id, sale_id, projected)

    async def _project(self, shard_id: int, sale_id: str, projected: int) -> None:
        rows = await self._connection.cursor(_FACTS, shard_id, projected, sale_id)
        items_by_order: dict[str, tuple[Item, ...]] = {}
        while piece := await rows.fetch(ROWS_MAX):
            fold = Fold(items_by_order)
            for row in piece:
                for entry in decode(row["batch"], row["crc"]):
                    if entry.sale_id == sale_id:
                        fold.take(entry)
            for statement, columns in fold.statements():
                await self._connection.execute(statement, *columns)
