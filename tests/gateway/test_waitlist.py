"""Waiting for places, being offered them and buying by the offer, as clients see it."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from tests.shop import Answer, Shop

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def join(
    shop: Shop, tier_id: str, quantity: int = 1, buyer: str = "ben", key: str | None = None
) -> Answer:
    body = {"quantity": quantity, "email": f"{buyer}@example.org"}
    token = await shop.token("buyer", buyer)
    path = f"/v1/tiers/{tier_id}/waitlist"
    return await shop.call("POST", path, body, token=token, key=key or uuid4().hex)


async def entry(shop: Shop, entry_id: str, buyer: str = "ben") -> dict[str, Any]:
    found = await shop.call(
        "GET", f"/v1/waitlist/{entry_id}", token=await shop.token("buyer", buyer)
    )
    assert found.status == 200, found.body
    told: dict[str, Any] = found.body
    return told


async def leave(shop: Shop, entry_id: str, buyer: str = "ben") -> Answer:
    token = await shop.token("buyer", buyer)
    return await shop.call("DELETE", f"/v1/waitlist/{entry_id}", token=token)


async def refund(shop: Shop, order: dict[str, Any], *numbers: int) -> None:
    chosen = [order["tickets"][number]["ticket_id"] for number in numbers]
    path = f"/v1/orders/{order['order_id']}/refund"
    done = await shop.organize("POST", path, {"ticket_ids": chosen}, key=uuid4().hex)
    assert done.status == 200, done.body


async def public(shop: Shop, event_id: str, wanted: dict[str, int]) -> None:
    """Wait until the public sees these figures of the event's only tier."""
    async with asyncio.timeout(60):
        while True:
            found = await shop.call("GET", f"/v1/events/{event_id}/availability")
            (tier,) = found.body["tiers"]
            if {name: tier[name] for name in wanted} == wanted:
                return
            await asyncio.sleep(0.05)


