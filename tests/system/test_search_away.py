"""A search server that comes and goes: what buyers see of it, and that sales do not."""

import asyncio
import contextlib
import os
import sys
import time
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest

from tests.search_server import search_server
from tests.server import running
from tests.shop import Answer, Shop

WAIT_S = 60.0  # who follows is nicer than who sells: a busy machine lets it wait


async def until(shop: Shop, q: str, *, total: int, degraded: bool) -> Answer:
    began = time.monotonic()
    while True:
        answer = await shop.call("GET", f"/v1/search/events?q={quote(q)}")
        assert answer.status == 200, answer.body
        if (answer.body["total"], answer.body["degraded"]) == (total, degraded):
            return answer
        assert time.monotonic() - began < WAIT_S, answer.body
        await asyncio.sleep(0.05)


@pytest.mark.alone
async def test_postgres_answers_while_the_search_server_is_away(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        search = stack.enter_context(search_server())
        settings = {
            "ELASTICSEARCH_URL": search.url,
            "STAMPEDE_SEARCH_SERVER": "opensearch",
            "STAMPEDE_RATE_LIMITS": "off",
        }
        async with running(tmp_path / "data", settings) as server, aiohttp.ClientSession() as http:
            shop = Shop(server.url, http)
            event_id, (tier_id,) = await shop.on_sale(title="Jazz Night")
            answer = await until(shop, "jaz night", total=1, degraded=False)
            assert answer.body["items"][0]["event"]["event_id"] == event_id
            await reindexed(server.folder, settings)
            search.process.kill()
            search.process.wait()
            await until(shop, "jazz", total=1, degraded=True)
            assert (await shop.order(event_id, tier_id)).status == 201
            await shop.on_sale(title="Blues Night")
            await until(shop, "blues", total=1, degraded=True)
            stack.enter_context(search_server(search.address))
            await until(shop, "blues", total=1, degraded=False)
            await until(shop, "jazz", total=1, degraded=False)


async def reindexed(folder: Path, settings: dict[str, str]) -> None:
    """`stampede reindex` beside the server."""

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "reindex"),
        env={**os.environ, **settings, "STAMPEDE_DATA_DIR": str(folder)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert "1 documents indexed anew" in output.decode()
