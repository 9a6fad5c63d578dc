"""The doors, as scanners see them."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from tests.shop import Shop

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_ticket_admits_once_and_then_tells_when_and_where(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    (ticket,) = (await shop.bought(event_id, tier_id))["tickets"]
    first = await shop.scan(event_id, ticket["token"], gate="North")
    assert first.status == 200
    assert first.body["result"] == "ADMIT"
    assert first.body["ticket_id"] == ticket["ticket_id"]
    assert first.body["tier"] == "GENERAL"
    second = await shop.scan(event_id, ticket["token"], gate="South", device="gate-2")
    assert second.body["result"] == "ALREADY_ADMITTED"
    assert second.body["checked_in_at"] == first.body["checked_in_at"]
    assert second.body["gate"] == "North"


async def test_of_fifty_scans_at_once_one_admits(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    (ticket,) = (await shop.bought(event_id, tier_id))["tickets"]
    scans = [shop.scan(event_id, ticket["token"], device=f"gate-{n % 7}") for n in range(50)]
    results = [scan.body["result"] for scan in await asyncio.gather(*scans)]
    assert sorted(results) == ["ADMIT"] + ["ALREADY_ADMITTED"] * 49


async def test_a_nonce_gives_the_same_answer_for_ever(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    first, other = (await shop.bought(event_id, tier_id, 2))["tickets"]
    admitted = await shop.scan(event_id, first["token"], "n1")
    assert (await shop.scan(event_id, first["token"], "n1")).body == admitted.body
    reused = await shop.scan(event_id, other["token"], "n1")
    assert (reused.status, reused.code) == (422, "nonce_reused")
    same_nonce_elsewhere = await shop.scan(event_id, other["token"], "n1", device="gate-2")
    assert same_nonce_elsewhere.body["result"] == "ADMIT"


async def test_an_admission_can_be_taken_back(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    (ticket,) = (await shop.bought(event_id, tier_id))["tickets"]
    await shop.scan(event_id, ticket["token"], "n1", gate="North")
    scanner = await shop.token("scanner", "gate-1", event_id)
    path = f"/v1/events/{event_id}/checkins/undo"
    undone = await shop.call("POST", path, {"nonce": "n1"}, token=scanner)
    assert undone.status == 200
    assert undone.body["undone_at"]
    replay = await shop.scan(event_id, ticket["token"], "n1", gate="North")
    assert (replay.body["result"], replay.body["undone_at"]) == ("ADMIT", undone.body["undone_at"])
    assert (await shop.scan(event_id, ticket["token"], "n2")).body["result"] == "ADMIT"
    nothing = await shop.call("POST", path, {"nonce": "n9"}, token=scanner)
    assert nothing.status == 404
    stranger = await shop.token("scanner", "gate-2", event_id)
    body = {"nonce": "n2", "device_id": "gate-1"}
    assert (await shop.call("POST", path, body, token=stranger)).status == 403


async def test_false_tokens_and_those_of_other_events_are_told_apart(shop: Shop) -> None:
    here, _ = await shop.on_sale()
    there, (tier_id,) = await shop.on_sale()
    (ticket,) = (await shop.bought(there, tier_id))["tickets"]
    await shop.conflicts(there)  # the tables have come so far
    scanned = await shop.scan(here, ticket["token"])
    assert scanned.body == {"result": "INVALID", "reason": "wrong_event"}
    fake = await shop.scan(here, str(uuid4()))
    assert fake.body == {"result": "INVALID", "reason": "unknown_token"}
    other_text = await shop.scan(here, "https://example.org/menu")
    assert other_text.body["reason"] == "unknown_token"


async def test_a_gate_may_be_limited_to_tiers(shop: Shop) -> None:
    event_id, (general, vip) = await shop.on_sale({}, {"name": "VIP"})
    gates = {"gates": [{"name": "Red carpet", "tier_ids": [vip]}]}
    path = f"/v1/events/{event_id}/gates"
    answer = await shop.call("PUT", path, gates, token=await shop.organizer())
    assert answer.status == 200
    (ticket,) = (await shop.bought(event_id, general))["tickets"]
    refused = await shop.scan(event_id, ticket["token"], gate="Red carpet")
    assert refused.body["reason"] == "tier_not_admitted"
    overridden = await shop.scan(
        event_id, ticket["token"], gate="Red carpet", override=True, reason="guest"
    )
    assert overridden.status == 403
    assert (await shop.scan(event_id, ticket["token"], gate="Main")).body["result"] == "ADMIT"


async def test_a_supervisor_admits_against_a_refusal_but_never_an_unknown_token(
    shop: Shop,
) -> None:
    event_id, (general, vip) = await shop.on_sale({}, {"name": "VIP"})
    gates = {"gates": [{"name": "Red carpet", "tier_ids": [vip]}]}
    organizer = await shop.organizer()
    await shop.call("PUT", f"/v1/events/{event_id}/gates", gates, token=organizer)
    (ticket,) = (await shop.bought(event_id, general))["tickets"]
    await shop.token("scanner", "chief", event_id, "supervisor")
    override: dict[str, Any] = {"gate": "Red carpet", "override": True, "reason": "artist's guest"}
    admitted = await shop.scan(event_id, ticket["token"], device="chief", **override)
    assert admitted.body["result"] == "ADMIT"
    fake = await shop.scan(event_id, str(uuid4()), device="chief", **override)
    assert fake.body["reason"] == "unknown_token"


async def test_the_counts_and_the_history_tell_what_happened(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    first, second = (await shop.bought(event_id, tier_id, 2))["tickets"]
    await shop.scan(event_id, first["token"], "n1", gate="North")
    await shop.scan(event_id, second["token"], "n2", gate="South")
    await shop.scan(event_id, second["token"], "n3", gate="South")
    organizer = await shop.organizer()
    doors = await shop.call("GET", f"/v1/events/{event_id}/doors", token=organizer)
    assert doors.body["admitted"] == 2
    assert doors.body["by_tier"] == {tier_id: 2}
    assert doors.body["by_gate"] == {"North": 1, "South": 1}
    assert sum(doors.body["by_minute"].values()) == 2
    await shop.conflicts(event_id)  # the tables have come so far
    history = await shop.call("GET", f"/v1/events/{event_id}/checkins", token=organizer)
    told = [(line["nonce"], line["result"]) for line in history.body["items"]]
    assert told == [("n1", "ADMIT"), ("n2", "ADMIT"), ("n3", "ALREADY_ADMITTED")]


async def test_a_device_works_at_its_own_event_only(shop: Shop) -> None:
    here, _ = await shop.on_sale()
    there, _ = await shop.on_sale()
    scanner = await shop.token("scanner", "gate-1", here)
    body = {"token": str(uuid4()), "nonce": "n1"}
    refused = await shop.call("POST", f"/v1/events/{there}/checkins", body, token=scanner)
    assert (refused.status, refused.code) == (403, "forbidden")


async def test_a_refunded_ticket_is_told_as_refunded_and_a_used_one_needs_force(
    shop: Shop,
) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    order = await shop.bought(event_id, tier_id, 2)
    used, unused = order["tickets"]
    await shop.scan(event_id, used["token"])
    path, till = f"/v1/orders/{order['order_id']}/refund", await shop.box_office()
    refused = await shop.call("POST", path, {}, token=till, key="r1")
    assert (refused.status, refused.code) == (409, "ticket_used")
    forced = await shop.call("POST", path, {"force": True}, token=till, key="r1")
    assert forced.body["status"] == "REFUNDED"
    scanned = await shop.scan(event_id, unused["token"])
    assert scanned.body["reason"] == "refunded"
