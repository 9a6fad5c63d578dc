"""Devices without a network: what they take with them, and what they tell afterwards."""

import asyncio
import base64
import hashlib
import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.gateway.test_devices import enrolled
from tests.server import Server
from tests.shop import Answer, Shop
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

MINUTE = timedelta(minutes=1)


def now() -> datetime:
    return datetime.now(UTC)


def told(token: str, at: datetime, nonce: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "token": token,
        "nonce": nonce or uuid4().hex,
        "scanned_at": at.isoformat(),
        "gate": "North",
        "result": "ADMIT",
        **more,
    }


async def sync(
    shop: Shop, event_id: str, device: str, *scans: dict[str, Any], **more: Any
) -> Answer:
    scanner = await shop.token("scanner", device, event_id)
    body = {"device_id": device, "scans": list(scans), **more}
    return await shop.call("POST", f"/v1/events/{event_id}/checkins/sync", body, token=scanner)


async def outcomes(shop: Shop, event_id: str, device: str, *scans: Any, **more: Any) -> list[str]:
    answer = await sync(shop, event_id, device, *scans, **more)
    assert answer.status == 200, answer.body
    return [result["outcome"] for result in answer.body["results"]]


async def manifest(shop: Shop, event_id: str, query: str = "") -> Any:
    await shop.conflicts(event_id)  # the tables have come so far
    found = await shop.organize("GET", f"/v1/events/{event_id}/manifest{query}")
    assert found.status == 200, found.body
    return found.body


def hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


