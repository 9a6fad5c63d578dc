"""The ways that ours is measured against are honest shops: a crowd gets what there is, no more.

Beside them one that looks and then writes, without a lock: the check must find what it oversells.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from benchmarks.baselines import lua, rows
from benchmarks.baselines.books import EVENT_ID, TIER_ID, Way, kept, open_books
from benchmarks.baselines.edge import Order, Placed, Selection, placed
from benchmarks.promises import Verdict, verdict
from persistence.embedded import EmbeddedRedis
from tests.persistence.databases import empty_database

PLACES, AN_ORDER, BUYERS = 101, 2, 100
POOL = 8
ORDER = Order([Selection(TIER_ID, AN_ORDER)])


@asynccontextmanager
async def _books(postgres_dsn: str, *, a_row_each: bool) -> AsyncIterator[str]:
    async with empty_database(postgres_dsn) as dsn:
        connection = await asyncpg.connect(dsn)
        await open_books(connection, PLACES, a_row_each=a_row_each)
        await connection.close()
        yield dsn


async def _crowd(way: Way) -> dict[str, int]:
    """Places by order, of those who were told that they have them."""
    orders = [placed(EVENT_ID, ORDER) for _ in range(BUYERS)]
    got = await asyncio.gather(*(way.place(order) for order in orders))
    return {order.order_id: AN_ORDER for order, has in zip(orders, got, strict=True) if has}


async def _verdict(dsn: str, seen: dict[str, int], stock: str | int) -> Verdict:
    connection = await asyncpg.connect(dsn)
    left = stock if isinstance(stock, int) else await connection.fetchval(stock)
    books = await kept(connection, left)
    await connection.close()
    return verdict(PLACES, seen, books)


@pytest.mark.parametrize("name", rows.WAYS)
async def test_a_crowd_gets_all_places_and_no_more(postgres_dsn: str, name: str) -> None:
    a_row_each = name in rows.A_ROW_A_PLACE
    async with _books(postgres_dsn, a_row_each=a_row_each) as dsn:
        async with rows.opened(name, dsn, POOL) as way:
            seen = await _crowd(way)
            # Where a row is a place, one may have been looked at by somebody who gave it up again.
            seen |= await _crowd(way)
        free = "SELECT count(*) FROM places WHERE order_id IS NULL"
        stock = free if a_row_each else "SELECT available FROM tiers"
        assert await _verdict(dsn, seen, stock) == Verdict(PLACES // AN_ORDER, 0, 0, 0)


@pytest.mark.parametrize("name", lua.WAYS)
async def test_what_is_written_behind_is_all_there_at_the_end(
    postgres_dsn: str, tmp_path: Path, name: str
) -> None:
    redis = EmbeddedRedis(tmp_path / "redis")
    socket = (await redis.start()).removeprefix("unix://")
    try:
        async with _books(postgres_dsn, a_row_each=False) as dsn:
            async with lua.opened(name, dsn, socket, PLACES) as way:
                seen = await _crowd(way)
            left = PLACES % AN_ORDER
            assert await _verdict(dsn, seen, left) == Verdict(PLACES // AN_ORDER, 0, 0, 0)
    finally:
        await redis.stop()


class _Unlocked:
    """Everybody looks before anybody writes."""

    def __init__(self, pool: asyncpg.Pool, buyers: int) -> None:
        self._pool = pool
        self._all_have_looked = asyncio.Barrier(buyers)

    async def place(self, order: Placed) -> bool:
        (item,) = order.items
        left = await self._pool.fetchval("SELECT available FROM tiers")
        await self._all_have_looked.wait()
        if left < item.quantity:
            return False
        await self._pool.execute("UPDATE tiers SET available = $1", left - item.quantity)
        head = (order.order_id, order.event_id, order.buyer_id, order.status, order.total_amount)
        line = (item.item_id, item.tier_id, item.quantity, item.unit_price, item.subtotal)
        await self._pool.execute(
            "INSERT INTO orders VALUES ($1, $2, $3, $4, $5, $6, now(), now())", *head, "EUR"
        )
        await self._pool.execute(
            "INSERT INTO order_items VALUES ($1, $2, $3, $4, $5, $6)", order.order_id, *line
        )
        return True


async def test_a_planted_oversell_is_found(postgres_dsn: str) -> None:
    async with _books(postgres_dsn, a_row_each=False) as dsn:
        async with asyncpg.create_pool(dsn, min_size=1, max_size=POOL) as pool:
            seen = await _crowd(_Unlocked(pool, BUYERS))
        found = await _verdict(dsn, seen, "SELECT available FROM tiers")
        assert found.oversold == BUYERS * AN_ORDER - PLACES
        assert found.astray < 0
