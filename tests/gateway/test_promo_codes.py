"""Promo codes and hidden tiers, as organizers and buyers see them."""

import asyncio
from collections import Counter
from typing import Any
from uuid import uuid4

import pytest

from engine.commands import Role
from gateway.auth import Principal
from gateway.problems import Problem
from gateway.rates import GUESSES, Guesses
from tests.shop import Answer, Shop

on_the_server = pytest.mark.asyncio(loop_scope="session")


async def give(shop: Shop, event_id: str, code: str = "SUMMER", **terms: Any) -> dict[str, Any]:
    body = {"code": code, "kind": "percent", "value": 10, **terms}
    made = await shop.organize("POST", f"/v1/events/{event_id}/promo-codes", body)
    assert made.status == 201, made.body
    found: dict[str, Any] = made.body
    return found


async def uses(shop: Shop, event_id: str, wanted: int) -> None:
    """Wait until the organizer sees that the event's only code has been used so often."""
    async with asyncio.timeout(60):
        while True:
            told = await shop.organize("GET", f"/v1/events/{event_id}/promo-codes")
            (promo,) = told.body["items"]
            if promo["uses"] == wanted:
                return
            await asyncio.sleep(0.05)


async def ordered(shop: Shop, event_id: str, lines: dict[str, int], **more: Any) -> Answer:
    selections = [{"tier_id": tier_id, "quantity": n} for tier_id, n in lines.items()]
    token = await shop.token("buyer", more.pop("buyer", "ann"))
    path = f"/v1/events/{event_id}/orders"
    body = {"selections": selections, **more}
    return await shop.call("POST", path, body, token=token, key=uuid4().hex)


async def found(shop: Shop, title: str) -> list[dict[str, Any]]:
    async with asyncio.timeout(60):
        while True:
            answer = await shop.call("GET", f"/v1/search/events?q={title}")
            if answer.body["items"]:
                items: list[dict[str, Any]] = answer.body["items"]
                return items
            await asyncio.sleep(0.05)


