"""The scanner's page without a network, with a bad one, and when it comes back."""

import os
import signal
from typing import Any
from uuid import uuid4

import pytest
from playwright.async_api import Route

from tests.server import Server
from tests.shop import Shop
from tests.waiting import until
from tests.web.phone import Phone, Phones

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHECKINS = "**/checkins"


async def history(shop: Shop, event_id: str) -> list[dict[str, Any]]:
    """All scans, once the tables have them."""
    await shop.conflicts(event_id)
    found = await shop.organize("GET", f"/v1/events/{event_id}/checkins?limit=200")
    items: list[dict[str, Any]] = found.body["items"]
    return items


async def admitted(shop: Shop, event_id: str) -> int:
    found = await shop.organize("GET", f"/v1/events/{event_id}/doors")
    return int(found.body["admitted"])


async def test_without_a_network_the_phone_judges_alone_and_tells_afterwards(
    phone: Phone, shop: Shop
) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    inside, good = (await shop.bought(event_id, tier_id, 2))["tickets"]
    cancelled = await shop.bought(event_id, tier_id)
    path = f"/v1/orders/{cancelled['order_id']}/refund"
    await shop.call("POST", path, {}, token=await shop.box_office(), key=uuid4().hex)
    await shop.scan(event_id, inside["token"])
    await phone.enrol(shop, event_id, gate="North")
    await phone.cut()
    scanned = [
        await phone.scan(token)
        for token in (
            good["token"],
            good["token"],
            inside["token"],
            cancelled["tickets"][0]["token"],
            str(uuid4()),
        )
    ]
    assert [(seen.result, seen.offline) for seen in scanned] == [
        ("ADMIT", True),
        ("ALREADY_ADMITTED", True),
        ("ALREADY_ADMITTED", True),
        ("INVALID", True),
        ("INVALID", True),
    ]
    assert [seen.why for seen in scanned[3:]] == [
        "The ticket was refunded",
        "Not a ticket of this event",
    ]
    await phone.shows("count-waiting", "5")
    assert "Offline" in await phone.text("#line")
    await phone.mend()
    lines = [line for line in await history(shop, event_id) if "told" in line]
    assert [(line["told"], line["outcome"]) for line in lines] == [
        ("ADMIT", "recorded"),
        ("ALREADY_ADMITTED", "duplicate"),
        ("ALREADY_ADMITTED", "recorded"),
        ("INVALID", "late_invalid"),
        ("INVALID", "unknown"),
    ]
    assert {line["gate"] for line in lines} == {"North"}
    assert await admitted(shop, event_id) == 2


