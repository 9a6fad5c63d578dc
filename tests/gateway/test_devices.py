"""Devices at the doors: invited once, enrolled once, and refused everywhere once revoked."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest
import pytest_asyncio

from tests.server import Server
from tests.shop import Answer, Shop
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def invited(shop: Shop, event_id: str, **more: Any) -> dict[str, Any]:
    path = f"/v1/events/{event_id}/devices"
    made = await shop.organize("POST", path, {"name": "Phone 1", **more})
    assert made.status == 201, made.body
    found: dict[str, Any] = made.body
    return found


async def enrolled(shop: Shop, event_id: str, **more: Any) -> dict[str, Any]:
    invitation = await invited(shop, event_id, **more)
    made = await shop.call("POST", "/v1/devices/enrol", {"code": invitation["code"]})
    assert made.status == 201, made.body
    found: dict[str, Any] = made.body
    return found


async def scan(
    shop: Shop, event_id: str, token: str, device: dict[str, Any], **more: Any
) -> Answer:
    body = {"token": token, "nonce": uuid4().hex, **more}
    path = f"/v1/events/{event_id}/checkins"
    return await shop.call("POST", path, body, token=device["token"])


async def test_a_code_enrols_one_device_once(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    invitation = await invited(shop, event_id)
    assert invitation["status"] == "INVITED"
    assert invitation["qr_svg"].startswith("<svg")
    typed = invitation["code"].replace("-", "").lower()
    made = await shop.call("POST", "/v1/devices/enrol", {"code": typed})
    assert made.status == 201
    assert made.body["device_id"] == invitation["device_id"]
    key = made.body["event_public_key"]
    assert len(base64.urlsafe_b64decode(key + "=" * (-len(key) % 4))) == 32
    again = await shop.call("POST", "/v1/devices/enrol", {"code": typed})
    assert (again.status, again.code) == (409, "code_used")
    (ticket,) = (await shop.bought(event_id, tier_id))["tickets"]
    assert (await scan(shop, event_id, ticket["token"], made.body)).body["result"] == "ADMIT"


async def test_of_twenty_that_enrol_by_one_code_one_succeeds(shop: Shop) -> None:
    event_id, _ = await shop.on_sale()
    code = {"code": (await invited(shop, event_id))["code"]}
    asked = [shop.call("POST", "/v1/devices/enrol", code) for _ in range(20)]
    statuses = sorted([answer.status for answer in await asyncio.gather(*asked)])
    assert statuses == [201] + [409] * 19


async def test_a_lost_answer_is_given_again_under_the_same_key(shop: Shop) -> None:
    event_id, _ = await shop.on_sale()
    path, body = f"/v1/events/{event_id}/devices", {"name": "Phone"}
    first = await shop.organize("POST", path, body, key="d1")
    again = await shop.organize("POST", path, body, key="d1")
    assert again.body == first.body
    assert again.headers["Idempotency-Replayed"] == "true"
    other = await shop.organize("POST", path, {"name": "Tablet"}, key="d1")
    assert (other.status, other.code) == (422, "idempotency_key_reused")
    code = {"code": first.body["code"]}
    made = await shop.call("POST", "/v1/devices/enrol", code, key="e1")
    same = await shop.call("POST", "/v1/devices/enrol", code, key="e1")
    assert (same.status, same.body) == (201, made.body)
    stolen = await shop.call("POST", "/v1/devices/enrol", code, key="e2")
    assert stolen.code == "code_used"


async def test_a_false_code_is_unknown(shop: Shop) -> None:
    for code in ("AAAA-BBBB-CCCC-DDDD", "x", "\u2603"):
        answer = await shop.call("POST", "/v1/devices/enrol", {"code": code})
        assert (answer.status, answer.code) == (404, "unknown_code")


async def test_a_device_works_at_its_event_and_gate_alone(shop: Shop) -> None:
    here, (tier_id,) = await shop.on_sale()
    there, _ = await shop.on_sale()
    device = await enrolled(shop, here, gate="North")
    (ticket,) = (await shop.bought(here, tier_id))["tickets"]
    wrong_gate = await scan(shop, here, ticket["token"], device, gate="South")
    assert (wrong_gate.status, wrong_gate.code) == (403, "forbidden")
    admitted = await scan(shop, here, ticket["token"], device)
    assert (admitted.body["result"], admitted.body["gate"]) == ("ADMIT", "North")
    for method, path in (
        ("POST", "checkins"),
        ("POST", "checkins/undo"),
        ("GET", "checkins"),
        ("GET", "doors"),
        ("GET", "manifest"),
        ("GET", "conflicts"),
        ("GET", "doors/stream"),
        ("GET", "attendees"),
        ("POST", "checkins/sync"),
    ):
        body: dict[str, Any] = {"nonce": "n", **({"token": "t"} if path == "checkins" else {})}
        if path == "checkins/sync":
            body = {"device_id": device["device_id"], "scans": []}
        asked = await shop.call(
            method,
            f"/v1/events/{there}/{path}",
            body if method == "POST" else None,
            token=device["token"],
        )
        assert asked.status == 403, path


async def test_a_stolen_manifest_makes_no_ticket(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    await shop.bought(event_id, tier_id, 3)
    device = await enrolled(shop, event_id)
    path = f"/v1/events/{event_id}"
    await shop.conflicts(event_id)  # the tables have come so far
    stolen = await shop.call("GET", f"{path}/manifest", token=device["token"])
    hashes = [row[0] for row in stolen.body["tickets"]]
    assert len(hashes) == 3
    for text in (*hashes, *(str(UUID(made[:32])) for made in hashes)):
        shown = await scan(shop, event_id, text, device)
        assert shown.body == {"result": "INVALID", "reason": "unknown_token"}
    at = datetime.now(UTC).isoformat()
    scans = [
        {"token": text, "nonce": uuid4().hex, "scanned_at": at, "result": "ADMIT"}
        for text in hashes
    ]
    body = {"device_id": device["device_id"], "scans": scans}
    told = await shop.call("POST", f"{path}/checkins/sync", body, token=device["token"])
    assert [result["outcome"] for result in told.body["results"]] == ["unknown"] * 3
    doors = await shop.organize("GET", f"{path}/doors")
    assert doors.body["admitted"] == 0


async def test_conflicts_are_a_supervisors_affair(shop: Shop) -> None:
    event_id, _ = await shop.on_sale()
    path = f"/v1/events/{event_id}/conflicts"
    for profile, status in (("scan", 403), ("supervisor", 200)):
        device = await enrolled(shop, event_id, profile=profile)
        assert (await shop.call("GET", path, token=device["token"])).status == status


async def test_devices_are_the_organizers_own_affair(shop: Shop) -> None:
    event_id, _ = await shop.on_sale()
    device = await enrolled(shop, event_id)
    stranger = await shop.token("organizer", "somebody-else")
    path = f"/v1/events/{event_id}/devices"
    for token in (stranger, device["token"], await shop.token("buyer", "ann")):
        made = await shop.call("POST", path, {"name": "Phone"}, token=token)
        assert made.status == 403
        gone = await shop.call("DELETE", f"/v1/devices/{device['device_id']}", token=token)
        assert gone.status == 403
    assert (await shop.organize("DELETE", "/v1/devices/dev_none")).code == "unknown_device"
    assert (await shop.organize("POST", path, {"name": ""})).status == 400
    assert (await shop.organize("POST", path, {"name": "x", "profile": "boss"})).status == 400


async def test_a_supervisors_device_may_override(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    order = await shop.bought(event_id, tier_id)
    path = f"/v1/orders/{order['order_id']}/refund"
    await shop.call("POST", path, {}, token=await shop.box_office(), key="r")
    override = {"override": True, "reason": "the artist's mother"}
    token = order["tickets"][0]["token"]
    plain = await enrolled(shop, event_id)
    assert (await scan(shop, event_id, token, plain, **override)).status == 403
    chief = await enrolled(shop, event_id, profile="supervisor")
    assert (await scan(shop, event_id, token, chief, **override)).body["result"] == "ADMIT"


async def test_the_list_tells_who_was_seen(shop: Shop) -> None:
    event_id, _ = await shop.on_sale()
    device = await enrolled(shop, event_id)
    path = f"/v1/events/{event_id}/devices"
    before = await shop.organize("GET", path)
    assert [d["status"] for d in before.body["items"]] == ["ENROLLED"]
    assert "code" not in before.body["items"][0]
    await shop.call("GET", f"/v1/events/{event_id}/doors", token=device["token"])

    async def seen() -> bool:
        listed = await shop.organize("GET", path)
        return listed.body["items"][0]["last_seen_at"] is not None

    await until(seen)


@pytest_asyncio.fixture(loop_scope="session")
async def two_gateways(tmp_path: Path) -> AsyncIterator[list[str]]:
    """Both on the launcher's socket: a connection of its own for each, until both were met."""
    server = Server(tmp_path / "data", arguments=["--gateways", "2"])
    await server.start()
    yield [server.url]
    await server.stop()


