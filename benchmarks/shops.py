"""Those who sell, ours and the other ways, as one thing to measure and to look into."""

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import asyncpg
from redis.asyncio import Redis

from benchmarks.baselines import lua, rows
from benchmarks.baselines.books import EVENT_ID, TIER_ID, Kept, kept
from benchmarks.servers import Endpoint, selling_on, stampede_on
from benchmarks.stage import event_on_sale, facts, orders
from engine.facts import OrderPlaced

OURS = "ours"


class Shop(Protocol):
    name: str

    def on(self, folder: Path) -> AbstractAsyncContextManager[Endpoint]:
        """Started on what is in the folder, and on sale."""

    def orders(self, server: Endpoint) -> Iterator[bytes]:
        """Endless requests, of two places each."""

    async def kept(self, server: Endpoint) -> Kept:
        """What is in its books; it has come to rest."""


class Ours:
    name = OURS

    def __init__(self, places: int) -> None:
        self._places = places
        self._sale: tuple[str, str] | None = None

    def on(self, folder: Path) -> AbstractAsyncContextManager[Endpoint]:
        return stampede_on(folder)

    def _on_sale(self, server: Endpoint) -> tuple[str, str]:
        if self._sale is None:
            self._sale = event_on_sale(server, places=self._places)
        return self._sale

    def orders(self, server: Endpoint) -> Iterator[bytes]:
        return orders(*self._on_sale(server), server.token("box_office", "bench"))

    async def kept(self, server: Endpoint) -> Kept:
        """By the journal; `left` as the public is told."""
        event_id, _ = self._on_sale(server)
        placed = [f for f in await facts(server.dsn) if isinstance(f, OrderPlaced)]
        (tier,) = server.call("GET", f"/v1/events/{event_id}/availability")["tiers"]
        sold = sum(item.quantity for fact in placed for item in fact.items)
        return Kept(frozenset(f.order_id for f in placed), sold, tier["available_quantity"])


class Other:
    """A way of the baselines. `pool`: connections of those that need them."""

    def __init__(self, name: str, places: int, pool: int = 1) -> None:
        self.name = name
        self._places = places
        self._pool = pool

    def on(self, folder: Path) -> AbstractAsyncContextManager[Endpoint]:
        return selling_on(folder, self.name, self._pool, self._places)

    def orders(self, server: Endpoint) -> Iterator[bytes]:
        # As long as ours: what reads it here needs no credential.
        return orders(EVENT_ID, TIER_ID, "x" * 150)

    async def kept(self, server: Endpoint) -> Kept:
        connection = await asyncpg.connect(server.dsn)
        try:
            return await kept(connection, await self._left(server, connection))
        finally:
            await connection.close()

    async def _left(self, server: Endpoint, connection: asyncpg.Connection) -> int:
        if self.name in lua.WAYS:
            assert server.folder is not None
            socket = (server.folder / "redis.sockets").resolve() / "redis.sock"
            async with Redis(unix_socket_path=str(socket)) as redis:
                return int(await redis.get(lua.STOCK) or 0)
        free = "SELECT count(*) FROM places WHERE order_id IS NULL"
        stock = free if self.name in rows.A_ROW_A_PLACE else "SELECT available FROM tiers"
        return int(await connection.fetchval(stock))
