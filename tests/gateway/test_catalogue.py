"""Events, tiers and bookings, as clients see them."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from tests.shop import Shop

pytestmark = pytest.mark.asyncio(loop_scope="session")

VENUE = {
    "name": "Große Halle",
    "city": "Berlin",
    "country": "Germany",
    "capacity": 100,
    "timezone": "Europe/Berlin",
}
EVENT_FIELDS = {
    "event_id",
    "venue_id",
    "organizer_id",
    "booking_id",
    "title",
    "description",
    "category",
    "start_time",
    "end_time",
    "cover_image_url",
    "age_restriction",
    "currency",
    "reentry",
    "setup_hours_before",
    "teardown_hours_after",
    "status",
    "series_id",
    "gates",
    "tiers",
}
TIER_FIELDS = {
    "tier_id",
    "event_id",
    "name",
    "price",
    "total_quantity",
    "sale_start",
    "sale_end",
    "max_per_order",
    "max_per_buyer",
    "hidden",
}
BOOKING_FIELDS = {
    "booking_id",
    "venue_id",
    "event_id",
    "start_time",
    "end_time",
    "setup_hours_before",
    "teardown_hours_after",
    "status",
    "hire_amount",
    "deposit_amount",
    "deposit_refundable_days",
    "deposit_paid",
    "deposit_refunded",
    "payment_id",
    "currency",
    "expires_at",
    "cancel_reason",
    "refund",
}


def event_at(venue: dict[str, Any], start: str, end: str, **more: Any) -> dict[str, Any]:
    times = {"start_time": start, "end_time": end}
    return {"venue_id": venue["venue_id"], "title": "Gig", "category": "CONCERT", **times, **more}


# -- events ------------------------------------------------------------------------------------


async def test_an_event_begins_as_a_draft_with_a_booking(shop: Shop) -> None:
    venue = await shop.venue(currency="CHF")
    body = event_at(venue, "2031-05-01T20:00:00", "2031-05-01T23:00:00+02:00")
    made = await shop.organize("POST", "/v1/events", {**body, "setup_hours_before": 2.5})
    assert made.status == 201
    event = made.body
    assert set(event) == EVENT_FIELDS
    assert (event["status"], event["currency"]) == ("DRAFT", "CHF")
    assert event["start_time"] == "2031-05-01T18:00:00Z"
    assert event["end_time"] == "2031-05-01T21:00:00Z"
    booking = await shop.organize("GET", f"/v1/bookings/{event['booking_id']}")
    assert set(booking.body) == BOOKING_FIELDS
    assert booking.body["status"] == "CONFIRMED"
    calendar = await shop.call("GET", f"/v1/venues/{venue['venue_id']}/calendar")
    assert calendar.body["items"] == [
        {
            "booking_id": event["booking_id"],
            "event_id": event["event_id"],
            "from": "2031-05-01T15:30:00Z",
            "to": "2031-05-01T21:00:00Z",
            "status": "CONFIRMED",
        }
    ]
    before = f"/v1/venues/{venue['venue_id']}/calendar?to=2031-05-01T17:30:00"
    assert (await shop.call("GET", before)).body["items"] == []
    upside_down = f"{before}&from=2031-05-01T17:30:00"
    assert (await shop.call("GET", upside_down)).code == "invalid_times"


async def test_a_draft_is_seen_by_its_organizer_and_admins_alone(shop: Shop) -> None:
    event = await shop.event()
    path = f"/v1/events/{event['event_id']}"
    stranger = await shop.token("organizer", "stranger")
    for token in (None, stranger, await shop.token("buyer", "orga")):
        assert (await shop.call("GET", path, token=token)).status == 404
        listed = await shop.call("GET", "/v1/events", token=token)
        assert event["event_id"] not in [item["event_id"] for item in listed.body["items"]]
    for token in (await shop.organizer(), await shop.token("admin", "root")):
        assert (await shop.call("GET", path, token=token)).body == event
        listed = await shop.call("GET", "/v1/events", token=token)
        assert event in listed.body["items"]
    await shop.step(event["event_id"], "publish")
    assert (await shop.call("GET", path)).body["status"] == "PUBLISHED"


@pytest.mark.parametrize(
    ("local", "expected"),
    [
        ("2031-03-30T02:30:00", []),
        ("2031-10-26T02:30:00", ["2031-10-26T00:30:00Z", "2031-10-26T01:30:00Z"]),
    ],
)
async def test_a_local_time_that_clocks_skip_or_repeat_is_refused_with_its_readings(
    shop: Shop, local: str, expected: list[str]
) -> None:
    venue = await shop.venue()
    body = event_at(venue, local, "2031-12-01T00:00:00Z")
    refused = await shop.organize("POST", "/v1/events", body)
    assert (refused.status, refused.code) == (422, "ambiguous_local_time")
    assert refused.body["readings"] == expected
    event = await shop.event()
    path = f"/v1/events/{event['event_id']}"
    refused = await shop.organize("PATCH", path, {"start_time": local})
    assert refused.body["readings"] == expected


async def test_an_event_is_refused_in_the_documented_order(shop: Shop) -> None:
    venue = await shop.venue(is_active=False)
    body = event_at(venue, "2031-05-01T20:00:00Z", "2031-05-01T19:00:00Z")
    codes = [
        {**body, "venue_id": "nope", "title": 7},
        {**body, "venue_id": "nope"},
        body,
    ]
    found = [(await shop.organize("POST", "/v1/events", each)).code for each in codes]
    assert found == ["malformed_request", "unknown_venue", "venue_inactive"]
    await shop.organize("PATCH", f"/v1/venues/{venue['venue_id']}", {"is_active": True})
    refused = await shop.organize("POST", "/v1/events", body)
    assert (refused.status, refused.code) == (422, "invalid_times")


@pytest.mark.parametrize(
    "change",
    [
        {"title": None},
        {"start_time": None},
        {"start_time": 1_900_000_000},
        {"start_time": "0001-01-01T00:00:00+14:00"},
        {"end_time": "9999-12-31T23:59:59-14:00"},
        {"category": "OPERA"},
        {"setup_hours_before": -1},
        {"teardown_hours_after": 1e300},
        {"cover_image_url": "javascript:alert(1)"},
        {"venue_id": "ven_0"},
        {"status": "PUBLISHED"},
        {"currency": None},
    ],
)
async def test_a_change_that_does_not_fit_is_malformed(shop: Shop, change: dict[str, Any]) -> None:
    event = await shop.event()
    refused = await shop.organize("PATCH", f"/v1/events/{event['event_id']}", change)
    assert (refused.status, refused.code) == (400, "malformed_request")
    assert next(iter(change)) in refused.body["detail"]


async def test_what_may_be_nothing_may_be_made_nothing(shop: Shop) -> None:
    event = await shop.event(age_restriction=18, cover_image_url="https://example.org/a.png")
    change = {"age_restriction": None, "cover_image_url": None}
    changed = await shop.organize("PATCH", f"/v1/events/{event['event_id']}", change)
    assert changed.body == {**event, **change}


async def test_an_illegal_step_names_both_states(shop: Shop) -> None:
    event = await shop.event()
    refused = await shop.step(event["event_id"], "open-sales")
    assert (refused.status, refused.code) == (409, "illegal_transition")
    assert (refused.body["from"], refused.body["to"]) == ("DRAFT", "ON_SALE")
    cancelled = await shop.step(event["event_id"], "cancel")
    assert cancelled.body == {**event, "status": "CANCELLED"}
    again = await shop.step(event["event_id"], "cancel")
    assert (again.body["from"], again.body["to"]) == ("CANCELLED", "CANCELLED")
    odd = await shop.organize("POST", f"/v1/events/{event['event_id']}/cancel", {"why": 1})
    assert odd.code == "malformed_request"


async def test_of_fifty_events_at_once_in_one_hall_one_is_made(shop: Shop) -> None:
    venue = await shop.venue()
    body = event_at(venue, "2031-05-01T10:00:00Z", "2031-05-01T12:00:00Z")
    asked = (shop.organize("POST", "/v1/events", body) for _ in range(50))
    answers = await asyncio.gather(*asked)
    (made,) = (answer.body for answer in answers if answer.status == 201)
    refusals = [answer for answer in answers if answer.status != 201]
    assert {(r.status, r.code, r.body["booking_id"]) for r in refusals} == {
        (409, "venue_conflict", made["booking_id"])
    }
    assert {(r.body["from"], r.body["to"]) for r in refusals} == {
        ("2031-05-01T10:00:00Z", "2031-05-01T12:00:00Z")
    }


async def test_the_same_key_makes_one_event_and_says_so(shop: Shop) -> None:
    venue, key = await shop.venue(), uuid4().hex
    body = event_at(venue, "2031-05-01T10:00:00Z", "2031-05-01T12:00:00Z")
    asked = (shop.organize("POST", "/v1/events", body, key=key) for _ in range(10))
    answers = await asyncio.gather(*asked)
    assert {answer.status for answer in answers} == {201}
    assert len({answer.body["event_id"] for answer in answers}) == 1
    replays = [answer.headers.get("Idempotency-Replayed") for answer in answers]
    assert sorted(replays, key=str) == [None, *["true"] * 9]
    reused = await shop.organize("POST", "/v1/events", {**body, "title": "Other"}, key=key)
    assert (reused.status, reused.code) == (422, "idempotency_key_reused")
    reused = await shop.organize("POST", "/v1/venues", VENUE, key=key)
    assert reused.code == "idempotency_key_reused"
    elsewhere = f"/v1/events/{answers[0].body['event_id']}/publish"
    assert (await shop.organize("POST", elsewhere, key=key)).status == 200
    replayed = await shop.organize("POST", elsewhere, key=key)
    assert (replayed.status, replayed.headers["Idempotency-Replayed"]) == (200, "true")
    assert replayed.body["status"] == "PUBLISHED"


# -- tiers, gates, bookings --------------------------------------------------------------------


async def test_a_tier_is_sold_from_now_to_the_events_end_if_nothing_else_is_said(
    shop: Shop,
) -> None:
    event = await shop.event()
    path = f"/v1/events/{event['event_id']}/tiers"
    body = {"name": "VIP", "price": 0, "total_quantity": 5}
    made = await shop.organize("POST", path, body)
    assert made.status == 201
    assert set(made.body) == TIER_FIELDS
    assert (made.body["sale_end"], made.body["max_per_order"]) == (event["end_time"], 10)
    read = await shop.organize("GET", f"/v1/events/{event['event_id']}")
    assert read.body["tiers"] == [made.body]
    for change, field in (
        ({"total_quantity": 0}, "total_quantity"),
        ({"price": -1}, "price"),
        ({"price": 9.99}, "price"),
        ({"max_per_order": 0}, "max_per_order"),
        ({"sale_end": None}, "sale_end"),
        ({"sale_end": "2031-01-01T00:00:00"}, "sale_end"),
        ({"currency": "EUR"}, "currency"),
    ):
        refused = await shop.organize("POST", path, {**body, **change})
        assert (refused.status, refused.code) == (400, "malformed_request")
        assert field in refused.body["detail"]


async def test_capacity_and_windows_are_kept_while_on_sale_too(shop: Shop) -> None:
    venue = await shop.venue(capacity=100)
    event_id, (tier_id,) = await shop.on_sale({"total_quantity": 60}, venue_id=venue["venue_id"])
    refused = await shop.organize("PATCH", f"/v1/tiers/{tier_id}", {"total_quantity": 101})
    assert (refused.status, refused.code) == (422, "exceeds_capacity")
    assert (refused.body["capacity"], refused.body["requested"]) == (100, 101)
    await shop.order(event_id, tier_id, 4)
    refused = await shop.organize("PATCH", f"/v1/tiers/{tier_id}", {"total_quantity": 3})
    assert (refused.status, refused.code) == (409, "below_committed")
    grown = await shop.organize("PATCH", f"/v1/tiers/{tier_id}", {"total_quantity": 100})
    assert grown.body["total_quantity"] == 100
    window = {"sale_start": "2031-05-02T00:00:00Z", "sale_end": "2031-05-01T00:00:00Z"}
    refused = await shop.organize("PATCH", f"/v1/tiers/{tier_id}", window)
    assert (refused.status, refused.code) == (422, "invalid_times")


async def test_gates_are_put_as_a_whole(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    path = f"/v1/events/{event_id}/gates"
    body = {"gates": [{"name": "North", "tier_ids": [tier_id]}, {"name": "South"}]}
    put = await shop.organize("PUT", path, body)
    assert put.status == 200
    assert put.body["event_id"] == event_id
    assert put.body["gates"] == [
        {"name": "North", "tier_ids": [tier_id]},
        {"name": "South", "tier_ids": []},
    ]
    unknown = await shop.organize("PUT", path, {"gates": [{"name": "N", "tier_ids": ["t"]}]})
    assert (unknown.status, unknown.code) == (404, "unknown_tier")
    twice = await shop.organize("PUT", path, {"gates": [{"name": "N"}, {"name": "N"}]})
    assert (twice.status, twice.code) == (400, "malformed_request")
    none = await shop.organize("PUT", path, {"gates": []})
    assert none.body["gates"] == []


async def test_a_new_booking_takes_the_place_of_a_cancelled_one(shop: Shop) -> None:
    event = await shop.event()
    body = {
        "venue_id": event["venue_id"],
        "event_id": event["event_id"],
        "start_time": "2031-06-01T20:00:00",
        "end_time": "2031-06-01T23:00:00",
        "setup_hours_before": 1,
        "teardown_hours_after": 0,
    }
    refused = await shop.organize("POST", "/v1/bookings", body)
    assert (refused.status, refused.code) == (409, "already_booked")
    path = f"/v1/bookings/{event['booking_id']}/cancel"
    cancelled = await shop.organize("POST", path)
    assert (cancelled.status, cancelled.body["status"]) == (200, "CANCELLED")
    again = await shop.organize("POST", path)
    assert (again.status, again.code) == (409, "illegal_transition")
    publish = await shop.step(event["event_id"], "publish")
    assert (publish.status, publish.code) == (409, "booking_not_confirmed")
    made = await shop.organize("POST", "/v1/bookings", body)
    assert made.status == 201
    assert set(made.body) == BOOKING_FIELDS
    read = await shop.organize("GET", f"/v1/events/{event['event_id']}")
    assert read.body["booking_id"] == made.body["booking_id"]
    assert read.body["start_time"] == "2031-06-01T18:00:00Z"
    assert (await shop.step(event["event_id"], "publish")).status == 200