async def test_a_revoked_device_is_refused_everywhere_within_a_second(
    two_gateways: list[str],
) -> None:
    (url,) = two_gateways
    async with aiohttp.ClientSession() as session:
        shop = Shop(url, session)
        event_id, _ = await shop.on_sale()
        device = await enrolled(shop, event_id)
        sessions = [aiohttp.ClientSession() for _ in range(16)]
        shops = [Shop(url, one) for one in sessions]

        async def ask(one: Shop) -> int:
            scanned = await scan(one, event_id, "nothing", device)
            path = f"/v1/events/{event_id}/doors"
            looked = await one.call("GET", path, token=device["token"])
            return min(scanned.status, looked.status)

        assert set(await asyncio.gather(*map(ask, shops))) == {200}
        gone = await shop.organize("DELETE", f"/v1/devices/{device['device_id']}")
        assert gone.status == 204
        revoked_s = time.monotonic()
        last_good_s = revoked_s
        while time.monotonic() < revoked_s + 2:
            asked_s = time.monotonic()
            if 200 in await asyncio.gather(*map(ask, shops)):
                last_good_s = asked_s
            await asyncio.sleep(0.02)
        assert last_good_s - revoked_s < 1
        assert set(await asyncio.gather(*map(ask, shops))) == {401}
        for one in sessions:
            await one.close()
