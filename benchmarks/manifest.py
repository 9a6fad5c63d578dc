"""The doors without a network: what devices take with them of a large event, and what they tell.

Over HTTP, with the answers' time as a client sees it. While a manifest is made another client asks
for the process's health without a pause: what it waits for longest is how long the loop stood
still, and its own share of a busy machine.
"""

import asyncio
import hashlib
import os
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg
import msgspec
from msgspec import Struct

from benchmarks.asked import Asked
from benchmarks.results import Figure, Measurement, measured
from benchmarks.servers import Endpoint, stampede
from gateway.devices import Secrets
from gateway.routes.manifest import signed
from persistence.tokens import Tokens

TICKETS = 100_000
AN_ORDER = 1_000
CHANGED = 500
TOLD_A_CALL = 5_000


class Report(Struct):
    """Seconds each."""

    made: list[float] = []
    kept: list[float] = []
    known: list[float] = []
    longest_step: list[float] = []
    waited: list[float] = []
    waited_in_quiet: list[float] = []
    changes: list[float] = []
    told: list[float] = []  # ten thousand scans in two calls
    packed_bytes: int = 0


async def measure(asked: Asked) -> list[Measurement]:
    conditions = (
        f"{TICKETS:,} tickets of one event, over HTTP, packed. Load average of the shared machine"
        f" before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores."
    )
    found = await figures(asked.rounds_or(5))
    return [measured("doors without a network", "./run bench manifest", conditions, found)]


async def figures(rounds: int) -> list[Figure]:
    report = await _measured(rounds)
    ms = [
        (f"manifest of {TICKETS:,} tickets, made anew", report.made),
        ("the same, asked for by the next device", report.kept),
        ("the same, known already (304)", report.known),
        ("longest step on the loop, of CPU", report.longest_step),
        ("longest wait of another client meanwhile", report.waited),
        ("longest wait of that client in quiet", report.waited_in_quiet),
        (f"changes of {CHANGED} tickets", report.changes),
        (f"{2 * TOLD_A_CALL:,} scans told in two calls", report.told),
    ]
    found = [Figure(what, "ms", [1000 * value for value in values]) for what, values in ms]
    return [*found, Figure("manifest, packed", "bytes", [report.packed_bytes])]


async def _measured(rounds: int) -> Report:
    report = Report()
    async with stampede() as server:
        headers = {
            "Authorization": f"Bearer {server.token('admin', 'bench')}",
            "Accept-Encoding": "identity",
        }
        async with aiohttp.ClientSession(
            headers=headers, auto_decompress=False, timeout=aiohttp.ClientTimeout(60)
        ) as session:
            world = _World(server, session)
            await world.sell()
            for _ in range(rounds):
                await _round(world, report)
                report.longest_step.append(await _longest_step(server.dsn, world))
    return report


async def _longest_step(dsn: str, world: "_World") -> float:
    """CPU seconds that making the manifest takes of a loop without a pause, in this process."""
    event = await world.call("GET", f"/v1/events/{world.event_id}")
    tier_ids = [tier["tier_id"] for tier in event["tiers"]]
    secrets = Secrets("x" * 32)
    async with asyncpg.create_pool(dsn, min_size=1, max_size=1) as pool:
        making = asyncio.create_task(_make(Tokens(pool), secrets, world.event_id, tier_ids))
        longest, before = 0.0, time.thread_time()
        while not making.done():
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, before = max(longest, now - before), now
        await making
    return longest


async def _make(tokens: Tokens, secrets: Secrets, event_id: str, tier_ids: list[str]) -> None:
    found = await tokens.all(event_id, tier_ids)
    parts = (b"{}", found.tickets, b"{}")
    await asyncio.to_thread(signed, secrets, event_id, "", parts)