async def test_scans_are_answered_in_the_order_sent(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    first, second = (await shop.bought(event_id, tier_id, 2))["tickets"]
    at = now()
    later = told(first["token"], at, "n1")
    again = told(first["token"], at - MINUTE / 2, "n2")
    by_hash = {**told("", at, "n3"), "token_hash": hashed(second["token"])}
    del by_hash["token"]
    answer = await sync(shop, event_id, "d1", later, told("nonsense", at, "n4"), by_hash, again)
    results = [(result["nonce"], result["outcome"]) for result in answer.body["results"]]
    assert results == [
        ("n1", "duplicate"),  # the same device was there half a minute earlier
        ("n4", "unknown"),
        ("n3", "recorded"),
        ("n2", "recorded"),
    ]
    assert await outcomes(shop, event_id, "d1", later, again) == ["duplicate", "recorded"]


async def test_the_earliest_admission_stands_and_the_others_are_conflicts(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    (ticket,) = (await shop.bought(event_id, tier_id))["tickets"]
    at = now() - MINUTE
    for second, device in ((3, "d3"), (1, "d1"), (2, "d2")):
        scan = told(ticket["token"], at + timedelta(seconds=second), device)
        await sync(shop, event_id, device, scan)
    found = await shop.conflicts(event_id)
    assert {conflict["device_id"] for conflict in found} == {"d2", "d3"}
    assert {conflict["admission"]["device_id"] for conflict in found} == {"d1"}
    assert {conflict["kind"] for conflict in found} == {"already_admitted"}
    scanned = await shop.scan(event_id, ticket["token"])
    assert scanned.body["result"] == "ALREADY_ADMITTED"
    first_at = datetime.fromisoformat(scanned.body["checked_in_at"])
    assert abs(first_at - (at + timedelta(seconds=1))) < timedelta(milliseconds=2)
    doors = await shop.organize("GET", f"/v1/events/{event_id}/doors")
    assert doors.body["admitted"] == 1


async def test_an_admission_given_online_is_never_displaced(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    (ticket,) = (await shop.bought(event_id, tier_id))["tickets"]
    online = await shop.scan(event_id, ticket["token"], "n1", device="d1", gate="South")
    earlier = told(ticket["token"], now() - 5 * MINUTE, "x")
    assert await outcomes(shop, event_id, "d2", earlier) == ["conflict"]
    already_online = told(ticket["token"], now(), "n1")
    assert await outcomes(shop, event_id, "d1", already_online) == ["recorded"]
    again = await shop.scan(event_id, ticket["token"], device="d3")
    assert again.body["checked_in_at"] == online.body["checked_in_at"]
    assert [conflict["nonce"] for conflict in await shop.conflicts(event_id)] == ["x"]


async def test_a_devices_clock_is_corrected_and_both_times_are_kept(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    (ticket,) = (await shop.bought(event_id, tier_id))["tickets"]
    right = told(ticket["token"], now() - 2 * MINUTE, "right")
    assert await outcomes(shop, event_id, "d1", right) == ["recorded"]
    hour = timedelta(hours=1)  # behind: by its own clock it was there long before
    slow = told(ticket["token"], now() - MINUTE - hour, "slow")
    sent_at = (now() - hour).isoformat()
    assert await outcomes(shop, event_id, "d2", slow, sent_at=sent_at) == ["conflict"]
    fast = told(ticket["token"], now() - 3 * MINUTE + hour, "fast")
    sent_at = (now() + hour).isoformat()
    assert await outcomes(shop, event_id, "d3", fast, sent_at=sent_at) == ["recorded"]
    ahead = told(ticket["token"], now() + hour, "ahead")
    assert await outcomes(shop, event_id, "d4", ahead) == ["conflict"]
    await shop.conflicts(event_id)  # the tables have come so far
    history = await shop.organize("GET", f"/v1/events/{event_id}/checkins")
    lines = {line["nonce"]: line for line in history.body["items"]}
    scanned_at, corrected_at = (
        datetime.fromisoformat(lines["fast"][name]) for name in ("scanned_at", "corrected_at")
    )
    assert timedelta(minutes=59) < scanned_at - corrected_at < timedelta(minutes=61)
    assert lines["fast"]["outcome"] == "recorded"
    received_at = datetime.fromisoformat(lines["ahead"]["checked_in_at"])
    assert datetime.fromisoformat(lines["ahead"]["corrected_at"]) <= received_at


async def test_a_clock_beyond_all_calendars_stops_nobody(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    tickets = (await shop.bought(event_id, tier_id, 4))["tickets"]
    clocks = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00")
    for sent_at, scanned_at in itertools.product(clocks, clocks):
        token = tickets.pop()["token"]
        scan = {**told(token, now()), "scanned_at": scanned_at}
        assert await outcomes(shop, event_id, "d1", scan, sent_at=sent_at) == ["recorded"]
        more = {"scanned_at": scanned_at, "sent_at": sent_at}
        online = await shop.scan(event_id, token, device="d2", **more)
        assert online.body["result"] == "ALREADY_ADMITTED"
    assert await shop.conflicts(event_id) == []  # the tables have come so far


async def test_a_clock_that_was_told_once_corrects_what_comes_later(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    (ticket,) = (await shop.bought(event_id, tier_id))["tickets"]
    device, hour = await enrolled(shop, event_id), timedelta(hours=1)
    headers = {"Device-Clock": (now() - hour).isoformat(), "Device-Battery": "0.7"}
    path, token = f"/v1/events/{event_id}", device["token"]
    await shop.call("GET", f"{path}/doors", token=token, headers=headers)
    scan = told(ticket["token"], now() - hour, "n1")
    online = {"token": ticket["token"], "nonce": "n2", "scanned_at": scan["scanned_at"]}
    await shop.call("POST", f"{path}/checkins", online, token=token)
    body = {"device_id": device["device_id"], "scans": [scan]}
    answer = await shop.call("POST", f"{path}/checkins/sync", body, token=token)
    assert abs(answer.body["clock_offset_ms"] - 3_600_000) < 60_000
    await shop.conflicts(event_id)
    history = await shop.organize("GET", f"{path}/checkins")
    for line in history.body["items"]:
        behind = datetime.fromisoformat(line["corrected_at"]) - datetime.fromisoformat(
            line["scanned_at"]
        )
        assert abs(behind - hour) < MINUTE

    async def written_down() -> bool:
        (listed,) = (await shop.organize("GET", f"{path}/devices")).body["items"]
        return bool(listed["battery"] == 0.7 and listed["clock_offset_ms"])

    await until(written_down)


async def test_a_refund_splits_the_scans_into_those_before_and_after(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    order = await shop.bought(event_id, tier_id)
    (ticket,) = order["tickets"]
    before = told(ticket["token"], now(), "before")
    await asyncio.sleep(0.01)
    path = f"/v1/orders/{order['order_id']}/refund"
    refunded = await shop.call("POST", path, {}, token=await shop.box_office(), key="r1")
    assert refunded.status == 200
    await asyncio.sleep(0.01)
    after = told(ticket["token"], now(), "after")
    answer = await sync(shop, event_id, "d1", before, after)
    assert [r["outcome"] for r in answer.body["results"]] == ["recorded", "late_invalid"]
    assert answer.body["results"][1]["reason"] == "refunded"
    (found,) = await shop.conflicts(event_id)
    assert (found["nonce"], found["kind"]) == ("before", "ended")


async def test_a_device_tells_of_its_own_scans_and_not_of_too_many(shop: Shop) -> None:
    event_id, _ = await shop.on_sale()
    scanner = await shop.token("scanner", "d1", event_id)
    path = f"/v1/events/{event_id}/checkins/sync"
    scan = told("x", now())
    for body, status in (
        ({"device_id": "d2", "scans": []}, 403),
        ({"device_id": "d1", "scans": [scan] * 5_001}, 400),
        ({"device_id": "d1", "scans": [{**scan, "token_hash": "0" * 64}]}, 400),
        ({"device_id": "d1", "scans": [{**scan, "scanned_at": "2031-01-01T10:00:00"}]}, 400),
        ({"device_id": "d1", "scans": [{**scan, "result": "MAYBE"}]}, 400),
        ({"device_id": "d1", "scans": []}, 200),
    ):
        answer = await shop.call("POST", path, body, token=scanner)
        assert answer.status == status, body
    full = await sync(shop, event_id, "d1", *(told("x", now()) for _ in range(5_000)))
    assert {result["outcome"] for result in full.body["results"]} == {"unknown"}


async def test_a_manifest_holds_every_ticket_and_no_token_and_is_signed(shop: Shop) -> None:
    tiers: tuple[dict[str, Any], ...] = ({}, {"name": 'VIP "Gold" \u2603 \u00e9\t\u007f'})
    event_id, (general, vip) = await shop.on_sale(*tiers)
    path = f"/v1/events/{event_id}/gates"
    await shop.organize("PUT", path, {"gates": [{"name": "Red carpet", "tier_ids": [vip]}]})
    one = (await shop.bought(event_id, general, 2))["tickets"]
    two = (await shop.bought(event_id, vip))["tickets"]
    await shop.scan(event_id, one[0]["token"])
    found = await manifest(shop, event_id)
    assert sorted(found["tickets"]) == sorted(
        [
            [hashed(one[0]["token"]), 0, "USED"],
            [hashed(one[1]["token"]), 0, "VALID"],
            [hashed(two[0]["token"]), 1, "VALID"],
        ]
    )
    assert [tier["tier_id"] for tier in found["tiers"]] == [general, vip]
    assert found["doors"]["gates"] == [{"name": "Red carpet", "tiers": [1]}]
    assert one[1]["token"] not in json.dumps(found)
    device = await enrolled(shop, event_id)
    check_signature(found, device["event_public_key"])
    found["tickets"][0][2] = "VALID" if found["tickets"][0][2] == "USED" else "USED"
    with pytest.raises(InvalidSignature):
        check_signature(found, device["event_public_key"])


def check_signature(found: dict[str, Any], public_key: str) -> None:
    rest = {name: value for name, value in found.items() if name != "signature"}
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    key = Ed25519PublicKey.from_public_bytes(decoded(public_key))
    key.verify(decoded(found["signature"]), canonical.encode())


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def test_a_cursor_gets_what_has_changed_since(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    order = await shop.bought(event_id, tier_id, 3)
    used, reissued, refunded = order["tickets"]
    before = await manifest(shop, event_id)
    assert before["full"]
    nothing = await manifest(shop, event_id, f"?cursor={before['cursor']}")
    assert (nothing["full"], nothing["tickets"]) == (False, [])
    await shop.scan(event_id, used["token"])
    path = f"/v1/tickets/{reissued['ticket_id']}/reissue"
    ann = await shop.token("buyer", "ann")
    fresh = await shop.call("POST", path, {}, token=ann, key="i1")
    assert fresh.status == 200, fresh.body
    body = {"ticket_ids": [refunded["ticket_id"]]}
    path = f"/v1/orders/{order['order_id']}/refund"
    await shop.call("POST", path, body, token=await shop.box_office(), key="r1")
    bought = (await shop.bought(event_id, tier_id))["tickets"][0]
    changes = await manifest(shop, event_id, f"?cursor={before['cursor']}")
    assert sorted(changes["tickets"]) == sorted(
        [
            [hashed(used["token"]), 0, "USED"],
            [hashed(reissued["token"]), 0, "CANCELLED"],
            [hashed(fresh.body["token"]), 0, "VALID"],
            [hashed(refunded["token"]), 0, "CANCELLED"],
            [hashed(bought["token"]), 0, "VALID"],
        ]
    )
    check_signature(changes, (await enrolled(shop, event_id))["event_public_key"])
    merged = {row[0]: row[1:] for row in [*before["tickets"], *changes["tickets"]]}
    whole = await manifest(shop, event_id)
    known = {row[0]: row[1:] for row in whole["tickets"]}
    assert {**merged, hashed(reissued["token"]): None} == {
        **known,
        hashed(reissued["token"]): None,
    }
    assert changes["cursor"] == whole["cursor"]


async def test_a_cursor_that_is_too_old_gets_everything(shop: Shop, server: Server) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    before = await manifest(shop, event_id)
    await shop.bought(event_id, tier_id)
    middle = await manifest(shop, event_id)
    sockets = (server.folder / "postgres.sockets").resolve()
    connection = await asyncpg.connect(f"postgresql://stampede@/stampede?host={sockets}&port=5432")
    number = int(middle["cursor"].partition("-")[2])
    await connection.execute("DELETE FROM token_changes WHERE event_id = $1", event_id)
    await connection.execute(
        "INSERT INTO token_changes_forgotten VALUES ($1, $2)", event_id, number
    )
    await connection.close()
    old = await manifest(shop, event_id, f"?cursor={before['cursor']}")
    assert (old["full"], len(old["tickets"])) == (True, 1)
    at_the_edge = await manifest(shop, event_id, f"?cursor={middle['cursor']}")
    assert (at_the_edge["full"], at_the_edge["tickets"]) == (False, [])
    other_life = await manifest(shop, event_id, "?cursor=abc-1")
    assert other_life["full"]
    bad = await shop.organize("GET", f"/v1/events/{event_id}/manifest?cursor=x")
    assert (bad.status, bad.code) == (400, "malformed_request")


async def test_a_manifest_that_is_known_already_is_not_sent_again(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    path = f"/v1/events/{event_id}/manifest"
    organizer = await shop.organizer()
    first = await shop.call("GET", path, token=organizer)
    assert first.headers["Content-Encoding"] == "gzip"
    etag = first.headers["ETag"]
    session = shop._session
    headers = {"Authorization": f"Bearer {organizer}", "If-None-Match": etag}
    async with session.get(shop.url + path, headers=headers) as same:
        assert (same.status, await same.read()) == (304, b"")
    await shop.bought(event_id, tier_id)
    async with session.get(shop.url + path, headers=headers) as changed:
        assert changed.status == 200
        assert changed.headers["ETag"] != etag
