"""`up` with gateways and engines apart: processes that come back by themselves, also late."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest_asyncio

from persistence.embedded import EmbeddedPostgres
from tests.server import Server
from tests.shop import Shop
from tests.waiting import until

APART = [f"{role}-{number}" for role in ("gateway", "engine") for number in (1, 2)]
NAMES = [*(f"{socket.gethostname()}/{name}" for name in APART), "projector"]


@pytest_asyncio.fixture
async def postgres(tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    """Not the launcher's: it can be stopped while that runs."""
    postgres = EmbeddedPostgres(tmp_path / "postgres")
    await postgres.start()
    yield postgres
    await postgres.stop()


@pytest_asyncio.fixture
async def server(tmp_path: Path, postgres: EmbeddedPostgres) -> AsyncIterator[Server]:
    dsn = f"postgresql://stampede@/stampede?host={tmp_path}/postgres.sockets&port=5432"
    apart = ["--gateways", "2", "--engines", "2"]
    server = Server(tmp_path / "data", {"DATABASE_URL": dsn}, arguments=apart)
    await server.start()
    yield server
    await server.stop()


async def test_nodes_that_die_while_the_database_is_away_come_back_with_it(
    server: Server, postgres: EmbeddedPostgres
) -> None:
    async with aiohttp.ClientSession() as session:
        shop = Shop(server.url, session)
        event_id, (tier_id,) = await shop.on_sale({"total_quantity": 100})
        before = await shop.order(event_id, tier_id, key="before")
        assert before.status == 201
        pids = [await server.node_pid(name) for name in NAMES]
        await postgres.stop()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        await until(lambda: _are_others(server, pids))
        waiting = [await server.node_pid(name) for name in NAMES]
        await postgres.start()
        await until(lambda: _sells(shop, event_id, tier_id))
        assert (await shop.order(event_id, tier_id, key="before")).body == before.body
        assert [await server.node_pid(name) for name in NAMES] == waiting
        assert await server.stop() == 0


async def _are_others(server: Server, pids: list[int]) -> bool:
    """Every node has been started again, and none has given up."""
    try:
        now = [await server.node_pid(name) for name in NAMES]
    except LookupError:
        return False
    return not set(now) & set(pids)


async def _sells(shop: Shop, event_id: str, tier_id: str) -> bool:
    asked = shop.order(event_id, tier_id)
    return (await asyncio.wait_for(asked, 20)).status == 201