async def test_a_phone_that_is_opened_without_a_network_works_on(phone: Phone, shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    first, second = (await shop.bought(event_id, tier_id, 2))["tickets"]
    await phone.enrol(shop, event_id)
    await phone.page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    await phone.cut()
    assert (await phone.scan(first["token"])).result == "ADMIT"
    await phone.page.reload()
    await phone.page.wait_for_selector("body[data-view=scan]")
    await phone.shows("count-waiting", "1")
    assert (await phone.scan(first["token"])).result == "ALREADY_ADMITTED"
    assert (await phone.scan(second["token"])).result == "ADMIT"
    await phone.mend()
    assert await admitted(shop, event_id) == 2


async def test_who_goes_out_may_come_back_with_a_network_or_without(
    phone: Phone, shop: Shop
) -> None:
    event_id, (tier_id,) = await shop.on_sale(reentry=True)
    (ticket,) = (await shop.bought(event_id, tier_id))["tickets"]
    await phone.enrol(shop, event_id)

    async def turn_and_scan() -> str:
        if await phone.page.is_visible("#next"):
            await phone.page.click("#next")
        await phone.page.click("#out")
        return (await phone.scan(ticket["token"])).result

    assert (await phone.scan(ticket["token"])).result == "ADMIT"
    assert await turn_and_scan() == "EXIT"
    assert await turn_and_scan() == "ADMIT"
    await phone.cut()
    assert [await turn_and_scan() for _ in range(2)] == ["EXIT", "ADMIT"]
    assert (await phone.scan(ticket["token"])).result == "ALREADY_ADMITTED"
    await phone.shows("count-inside", "1 / 1")
    await phone.mend()
    lines = await history(shop, event_id)
    results = [line["result"] for line in sorted(lines, key=lambda line: line["scanned_at"])]
    assert results == ["ADMIT", "EXIT", "ADMIT", "EXIT", "ADMIT", "ALREADY_ADMITTED"]
    doors = await shop.organize("GET", f"/v1/events/{event_id}/doors")
    assert (doors.body["admitted"], doors.body["inside"]) == (3, 1)
    assert await shop.conflicts(event_id) == []


async def test_an_answer_that_takes_too_long_is_not_waited_for(phones: Phones, shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    (ticket,) = (await shop.bought(event_id, tier_id))["tickets"]
    phone = await phones.new(patient=False, service_workers="block")
    await phone.enrol(shop, event_id)
    held: list[Route] = []
    await phone.page.route(CHECKINS, lambda route: held.append(route))
    seen = await phone.scan(ticket["token"])
    assert (seen.result, seen.offline) == ("ADMIT", True)
    await held[0].continue_()  # it comes to the sale only now, behind what the phone told
    await phone.told()
    await until(lambda: _decided(shop, event_id, 2))
    assert await admitted(shop, event_id) == 1
    assert await shop.conflicts(event_id) == []
    assert await phone.page.is_hidden("#alarm")


async def _decided(shop: Shop, event_id: str, many: int) -> bool:
    return len(await history(shop, event_id)) == many


async def test_a_scan_whose_answer_was_lost_is_one_admission(tapped: Phone, shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    (ticket,) = (await shop.bought(event_id, tier_id))["tickets"]
    await tapped.enrol(shop, event_id)
    await tapped.page.route(CHECKINS, lose_the_answer, times=1)
    seen = await tapped.scan(ticket["token"])
    assert (seen.result, seen.offline) == ("ADMIT", True)
    await tapped.told()
    lines = await history(shop, event_id)
    assert [(line["result"], line.get("outcome")) for line in lines] == [
        ("ADMIT", None),
        ("ALREADY_ADMITTED", "duplicate"),
    ]
    assert await shop.conflicts(event_id) == []
    assert (await tapped.scan(ticket["token"])).result == "ALREADY_ADMITTED"


async def test_a_ticket_refused_for_want_of_its_answer_comes_in_by_the_same_nonce(
    tapped: Phone, shop: Shop
) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    await tapped.enrol(shop, event_id)
    await tapped.page.route("**/manifest*", lambda route: route.fulfill(status=304))
    (ticket,) = (await shop.bought(event_id, tier_id))["tickets"]  # later than the phone's list
    await tapped.page.route(CHECKINS, lose_the_answer, times=1)
    seen = await tapped.scan(ticket["token"])
    assert (seen.result, seen.why) == ("INVALID", "Not a ticket of this event")
    assert await admitted(shop, event_id) == 1  # as the sale sees it, he is in
    await tapped.told()
    assert (await tapped.scan(ticket["token"])).result == "ADMIT"
    assert (await tapped.scan(ticket["token"])).result == "ALREADY_ADMITTED"


async def lose_the_answer(route: Route) -> None:
    await route.fetch()
    await route.abort()


async def test_what_was_wrong_without_a_network_is_shown_once_it_is_told(
    phone: Phone, shop: Shop
) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    (ticket,) = (await shop.bought(event_id, tier_id))["tickets"]
    await phone.enrol(shop, event_id)
    await phone.cut()
    await shop.scan(event_id, ticket["token"], gate="South")
    assert (await phone.scan(ticket["token"])).result == "ADMIT"
    await phone.page.click("#next")
    await phone.mend()
    assert await phone.text("#alarm") == "1 scan made offline was wrong"
    assert len(await shop.conflicts(event_id)) == 1
    await phone.page.click("#alarm")
    assert "already in" in await phone.text("#sheet-body")
    assert "South" in await phone.text("#sheet-body")
    await phone.page.click("#sheet-close")
    assert await phone.page.is_hidden("#alarm")


async def test_a_list_that_the_event_has_not_signed_is_not_believed(
    tapped: Phone, shop: Shop
) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    (ticket,) = (await shop.bought(event_id, tier_id))["tickets"]

    async def forge(route: Route) -> None:
        answer = await route.fetch()
        text = (await answer.text()).replace('"cancelled":false', '"cancelled":true')
        await route.fulfill(response=answer, body=text)

    await tapped.page.route("**/manifest*", forge)
    await tapped.enrol(shop, event_id)
    assert "not signed" in await tapped.text("#notice")
    await tapped.cut()
    assert (await tapped.scan(ticket["token"])).result == "UNDECIDED"


async def test_a_revoked_phone_forgets_everything(phone: Phone, shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    first, second = (await shop.bought(event_id, tier_id, 2))["tickets"]
    device = await phone.enrol(shop, event_id)
    assert (await phone.scan(first["token"])).result == "ADMIT"
    await shop.organize("DELETE", f"/v1/devices/{device['device_id']}")
    await until(lambda: _refused(phone, second["token"]))
    await phone.page.wait_for_selector("body[data-view=enrol]")
    assert "revoked" in await phone.text("#notice")
    kept = await phone.kept()
    assert (kept.database, kept.caches) == ("", 0)
    await phone.page.reload()
    await phone.page.wait_for_selector("body[data-view=enrol]")


async def _refused(phone: Phone, token: str) -> bool:
    """The phone asks again; within a second nobody answers it any more."""
    await phone.page.evaluate("dispatchEvent(new Event('online'))")
    return await phone.page.get_attribute("body", "data-view") == "enrol"


async def test_while_the_server_is_away_scans_wait_and_come_home_to_it(
    phones: Phones, shop: Shop, server: Server
) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    (ticket,) = (await shop.bought(event_id, tier_id))["tickets"]
    phone = await phones.new(patient=False)
    await phone.enrol(shop, event_id)
    pid = await server.node_pid()
    os.kill(pid, signal.SIGSTOP)
    seen = await phone.scan(ticket["token"])
    os.kill(pid, signal.SIGKILL)
    assert (seen.result, seen.offline) == ("ADMIT", True)
    await phone.told()  # the question died with the server, or waited at its socket for the next
    assert await admitted(shop, event_id) == 1
    assert await shop.conflicts(event_id) == []
    assert (await phone.scan(ticket["token"])).result == "ALREADY_ADMITTED"
