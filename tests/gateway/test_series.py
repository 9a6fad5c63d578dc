"""A series: one event on many dates, all or none."""

from typing import Any
from uuid import uuid4

import pytest

from tests.shop import Shop

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def series(shop: Shop, **changes: Any) -> dict[str, Any]:
    """The body of an evening in Berlin on Thursdays in 2031."""
    return {
        "venue_id": (await shop.venue())["venue_id"],
        "title": "Quiz night",
        "category": "FESTIVAL",
        "start_time": "2031-03-20T20:00:00",
        "end_time": "2031-03-21T01:00:00",
        "repeat": {"every_weeks": 1, "count": 3},
        **changes,
    }


async def test_a_weekly_series_keeps_its_local_time_when_the_clocks_change(shop: Shop) -> None:
    body = await series(shop)
    made = await shop.organize("POST", "/v1/series", body, key="k" + uuid4().hex)
    assert made.status == 201
    events = made.body["events"]
    assert [(event["start_time"], event["end_time"]) for event in events] == [
        ("2031-03-20T19:00:00Z", "2031-03-21T00:00:00Z"),
        ("2031-03-27T19:00:00Z", "2031-03-28T00:00:00Z"),
        ("2031-04-03T18:00:00Z", "2031-04-03T23:00:00Z"),  # summer time since 30 March
    ]
    assert {event["series_id"] for event in events} == {made.body["series_id"]}
    assert {event["status"] for event in events} == {"DRAFT"}
    assert len({event["booking_id"] for event in events}) == 3
    path = f"/v1/series/{made.body['series_id']}"
    assert (await shop.organize("GET", path)).body == made.body
    stranger = await shop.token("organizer", "stranger")
    assert (await shop.call("GET", path, token=stranger)).status == 403
    unknown = await shop.organize("GET", "/v1/series/ser_nope")
    assert (unknown.status, unknown.code) == (404, "unknown_series")


async def test_listed_dates_and_a_start_with_an_offset(shop: Shop) -> None:
    times = {"start_time": "2031-03-20T19:00:00Z", "end_time": "2031-03-20T21:00:00Z"}
    dates = {"dates": ["2031-07-01", "2031-03-20"]}
    made = await shop.organize("POST", "/v1/series", await series(shop, **times, repeat=dates))
    starts = [event["start_time"] for event in made.body["events"]]
    assert starts == ["2031-03-20T19:00:00Z", "2031-07-01T18:00:00Z"]


async def test_the_same_key_makes_one_series(shop: Shop) -> None:
    body, key = await series(shop), uuid4().hex
    first = await shop.organize("POST", "/v1/series", body, key=key)
    again = await shop.organize("POST", "/v1/series", body, key=key)
    assert (again.status, again.body) == (201, first.body)
    assert again.headers["Idempotency-Replayed"] == "true"


async def test_one_date_in_the_way_and_none_is_made(shop: Shop) -> None:
    body = await series(shop)
    taken = {"start_time": "2031-04-03T22:00:00", "end_time": "2031-04-04T02:00:00"}
    other = await shop.event(venue_id=body["venue_id"], **taken)
    refused = await shop.organize("POST", "/v1/series", body)
    assert (refused.status, refused.code) == (409, "venue_conflict")
    assert refused.body["booking_id"] == other["booking_id"]
    assert refused.body["start_time"] == "2031-04-03T18:00:00Z"
    calendar = await shop.call("GET", f"/v1/venues/{body['venue_id']}/calendar")
    assert [item["event_id"] for item in calendar.body["items"]] == [other["event_id"]]


async def test_a_date_whose_time_the_clocks_skip_or_repeat_is_refused_with_its_readings(
    shop: Shop,
) -> None:
    times = {"start_time": "2031-03-23T02:30:00", "end_time": "2031-03-23T05:00:00"}
    refused = await shop.organize("POST", "/v1/series", await series(shop, **times))
    assert (refused.status, refused.code) == (422, "ambiguous_local_time")
    assert refused.body["readings"] == []
    repeat = {"dates": ["2031-03-23", "2031-10-26"]}
    body = await series(shop, **times, repeat=repeat)
    refused = await shop.organize("POST", "/v1/series", body)
    assert refused.body["readings"] == ["2031-10-26T00:30:00Z", "2031-10-26T01:30:00Z"]


@pytest.mark.parametrize(
    ("repeat", "named"),
    [
        ({}, "$.repeat"),
        ({"every_weeks": 1}, "$.repeat"),
        ({"every_weeks": 1, "count": 2, "until": "2031-07-01"}, "$.repeat"),
        ({"dates": ["2031-03-20"], "count": 2}, "$.repeat"),
        ({"dates": ["2031-03-20", "2031-03-20"]}, "$.repeat.dates"),
        ({"dates": []}, "$.repeat.dates"),
        ({"dates": ["yesterday"]}, "$.repeat.dates[0]"),
        ({"every_weeks": 0, "count": 2}, "$.repeat.every_weeks"),
        ({"every_weeks": 1, "count": 201}, "$.repeat.count"),
        ({"every_weeks": 1, "until": "2099-01-01"}, "$.repeat.until"),
        ({"every_weeks": 1, "until": "2030-01-01"}, "$.repeat.until"),
        ({"every_months": 1}, "every_months"),
    ],
)
async def test_a_rule_that_is_none_is_malformed(
    shop: Shop, repeat: dict[str, Any], named: str
) -> None:
    refused = await shop.organize("POST", "/v1/series", await series(shop, repeat=repeat))
    assert (refused.status, refused.code) == (400, "malformed_request")
    assert named in refused.body["detail"]


async def test_a_series_does_not_stand_in_its_own_way(shop: Shop) -> None:
    longer = await series(shop, end_time="2031-03-27T21:00:00")
    refused = await shop.organize("POST", "/v1/series", longer)
    assert (refused.status, refused.code) == (422, "invalid_times")
    odd = await series(shop, end_time="2031-03-20T19:00:00")
    refused = await shop.organize("POST", "/v1/series", odd)
    assert (refused.status, refused.code) == (422, "invalid_times")


async def test_dates_beyond_all_calendars_are_malformed(shop: Shop) -> None:
    odd = {"start_time": "9999-12-31T20:00:00", "end_time": "9999-12-31T21:00:00"}
    rule = {"every_weeks": 52, "count": 200}
    refused = await shop.organize("POST", "/v1/series", await series(shop, **odd, repeat=rule))
    assert (refused.status, refused.code) == (400, "malformed_request")
    for day in ("9999-12-31", "0001-01-01"):
        body = await series(shop, repeat={"dates": [day]})
        refused = await shop.organize("POST", "/v1/series", body)
        assert (refused.status, refused.code) == (400, "malformed_request")