@on_the_server
async def test_a_hundred_buyers_at_once_on_a_code_with_ten_uses_get_ten(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale({"total_quantity": 1_000})
    await give(shop, event_id, uses_max=10)
    buyers = [f"buyer-{n}" for n in range(100)]
    for buyer in buyers:
        await shop.token("buyer", buyer)
    answers = await asyncio.gather(
        *(shop.order(event_id, tier_id, buyer=buyer, promo_code="summer") for buyer in buyers)
    )
    told = Counter((a.status, "" if a.status == 201 else a.code) for a in answers)
    assert told == {(201, ""): 10, (409, "promo_code_used_up"): 90}
    await uses(shop, event_id, 10)
    lucky = next(buyer for buyer, a in zip(buyers, answers, strict=True) if a.status == 201)
    (own,) = [a for b, a in zip(buyers, answers, strict=True) if b == lucky]
    given_up = await shop.call(
        "DELETE", f"/v1/orders/{own.body['order_id']}", token=await shop.token("buyer", lucky)
    )
    assert given_up.status == 200
    assert (await shop.order(event_id, tier_id, promo_code="SUMMER")).status == 201
    assert (await shop.order(event_id, tier_id, promo_code="SUMMER")).status == 409


@on_the_server
async def test_an_order_shows_its_code_and_adds_up_to_the_unit(shop: Shop) -> None:
    tiers = ({"price": 1_999}, {"name": "VIP", "price": 7_501})
    event_id, (general, vip) = await shop.on_sale(*tiers)
    await give(shop, event_id, "third", value=33)
    plain = await ordered(shop, event_id, {general: 1})
    assert not {"promo_code", "discount_amount"} & plain.body.keys()
    assert "discount" not in plain.body["items"][0]
    placed = await ordered(shop, event_id, {general: 3, vip: 1}, promo_code="Third")
    whole = 3 * 1_999 + 7_501
    assert placed.body["promo_code"] == "THIRD"
    assert placed.body["discount_amount"] == whole * 33 // 100
    assert placed.body["total_amount"] == whole - placed.body["discount_amount"]
    items = placed.body["items"]
    assert [i["subtotal"] for i in items] == [5_997, 7_501]
    assert sum(i["discount"] for i in items) == placed.body["discount_amount"]
    order_id = placed.body["order_id"]
    await shop.pay(order_id)
    order = await shop.read(order_id)
    assert order["status"] == "CONFIRMED"
    assert {name: order[name] for name in placed.body} == placed.body | {
        "status": "CONFIRMED",
        "payment_id": order["payment_id"],
    }
    before = 0
    for ticket in order["tickets"]:
        path = f"/v1/orders/{order_id}/refund"
        body = {"ticket_ids": [ticket["ticket_id"]]}
        refunded = await shop.organize("POST", path, body, key=uuid4().hex)
        assert refunded.body["refunded_amount"] > before
        before = refunded.body["refunded_amount"]
    assert before == order["total_amount"]


@on_the_server
async def test_an_order_that_a_code_pays_for_is_confirmed_at_once(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale({"price": 900})
    await give(shop, event_id, kind="amount", value=2_000)
    placed = await shop.order(event_id, tier_id, 2, promo_code="SUMMER")
    assert (placed.body["total_amount"], placed.body["discount_amount"]) == (0, 1_800)
    paid = await shop.pay(placed.body["order_id"])
    assert (paid.status, paid.body["status"]) == (200, "CONFIRMED")


@on_the_server
async def test_the_same_key_with_another_code_is_refused(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    await give(shop, event_id)
    first = await shop.order(event_id, tier_id, key="k", promo_code="SUMMER")
    again = await shop.order(event_id, tier_id, key="k", promo_code="SUMMER")
    assert (again.status, again.body) == (201, first.body)
    other = await shop.order(event_id, tier_id, key="k")
    assert (other.status, other.code) == (422, "idempotency_key_reused")


@on_the_server
async def test_codes_are_made_changed_and_removed_also_while_on_sale(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    promo = await give(shop, event_id, "early-bird", tier_ids=[tier_id], uses_max=3)
    assert promo == {
        "promo_code_id": promo["promo_code_id"],
        "event_id": event_id,
        "code": "EARLY-BIRD",
        "kind": "percent",
        "value": 10,
        "tier_ids": [tier_id],
        "uses_max": 3,
        "starts_at": None,
        "ends_at": None,
        "unlocks_hidden": False,
        "uses": 0,
    }
    path = f"/v1/events/{event_id}/promo-codes/{promo['promo_code_id']}"
    window = {"starts_at": "2020-01-01T00:00:00Z", "ends_at": "2020-01-02T00:00:00Z"}
    over = await shop.organize("PATCH", path, window)
    assert (over.status, over.body) == (200, promo | window)
    refused = await shop.order(event_id, tier_id, promo_code="early-bird")
    assert (refused.status, refused.code) == (409, "promo_code_not_active")
    changed = await shop.organize("PATCH", path, {"ends_at": None, "value": 50})
    assert changed.body["value"] == 50
    half = await shop.order(event_id, tier_id, promo_code="early-bird")
    assert half.body["total_amount"] == 1_250
    await uses(shop, event_id, 1)
    assert (await shop.organize("DELETE", path)).status == 204
    assert (await shop.organize("DELETE", path)).code == "unknown_promo_code"
    gone = await shop.order(event_id, tier_id, promo_code="early-bird")
    assert (gone.status, gone.code) == (404, "unknown_promo_code")
    assert (await shop.read(half.body["order_id"]))["total_amount"] == 1_250
    assert (await shop.organize("GET", f"/v1/events/{event_id}/promo-codes")).body["items"] == []


@on_the_server
async def test_a_code_made_before_the_sale_opens_is_good_from_its_opening(shop: Shop) -> None:
    event = await shop.event()
    tier = await shop.tier(event["event_id"])
    await give(shop, event["event_id"])
    for step in ("publish", "open-sales"):
        assert (await shop.step(event["event_id"], step)).status == 200
    placed = await shop.order(event["event_id"], tier["tier_id"], promo_code="SUMMER")
    assert placed.body["total_amount"] == 2_250


@on_the_server
async def test_what_does_not_fit_a_code_is_refused(shop: Shop) -> None:
    event_id, _ = await shop.on_sale()
    path = f"/v1/events/{event_id}/promo-codes"
    good = {"code": "SUMMER", "kind": "percent", "value": 10}
    for change in ({"code": "a b"}, {"kind": "both"}, {"value": -1}, {"uses_max": 0}, {"x": 1}):
        wrong = await shop.organize("POST", path, good | change)
        assert (wrong.status, wrong.code) == (400, "malformed_request"), change
    over = await shop.organize("POST", path, good | {"value": 101})
    assert (over.status, over.code) == (422, "invalid_discount")
    unknown = await shop.organize("POST", path, good | {"tier_ids": ["tier_none"]})
    assert (unknown.status, unknown.code) == (404, "unknown_tier")
    window = {"starts_at": "2030-01-02T00:00:00Z", "ends_at": "2030-01-01T00:00:00Z"}
    backwards = await shop.organize("POST", path, good | window)
    assert (backwards.status, backwards.code) == (422, "invalid_times")
    first = await shop.organize("POST", path, good, key="promo")
    again = await shop.organize("POST", path, good, key="promo")
    assert (first.status, again.body) == (201, first.body)
    twice = await shop.organize("POST", path, good | {"code": "summer"})
    assert (twice.status, twice.code) == (409, "promo_code_exists")
    other = await shop.token("organizer", "another")
    for method, at, body in (
        ("POST", path, good),
        ("GET", path, None),
        ("PATCH", f"{path}/{first.body['promo_code_id']}", {"value": 1}),
        ("DELETE", f"{path}/{first.body['promo_code_id']}", None),
    ):
        stranger = await shop.call(method, at, body, token=other)
        assert (stranger.status, stranger.code) == (403, "forbidden"), method


@on_the_server
async def test_a_hidden_tier_is_seen_by_its_organizer_and_sold_by_its_code_alone(
    shop: Shop,
) -> None:
    title = f"Secret {uuid4().hex}"
    event_id, (public, hidden) = await shop.on_sale(
        {"price": 2_000}, {"name": "FRIENDS", "price": 5, "hidden": True}, title=title
    )
    await give(shop, event_id, "friends", value=0, unlocks_hidden=True, tier_ids=[hidden])
    for who in (None, await shop.token("buyer", "ann"), await shop.token("organizer", "another")):
        event = await shop.call("GET", f"/v1/events/{event_id}", token=who)
        assert [tier["tier_id"] for tier in event.body["tiers"]] == [public]
    own = await shop.organize("GET", f"/v1/events/{event_id}")
    assert [tier["hidden"] for tier in own.body["tiers"]] == [False, True]
    seen = await shop.call("GET", f"/v1/events/{event_id}/availability")
    assert [tier["tier_id"] for tier in seen.body["tiers"]] == [public]
    items = await found(shop, title)
    assert (items[0]["min_price"], items[0]["max_price"]) == (2_000, 2_000)
    assert [tier["tier_id"] for tier in items[0]["event"]["tiers"]] == [public]
    guessed = await shop.order(event_id, hidden)
    nowhere = await shop.order(event_id, "tier_none")
    assert (guessed.status, guessed.code) == (nowhere.status, nowhere.code)
    assert guessed.body | {"detail": 0, "tier_id": 0} == nowhere.body | {"detail": 0, "tier_id": 0}
    bought = await ordered(shop, event_id, {hidden: 1, public: 1}, promo_code="friends")
    assert (bought.status, bought.body["total_amount"]) == (201, 2_005)
    shown = await shop.organize("PATCH", f"/v1/tiers/{hidden}", {"hidden": False})
    assert shown.body["hidden"] is False
    assert (await shop.order(event_id, hidden)).status == 201


class _Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic_s(self) -> float:
        return self.now_s

    def now_ms(self) -> int:
        return int(self.now_s * 1000)

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_who_has_guessed_too_often_must_wait_with_the_right_code_too() -> None:
    clock = _Clock()
    guesses = Guesses(clock, limited=True)
    ann, ben = (Principal(Role.BUYER, name, 0) for name in ("ann", "ben"))
    till = Principal(Role.BOX_OFFICE, "till", 0)
    for _ in range(GUESSES.burst):
        guesses.refuse(ann)
        guesses.wrong(ann)
        guesses.wrong(till)
    with pytest.raises(Problem, match="rate_limited"):
        guesses.refuse(ann)
    guesses.refuse(ben)
    guesses.refuse(till)
    clock.now_s += 1 / GUESSES.per_second
    guesses.refuse(ann)
