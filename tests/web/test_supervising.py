"""A supervisor's phone: takes back, lets in against a refusal, finds by name, sees conflicts."""

from uuid import uuid4

import pytest

from tests.gateway.test_offline import now, sync, told
from tests.shop import Shop
from tests.web.phone import Phone

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_an_admission_is_taken_back(phone: Phone, shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    (ticket,) = (await shop.bought(event_id, tier_id))["tickets"]
    await phone.enrol(shop, event_id, profile="supervisor")
    await phone.scan(ticket["token"])
    await phone.page.click("#undo")
    await phone.page.wait_for_selector("#notice:not([hidden])")
    assert await phone.text("#notice") == "Taken back"
    await phone.shows("count-here", "0")
    assert (await phone.scan(ticket["token"])).result == "ADMIT"


async def test_an_admission_made_alone_is_told_and_taken_back(tapped: Phone, shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    (ticket,) = (await shop.bought(event_id, tier_id))["tickets"]
    await tapped.enrol(shop, event_id, profile="supervisor")
    await tapped.page.route("**/checkins", lambda route: route.abort(), times=1)
    seen = await tapped.scan(ticket["token"])
    assert (seen.result, seen.offline) == ("ADMIT", True)
    await tapped.page.click("#undo")
    await tapped.shows("notice", "Taken back")
    doors = await shop.organize("GET", f"/v1/events/{event_id}/doors")
    assert doors.body["admitted"] == 0
    await tapped.told()
    assert (await tapped.scan(ticket["token"])).result == "ADMIT"


async def test_a_refused_ticket_is_let_in_with_a_reason(phone: Phone, shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    order = await shop.bought(event_id, tier_id)
    path = f"/v1/orders/{order['order_id']}/refund"
    await shop.call("POST", path, {}, token=await shop.box_office(), key=uuid4().hex)
    await phone.enrol(shop, event_id, profile="supervisor")
    assert (await phone.scan(order["tickets"][0]["token"])).result == "INVALID"
    await phone.page.click("#override")
    await phone.page.evaluate("delete document.getElementById('verdict').dataset.ms")
    await phone.page.click("text=Guest list")
    assert (await phone.seen()).result == "ADMIT"
    await shop.conflicts(event_id)  # the tables have come so far
    (line,) = [
        line
        for line in (await shop.organize("GET", f"/v1/events/{event_id}/checkins")).body["items"]
        if line["result"] == "ADMIT"
    ]
    assert line["override_reason"] == "Guest list"


async def test_somebody_is_found_by_name(phone: Phone, shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    attendees = [{"name": "Zoë Quist", "email": "zoe@example.org"}]
    placed = await shop.order(event_id, tier_id, attendees=attendees)
    await shop.pay(placed.body["order_id"])
    await phone.enrol(shop, event_id, profile="supervisor")
    await phone.page.click("#more")
    await phone.page.click("text=Find by name")
    await phone.page.fill("#sought", "zoe q")
    await phone.page.keyboard.press("Enter")
    await phone.page.wait_for_selector("#sheet-body li")
    assert (await phone.text("#sheet-body li")).split("\n")[:2] == ["Zoë Quist", "not in yet"]
    await phone.page.fill("#sought", "nobody")
    await phone.page.keyboard.press("Enter")
    await phone.page.wait_for_selector("text=Nobody found")


async def test_conflicts_are_listed(phone: Phone, shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    (ticket,) = (await shop.bought(event_id, tier_id))["tickets"]
    await shop.scan(event_id, ticket["token"], gate="South")
    await sync(shop, event_id, "d1", told(ticket["token"], now(), gate="North"))
    await phone.enrol(shop, event_id, profile="supervisor")
    await phone.page.click("#more")
    await shop.conflicts(event_id)  # the tables have come so far
    await phone.page.click("text=Conflicts")
    await phone.page.wait_for_selector("#sheet-body li")
    line = await phone.text("#sheet-body li")
    assert "Let in twice on one ticket" in line
    assert "South" in line and "North" in line


async def test_a_phone_that_only_scans_is_offered_none_of_it(phone: Phone, shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    (ticket,) = (await shop.bought(event_id, tier_id))["tickets"]
    await phone.enrol(shop, event_id)
    await phone.scan(ticket["token"])
    assert await phone.page.is_hidden("#undo")
    await phone.scan(str(uuid4()))
    assert await phone.page.is_hidden("#override")
    await phone.page.click("#next")
    await phone.page.click("#more")
    assert "Find by name" not in await phone.text("#sheet-body")
