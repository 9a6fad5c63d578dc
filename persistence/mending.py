"""Makes again what is derived from the journal. Journal and shards are never touched.

A wrong snapshot or view in Redis is deleted: its owner writes it anew, and until then the sale is
replayed. One in Postgres is written anew, for it may be needed: the journal's beginning may have
gone to the archive. Wrong tables are filled again by the projector's own folding, a sale in a
transaction; the projector must not run meanwhile, so its lock is held.
"""

import asyncpg
from redis.asyncio import Redis

from engine.facts import Entry, Item
from persistence.copies import Kind
from persistence.durable_snapshots import PostgresSnapshots
from persistence.history import History
from persistence.journal import decode
from persistence.projected import TABLES, Table
from persistence.projector import LOCK, Fold
from persistence.reckoning import Reckoning
from persistence.saves import snapshot_key, view_key
from persistence.servers import ToolError
from persistence.strangers import Stranger
from persistence.waitlists import Row

FACTS_MAX = 1_000  # folded at a time


async def hold_projection(connection: asyncpg.Connection) -> None:
    """Until the connection ends. Raises ToolError."""
    if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
        raise ToolError("a projector writes the tables: stop the server, then mend them")


class Mender:
    def __init__(self, connection: asyncpg.Connection, redis: Redis) -> None:
        self._connection = connection
        self._redis = redis

    async def mend(self, shard_id: int, reckoning: Reckoning) -> list[str]:
        """What was done to the sale's copies, in sentences."""
        done = []
        for kind in reckoning.broken:
            name = f"the {kind.value} of {reckoning.sale_id}"
            if kind is not Kind.DURABLE:
                await self._delete_copy(kind, shard_id, reckoning.sale_id)
                done.append(f"{name}: deleted")
            elif (anew := reckoning.snapshot(shard_id)) is not None:
                async with self._connection.transaction():
                    await self._delete_durable(reckoning.sale_id)
                    await PostgresSnapshots(self._connection).keep(anew)
                done.append(f"{name}: written anew")
        return done

    async def _delete_copy(self, kind: Kind, shard_id: int, sale_id: str) -> None:
        key = snapshot_key if kind is Kind.FAST else view_key
        await self._redis.delete(key(shard_id, sale_id))

    async def _delete_durable(self, sale_id: str) -> None:
        for table in ("snapshots", "snapshot_pieces"):
            await self._connection.execute(f"DELETE FROM {table} WHERE sale_id = $1", sale_id)

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
        self, history: History, reckoning: Reckoning, projected: int
    ) -> list[str]:
        """As the facts say up to the batch `projected`."""
        sale_id = reckoning.sale_id
        async with self._connection.transaction():
            for table in TABLES:
                await self._connection.execute(
                    f"DELETE FROM {table.name} WHERE {table.of_sale}", *table.bounds(sale_id)
                )
            # A counter that names another event is not among them.
            await self._connection.execute(
                "DELETE FROM tier_counters WHERE tier_id = ANY($1)", list(reckoning.recount.tiers)
            )
            await self._project(history, reckoning, projected)
        return [f"the tables of {sale_id}: written anew"]

    async def _project(self, history: History, reckoning: Reckoning, projected: int) -> None:
        sale_id = reckoning.sale_id
        items_by_order: dict[str, tuple[Item, ...]] = {}
        row_by_entry: dict[str, Row] = {}
        received: dict[tuple[str, int], str] = {}
        piece: list[Entry] = []
        async for row in history.sale(sale_id, reckoning.archived_seq):
            if row.seq <= projected:
                piece += [e for e in decode(row.batch, row.crc) if e.sale_id == sale_id]
            if len(piece) >= FACTS_MAX:
                await self._fold(piece, items_by_order, row_by_entry, received)
                piece = []
        await self._fold(piece, items_by_order, row_by_entry, received)

    async def _fold(
        self,
        entries: list[Entry],
        items_by_order: dict[str, tuple[Item, ...]],
        row_by_entry: dict[str, Row],
        received: dict[tuple[str, int], str],
    ) -> None:
        fold = Fold(items_by_order, row_by_entry, received)
        for entry in entries:
            fold.take(entry)
        fold.confirmed_in.clear()  # who was there an hour ago is not counted again
        await fold.write(self._connection)
