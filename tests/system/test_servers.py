"""A server of the launcher's that ends is started again, and nothing that counts is lost."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.exceptions import RedisError

from persistence.embedded import EmbeddedPostgres
from tests.server import Server
from tests.shop import Shop

SERVES_AGAIN_S_MAX = 20.0
OUTAGE_S = 12.0  # the projector alone would use up its restarts in less


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    started = Server(tmp_path / "data")
    await started.start()
    yield started
    await started.stop()


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


async def _postgres_pid(server: Server) -> int:
    return int((server.folder / "postgres" / "postmaster.pid").read_text().split()[0])


async def _valkey_pid(server: Server) -> int:
    client: Redis = Redis.from_url(f"unix://{server.folder}/redis.sockets/redis.sock")
    found = await client.info("server")
    await client.aclose()
    return int(found["process_id"])


async def _other_than(pid: int, asked: Callable[[], Awaitable[int]]) -> None:
    """Returns once a new process answers for the server."""
    async with asyncio.timeout(SERVES_AGAIN_S_MAX):
        while True:
            with suppress(OSError, IndexError, RedisError):
                if await asked() != pid:
                    return
            await asyncio.sleep(0.05)


async def _sells_again(shop: Shop, event_id: str, tier_id: str) -> None:
    async with asyncio.timeout(SERVES_AGAIN_S_MAX):
        while True:
            answer = await shop.order(event_id, tier_id)
            if answer.status == 201:
                return
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("how", [signal.SIGQUIT, signal.SIGKILL])
async def test_postgres_is_back_with_everything_in_it(
    server: Server, session: aiohttp.ClientSession, how: signal.Signals
) -> None:
    shop = Shop(server.url, session)
    event_id, (tier_id,) = await shop.on_sale()
    order = await shop.bought(event_id, tier_id, 2)
    before = await _postgres_pid(server)
    os.kill(before, how)
    await _other_than(before, lambda: _postgres_pid(server))
    await _sells_again(shop, event_id, tier_id)
    assert await shop.read(order["order_id"]) == order


async def test_valkey_is_back_where_it_was(server: Server, session: aiohttp.ClientSession) -> None:
    shop = Shop(server.url, session)
    event_id, (tier_id,) = await shop.on_sale()
    order = await shop.bought(event_id, tier_id, 2)
    before = await _valkey_pid(server)
    os.kill(before, signal.SIGKILL)
    await _other_than(before, lambda: _valkey_pid(server))
    await _sells_again(shop, event_id, tier_id)
    assert await shop.read(order["order_id"]) == order


async def test_an_outage_of_postgres_ends_no_node_and_is_survived(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    postgres = EmbeddedPostgres(tmp_path / "postgres")
    server = Server(tmp_path / "data", {"DATABASE_URL": await postgres.start()})
    await server.start()
    try:
        shop = Shop(server.url, session)
        event_id, (tier_id,) = await shop.on_sale()
        order = await shop.bought(event_id, tier_id, 2)
        await postgres.stop()
        await asyncio.sleep(OUTAGE_S)
        await postgres.start()
        await _sells_again(shop, event_id, tier_id)
        assert await shop.read(order["order_id"]) == order
    finally:
        assert await server.stop() == 0
        await postgres.stop()
