"""Events at which one may leave and come back."""

from datetime import timedelta
from typing import Any

import pytest

from tests.gateway.test_offline import hashed, manifest, now, outcomes, told
from tests.shop import Answer, Shop

pytestmark = pytest.mark.asyncio(loop_scope="session")

MINUTE = timedelta(minutes=1)


async def sold(shop: Shop, **event: Any) -> tuple[str, str]:
    event_id, (tier_id,) = await shop.on_sale(**{"reentry": True, **event})
    (ticket,) = (await shop.bought(event_id, tier_id))["tickets"]
    return event_id, ticket["token"]


async def leave(shop: Shop, event_id: str, token: str, **more: Any) -> Answer:
    return await shop.scan(event_id, token, direction="exit", **more)


async def test_who_has_left_comes_in_again_and_is_counted(shop: Shop) -> None:
    event_id, token = await sold(shop)
    first = await shop.scan(event_id, token, gate="North")
    out = await leave(shop, event_id, token, gate="South")
    assert (out.status, out.body["result"], out.body["gate"]) == (200, "EXIT", "North")
    assert out.body["checked_in_at"] == first.body["checked_in_at"]
    nowhere = await leave(shop, event_id, token)
    assert (nowhere.body["result"], "checked_in_at" in nowhere.body) == ("EXIT", False)
    assert (await shop.scan(event_id, token, gate="North")).body["result"] == "ADMIT"
    assert (await shop.scan(event_id, token)).body["result"] == "ALREADY_ADMITTED"
    doors = (await shop.organize("GET", f"/v1/events/{event_id}/doors")).body
    assert (doors["admitted"], doors["exited"], doors["inside"]) == (2, 1, 1)
    assert (doors["by_gate"], doors["exited_by_gate"]) == ({"North": 2}, {"South": 1})
    await shop.conflicts(event_id)  # the tables have come so far
    history = await shop.organize("GET", f"/v1/events/{event_id}/checkins")
    lines = [(line["direction"], line["result"]) for line in history.body["items"]]
    assert lines == [
        ("entry", "ADMIT"),
        ("exit", "EXIT"),
        ("exit", "EXIT"),
        ("entry", "ADMIT"),
        ("entry", "ALREADY_ADMITTED"),
    ]


async def test_the_manifest_tells_who_is_out(shop: Shop) -> None:
    event_id, token = await sold(shop)
    await shop.scan(event_id, token)
    before = await manifest(shop, event_id)
    assert before["doors"]["reentry"] is True
    assert before["tickets"] == [[hashed(token), 0, "USED"]]
    await leave(shop, event_id, token)
    out = [[hashed(token), 0, "OUT"]]
    assert (await manifest(shop, event_id, f"?cursor={before['cursor']}"))["tickets"] == out
    whole = await manifest(shop, event_id)
    assert whole["tickets"] == out
    await shop.scan(event_id, token)
    back = await manifest(shop, event_id, f"?cursor={whole['cursor']}")
    assert back["tickets"] == before["tickets"]


async def test_an_event_without_it_refuses_exits_until_it_allows_them(shop: Shop) -> None:
    event_id, token = await sold(shop, reentry=False)
    await shop.scan(event_id, token)
    refused = await leave(shop, event_id, token)
    assert (refused.status, refused.body["result"]) == (200, "INVALID")
    assert refused.body["reason"] == "no_reentry"
    changed = await shop.organize("PATCH", f"/v1/events/{event_id}", {"reentry": True})
    assert changed.body["reentry"] is True
    assert (await leave(shop, event_id, token)).body["result"] == "EXIT"
    assert (await shop.scan(event_id, token)).body["result"] == "ADMIT"
    wrong = await shop.scan(event_id, token, direction="sideways")
    assert (wrong.status, wrong.code) == (400, "malformed_request")


async def test_conflicts_are_those_of_one_stay(shop: Shop) -> None:
    event_id, token = await sold(shop)
    at = now() - MINUTE

    def scan(second: int, nonce: str, **more: Any) -> dict[str, Any]:
        return told(token, at + timedelta(seconds=second), nonce, **more)

    assert await outcomes(shop, event_id, "d1", scan(1, "in")) == ["recorded"]
    assert await outcomes(shop, event_id, "d2", scan(9, "next")) == ["conflict"]
    assert await outcomes(shop, event_id, "d3", scan(12, "second")) == ["conflict"]
    assert {c["nonce"] for c in await shop.conflicts(event_id)} == {"next", "second"}
    assert await outcomes(shop, event_id, "d4", scan(5, "out", result="EXIT")) == ["recorded"]
    (left,) = await shop.conflicts(event_id)
    assert (left["nonce"], left["admission"]["nonce"]) == ("second", "next")
    answer = await shop.call(
        "POST",
        f"/v1/events/{event_id}/checkins/sync",
        {"device_id": "d2", "scans": [scan(9, "next")]},
        token=await shop.token("scanner", "d2", event_id),
    )
    (again,) = answer.body["results"]
    assert (again["outcome"], again["resolved"]) == ("conflict", True)
    for bad in ({"result": "EXIT", "direction": "entry"}, {"direction": "exit"}):
        body = {"device_id": "d1", "scans": [scan(1, "x", **bad)]}
        path, device = f"/v1/events/{event_id}/checkins/sync", ("scanner", "d1", event_id)
        refused = await shop.call("POST", path, body, token=await shop.token(*device))
        assert refused.code == "malformed_request"
