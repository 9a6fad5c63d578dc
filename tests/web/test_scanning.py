"""The scanner's page with a network: the camera, the verdicts, the other ways to a code."""

import io
from uuid import uuid4

import pytest
import zxingcpp
from PIL import Image

from tests.gateway.conftest import PUBLIC_URL
from tests.gateway.test_devices import invited
from tests.shop import Shop
from tests.web.phone import Phone, Phones

pytestmark = pytest.mark.asyncio(loop_scope="session")

VERDICT_WITHIN_MS = 300


async def test_a_phone_is_set_up_by_the_code_behind_the_address(phone: Phone, shop: Shop) -> None:
    event_id, _ = await shop.on_sale(title="Late Night")
    await phone.enrol(shop, event_id, gate="North")
    assert await phone.text("#event") == "Late Night"
    assert await phone.text("#where") == "North · Phone 1"
    assert phone.page.url == f"{phone.url}/door"  # no code stays in the address


async def test_the_picture_of_an_invitation_opens_the_page_with_its_code(
    phone: Phone, shop: Shop
) -> None:
    event_id, _ = await shop.on_sale()
    invitation = await invited(shop, event_id)
    await phone.page.set_content(invitation["qr_svg"])
    (found,) = zxingcpp.read_barcodes(Image.open(io.BytesIO(await phone.page.screenshot())))
    assert found.text == f"{PUBLIC_URL}/door#{invitation['code']}"


async def test_a_phone_is_set_up_by_the_camera(phone: Phone, shop: Shop) -> None:
    event_id, _ = await shop.on_sale()
    code = (await invited(shop, event_id))["code"]
    await phone.open()
    await phone.point_at(f"{PUBLIC_URL}/door#{code}")
    await phone.page.click("#wake")
    await phone.ready()


async def test_a_false_code_is_refused_in_words(phone: Phone) -> None:
    await phone.open("#AAAA-BBBB-CCCC-DDDD")
    await phone.page.click("#enrol-form button")
    await phone.page.wait_for_selector("#enrol-error:not(:empty)")
    assert "not known" in await phone.text("#enrol-error")


async def test_the_camera_lets_in_once_however_long_it_looks(phone: Phone, shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    (ticket,) = (await shop.bought(event_id, tier_id))["tickets"]
    await phone.enrol(shop, event_id, gate="North")
    asked: list[str] = []
    phone.page.on("request", lambda r: asked.append(r.url) if r.url.endswith("checkins") else None)
    await phone.point_at(ticket["token"])
    first = await phone.seen()
    assert (first.result, first.word, first.tier) == ("ADMIT", "Come in", "GENERAL")
    await phone.page.wait_for_selector("#verdict", state="hidden")  # for as long it was in view
    assert len(asked) == 1
    await phone.page.reload()
    again = await phone.seen()
    assert (again.result, again.word) == ("ALREADY_ADMITTED", "Already in")
    assert again.why.endswith(", North")
    await phone.point_at(str(uuid4()))
    fake = await phone.seen()
    assert (fake.result, fake.word, fake.why) == ("INVALID", "Stop", "Not a ticket of this event")


@pytest.mark.alone
async def test_the_verdict_is_there_at_once_with_a_network_and_without(
    phone: Phone, shop: Shop
) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    tickets = (await shop.bought(event_id, tier_id, 6))["tickets"]
    await phone.enrol(shop, event_id)
    with_network = [await phone.scan(ticket["token"]) for ticket in tickets[:3]]
    await phone.cut()
    without = [await phone.scan(ticket["token"]) for ticket in tickets[3:]]
    for scans, offline in ((with_network, False), (without, True)):
        assert {(seen.result, seen.offline) for seen in scans} == {("ADMIT", offline)}
        assert min(seen.ms for seen in scans) < VERDICT_WITHIN_MS
    await phone.mend()


async def test_a_transferred_and_a_refunded_ticket_stay_outside(phone: Phone, shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    (given,) = (await shop.bought(event_id, tier_id))["tickets"]
    order = await shop.bought(event_id, tier_id)
    await phone.enrol(shop, event_id)
    body = {"attendee_name": "Bob", "attendee_email": "bob@example.org"}
    token = await shop.token("buyer", "ann")
    path = f"/v1/tickets/{given['ticket_id']}/transfer"
    assert (await shop.call("POST", path, body, token=token, key=uuid4().hex)).status == 201
    assert "somebody else" in (await phone.scan(given["token"])).why
    path = f"/v1/orders/{order['order_id']}/refund"
    assert (await shop.call("POST", path, {}, token=await shop.box_office(), key="r")).status == 200
    assert "refunded" in (await phone.scan(order["tickets"][0]["token"])).why


async def test_a_hardware_scanner_and_a_typed_code_do_as_well(phone: Phone, shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    first, second = (await shop.bought(event_id, tier_id, 2))["tickets"]
    await phone.enrol(shop, event_id)
    assert (await phone.scan(first["token"])).result == "ADMIT"
    await phone.page.click("#next")
    await phone.page.click("#type")
    await phone.page.fill("#token", second["token"].upper().replace("-", " "))
    await phone.page.evaluate("delete document.getElementById('verdict').dataset.ms")
    await phone.page.keyboard.press("Enter")
    assert (await phone.seen()).result == "ADMIT"
    await phone.shows("count-here", "2")


async def test_nothing_of_a_ticket_but_its_hash_stays_on_the_phone(
    phone: Phone, shop: Shop
) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    attendees = [{"name": "Zoë Quist", "email": "zoe@example.org"}]
    placed = await shop.order(event_id, tier_id, attendees=attendees)
    await shop.pay(placed.body["order_id"])
    (ticket,) = (await shop.read(placed.body["order_id"]))["tickets"]
    invitation = await phone.enrol(shop, event_id)
    seen = await phone.scan(ticket["token"])
    assert (seen.result, seen.name) == ("ADMIT", "Zoë Quist")
    kept = await phone.kept()
    assert invitation["device_id"] in kept.database
    for secret in (ticket["token"], ticket["ticket_id"], "Zo", "zoe@"):
        assert secret not in kept.database + kept.preferences


async def test_a_phone_speaks_german_where_its_user_does(phones: Phones, shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    (ticket,) = (await shop.bought(event_id, tier_id))["tickets"]
    phone = await phones.new(locale="de-DE")
    await phone.enrol(shop, event_id)
    assert (await phone.scan(ticket["token"])).word == "Herein"
    assert (await phone.scan(ticket["token"])).word == "Schon drin"
    await phone.page.click("#next")
    await phone.page.click("#more")
    await phone.page.click("text=English")
    assert (await phone.text("#tools")).split() == ["Type", "More"]
    assert await phone.page.get_attribute("html", "lang") == "en"
