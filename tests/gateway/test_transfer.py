"""Tickets given to another: the old token is dead; of transfer, check-in and refund one wins."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest

from tests.shop import Answer, Shop

pytestmark = pytest.mark.asyncio(loop_scope="session")

RACES = 1_000
AT_ONCE = 40  # races
PLACES_AN_ORDER = 10
FIRST = ("transfer", "check-in", "refund", None)  # None: all at once, which the doors mostly win


async def give(
    shop: Shop,
    ticket_id: str,
    *,
    buyer: str = "ann",
    to: str | None = "ben",
    key: str | None = None,
) -> Answer:
    body = {"attendee_name": "Ben", "attendee_email": "ben@example.org", "buyer_id": to}
    token = await shop.token("buyer", buyer)
    path = f"/v1/tickets/{ticket_id}/transfer"
    return await shop.call("POST", path, body, token=token, key=key or uuid4().hex)


async def read(shop: Shop, ticket_id: str, buyer: str) -> Answer:
    return await shop.call(
        "GET", f"/v1/tickets/{ticket_id}", token=await shop.token("buyer", buyer)
    )


async def test_only_the_new_holder_has_the_new_token_and_the_old_one_is_dead(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    (old,) = (await shop.bought(event_id, tier_id))["tickets"]
    given = await give(shop, old["ticket_id"], key="k1")
    assert given.status == 201, given.body
    new = given.body
    assert new["status"] == "VALID"
    assert new["transferred_from"] == old["ticket_id"]
    assert (new["attendee_name"], new["attendee_email"]) == ("Ben", "ben@example.org")
    assert "token" not in new
    again = await give(shop, old["ticket_id"], key="k1")
    assert (again.status, again.body) == (201, new)
    assert again.headers["Idempotency-Replayed"] == "true"
    mine = (await read(shop, new["ticket_id"], "ben")).body
    assert mine["token"] not in (old["token"], None)
    seller = (await read(shop, new["ticket_id"], "ann")).body
    assert (seller["status"], "token" in seller) == ("VALID", False)
    for role in ("box_office", "organizer"):
        token = await (shop.box_office() if role == "box_office" else shop.organizer())
        seen = await shop.call("GET", f"/v1/tickets/{new['ticket_id']}", token=token)
        assert (seen.status, "token" in seen.body) == (200, False)
    assert (await read(shop, new["ticket_id"], "eve")).status == 404
    assert (await read(shop, old["ticket_id"], "ben")).status == 404
    assert (await read(shop, old["ticket_id"], "ann")).body["status"] == "TRANSFERRED"
    dead = await shop.scan(event_id, old["token"])
    assert (dead.body["result"], dead.body["reason"]) == ("INVALID", "transferred")
    alive = await shop.scan(event_id, mine["token"])
    assert (alive.body["result"], alive.body["ticket_id"]) == ("ADMIT", new["ticket_id"])
    assert alive.body["attendee_name"] == "Ben"


async def test_a_ticket_is_transferred_once_and_by_its_holder(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    order = await shop.bought(event_id, tier_id, 3)
    first, second, third = order["tickets"]
    assert (await give(shop, first["ticket_id"], buyer="eve")).status == 404
    new = (await give(shop, first["ticket_id"])).body
    for buyer in ("ann", "ben"):
        twice = await give(shop, new["ticket_id"], buyer=buyer, to="cat")
        assert (twice.status, twice.code) == (409, "transfer_limit")
    gone = await give(shop, first["ticket_id"])
    assert (gone.status, gone.code) == (409, "ticket_not_valid")
    await shop.scan(event_id, second["token"])
    used = await give(shop, second["ticket_id"])
    assert (used.status, used.code) == (409, "ticket_used")
    path = f"/v1/tickets/{new['ticket_id']}"
    for method, way, body in (
        ("POST", f"{path}/reissue", None),
        ("PATCH", path, {"attendee_name": "X"}),
    ):
        token = await shop.token("buyer", "ann")
        refused = await shop.call(method, way, body, token=token, key=uuid4().hex)
        assert (refused.status, refused.code) == (403, "not_the_holder")
        token = await shop.token("buyer", "ben")
        done = await shop.call(method, way, body, token=token, key=uuid4().hex)
        assert done.status == 200, done.body
    mailed = await give(shop, third["ticket_id"], to=None)
    assert mailed.status == 201
    assert "token" not in (await read(shop, mailed.body["ticket_id"], "ann")).body


async def test_a_refund_cancels_the_ticket_that_lives(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale({"price": 2_500})
    order = await shop.bought(event_id, tier_id, 2)
    first, _ = order["tickets"]
    new = (await give(shop, first["ticket_id"])).body
    token = (await read(shop, new["ticket_id"], "ben")).body["token"]
    path = f"/v1/orders/{order['order_id']}/refund"
    dead = {"ticket_ids": [first["ticket_id"]]}
    refused = await shop.organize("POST", path, dead, key=uuid4().hex)
    assert (refused.status, refused.code) == (409, "ticket_not_valid")
    done = await shop.organize("POST", path, {}, key=uuid4().hex)
    assert (done.body["status"], done.body["refunded_amount"]) == ("REFUNDED", 5_000)
    told = [ticket["status"] for ticket in done.body["tickets"]]
    assert told == ["TRANSFERRED", "CANCELLED", "CANCELLED"]
    scanned = await shop.scan(event_id, token)
    assert (scanned.body["result"], scanned.body["reason"]) == ("INVALID", "refunded")


async def test_transfer_check_in_and_refund_of_one_ticket_have_one_winner(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale({"price": 0, "total_quantity": RACES})
    tickets: list[dict[str, Any]] = []
    for _ in range(RACES // PLACES_AN_ORDER):
        tickets += (await shop.bought(event_id, tier_id, PLACES_AN_ORDER))["tickets"]
    won: Counter[str] = Counter()
    left = enumerate(tickets)

    async def run() -> None:
        for number, ticket in left:
            first = FIRST[number % len(FIRST)]
            winner = await _race(shop, event_id, ticket, first)
            assert first in (None, winner)
            won[winner] += 1

    await asyncio.gather(*(run() for _ in range(AT_ONCE)))
    assert won.total() == RACES
    doors = await shop.organize("GET", f"/v1/events/{event_id}/doors")
    assert doors.body["admitted"] == won["check-in"]


async def _race(shop: Shop, event_id: str, ticket: dict[str, Any], first: str | None) -> str:
    """All at once, but who goes first, if anybody; the one that won, and what the others say."""
    ticket_id, order_id = ticket["ticket_id"], ticket["order_id"]
    refund = f"/v1/orders/{order_id}/refund"
    body = {"ticket_ids": [ticket_id]}
    asks: dict[str, Callable[[], Awaitable[Answer]]] = {
        "transfer": lambda: give(shop, ticket_id),
        "check-in": lambda: shop.scan(event_id, ticket["token"]),
        "refund": lambda: shop.organize("POST", refund, body, key=uuid4().hex),
    }
    told = {first: await asks[first]()} if first else {}
    rest = [name for name in asks if name not in told]
    told |= zip(rest, await asyncio.gather(*(asks[name]() for name in rest)), strict=True)
    given, scanned, refunded = (told[name] for name in asks)
    if given.status == 201:
        assert (scanned.body["result"], scanned.body["reason"]) == ("INVALID", "transferred")
        assert (refunded.status, refunded.code) == (409, "ticket_not_valid")
        return "transfer"
    if refunded.status == 200:
        assert (scanned.body["result"], scanned.body["reason"]) == ("INVALID", "refunded")
        assert (given.status, given.code) == (409, "ticket_not_valid")
        return "refund"
    assert scanned.body["result"] == "ADMIT"
    assert (given.status, given.code) == (409, "ticket_used")
    assert (refunded.status, refunded.code) == (409, "ticket_used")
    return "check-in"
