"""One real server for all tests of this room."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from tests.server import Server, running
from tests.shop import Shop

DOORS_ALWAYS_OPEN = {"STAMPEDE_DOORS_OPEN_HOURS": "200000"}
WEBHOOKS_TO_US = {"STAMPEDE_WEBHOOKS_TO_LOCALHOST": "on"}
PUBLIC_URL = "https://tickets.example"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    folder = tmp_path_factory.mktemp("server") / "data"
    public = {"STAMPEDE_PUBLIC_URL": PUBLIC_URL}
    async with running(folder, {**DOORS_ALWAYS_OPEN, **WEBHOOKS_TO_US, **public}) as started:
        yield started


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shop(server: Server) -> AsyncIterator[Shop]:
    async with aiohttp.ClientSession() as session:
        yield Shop(server.url, session)
