"""What an organizer's server hears of its events, and of nobody else's."""

from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from tests.receiver import Receiver, is_signed
from tests.shop import Shop
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

ALL = ["order.confirmed", "order.refunded", "ticket.checked_in", "event.sold_out"]
PATH = "/v1/webhook-endpoints"


async def _endpoint(shop: Shop, url: str, events: list[str], **more: Any) -> dict[str, Any]:
    made = await shop.organize("POST", PATH, {"url": url, "events": events}, **more)
    assert made.status == 201, made.body
    endpoint: dict[str, Any] = made.body
    return endpoint


async def test_an_endpoint_hears_what_it_asked_for(shop: Shop) -> None:
    async with Receiver().open() as receiver:
        endpoint = await _endpoint(shop, receiver.url, ALL)
        event_id, (tier_id,) = await shop.on_sale({"total_quantity": 2})
        order = await shop.bought(event_id, tier_id, 2)
        first, second = order["tickets"]
        await shop.scan(event_id, first["token"])
        await shop.scan(event_id, first["token"])
        await until(lambda: receiver.of("event.sold_out"))
        path = f"/v1/orders/{order['order_id']}/refund"
        body = {"ticket_ids": [second["ticket_id"]]}
        till = await shop.box_office()
        await shop.call("POST", path, body, token=till, key=uuid4().hex)
        await until(lambda: len({b["id"] for b in receiver.bodies}) == 4)
        data = {body["type"]: body["data"] for body in receiver.bodies}
        assert data == {
            "order.confirmed": {
                "event_id": event_id,
                "order_id": order["order_id"],
                "ticket_ids": [first["ticket_id"], second["ticket_id"]],
            },
            "event.sold_out": {"event_id": event_id},
            "ticket.checked_in": {
                "event_id": event_id,
                "ticket_id": first["ticket_id"],
                "tier_id": tier_id,
                "gate": None,
            },
            "order.refunded": {
                "event_id": event_id,
                "order_id": order["order_id"],
                "amount": 2_500,
                "ticket_ids": [second["ticket_id"]],
                "refund_id": data["order.refunded"]["refund_id"],
            },
        }
        assert all(is_signed(endpoint["secret"], *told) for told in receiver.signatures)
        await until(partial(_all_delivered, shop, endpoint))
        again = f"{PATH}/{endpoint['endpoint_id']}/deliveries/{receiver.bodies[0]['id']}/redeliver"
        assert (await shop.organize("POST", again)).body["state"] == "waiting"
        await until(lambda: receiver.bodies.count(receiver.bodies[0]) == 2)
        await shop.organize("DELETE", f"{PATH}/{endpoint['endpoint_id']}")


async def _all_delivered(shop: Shop, endpoint: dict[str, Any]) -> bool:
    told = await shop.organize("GET", f"{PATH}/{endpoint['endpoint_id']}/deliveries")
    return {line["state"] for line in told.body["items"]} == {"delivered"}


async def test_others_events_and_other_kinds_are_not_told(shop: Shop) -> None:
    async with Receiver().open() as mine, Receiver().open() as theirs:
        other = await shop.token("organizer", "rival")
        body = {"url": theirs.url, "events": ALL}
        assert (await shop.call("POST", PATH, body, token=other)).status == 201
        endpoint = await _endpoint(shop, mine.url, ["ticket.checked_in"])
        event_id, (tier_id,) = await shop.on_sale()
        order = await shop.bought(event_id, tier_id)
        await shop.scan(event_id, order["tickets"][0]["token"])
        await until(lambda: mine.of("ticket.checked_in"))
        assert len(mine.bodies) == 1
        assert theirs.bodies == []
        await shop.organize("DELETE", f"{PATH}/{endpoint['endpoint_id']}")


async def test_an_endpoint_is_its_organizers_and_its_secret_is_shown_once(shop: Shop) -> None:
    url = "https://example.org/hook"
    made = await _endpoint(shop, url, ["event.sold_out"], key="hook-1")
    assert made["secret"].startswith("whsec_") and len(made["secret"]) > 60
    body = {"url": url, "events": ["event.sold_out"]}
    again = await shop.organize("POST", PATH, body, key="hook-1")
    assert (again.body, again.headers["Idempotency-Replayed"]) == (made, "true")
    changed = {**body, "url": "https://example.org/other"}
    reused = await shop.organize("POST", PATH, changed, key="hook-1")
    assert (reused.status, reused.code) == (422, "idempotency_key_reused")

    path = f"{PATH}/{made['endpoint_id']}"
    read = await shop.organize("GET", path)
    assert "secret" not in read.body and read.body["url"] == url
    other = await shop.token("organizer", "rival")
    for method, where in (
        *(("GET", path), ("DELETE", path), ("GET", f"{path}/deliveries")),
        ("POST", f"{path}/deliveries/whd_1/redeliver"),
    ):
        refused = await shop.call(method, where, token=other)
        assert (refused.status, refused.code) == (404, "unknown_endpoint")
    assert (await shop.organize("PATCH", path, {"is_active": False})).body["is_active"] is False
    found = await shop.organize("POST", f"{path}/deliveries/whd_999999/redeliver")
    assert (found.status, found.code) == (404, "unknown_delivery")
    assert (await shop.organize("DELETE", path)).status == 204
    assert (await shop.organize("GET", path)).status == 404


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.org/", "https://10.0.0.1/", "https://[::ffff:10.0.0.1]/"),
        *("https://169.254.169.254/latest/meta-data", "https://[::1]/", "http://localhost:9000/"),
    ],
)
async def test_an_endpoint_inside_the_house_is_refused(shop: Shop, url: str) -> None:
    refused = await shop.organize("POST", PATH, {"url": url, "events": ["event.sold_out"]})
    assert (refused.status, refused.code) == (422, "forbidden_url")


async def test_endpoints_are_counted(shop: Shop) -> None:
    many = await shop.token("organizer", "many")
    body = {"url": "https://example.org/", "events": ["event.sold_out"]}
    made = [await shop.call("POST", PATH, body, token=many) for _ in range(21)]
    assert [answer.status for answer in made] == [201] * 20 + [409]
    assert made[-1].code == "too_many_endpoints"
    first = await shop.call("GET", f"{PATH}?limit=15", token=many)
    rest = await shop.call("GET", f"{PATH}?limit=15&cursor={first.body['next_cursor']}", token=many)
    assert len(first.body["items"]) + len(rest.body["items"]) == 20
