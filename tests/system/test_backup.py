"""fsck beside a server that sells; backup, restore into nothing, and selling goes on."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import aiohttp
import asyncpg
import pytest_asyncio

from tests.server import Server, running
from tests.shop import Shop
from tests.waiting import until_projected

SETTINGS = {"STAMPEDE_DOORS_OPEN_HOURS": "200000"}


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


async def stampede(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and standard output of a command on that data folder."""
    known = {n: v for n, v in os.environ.items() if not n.startswith("STAMPEDE_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *arguments),
        env={**known, "STAMPEDE_DATA_DIR": str(folder)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_fsck_beside_a_server_that_sells_gives_no_false_alarm(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    async with running(tmp_path / "data", SETTINGS) as server:
        shop = Shop(server.url, session)
        sales = [await shop.on_sale({"total_quantity": 100_000}) for _ in range(3)]
        stopped = False

        async def buy(event_id: str, tier_id: str) -> None:
            while not stopped:
                await shop.order(event_id, tier_id)

        buyers = [
            asyncio.create_task(buy(event_id, tier_ids[0]))
            for event_id, tier_ids in sales
            for _ in range(4)
        ]
        for _ in range(3):
            code, output = await stampede(server.folder, "fsck")
            assert code == 0, output
        stopped = True
        await asyncio.gather(*buyers)
        assert "3 sales" in output


async def test_damage_is_mended_where_the_server_is_stopped(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    folder = tmp_path / "data"
    async with running(folder, SETTINGS) as server:
        shop = Shop(server.url, session)
        event_id, (tier_id,) = await shop.on_sale()
        await shop.bought(event_id, tier_id, 2)
        connection = await _projected(server)
        code, output = await stampede(folder, "fsck", "--repair")
        assert (code, output) == (
            2,
            "stampede: a projector writes the tables: stop the server, then mend them\n",
        )
        await connection.execute("UPDATE tier_counters SET sold = sold + 1")
        await connection.close()
    told = f"{event_id}: the row {tier_id} has sold 3, by the facts 2"
    code, output = await stampede(folder, "fsck", "--json")
    report = json.loads(output)
    assert (code, report["clean"]) == (1, False)
    assert [check["findings"] for check in report["checks"] if check["findings"]] == [[told]]
    code, output = await stampede(folder, "fsck", "--repair")
    assert code == 1
    assert f"mended: the tables of {event_id}: written anew" in output
    code, output = await stampede(folder, "fsck")
    assert code == 0, output


async def _projected(server: Server) -> asyncpg.Connection:
    """A connection, once the tables are where the journal is."""
    sockets = (server.folder / "postgres.sockets").resolve()
    connection = await asyncpg.connect(f"postgresql://stampede@/stampede?host={sockets}&port=5432")
    await until_projected(connection)
    return connection


async def test_a_restored_backup_has_what_was_sold_and_sells_on(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "backup.tar"
    key = uuid4().hex
    async with running(old, SETTINGS) as server:
        shop = Shop(server.url, session)
        event_id, (tier_id,) = await shop.on_sale({"total_quantity": 6})
        bought = await shop.bought(event_id, tier_id, 2)
        placed = await shop.order(event_id, tier_id, key=key)
        code, output = await stampede(old, "backup", str(file))
        assert code == 0, output
        after = await shop.order(event_id, tier_id)
        assert (placed.status, after.status) == (201, 201)

    code, output = await stampede(new, "restore", str(file))
    assert code == 0, output
    code, output = await stampede(new, "fsck")
    assert code == 0, output

    async with running(new, SETTINGS) as server:
        shop = Shop(server.url, session)
        assert await shop.read(bought["order_id"]) == bought
        again = await shop.order(event_id, tier_id, key=key)
        assert (again.status, again.body) == (201, placed.body)
        buyer = await shop.token("buyer", "ann")
        lost = await shop.call("GET", f"/v1/orders/{after.body['order_id']}", token=buyer)
        assert lost.status == 404
        await shop.bought(event_id, tier_id, 3)
        sold_out = await shop.order(event_id, tier_id)
        assert (sold_out.status, sold_out.code) == (409, "sold_out")
        scanned = await shop.scan(event_id, bought["tickets"][0]["token"])
        assert scanned.body["result"] == "ADMIT"
        code, output = await stampede(new, "restore", str(file))
        assert code == 1
        assert "is not empty" in output
        code, output = await stampede(new, "fsck")
        assert code == 0, output
