"""How many of a tier one buyer may have, as clients see it."""

import asyncio
from collections import Counter

import pytest

from tests.shop import Shop

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_forty_orders_of_one_buyer_at_once_get_no_more_than_the_limit(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale({"max_per_buyer": 7})
    asked = [shop.order(event_id, tier_id, 1 + n % 2) for n in range(40)]
    answers = await asyncio.gather(*asked)
    given = sum(a.body["items"][0]["quantity"] for a in answers if a.status == 201)
    assert given == 7
    told = Counter((a.status, a.code) for a in answers if a.status != 201)
    assert set(told) == {(422, "max_per_buyer_exceeded")}
    again = await shop.order(event_id, tier_id, 1)
    facts = {name: again.body[name] for name in ("tier_id", "max_per_buyer", "held")}
    assert facts == {"tier_id": tier_id, "max_per_buyer": 7, "held": 7}
    assert (await shop.order(event_id, tier_id, 7, buyer="ben")).status == 201


async def test_the_organizer_sets_changes_and_lifts_the_limit_while_on_sale(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale({})
    await shop.bought(event_id, tier_id, 2, "ann")
    path = f"/v1/tiers/{tier_id}"
    for wrong in (0, -1, 1.5, "2"):
        refused = await shop.organize("PATCH", path, {"max_per_buyer": wrong})
        assert (refused.status, refused.code) == (400, "malformed_request")
    limited = await shop.organize("PATCH", path, {"max_per_buyer": 2})
    assert (limited.status, limited.body["max_per_buyer"]) == (200, 2)
    third = await shop.order(event_id, tier_id, 1)
    assert (third.status, third.code, third.body["held"]) == (422, "max_per_buyer_exceeded", 2)
    lifted = await shop.organize("PATCH", path, {"max_per_buyer": None})
    assert (lifted.status, lifted.body["max_per_buyer"]) == (200, None)
    assert (await shop.order(event_id, tier_id, 1)).status == 201


async def test_the_box_office_is_held_to_the_limit_of_whom_it_buys_for(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale({"max_per_buyer": 2})
    path, till = f"/v1/events/{event_id}/orders", await shop.box_office()
    body = {"selections": [{"tier_id": tier_id, "quantity": 2}], "buyer_id": "cat"}
    for number, (buyer, status) in enumerate([("cat", 201), ("cat", 422), ("dan", 201)]):
        asked = {**body, "buyer_id": buyer}
        answer = await shop.call("POST", path, asked, token=till, key=f"till-{number}")
        assert answer.status == status
    assert (await shop.order(event_id, tier_id, 1, buyer="cat")).code == "max_per_buyer_exceeded"
