"""Stock in Postgres, three ways; each order is committed, with `fsync`, before it is answered.

An order here has one item: orders over several tiers would only make these slower.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg

from benchmarks.baselines.books import INSERT_ORDER, Way
from benchmarks.baselines.edge import Placed

_LOCK = "SELECT available FROM tiers WHERE tier_id = $1 FOR UPDATE"
_WRITE = f"""
WITH taken AS (UPDATE tiers SET available = available - $10 WHERE tier_id = $9),
     placed AS ({INSERT_ORDER})
INSERT INTO order_items VALUES ($7, $8, $9, $10, $11, $12)
"""

# The rows first and the hot tier last, so that its lock is held for the commit alone.
_FUNCTION = """
CREATE OR REPLACE FUNCTION place_order(
    text, text, text, text, bigint, text, text, text, text, int, bigint, bigint
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT available < $10 FROM tiers WHERE tier_id = $9) THEN
        RETURN false;
    END IF;
    INSERT INTO orders VALUES ($1, $2, $3, $4, $5, $6, now(), now() + interval '15 minutes');
    INSERT INTO order_items VALUES ($7, $8, $9, $10, $11, $12);
    UPDATE tiers SET available = available - $10 WHERE tier_id = $9 AND available >= $10;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'P0409';
    END IF;
    RETURN true;
END $$
"""
_CONDITIONAL = "SELECT place_order($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
_STATEMENT = """
WITH taken AS (
    UPDATE tiers SET available = available - $10 WHERE tier_id = $9 AND available >= $10
    RETURNING tier_id
), placed AS (
    INSERT INTO orders
    SELECT $1, $2, $3, $4, $5, $6, now(), now() + interval '15 minutes' FROM taken
)
INSERT INTO order_items SELECT $7, $8, $9, $10, $11, $12 FROM taken RETURNING true
"""

# All places or none, from where free ones were found last.
_PICK = """
WITH free AS MATERIALIZED (
    SELECT place_id FROM places WHERE tier_id = $9 AND order_id IS NULL AND place_id >= $13
    ORDER BY place_id LIMIT $10 FOR UPDATE SKIP LOCKED
), enough AS (
    SELECT max(place_id) AS last FROM free HAVING count(*) = $10
), taken AS (
    UPDATE places SET order_id = $1 FROM free, enough WHERE places.place_id = free.place_id
), placed AS (
    INSERT INTO orders
    SELECT $1, $2, $3, $4, $5, $6, now(), now() + interval '15 minutes' FROM enough
), written AS (
    INSERT INTO order_items SELECT $7, $8, $9, $10, $11, $12 FROM enough
)
SELECT last FROM enough
"""


_LOOK_BACK = 256  # places that others may have let go of meanwhile


class Connections:
    """A pool without the reset between two uses, its statements prepared."""

    def __init__(self, connections: list[asyncpg.Connection], statements: tuple[str, ...]) -> None:
        self._connections = connections
        self._statements = statements
        self._free: asyncio.Queue[tuple[asyncpg.Connection, list[Any]]] = asyncio.LifoQueue()

    async def prepare(self) -> None:
        for connection in self._connections:
            prepared = [await connection.prepare(text) for text in self._statements]
            self._free.put_nowait((connection, prepared))

    @asynccontextmanager
    async def one(self) -> AsyncIterator[tuple[asyncpg.Connection, list[Any]]]:
        taken = await self._free.get()
        try:
            yield taken
        finally:
            self._free.put_nowait(taken)


@asynccontextmanager
async def connected(dsn: str, size: int, *statements: str) -> AsyncIterator[Connections]:
    async with AsyncExitStack() as undo:
        opened = []
        for _ in range(size):
            opened.append(await asyncpg.connect(dsn))
            undo.push_async_callback(opened[-1].close)
        connections = Connections(opened, statements)
        await connections.prepare()
        yield connections


def _columns(order: Placed) -> tuple[object, ...]:
    (item,) = order.items
    head = (order.order_id, order.event_id, order.buyer_id, order.status, order.total_amount)
    line = (item.item_id, item.tier_id, item.quantity, item.unit_price, item.subtotal)
    return *head, order.currency, order.order_id, *line


class _InPostgres(Way):
    statements: tuple[str, ...]

    def __init__(self, connections: Connections) -> None:
        self._connections = connections


class RowLock(_InPostgres):
    """The classic: lock the tier's row, look, write."""

    statements = (_LOCK, _WRITE)

    async def place(self, order: Placed) -> bool:
        (item,) = order.items
        async with self._connections.one() as (connection, (lock, write)):
            await connection.execute("BEGIN")
            enough: bool = await lock.fetchval(item.tier_id) >= item.quantity
            if enough:
                await write.fetch(*_columns(order))
            await connection.execute("COMMIT")
            return enough


class Conditional(_InPostgres):
    """One call of a function that ends with the conditional update."""

    statements = (_CONDITIONAL,)

    async def place(self, order: Placed) -> bool:
        async with self._connections.one() as (_, (call,)):
            try:
                kept: bool = await call.fetchval(*_columns(order))
            except asyncpg.PostgresError as error:
                if error.sqlstate != "P0409":
                    raise
                return False
            return kept


class Statement(_InPostgres):
    """The conditional update and the rows in one statement."""

    statements = (_STATEMENT,)

    async def place(self, order: Placed) -> bool:
        async with self._connections.one() as (_, (statement,)):
            kept: bool | None = await statement.fetchval(*_columns(order))
            return bool(kept)


class SkipLocked(_InPostgres):
    """A row a place; whoever finds one locked takes the next."""

    statements = (_PICK,)
    _from_place_id = 0

    async def place(self, order: Placed) -> bool:
        async with self._connections.one() as (_, (pick,)):
            last = await pick.fetchval(*_columns(order), self._from_place_id)
            if last is None and self._from_place_id:
                last = await pick.fetchval(*_columns(order), 0)
            if last is None:
                return False
            self._from_place_id = max(self._from_place_id, last - _LOOK_BACK)
            return True


WAYS: dict[str, type[_InPostgres]] = {
    "row-lock": RowLock,
    "conditional": Conditional,
    "statement": Statement,
    "skip-locked": SkipLocked,
}
A_ROW_A_PLACE = {"skip-locked"}


@asynccontextmanager
async def opened(name: str, dsn: str, pool: int) -> AsyncIterator[Way]:
    """A way of WAYS on books that are open."""
    kind = WAYS[name]
    connection = await asyncpg.connect(dsn)
    await connection.execute(_FUNCTION)
    await connection.close()
    async with connected(dsn, pool, *kind.statements) as connections:
        yield kind(connections)
