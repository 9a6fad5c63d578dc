"""The owner of a sale is killed while its doors are open: devices hear so at once, judge alone
until another owns it, and tell of that afterwards; nobody is let in twice.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest_asyncio

from tests.cluster import Cluster
from tests.shop import Answer, Shop
from tests.waiting import until

TICKETS = 150
DEVICES = 5


@pytest_asyncio.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    started = Cluster(tmp_path, {"STAMPEDE_DOORS_OPEN_HOURS": "200000"})
    await started.start()
    await started.have(
        projector="projector", gateway="gateway", engine_1="engine", engine_2="engine"
    )
    yield started
    await started.stop()


class Device:
    """Scans one ticket after another; what it hears nothing of at once, it judges alone."""

    def __init__(self, shop: Shop, event_id: str, name: str, token: str) -> None:
        self._shop = shop
        self._path = f"/v1/events/{event_id}/checkins"
        self._name = name
        self._token = token
        self.online: dict[str, Answer] = {}
        self.alone: list[dict[str, Any]] = []

    async def scan(self, token: str) -> None:
        body = {"token": token, "nonce": f"online-{token}"}
        answer = await self._shop.call("POST", self._path, body, token=self._token)
        if answer.status == 200:
            self.online[token] = answer
            return
        assert (answer.status, answer.body["retryable"]) == (503, True), answer.body
        assert answer.headers["Retry-After"]
        at = datetime.now(UTC).isoformat()
        scan = {"token": token, "nonce": f"alone-{token}", "scanned_at": at, "result": "ADMIT"}
        self.alone.append(scan)

    async def tell(self) -> Answer:
        body = {"device_id": self._name, "scans": self.alone}
        return await self._shop.call("POST", f"{self._path}/sync", body, token=self._token)


async def test_devices_judge_alone_while_the_owner_changes(cluster: Cluster) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        shop = Shop(cluster.nodes["gateway"].url, session)
        event_id, (tier_id,) = await shop.on_sale(
            {"total_quantity": TICKETS, "max_per_order": TICKETS}
        )
        order = await shop.bought(event_id, tier_id, TICKETS)
        tokens = [ticket["token"] for ticket in order["tickets"]]
        names = [f"d{n}" for n in range(DEVICES)]
        devices = [
            Device(shop, event_id, name, await shop.token("scanner", name, event_id))
            for name in names
        ]
        killed, stopped = asyncio.Event(), asyncio.Event()

        async def work(device: Device, own: list[str]) -> None:
            for number, token in enumerate(own):
                if number == len(own) // 2:
                    await killed.wait()
                await device.scan(token)
                if not stopped.is_set():
                    await asyncio.sleep(0.02)

        working = [
            asyncio.create_task(work(device, tokens[n::DEVICES]))
            for n, device in enumerate(devices)
        ]
        await until(lambda: sum(len(device.online) for device in devices) >= DEVICES)
        owner = await cluster.owner(event_id)
        await owner.kill()
        killed.set()
        await until(lambda: any(device.alone for device in devices))
        assert await cluster.owner(event_id) is owner, "it was told before another owns the sale"
        stopped.set()
        await asyncio.gather(*working)

        async def told(device: Device) -> bool:
            answer = await device.tell()
            outcomes = {result["outcome"] for result in answer.body.get("results", ())}
            assert outcomes <= {"recorded", "duplicate"}, outcomes
            return answer.status == 200

        for device in devices:
            await until(lambda device=device: told(device))  # type: ignore[misc]
        doors = await shop.organize("GET", f"/v1/events/{event_id}/doors")
        assert doors.body["admitted"] == TICKETS
        assert await shop.conflicts(event_id) == []
        history = await shop.organize("GET", f"/v1/events/{event_id}/checkins?limit=200")
        admitted = Counter(
            line["ticket_id"] for line in history.body["items"] if line["result"] == "ADMIT"
        )
        assert admitted == Counter([ticket["ticket_id"] for ticket in order["tickets"]])
