"""Tickets as pictures, pages and calendar files: what they show, and to whom."""

import io
import re
import zlib
from datetime import UTC, datetime
from typing import Any

import pytest
import zxingcpp
from icalendar import Calendar
from PIL import Image, ImageDraw

from tests.shop import Shop

pytestmark = pytest.mark.asyncio(loop_scope="session")

FILES = ("qr.svg", "qr.png", "ticket.pdf", "ticket.ics")
_RECTANGLE = re.compile(rb"([\d.-]+) ([\d.-]+) ([\d.-]+) ([\d.-]+) re f\b")
_STREAM = re.compile(rb"stream\n(.*?)\nendstream", re.S)


async def _ticket(shop: Shop, **event: Any) -> dict[str, Any]:
    event_id, (tier_id,) = await shop.on_sale({"name": "VIP"}, **event)
    ticket: dict[str, Any] = (await shop.bought(event_id, tier_id))["tickets"][0]
    return ticket


async def _file(shop: Shop, ticket: dict[str, Any], name: str, buyer: str = "ann") -> Any:
    token = await shop.token("buyer", buyer)
    return await shop.call("GET", f"/v1/tickets/{ticket['ticket_id']}/{name}", token=token)


def decoded(image: Image.Image) -> list[str]:
    return [found.text for found in zxingcpp.read_barcodes(image)]


async def test_the_picture_says_the_token_and_nothing_else(shop: Shop) -> None:
    ticket = await _ticket(shop)
    png = await _file(shop, ticket, "qr.png")
    assert png.headers["Content-Type"] == "image/png"
    assert png.headers["Cache-Control"] == "private, no-store"
    assert decoded(Image.open(io.BytesIO(png.body))) == [ticket["token"]]


@pytest.mark.parametrize("title", ["Rock & Røll", "Łódź & Søren: \N{SNOWMAN} live"])
async def test_the_code_on_the_page_says_the_token(shop: Shop, title: str) -> None:
    ticket = await _ticket(shop, title=title)
    page = await _file(shop, ticket, "ticket.pdf")
    assert page.headers["Content-Type"] == "application/pdf"
    assert page.body.count(b"/Type /Page\n") == 1
    assert decoded(_painted(page.body)) == [ticket["token"]]


def _painted(pdf: bytes) -> Image.Image:
    """The filled rectangles of the page, as they would be printed."""
    image = Image.new("L", (600, 850), 255)
    draw = ImageDraw.Draw(image)
    for stream in _STREAM.findall(pdf):
        try:
            content = zlib.decompress(stream)
        except zlib.error:
            continue
        for numbers in _RECTANGLE.findall(content):
            x, y, width, height = map(float, numbers)
            low, high = sorted((850 - y, 850 - y - height))
            draw.rectangle((x, low, x + width, high), fill=0)
    return image.resize((1800, 2550))


async def test_the_calendar_has_the_event_at_its_instant_and_place(shop: Shop) -> None:
    ticket = await _ticket(shop, title="Rust; Nation, 2031\\")
    answer = await _file(shop, ticket, "ticket.ics")
    assert answer.headers["Content-Type"].startswith("text/calendar")
    (entry,) = Calendar.from_ical(answer.body).events
    assert entry.start == datetime(2031, 5, 1, 7, 0, tzinfo=UTC)
    assert entry.end == datetime(2031, 5, 1, 16, 0, tzinfo=UTC)
    assert str(entry["summary"]) == "Rust; Nation, 2031\\"
    assert "Berlin" in str(entry["location"])
    again = await _file(shop, ticket, "ticket.ics")
    assert Calendar.from_ical(again.body).events[0].uid == entry.uid
    assert ticket["token"] not in answer.body.decode()


@pytest.mark.parametrize("name", FILES)
async def test_only_the_holder_gets_it(shop: Shop, name: str) -> None:
    ticket = await _ticket(shop)
    assert (await _file(shop, ticket, name)).status == 200
    assert (await _file(shop, ticket, name, buyer="bob")).code == "unknown_ticket"
    path = f"/v1/tickets/{ticket['ticket_id']}/{name}"
    assert (await shop.organize("GET", path)).code == "forbidden"
    assert (await shop.call("GET", path)).code == "unauthenticated"
    other = f"/v1/tickets/tkt_{'0' * 36}-0/{name}"
    buyer = await shop.token("buyer", "ann")
    assert (await shop.call("GET", other, token=buyer)).code == "unknown_ticket"


async def test_a_ticket_that_admits_nobody_is_not_printed(shop: Shop) -> None:
    ticket = await _ticket(shop)
    refund = f"/v1/orders/{ticket['order_id']}/refund"
    token = await shop.box_office()
    assert (await shop.call("POST", refund, token=token, key=ticket["token"])).status == 200
    for name in ("ticket.pdf", "ticket.ics"):
        refused = await _file(shop, ticket, name)
        assert (refused.status, refused.code) == (409, "ticket_not_valid")