async def test_places_that_come_back_are_offered_in_the_order_of_joining(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale({"total_quantity": 3})
    order = await shop.bought(event_id, tier_id, 3)
    first = await join(shop, tier_id, 2, "ben", "k1")
    assert (first.status, first.body["position"], first.body["status"]) == (201, 1, "WAITING")
    second = await join(shop, tier_id, 2, "cat")
    assert second.body["position"] == 2
    again = await join(shop, tier_id, 2, "ben", "k1")
    assert (again.status, again.body) == (201, first.body)
    assert again.headers["Idempotency-Replayed"] == "true"
    await public(shop, event_id, {"waitlisted": 4, "available_quantity": 0})
    waits = await entry(shop, first.body["entry_id"])
    assert (waits["reason"], waits["offer"]) == ("no_places_free", None)
    await refund(shop, order, 0, 1, 2)
    offered = await entry(shop, first.body["entry_id"])
    assert (offered["status"], offered["offer"]["quantity"]) == ("OFFERED", 2)
    part = await entry(shop, second.body["entry_id"], "cat")
    assert (part["status"], part["quantity"], part["offer"]["quantity"]) == ("OFFERED", 1, 1)
    rest = await entry(shop, part["rest_entry_id"], "cat")
    assert (rest["status"], rest["quantity"], rest["position"]) == ("WAITING", 1, 1)
    await public(
        shop,
        event_id,
        {"waitlisted": 1, "available_quantity": 0, "held_quantity": 3, "sold_quantity": 0},
    )
    for buyer in ("ann", "cat"):
        refused = await shop.order(event_id, tier_id, buyer=buyer)
        assert (refused.code, refused.body["available"]) == ("sold_out", 0)


async def test_an_offer_is_bought_by_its_buyer_alone_and_once(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale({"total_quantity": 2, "price": 0})
    order = await shop.bought(event_id, tier_id, 2)
    joined = await join(shop, tier_id, 2)
    await refund(shop, order, 0, 1)
    offer = (await entry(shop, joined.body["entry_id"]))["offer"]
    other = await shop.order(event_id, tier_id, 1, buyer="cat", offer_id=offer["offer_id"])
    assert (other.status, other.code) == (404, "unknown_offer")
    nothing = await shop.order(event_id, tier_id, 1, buyer="ben", offer_id="off_" + "0" * 36)
    assert (nothing.status, nothing.code) == (404, "unknown_offer")
    much = await shop.order(event_id, tier_id, 3, buyer="ben", offer_id=offer["offer_id"])
    assert (much.code, much.body["available"]) == ("sold_out", 2)
    bought = await shop.order(
        event_id, tier_id, 2, buyer="ben", offer_id=offer["offer_id"], key="o1"
    )
    assert bought.status == 201, bought.body
    told = await entry(shop, joined.body["entry_id"])
    assert (told["status"], told["order_id"]) == ("FULFILLED", bought.body["order_id"])
    again = await shop.order(
        event_id, tier_id, 2, buyer="ben", offer_id=offer["offer_id"], key="o1"
    )
    assert (again.status, again.body) == (201, bought.body)
    twice = await shop.order(event_id, tier_id, 2, buyer="ben", offer_id=offer["offer_id"])
    assert (twice.status, twice.code) == (404, "unknown_offer")
    left = await leave(shop, joined.body["entry_id"])
    assert (left.status, left.code) == (409, "entry_ended")


async def test_leaving_passes_the_offer_on(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale({"total_quantity": 1})
    order = await shop.bought(event_id, tier_id)
    ids = [(await join(shop, tier_id, 1, buyer)).body["entry_id"] for buyer in ("ben", "cat")]
    await refund(shop, order, 0)
    assert (await leave(shop, ids[0], "cat")).status == 404
    for _ in range(2):
        assert (await leave(shop, ids[0])).status == 204
    left = await entry(shop, ids[0])
    assert (left["status"], left["reason"]) == ("LEFT", "buyer")
    assert (await entry(shop, ids[1], "cat"))["status"] == "OFFERED"
    assert (await leave(shop, ids[1], "cat")).status == 204
    assert (await shop.order(event_id, tier_id)).status == 201


async def test_a_hold_given_up_and_more_places_go_to_the_line(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale({"total_quantity": 1})
    held = await shop.order(event_id, tier_id)
    ids = [(await join(shop, tier_id, 1, buyer)).body["entry_id"] for buyer in ("ben", "cat")]
    path = f"/v1/orders/{held.body['order_id']}"
    await shop.call("DELETE", path, token=await shop.token("buyer", "ann"))
    assert (await entry(shop, ids[0]))["status"] == "OFFERED"
    waits = await entry(shop, ids[1], "cat")
    assert (waits["status"], waits["position"]) == ("WAITING", 1)
    more = await shop.organize("PATCH", f"/v1/tiers/{tier_id}", {"total_quantity": 2})
    assert more.status == 200
    assert (await entry(shop, ids[1], "cat"))["status"] == "OFFERED"
    less = await shop.organize("PATCH", f"/v1/tiers/{tier_id}", {"total_quantity": 1})
    assert (less.status, less.code) == (409, "below_committed")


async def test_why_nobody_may_join(shop: Shop) -> None:
    event_id, (tier_id, later) = await shop.on_sale(
        {"total_quantity": 4, "max_per_order": 3},
        {"sale_start": "2030-01-01T00:00:00Z"},
    )
    free = await join(shop, tier_id, 3)
    assert (free.status, free.code, free.body["available"]) == (409, "tier_available", 4)
    many = await join(shop, tier_id, 4)
    assert (many.status, many.code, many.body["max_per_order"]) == (
        422,
        "max_per_order_exceeded",
        3,
    )
    early = await join(shop, later)
    assert (early.status, early.code) == (409, "sale_not_active")
    nowhere = await join(shop, "tier_nowhere")
    assert (nowhere.status, nowhere.code) == (404, "unknown_tier")
    await shop.order(event_id, tier_id, 3)
    await shop.order(event_id, tier_id, 1)
    joined = await join(shop, tier_id, 1, key="k1")
    assert joined.status == 201
    twice = await join(shop, tier_id, 2)
    assert (twice.status, twice.code) == (409, "already_waiting")
    reused = await join(shop, tier_id, 2, key="k1")
    assert (reused.status, reused.code) == (422, "idempotency_key_reused")
    token = await shop.token("buyer", "ben")
    path = f"/v1/tiers/{tier_id}/waitlist"
    bad = {"quantity": 0, "email": "a@b"}
    assert (await shop.call("POST", path, bad, token=token, key="k2")).status == 400
    draft = await shop.event()
    unsold = await shop.tier(draft["event_id"])
    closed = await join(shop, unsold["tier_id"])
    assert (closed.status, closed.code) == (409, "event_not_on_sale")
    stranger = await shop.call(
        "GET",
        f"/v1/waitlist/{joined.body['entry_id']}",
        token=await shop.token("buyer", "eve"),
    )
    assert (stranger.status, stranger.code) == (404, "unknown_entry")


async def test_money_that_comes_late_does_not_get_past_those_who_wait(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale({"total_quantity": 2})
    held = await shop.order(event_id, tier_id, 2)
    path = f"/v1/orders/{held.body['order_id']}"
    asked = await shop.pay(held.body["order_id"], "decline")
    joined = await join(shop, tier_id, 1)
    await shop.call("DELETE", path, token=await shop.token("buyer", "ann"))
    assert (await entry(shop, joined.body["entry_id"]))["status"] == "OFFERED"
    await shop.act_as_payer(asked.body["payment_id"])
    assert (await shop.read(held.body["order_id"]))["status"] == "CANCELLED"


async def test_a_cancelled_event_has_no_line(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale({"total_quantity": 1})
    await shop.bought(event_id, tier_id)
    joined = await join(shop, tier_id)
    assert (await shop.step(event_id, "cancel")).status == 200
    async with asyncio.timeout(60):
        while (told := await entry(shop, joined.body["entry_id"]))["status"] == "WAITING":
            assert told["reason"] == "event_cancelled"
            await asyncio.sleep(0.02)
    assert (told["status"], told["reason"], told["offer"]) == ("LEFT", "event_cancelled", None)
    late = await join(shop, tier_id, buyer="cat")
    assert (late.status, late.code) == (409, "event_not_on_sale")


async def test_while_sales_are_closed_no_offer_is_made(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale({"total_quantity": 1})
    order = await shop.bought(event_id, tier_id)
    joined = await join(shop, tier_id)
    assert (await shop.step(event_id, "close-sales")).status == 200
    await refund(shop, order, 0)
    assert (await entry(shop, joined.body["entry_id"]))["reason"] == "sales_closed"
    assert (await shop.step(event_id, "open-sales")).status == 200
    assert (await entry(shop, joined.body["entry_id"]))["status"] == "OFFERED"
