"""Mails in development: kept, listed, and shown where nothing in them can run."""

from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from tests.shop import Shop
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def _mail_to(shop: Shop, address: str) -> dict[str, Any] | None:
    kept = await shop.call("GET", "/dev/mail")
    return next((mail for mail in kept.body["items"] if mail["to"] == address), None)


async def _order(shop: Shop, title: str, **more: Any) -> tuple[str, dict[str, Any]]:
    address = f"{uuid4().hex[:8]}@example.org"
    event_id, (tier_id,) = await shop.on_sale(title=title)
    placed = await shop.order(event_id, tier_id, buyer_email=address, **more)
    await shop.pay(placed.body["order_id"])
    return address, await shop.read(placed.body["order_id"])


async def test_a_mail_is_kept_and_shown_in_a_sandbox(shop: Shop) -> None:
    address, order = await _order(shop, "<b>Gig</b> & more")
    await until(lambda: _mail_to(shop, address))
    mail = await _mail_to(shop, address)
    assert mail is not None
    path = f"/dev/mail/{mail['mail_id']}"
    read = await shop.call("GET", path)
    assert read.body["subject"] == "Your ticket for <b>Gig</b> & more"
    assert order["tickets"][0]["token"] in read.body["text"]
    assert read.body["attachments"] == ["tickets.pdf", "event.ics"]

    for page in ("/dev/mail", path):
        shown = await shop.call("GET", page, accept="text/html")
        assert b"&lt;b&gt;Gig&lt;/b&gt; &amp; more" in shown.body
        assert b"<b>Gig" not in shown.body
        assert "default-src 'none'" in shown.headers["Content-Security-Policy"]
    assert b"<iframe sandbox " in shown.body
    inner = await shop.call("GET", f"{path}/html")
    assert inner.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert b'src="data:image/png;base64,' in inner.body and b"cid:" not in inner.body
    raw = await shop.call("GET", f"{path}/raw")
    assert raw.headers["Content-Type"] == "message/rfc822"


async def test_a_new_code_is_mailed_each_time(shop: Shop) -> None:
    address, order = await _order(shop, "Gig")
    path = f"/v1/tickets/{order['tickets'][0]['ticket_id']}/reissue"
    told: set[str] = set()
    for _ in range(2):
        assert (await shop.organize("POST", path, key=uuid4().hex)).status == 200
        await until(partial(_another, shop, address, told))
        (new,) = await _codes_mailed(shop, address) - told
        token = (await shop.read(order["order_id"]))["tickets"][0]["token"]
        assert token in (await shop.call("GET", f"/dev/mail/{new}")).body["text"]
        told.add(new)


async def _another(shop: Shop, address: str, told: set[str]) -> bool:
    return bool(await _codes_mailed(shop, address) - told)


async def _codes_mailed(shop: Shop, address: str) -> set[str]:
    kept = (await shop.call("GET", "/dev/mail")).body["items"]
    return {m["mail_id"] for m in kept if m["to"] == address and "new code" in m["subject"]}


@pytest.mark.parametrize("name", ["nothing", "..%2Fsecrets", "%2e%2e", "a.b"])
async def test_other_files_are_no_mails(shop: Shop, name: str) -> None:
    for path in (f"/dev/mail/{name}", f"/dev/mail/{name}/raw"):
        found = await shop.call("GET", path)
        assert found.status == 404, path


async def test_dead_mails_are_for_admins(shop: Shop) -> None:
    admin = await shop.token("admin", "root")
    found = await shop.call("GET", "/v1/dead-mails", token=admin)
    assert found.body == {"items": [], "next_cursor": None}
    again = await shop.call("POST", "/v1/dead-mails/999/retry", token=admin)
    assert (again.status, again.code) == (404, "unknown_mail")
    assert (await shop.organize("GET", "/v1/dead-mails")).code == "forbidden"
    metrics = await shop.call("GET", "/metrics")
    assert b'stampede_mails{state="dead"} 0.0' in metrics.body
