"""Placing, paying, giving up and refunding, as clients see it."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.shop import Shop

pytestmark = pytest.mark.asyncio(loop_scope="session")

ORDER_FIELDS = {
    "order_id",
    "event_id",
    "buyer_id",
    "status",
    "items",
    "total_amount",
    "currency",
    "payment_id",
    "created_at",
    "expires_at",
}


async def test_an_order_is_answered_with_all_that_the_contract_names(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale({"price": 2_500})
    placed = await shop.order(event_id, tier_id, 3)
    assert placed.status == 201
    assert set(placed.body) == ORDER_FIELDS
    assert placed.body["status"] == "PENDING"
    assert placed.body["payment_id"] is None
    assert placed.body["total_amount"] == 7_500
    (item,) = placed.body["items"]
    assert set(item) == {"item_id", "tier_id", "quantity", "unit_price", "subtotal"}
    assert (item["quantity"], item["unit_price"], item["subtotal"]) == (3, 2_500, 7_500)
    assert placed.body["created_at"].endswith("Z")


async def test_the_same_key_gives_the_first_answer_again_also_after_payment(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    first = await shop.order(event_id, tier_id, 2, key="k1")
    await shop.pay(first.body["order_id"])
    again = await shop.order(event_id, tier_id, 2, key="k1")
    assert (again.status, again.body) == (201, first.body)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers


async def test_the_same_key_with_another_body_is_refused(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    await shop.order(event_id, tier_id, 2, key="k1")
    other = await shop.order(event_id, tier_id, 1, key="k1")
    assert (other.status, other.code) == (422, "idempotency_key_reused")
    elsewhere, (other_tier,) = await shop.on_sale()
    assert (await shop.order(elsewhere, other_tier, 1, key="k1")).status == 201


async def test_a_refused_request_does_not_use_its_key_up(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale({"total_quantity": 2})
    first = await shop.order(event_id, tier_id, 2)
    refused = await shop.order(event_id, tier_id, 1, key="later")
    assert (refused.status, refused.code) == (409, "sold_out")
    assert refused.body["available"] == 0
    token = await shop.token("buyer", "ann")
    await shop.call("DELETE", f"/v1/orders/{first.body['order_id']}", token=token)
    assert (await shop.order(event_id, tier_id, 1, key="later")).status == 201


async def test_paying_confirms_and_the_tickets_carry_random_tokens(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    order = await shop.bought(event_id, tier_id, 2)
    tokens = [ticket["token"] for ticket in order["tickets"]]
    assert len(set(tokens)) == 2
    assert all(str(UUID(token)) == token and UUID(token).version == 4 for token in tokens)
    assert {ticket["status"] for ticket in order["tickets"]} == {"VALID"}
    availability = await _availability_once(shop, event_id, sold=2)
    assert availability["tiers"][0]["available_quantity"] == 98


async def _availability_once(shop: Shop, event_id: str, sold: int) -> dict[str, Any]:
    """The availability as soon as it shows so many sold; the promise is 250 ms, the bound 5 s."""
    for _ in range(100):
        found = await shop.call("GET", f"/v1/events/{event_id}/availability")
        if sum(tier["sold_quantity"] for tier in found.body["tiers"]) == sold:
            body: dict[str, Any] = found.body
            return body
        await asyncio.sleep(0.05)
    raise AssertionError(found.body)


async def test_a_declined_payment_may_be_tried_again(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    placed = await shop.order(event_id, tier_id)
    order_id = placed.body["order_id"]
    first = await shop.pay(order_id, "decline")
    assert (await shop.read(order_id))["status"] == "PENDING"
    second = await shop.pay(order_id)
    assert first.body["payment_id"] != second.body["payment_id"]
    assert (await shop.read(order_id))["status"] == "CONFIRMED"


async def test_an_order_has_one_open_payment(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    placed = await shop.order(event_id, tier_id)
    path, token = f"/v1/orders/{placed.body['order_id']}/payment", await shop.token("buyer", "ann")
    first = await shop.call("POST", path, {"method": "card"}, token=token, key="p1")
    second = await shop.call("POST", path, {"method": "card"}, token=token, key="p2")
    assert first.status == second.status == 202
    assert first.body == second.body


async def test_a_total_of_nothing_confirms_at_once(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale({"price": 0})
    placed = await shop.order(event_id, tier_id)
    paid = await shop.pay(placed.body["order_id"])
    assert paid.status == 200
    assert paid.body["status"] == "CONFIRMED"


async def test_a_webhook_counts_once_and_only_with_its_signature(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    placed = await shop.order(event_id, tier_id)
    paid = await shop.pay(placed.body["order_id"])
    before = await shop.read(placed.body["order_id"])
    await shop.act_as_payer(paid.body["payment_id"])
    assert await shop.read(placed.body["order_id"]) == before
    forged = await shop.call(
        "POST",
        "/v1/webhooks/payments/sandbox",
        {"payment_id": paid.body["payment_id"], "outcome": "succeeded", "amount": 1},
    )
    assert (forged.status, forged.code) == (400, "bad_signature")


async def test_a_refund_of_some_tickets_leaves_the_order_confirmed(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    order = await shop.bought(event_id, tier_id, 3)
    path, till = f"/v1/orders/{order['order_id']}/refund", await shop.box_office()
    body = {"ticket_ids": [order["tickets"][1]["ticket_id"]]}
    refunded = await shop.call("POST", path, body, token=till, key="r1")
    assert refunded.status == 200
    assert refunded.body["status"] == "CONFIRMED"
    assert refunded.body["refunded_amount"] == 2_500
    statuses = [ticket["status"] for ticket in refunded.body["tickets"]]
    assert statuses == ["VALID", "CANCELLED", "VALID"]
    again = await shop.call("POST", path, body, token=till, key="r1")
    assert again.body == refunded.body
    rest = await shop.call("POST", path, {}, token=till, key="r2")
    assert rest.body["status"] == "REFUNDED"
    await _refund_done(shop, order["order_id"])


async def _refund_done(shop: Shop, order_id: str) -> None:
    for _ in range(100):
        if (await shop.read(order_id))["refund"] == {"status": "done"}:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(await shop.read(order_id))


async def test_somebody_elses_order_does_not_exist(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    order = await shop.bought(event_id, tier_id)
    eve = await shop.token("buyer", "eve")
    for path in (
        f"/v1/orders/{order['order_id']}",
        f"/v1/tickets/{order['tickets'][0]['ticket_id']}",
    ):
        found = await shop.call("GET", path, token=eve)
        assert found.status == 404


async def test_an_organizer_sees_the_order_but_no_token(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    order = await shop.bought(event_id, tier_id)
    path = f"/v1/orders/{order['order_id']}"
    seen = await shop.call("GET", path, token=await shop.organizer())
    assert seen.status == 200
    assert "token" not in seen.body["tickets"][0]
    stranger = await shop.token("organizer", "stranger")
    assert (await shop.call("GET", path, token=stranger)).status == 404


async def test_names_given_at_purchase_stand_on_the_tickets(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    people = [
        {"name": "Ann", "email": "ann@example.org"},
        {"name": "Bob", "email": "b@example.org"},
    ]
    placed = await shop.order(event_id, tier_id, 2, attendees=people, buyer_email="ann@example.org")
    assert placed.status == 201
    await shop.pay(placed.body["order_id"])
    order = await shop.read(placed.body["order_id"])
    assert [ticket["attendee_name"] for ticket in order["tickets"]] == ["Ann", "Bob"]
    ticket_path = f"/v1/tickets/{order['tickets'][1]['ticket_id']}"
    token = await shop.token("buyer", "ann")
    changed = await shop.call("PATCH", ticket_path, {"attendee_name": "Cid"}, token=token)
    assert (changed.body["attendee_name"], changed.body["attendee_email"]) == (
        "Cid",
        "b@example.org",
    )
    too_few = await shop.order(event_id, tier_id, 3, attendees=people)
    assert too_few.status == 422


async def test_a_reissued_ticket_has_another_code(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    order = await shop.bought(event_id, tier_id)
    ticket, token = order["tickets"][0], await shop.token("buyer", "ann")
    path = f"/v1/tickets/{ticket['ticket_id']}"
    svg = await shop.call("GET", f"{path}/qr.svg", token=token)
    assert svg.body.startswith(b"<?xml") or svg.body.startswith(b"<svg")
    again = await shop.call("POST", f"{path}/reissue", token=token, key="i1")
    assert again.status == 200
    assert again.body["token"] != ticket["token"]
    assert (await shop.call("GET", f"{path}/qr.svg", token=token)).body != svg.body
    old = await shop.scan(event_id, ticket["token"])
    assert (old.body["result"], old.body["reason"]) == ("INVALID", "reissued")


async def test_cancelling_an_event_gives_everybody_their_money_back(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    paid = await shop.bought(event_id, tier_id, 2)
    pending = await shop.order(event_id, tier_id)
    assert (await shop.step(event_id, "cancel")).status == 200
    refused = await shop.order(event_id, tier_id)
    assert (refused.status, refused.code) == (409, "event_not_on_sale")
    await _refund_done(shop, paid["order_id"])
    assert (await shop.read(paid["order_id"]))["status"] == "REFUNDED"
    dropped = await shop.read(pending.body["order_id"])
    assert (dropped["status"], dropped["cancel_reason"]) == ("CANCELLED", "event_cancelled")
    scanned = await shop.scan(event_id, paid["tickets"][0]["token"])
    assert scanned.body["reason"] == "event_cancelled"


async def test_refusals_come_in_the_documented_order(shop: Shop) -> None:
    """Each request is wrong in every way that the later ones are, and in one more."""
    event_id, (tier_id, other) = await shop.on_sale(
        {"max_per_order": 2, "max_per_buyer": 2, "total_quantity": 1},
        {"name": "LATER", "sale_start": "2031-01-01T00:00:00Z"},
    )
    orders, buyer = f"/v1/events/{event_id}/orders", await shop.token("buyer", "ann")
    scanner = await shop.token("scanner", "gate", event_id)
    await shop.order(event_id, tier_id, 1, key="used")

    def lines(*pairs: tuple[str, int]) -> dict[str, object]:
        return {"selections": [{"tier_id": t, "quantity": q} for t, q in pairs]}

    worst = lines(("nope", 0))
    assert (await shop.call("POST", orders, worst)).code == "unauthenticated"
    assert (await shop.call("POST", orders, worst, token=scanner)).code == "forbidden"
    assert (await shop.call("POST", orders, worst, token=buyer)).code == "malformed_request"
    three = lines(("nope", 3), (other, 3), (tier_id, 3))
    needs_key = await shop.call("POST", orders, three, token=buyer)
    assert needs_key.code == "idempotency_key_required"
    reused = await shop.call("POST", orders, three, token=buyer, key="used")
    assert reused.code == "idempotency_key_reused"
    nowhere = "/v1/events/evt_0123456789abcdef/orders"
    assert (await shop.call("POST", nowhere, three, token=buyer, key="a")).code == "unknown_event"
    closed, _ = await shop.on_sale()
    await shop.step(closed, "close-sales")
    at_closed = await shop.call("POST", f"/v1/events/{closed}/orders", three, token=buyer, key="b")
    assert at_closed.code == "event_not_on_sale"
    unknown_tier = await shop.call("POST", orders, three, token=buyer, key="c")
    assert (unknown_tier.status, unknown_tier.code) == (404, "unknown_tier")
    early = await shop.call("POST", orders, lines((tier_id, 3), (other, 3)), token=buyer, key="d")
    assert (early.status, early.code) == (409, "sale_not_active")
    twice = await shop.call("POST", orders, lines((tier_id, 2), (tier_id, 1)), token=buyer, key="e")
    assert (twice.status, twice.code) == (422, "max_per_order_exceeded")
    assert twice.body["max_per_order"] == 2
    held = await shop.call("POST", orders, lines((tier_id, 2)), token=buyer, key="f")
    assert (held.status, held.code) == (422, "max_per_buyer_exceeded")
    buyer = await shop.token("buyer", "ben")
    gone = await shop.call("POST", orders, lines((tier_id, 2)), token=buyer, key=uuid4().hex)
    assert (gone.status, gone.code) == (409, "sold_out")
    assert (gone.body["tier_id"], gone.body["requested"], gone.body["available"]) == (tier_id, 2, 0)