class _World:
    def __init__(self, server: Endpoint, session: aiohttp.ClientSession) -> None:
        self._url = server.url
        self._session = session
        self._till = server.token("box_office", "bench")
        self.tokens: list[str] = []
        self.event_id = ""

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        async with self._session.request(
            method, self._url + path, json=body, headers=headers
        ) as response:
            assert response.status < 300, await response.text()
            return await response.json()

    async def get(self, path: str, etag: str = "") -> tuple[int, bytes, str]:
        headers = {"Accept-Encoding": "gzip", "If-None-Match": etag}
        async with self._session.get(self._url + path, headers=headers) as response:
            return response.status, await response.read(), response.headers.get("ETag", "")

    @property
    def manifest(self) -> str:
        return f"/v1/events/{self.event_id}/manifest"

    async def settled(self) -> None:
        """The tables have come as far as the sale."""
        for _ in range(60):  # each waits for them a while
            if (await self.get(f"/v1/events/{self.event_id}/conflicts"))[0] == 200:
                return
        raise TimeoutError

    async def sell(self) -> None:
        hall = {
            "name": "Arena",
            "city": "Berlin",
            "country": "Germany",
            "capacity": TICKETS,
            "timezone": "Europe/Berlin",
        }
        venue = await self.call("POST", "/v1/venues", hall)
        event = {
            "venue_id": venue["venue_id"],
            "title": "Large",
            "category": "CONCERT",
            "start_time": "2031-05-01T19:00:00+02:00",
            "end_time": "2031-05-01T23:00:00+02:00",
        }
        self.event_id = (await self.call("POST", "/v1/events", event))["event_id"]
        path = f"/v1/events/{self.event_id}"
        tier = {
            "name": "GENERAL",
            "price": 0,
            "total_quantity": TICKETS,
            "max_per_order": AN_ORDER,
            "sale_start": "2020-01-01T00:00:00Z",
        }
        tier_id = (await self.call("POST", f"{path}/tiers", tier))["tier_id"]
        for step in ("publish", "open-sales"):
            await self.call("POST", f"{path}/{step}")
        for _ in range(TICKETS // AN_ORDER):
            await self._buy(path, tier_id)

    async def _buy(self, path: str, tier_id: str) -> None:
        wanted = {
            "selections": [{"tier_id": tier_id, "quantity": AN_ORDER}],
            "buyer_id": "bench",
        }
        till = {"Authorization": f"Bearer {self._till}"}
        order = await self.call(
            "POST", f"{path}/orders", wanted, **till, **{"Idempotency-Key": _new()}
        )
        found = f"/v1/orders/{order['order_id']}"
        key = {"Idempotency-Key": _new()}
        await self.call("POST", f"{found}/payment", {"method": "card"}, **till, **key)
        paid = await self.call("GET", found, **till)
        self.tokens += [ticket["token"] for ticket in paid["tickets"]]

    def telling(self, device: str, tokens: list[str]) -> bytes:
        at = datetime.now(UTC) - timedelta(hours=1)
        scans = [
            {
                "token_hash": hashlib.sha256(token.encode()).hexdigest(),
                "nonce": _new(),
                "scanned_at": (at + timedelta(milliseconds=number)).isoformat(),
                "gate": "North",
                "result": "ADMIT",
            }
            for number, token in enumerate(tokens)
        ]
        return msgspec.json.encode({"device_id": device, "scans": scans})

    async def tell(self, body: bytes) -> bytes:
        url = f"{self._url}/v1/events/{self.event_id}/checkins/sync"
        async with self._session.post(url, data=body) as response:
            assert response.status == 200
            return await response.read()


async def _round(world: _World, report: Report) -> None:
    first, second = (world.tokens[-TOLD_A_CALL:], world.tokens[-2 * TOLD_A_CALL : -TOLD_A_CALL])
    del world.tokens[-2 * TOLD_A_CALL :]

    bodies = [world.telling("device-1", first), world.telling("device-2", second)]
    answers: list[bytes] = []

    async def told() -> None:
        answers.extend([await world.tell(body) for body in bodies])

    report.told.append(await _seconds(told))
    assert sum(answer.count(b'"recorded"') for answer in answers) == 2 * TOLD_A_CALL
    await world.settled()
    report.waited_in_quiet.append(await _longest_wait(world, asyncio.sleep(1)))
    fresh: list[tuple[int, bytes, str]] = []

    async def made() -> None:
        fresh.append(await world.get(world.manifest))

    took: list[float] = []

    async def timed() -> None:
        took.append(await _seconds(made))

    report.waited.append(await _longest_wait(world, timed()))
    report.made += took
    status, body, etag = fresh[0]
    assert status == 200
    report.packed_bytes = len(body)
    report.kept.append(await _seconds(made))

    async def known() -> None:
        assert (await world.get(world.manifest, etag))[0] == 304

    report.known.append(await _seconds(known))
    cursor = (await world.call("GET", world.manifest))["cursor"]
    changed = [world.tokens.pop() for _ in range(CHANGED)]
    await world.tell(world.telling("device-3", changed))

    async def changes() -> None:
        assert (await world.get(f"{world.manifest}?cursor={cursor}"))[0] == 200

    await world.settled()
    report.changes.append(await _seconds(changes))


async def _seconds(work: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def _longest_wait(world: _World, work: Any) -> float:
    """Of a client that asks without a pause until the work is done."""
    doing = asyncio.ensure_future(work)
    longest = 0.0
    while not doing.done():
        longest = max(longest, await _seconds(lambda: _healthy(world)))
    await doing
    return longest


async def _healthy(world: _World) -> None:
    await world.get("/healthz")


def _new() -> str:
    return uuid4().hex
