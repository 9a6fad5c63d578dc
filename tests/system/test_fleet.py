"""Twenty devices come back from a place without a network and tell all at once, while the server is
killed: what stands in the end is what an independent count of their scans says.
"""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest_asyncio
from msgspec import Struct

from tests.server import Server
from tests.shop import Answer, Shop

DEVICES = 20
TICKETS = 300
SCANS_A_DEVICE = 80
FAKES_A_DEVICE = 3
BATCH = 30
ONLINE_BEFORE = 30
ONLINE_MEANWHILE = 40


class Told(Struct, frozen=True):
    device: str
    nonce: str
    token: str
    at: datetime

    @property
    def body(self) -> dict[str, Any]:
        at = self.at.isoformat()
        gate = f"gate of {self.device}"
        return {
            "token": self.token,
            "nonce": self.nonce,
            "scanned_at": at,
            "gate": gate,
            "result": "ADMIT",
        }


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    started = Server(tmp_path / "data", {"STAMPEDE_DOORS_OPEN_HOURS": "200000"})
    await started.start()
    yield started
    await started.stop()


def _scans(chance: random.Random, tokens: list[str]) -> dict[str, list[Told]]:
    """By device; no two at the same instant, some of a token that the device has had before."""
    instants = list(range(1, DEVICES * (SCANS_A_DEVICE + FAKES_A_DEVICE) + 1))
    chance.shuffle(instants)
    began = datetime.now(UTC) - timedelta(minutes=10)
    scans = {}
    for number in range(DEVICES):
        device = f"device-{number}"
        chosen = chance.choices(tokens, k=SCANS_A_DEVICE)
        chosen += [f"fake {number} {n}" for n in range(FAKES_A_DEVICE)]
        scans[device] = [
            Told(device, f"n{n}", token, began + timedelta(milliseconds=10 * instants.pop()))
            for n, token in enumerate(chosen)
        ]
        chance.shuffle(scans[device])
    return scans


async def _insist(shop: Shop, method: str, path: str, body: Any, token: str) -> Answer:
    """As a device does: the same again until there is an answer."""
    async with asyncio.timeout(60):
        while True:
            try:
                answer = await shop.call(method, path, body, token=token)
            except (aiohttp.ClientError, OSError):
                continue
            if answer.status == 200:
                return answer
            assert answer.status == 503, answer.body
            await asyncio.sleep(0.02)


async def _tell(
    shop: Shop, event_id: str, scans: list[Told], chance: random.Random
) -> list[Answer]:
    device = scans[0].device
    token = await shop.token("scanner", device, event_id)
    batches = [scans[first : first + BATCH] for first in range(0, len(scans), BATCH)]
    answers = []
    for batch in [*batches, chance.choice(batches)]:
        body = {"device_id": device, "scans": [scan.body for scan in batch]}
        path = f"/v1/events/{event_id}/checkins/sync"
        answers.append(await _insist(shop, "POST", path, body, token))
    return answers


async def _pages(shop: Shop, path: str) -> list[dict[str, Any]]:
    token = await shop.organizer()
    items: list[dict[str, Any]] = []
    cursor = ""
    while True:
        found = await _insist(shop, "GET", f"{path}?limit=200{cursor}", None, token)
        items += found.body["items"]
        if found.body["next_cursor"] is None:
            return items
        cursor = f"&cursor={found.body['next_cursor']}"


async def test_what_stands_is_what_an_independent_count_says(server: Server) -> None:
    chance = random.Random(7)
    async with aiohttp.ClientSession() as session:
        shop = Shop(server.url, session)
        event_id, (tier_id,) = await shop.on_sale(
            {"total_quantity": TICKETS, "max_per_order": TICKETS}
        )
        tickets = (await shop.bought(event_id, tier_id, TICKETS))["tickets"]
        ticket_by_token = {ticket["token"]: ticket["ticket_id"] for ticket in tickets}
        tokens = list(ticket_by_token)
        scans = _scans(chance, tokens)
        online: dict[str, str] = {}
        for device in (*scans, "desk"):  # credentials are had before the server dies
            await shop.token("scanner", device, event_id)

        async def scan_online(token: str, device: str) -> None:
            scanner = await shop.token("scanner", device, event_id)
            body = {"token": token, "nonce": f"online-{token}", "gate": "online"}
            path = f"/v1/events/{event_id}/checkins"
            scanned = await _insist(shop, "POST", path, body, scanner)
            if scanned.body["result"] == "ADMIT":
                online[token] = device

        for token in tokens[:ONLINE_BEFORE]:
            await scan_online(token, "device-0")
        telling = [
            asyncio.create_task(_tell(shop, event_id, told, chance)) for told in scans.values()
        ]
        meanwhile = [
            asyncio.create_task(scan_online(token, "desk")) for token in tokens[-ONLINE_MEANWHILE:]
        ]
        await asyncio.wait(meanwhile, return_when=asyncio.FIRST_COMPLETED)
        os.kill(await server.node_pid(), signal.SIGKILL)
        answers = await asyncio.gather(*telling)
        await asyncio.gather(*meanwhile)

        admitted, conflicts = _counted([s for told in scans.values() for s in told], online)
        path = f"/v1/events/{event_id}"
        listed = await _pages(shop, f"{path}/conflicts")
        found = Counter((line["ticket_id"], line["device_id"]) for line in listed)
        assert found == Counter((ticket_by_token[t], device) for t, device in conflicts)
        named = {line["ticket_id"]: line["admission"]["device_id"] for line in listed}
        assert named.items() <= {ticket_by_token[t]: d for t, (d, _) in admitted.items()}.items()

        doors = await _insist(shop, "GET", f"{path}/doors", None, await shop.organizer())
        gates = Counter(gate for _, gate in admitted.values())
        assert doors.body["by_gate"] == gates
        assert doors.body["admitted"] == len(admitted)

        history = await _pages(shop, f"{path}/checkins")
        kept = Counter((line["device_id"], line["nonce"]) for line in history)
        every = {(scan.device, scan.nonce) for told in scans.values() for scan in told}
        assert {name: count for name, count in kept.items() if name in every} == dict.fromkeys(
            every, 1
        )
        _check_answers(answers, history)


def _counted(
    scans: list[Told], online: dict[str, str]
) -> tuple[dict[str, tuple[str, str]], set[tuple[str, str]]]:
    """Who let each ticket in (device, gate), and who else did: counted from the words alone."""
    admitted = {token: (device, "online") for token, device in online.items()}
    let_in: dict[str, set[str]] = {}
    for scan in sorted(scans, key=lambda scan: scan.at):
        if not scan.token.startswith("fake"):
            admitted.setdefault(scan.token, (scan.device, f"gate of {scan.device}"))
            let_in.setdefault(scan.token, set()).add(scan.device)
    conflicts = {
        (token, device)
        for token, devices in let_in.items()
        for device in devices - {admitted[token][0]}
    }
    return admitted, conflicts


def _check_answers(answers: list[list[Answer]], history: list[dict[str, Any]]) -> None:
    """What a device was told, the second time too, is what is kept."""
    kept = {(line["device_id"], line["nonce"]): line.get("outcome") for line in history}
    for number, of_device in enumerate(answers):
        for answer in of_device:
            for result in answer.body["results"]:
                assert kept[f"device-{number}", result["nonce"]] == result["outcome"]
