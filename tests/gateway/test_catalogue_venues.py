"""Venues and lists, as clients see them."""

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
VENUE_FIELDS = {
    "venue_id",
    "name",
    "address",
    "city",
    "country",
    "latitude",
    "longitude",
    "capacity",
    "type",
    "facilities",
    "timezone",
    "is_active",
    "hire_amount",
    "deposit_amount",
    "currency",
    "deposit_refundable_days",
}


async def test_a_venue_is_read_back_as_it_was_made_and_changed(shop: Shop) -> None:
    facilities = {"parking": 200, "catering": True, "av_equipment": ["PA", {"lamps": 4}]}
    body = {**VENUE, "latitude": 52.5, "longitude": 13, "type": "ARENA", "facilities": facilities}
    key = uuid4().hex
    made = await shop.organize("POST", "/v1/venues", body, key=key)
    assert made.status == 201
    assert set(made.body) == VENUE_FIELDS
    assert {name: made.body[name] for name in body} == body
    again = await shop.organize("POST", "/v1/venues", body, key=key)
    assert (again.status, again.body) == (201, made.body)
    path = f"/v1/venues/{made.body['venue_id']}"
    assert (await shop.call("GET", path)).body == made.body
    change = b'{"capacity": 7, "facilities": {"big": 123456789012345678901234567890}}'
    changed = await shop.organize("PATCH", path, raw=change)
    assert changed.status == 200
    assert changed.body["capacity"] == 7
    assert changed.body["facilities"] == {"big": 123456789012345678901234567890}
    assert changed.body["name"] == VENUE["name"]
    assert (await shop.call("GET", path)).body == changed.body


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"capacity": 0}, "$.capacity"),
        ({"capacity": 1.5}, "$.capacity"),
        ({"capacity": "many"}, "$.capacity"),
        ({"name": ""}, "$.name"),
        ({"name": "a\0b"}, "$.name"),
        ({"city": None}, "$.city"),
        ({"latitude": 90.1}, "$.latitude"),
        ({"longitude": -181}, "$.longitude"),
        ({"type": "BARN"}, "$.type"),
        ({"timezone": "Mars/Olympus_Mons"}, "$.timezone"),
        ({"timezone": "../../../etc/passwd"}, "$.timezone"),
        ({"currency": "eur"}, "$.currency"),
        ({"currency": "EUR\n"}, "$.currency"),
        ({"deposit_amount": -1}, "$.deposit_amount"),
        ({"facilities": []}, "$.facilities"),
        ({"facilities": None}, "$.facilities"),
        ({"facilities": {"notes": "x" * 9000}}, "$.facilities"),
        ({"facilities": {"parking": -1}}, "$.facilities.parking"),
        ({"facilities": {"parking": None}}, "$.facilities.parking"),
        ({"facilities": {"catering": 3}}, "$.facilities.catering"),
        ({"facilities": {"av_equipment": {"lamps": 4}}}, "$.facilities.av_equipment"),
        ({"deposit_refundable_days": -1}, "$.deposit_refundable_days"),
        ({"rooms": 3}, "rooms"),
    ],
)
async def test_what_does_not_fit_is_refused_with_the_path_of_its_field(
    shop: Shop, change: dict[str, Any], path: str
) -> None:
    refused = await shop.organize("POST", "/v1/venues", {**VENUE, **change})
    assert (refused.status, refused.code) == (400, "malformed_request")
    assert path in refused.body["detail"]
    venue = await shop.venue()
    refused = await shop.organize("PATCH", f"/v1/venues/{venue['venue_id']}", change)
    assert (refused.status, refused.code) == (400, "malformed_request")
    assert path in refused.body["detail"]


@pytest.mark.parametrize(
    "facilities",
    [
        b"[" * 100_000,
        b"[" * 4000 + b"]" * 4000,
        b'{"a":' * 1200 + b"1" + b"}" * 1200,
        b'{"a":' * 300 + b"1" + b"}" * 300,
        b'{"a": "\xff"}',
        b'{"a": 1',
        b"{1}",
    ],
)
async def test_no_facilities_however_odd_bring_the_server_down(
    shop: Shop, facilities: bytes
) -> None:
    body = b'{"name":"H","city":"B","country":"G","capacity":1,"timezone":"UTC","facilities":'
    made = await shop.organize("POST", "/v1/venues", raw=body + facilities + b"}")
    assert made.status in (201, 400)
    if made.status == 201:
        read = await shop.call("GET", f"/v1/venues/{made.body['venue_id']}")
        assert read.body == made.body


async def test_making_and_changing_is_for_organizers(shop: Shop) -> None:
    buyer = await shop.token("buyer", "ann")
    for token, status in ((None, 401), (buyer, 403)):
        refused = await shop.call("POST", "/v1/venues", VENUE, token=token)
        assert refused.status == status
    venue = await shop.venue()
    stranger = await shop.token("organizer", "stranger")
    path = f"/v1/venues/{venue['venue_id']}"
    changed = await shop.call("PATCH", path, {"capacity": 5}, token=stranger)
    assert changed.status == 200
    event = await shop.event()
    path = f"/v1/events/{event['event_id']}"
    refused = await shop.call("PATCH", path, {"title": "Mine"}, token=stranger)
    assert (refused.status, refused.code) == (403, "forbidden")
    unknown = await shop.call("PATCH", "/v1/events/nope", {"title": "Mine"}, token=stranger)
    assert (unknown.status, unknown.code) == (404, "unknown_event")


@pytest.mark.parametrize("strange", ["nope", "%00", "%C3%A9", "%ED%A0%80", "x" * 3000])
async def test_strange_ids_are_unknown(shop: Shop, strange: str) -> None:
    for noun in ("venue", "event"):
        found = await shop.call("GET", f"/v1/{noun}s/{strange}")
        assert (found.status, found.code) == (404, f"unknown_{noun}")
    found = await shop.organize("GET", f"/v1/bookings/{strange}")
    assert (found.status, found.code) == (404, "unknown_booking")
    found = await shop.organize("PATCH", f"/v1/tiers/{strange}", {"price": 1})
    assert (found.status, found.code) == (404, "unknown_tier")
    found = await shop.call("GET", f"/v1/venues/{strange}/calendar")
    assert (found.status, found.code) == (404, "unknown_venue")


async def test_lists_come_in_pages(shop: Shop) -> None:
    made = [(await shop.venue())["venue_id"] for _ in range(3)]
    first = await shop.call("GET", "/v1/venues?limit=2")
    assert [venue["venue_id"] for venue in first.body["items"]] == [made[2], made[1]]
    second = await shop.call("GET", f"/v1/venues?limit=1&cursor={first.body['next_cursor']}")
    assert [venue["venue_id"] for venue in second.body["items"]] == [made[0]]
    for query in ("limit=0", "limit=201", "limit=x", "cursor=%00", "cursor=%2b"):
        refused = await shop.call("GET", f"/v1/venues?{query}")
        assert refused.status in (200, 400)
    odd = await shop.call("GET", "/v1/events?cursor=AAAA")
    assert (odd.status, odd.body) == (200, {"items": [], "next_cursor": None})
