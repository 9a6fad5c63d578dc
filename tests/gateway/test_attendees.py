"""Attendees by name, and the lists as files that a spreadsheet may open."""

import asyncio
import csv
import io
from typing import Any

import msgspec
import pytest

from gateway.exporting import cell
from tests.shop import Answer, Shop

pytestmark = pytest.mark.asyncio(loop_scope="session")

ATTENDEES: list[dict[str, str | None]] = [
    {"name": "Jürgen Groß", "email": "jg@example.org"},
    {"name": '=HYPERLINK("http://evil")', "email": "+1@example.org"},
    {"name": 'José Ñandú, "Pepe"', "email": None},
]


async def sold(shop: Shop) -> tuple[str, dict[str, Any]]:
    """An event of which one order of three named places has been sold, once the tables know it."""
    event_id, (tier_id,) = await shop.on_sale()
    placed = await shop.order(event_id, tier_id, 3, attendees=ATTENDEES)
    await shop.pay(placed.body["order_id"])
    order = await shop.read(placed.body["order_id"])
    await attendees_once(shop, event_id, 3)
    return event_id, order


async def attendees_once(shop: Shop, event_id: str, count: int) -> Answer:
    async with asyncio.timeout(20):
        while True:
            found = await shop.organize("GET", f"/v1/events/{event_id}/attendees")
            if len(found.body["items"]) == count:
                return found
            await asyncio.sleep(0.05)


def rows(answer: Answer) -> list[dict[str, str]]:
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["Content-Disposition"]
    return list(csv.DictReader(io.StringIO(answer.body.decode(), newline="")))


async def test_attendees_are_found_by_any_part_of_their_name_without_accents(shop: Shop) -> None:
    event_id, order = await sold(shop)
    path = f"/v1/events/{event_id}/attendees"
    everyone = (await shop.organize("GET", path)).body["items"]
    assert [item["attendee_name"] for item in everyone] == [each["name"] for each in ATTENDEES]
    assert [item["ticket_id"] for item in everyone] == [t["ticket_id"] for t in order["tickets"]]
    assert everyone[0]["attendee_email"] == "jg@example.org"
    assert (everyone[0]["status"], everyone[0]["tier"]) == ("VALID", "GENERAL")
    assert "token" not in everyone[0]
    for sought, expected in (
        ("gross", [everyone[0]]),
        ("JURGEN", [everyone[0]]),
        ("nandu", [everyone[2]]),
        ("example.org", everyone[:2]),
        (order["order_id"], everyone),
        ("nobody", []),
    ):
        found = await shop.organize("GET", f"{path}?q={sought}")
        assert (found.body["items"], found.body["next_cursor"]) == (expected, None)
    first = await shop.organize("GET", f"{path}?limit=2")
    assert first.body["items"] == everyone[:2]
    rest = await shop.organize("GET", f"{path}?cursor={first.body['next_cursor']}")
    assert rest.body == {"items": everyone[2:], "next_cursor": None}


async def test_who_was_named_afterwards_is_who_is_found(shop: Shop) -> None:
    event_id, order = await sold(shop)
    path = f"/v1/tickets/{order['tickets'][0]['ticket_id']}"
    named = {"attendee_name": "Zoë Late", "attendee_email": "zoe@example.org"}
    token = await shop.token("buyer", "ann")
    assert (await shop.call("PATCH", path, named, token=token)).status == 200
    async with asyncio.timeout(20):
        while True:
            found = await shop.organize("GET", f"/v1/events/{event_id}/attendees?q=zoe")
            if found.body["items"]:
                break
            await asyncio.sleep(0.05)
    (item,) = found.body["items"]
    assert {name: item[name] for name in named} == named


async def test_attendees_are_for_their_organizer_and_a_supervisors_device(shop: Shop) -> None:
    event_id, _ = await sold(shop)
    other_id, _ = await shop.on_sale()
    supervisor = await shop.token("scanner", "boss", event_id, "supervisor")
    elsewhere = await shop.token("scanner", "boss", other_id, "supervisor")
    for name in ("attendees", "orders"):
        path = f"/v1/events/{event_id}/{name}"
        assert (await shop.call("GET", path)).status == 401
        for token in (
            await shop.token("buyer", "ann"),
            await shop.token("organizer", "stranger"),
            await shop.token("scanner", "gate-1", event_id),
            elsewhere,
        ):
            assert (await shop.call("GET", path, token=token)).status == 403
        assert (await shop.call("GET", path, token=supervisor)).status == 200
        unknown = await shop.organize("GET", f"/v1/events/evt_{16 * '0'}/{name}")
        assert (unknown.status, unknown.code) == (404, "unknown_event")


async def test_a_file_of_attendees_holds_no_formula(shop: Shop) -> None:
    event_id, order = await sold(shop)
    path = f"/v1/events/{event_id}/attendees"
    table = rows(await shop.organize("GET", path, accept="text/csv"))
    assert [row["attendee_name"] for row in table] == [
        "Jürgen Groß",
        '\'=HYPERLINK("http://evil")',
        'José Ñandú, "Pepe"',
    ]
    assert [row["attendee_email"] for row in table] == ["jg@example.org", "'+1@example.org", ""]
    assert rows(await shop.organize("GET", f"{path}?q=pepe", accept="text/csv")) == table[2:]
    lines = await shop.organize("GET", path, accept="application/x-ndjson")
    assert lines.headers["Content-Type"].startswith("application/x-ndjson")
    decoded = [msgspec.json.decode(line) for line in lines.body.splitlines()]
    assert [line["attendee_name"] for line in decoded] == [each["name"] for each in ATTENDEES]
    assert {line["order_id"] for line in decoded} == {order["order_id"]}


async def test_orders_and_checkins_come_as_files_too(shop: Shop) -> None:
    event_id, order = await sold(shop)
    path = f"/v1/events/{event_id}"
    (line,) = rows(await shop.organize("GET", f"{path}/orders", accept="text/csv"))
    assert (line["order_id"], line["total_amount"]) == (order["order_id"], "7500")
    for ticket in order["tickets"]:
        scanned = await shop.scan(event_id, ticket["token"], gate="=north")
        assert scanned.body["result"] == "ADMIT"
    async with asyncio.timeout(20):
        while True:
            history = await shop.organize("GET", f"{path}/checkins", accept="text/csv")
            if len(table := rows(history)) == 3:
                break
            await asyncio.sleep(0.05)
    assert {row["gate"] for row in table} == {"'=north"}
    lines = await shop.organize("GET", f"{path}/checkins", accept="application/x-ndjson")
    assert len(lines.body.splitlines()) == 3


async def test_an_organizers_own_events_are_a_list_and_a_file(shop: Shop) -> None:
    token = await shop.token("organizer", f"org-{id(shop)}")
    venue = await shop.venue()
    made = []
    for day in range(1, 4):
        body = {
            "venue_id": venue["venue_id"],
            "title": f"@Day {day}",
            "category": "CONCERT",
            "start_time": f"2031-05-0{day}T10:00:00Z",
            "end_time": f"2031-05-0{day}T11:00:00Z",
        }
        made.append((await shop.call("POST", "/v1/events", body, token=token)).body)
    own = await shop.call("GET", "/v1/events?mine=true", token=token)
    assert own.body["items"] == made[::-1]
    table = rows(await shop.call("GET", "/v1/events?mine=true", token=token, accept="text/csv"))
    assert [row["title"] for row in table] == ["'@Day 3", "'@Day 2", "'@Day 1"]
    assert table[0]["start_time"] == "2031-05-03T10:00:00Z"
    admin = await shop.token("admin", "root")
    every = rows(await shop.call("GET", "/v1/events?mine=true", token=admin, accept="text/csv"))
    assert {row["event_id"] for row in table} < {row["event_id"] for row in every}
    buyer = await shop.token("buyer", "ann")
    for path, who, accept, status in (
        ("/v1/events?mine=true", None, None, 401),
        ("/v1/events?mine=true", buyer, None, 403),
        ("/v1/events?mine=yes", token, None, 400),
        ("/v1/events", None, "text/csv", 401),
    ):
        assert (await shop.call("GET", path, token=who, accept=accept)).status == status
    public = rows(await shop.call("GET", "/v1/events", token=buyer, accept="text/csv"))
    assert not {row["event_id"] for row in table} & {row["event_id"] for row in public}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("=1+1", "'=1+1"),
        ("+49 30", "'+49 30"),
        ("-1", "'-1"),
        ("@sum", "'@sum"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("  =1", "'  =1"),
        ("\n=1", "'\n=1"),
        ("\uff1d1", "'\uff1d1"),
        ("a=1", "a=1"),
        ("", ""),
        (-5, "-5"),
        (True, "true"),
        (None, ""),
        ("a\0b", "ab"),
    ],
)
async def test_a_cell_never_begins_as_a_formula(value: object, text: str) -> None:
    assert cell(value) == text
