"""Bookings of halls as an organizer sees them: deposits, add-ons, invoices."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from gateway.invoices import money
from tests.shop import Answer, Shop

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def requested(shop: Shop, **venue: Any) -> dict[str, Any]:
    """A booking that waits for a deposit of 500."""
    made = await shop.venue(deposit_amount=500, hire_amount=2000, currency="CHF", **venue)
    event = await shop.event(venue_id=made["venue_id"])
    return await read(shop, event["booking_id"])


async def read(shop: Shop, booking_id: str) -> dict[str, Any]:
    found = await shop.organize("GET", f"/v1/bookings/{booking_id}")
    assert found.status == 200, found.body
    body: dict[str, Any] = found.body
    return body


async def ask(shop: Shop, booking: dict[str, Any], key: str | None = None) -> Answer:
    path = f"/v1/bookings/{booking['booking_id']}/deposit"
    return await shop.organize("POST", path, {"method": "card"}, key=key or uuid4().hex)


async def refunded(shop: Shop, booking_id: str) -> dict[str, Any]:
    """The booking once its money is back: a chore sends it, every half second."""
    async with asyncio.timeout(20):
        while True:
            booking = await read(shop, booking_id)
            if booking["refund"] == {"status": "done"}:
                return booking
            await asyncio.sleep(0.05)


async def test_a_deposit_is_paid_and_the_providers_word_confirms_the_booking(shop: Shop) -> None:
    booking = await requested(shop)
    assert (booking["status"], booking["deposit_paid"]) == ("REQUESTED", 0)
    key = uuid4().hex
    asked = await ask(shop, booking, key)
    assert (asked.status, asked.body["status"]) == (202, "requires_action")
    payment_id = asked.body["payment_id"]
    again = await ask(shop, booking, key)
    assert (again.status, again.body) == (202, asked.body)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (await ask(shop, booking)).body == asked.body
    assert (await read(shop, booking["booking_id"]))["payment_id"] == payment_id

    declined = await shop.act_as_payer(payment_id, "decline")
    assert declined.body == {"payment_id": payment_id, "status": "declined"}
    another = (await ask(shop, booking)).body["payment_id"]
    assert another != payment_id
    assert (await shop.act_as_payer(another)).status == 200
    confirmed = await read(shop, booking["booking_id"])
    assert (confirmed["status"], confirmed["deposit_paid"]) == ("CONFIRMED", 500)
    assert (confirmed["payment_id"], confirmed["expires_at"]) == (another, None)
    refused = await ask(shop, booking)
    assert (refused.status, refused.code) == (409, "illegal_transition")
    assert (await shop.step(booking["event_id"], "publish")).status == 200


async def test_a_deposit_that_comes_after_the_end_goes_back(shop: Shop) -> None:
    booking = await requested(shop)
    booking_id = booking["booking_id"]
    payment_id = (await ask(shop, booking)).body["payment_id"]
    await shop.organize("POST", f"/v1/bookings/{booking_id}/cancel")
    await shop.act_as_payer(payment_id)
    back = await refunded(shop, booking_id)
    assert (back["status"], back["deposit_paid"]) == ("CANCELLED", 0)


async def test_a_cancelled_bookings_deposit_goes_back_and_its_invoice_is_even(shop: Shop) -> None:
    booking = await requested(shop)
    booking_id = booking["booking_id"]
    await shop.act_as_payer((await ask(shop, booking)).body["payment_id"])
    cancelled = await shop.organize("POST", f"/v1/bookings/{booking_id}/cancel")
    assert cancelled.body["cancel_reason"] == "organizer"
    assert (cancelled.body["deposit_refunded"], cancelled.status) == (500, 200)
    back = await refunded(shop, booking_id)
    assert (back["deposit_paid"], back["deposit_refunded"]) == (500, 500)
    invoice = await shop.organize("GET", f"/v1/bookings/{booking_id}/invoice")
    assert (invoice.body["hire"], invoice.body["balance"]) == (0, 0)


async def test_the_deposit_of_a_venue_that_keeps_it_stays(shop: Shop) -> None:
    booking = await requested(shop, deposit_refundable_days=3650)
    booking_id = booking["booking_id"]
    await shop.act_as_payer((await ask(shop, booking)).body["payment_id"])
    cancelled = await shop.organize("POST", f"/v1/bookings/{booking_id}/cancel")
    assert (cancelled.body["deposit_refunded"], cancelled.body["refund"]) == (0, None)
    invoice = (await shop.organize("GET", f"/v1/bookings/{booking_id}/invoice")).body
    assert (invoice["hire"], invoice["deposit_paid"], invoice["balance"]) == (500, 500, 0)


async def test_asking_for_a_deposit_is_refused_in_the_documented_order(shop: Shop) -> None:
    booking = await requested(shop)
    path = f"/v1/bookings/{booking['booking_id']}/deposit"
    buyer, stranger = await shop.token("buyer", "ann"), await shop.token("organizer", "other")
    assert (await shop.call("POST", path, {}, key="k")).status == 401
    assert (await shop.call("POST", path, {}, key="k", token=buyer)).status == 403
    malformed = await shop.organize("POST", path, {"method": 7})
    assert (malformed.status, malformed.code) == (400, "malformed_request")
    keyless = await shop.organize("POST", path, {})
    assert (keyless.status, keyless.code) == (400, "idempotency_key_required")
    unknown = await shop.organize("POST", "/v1/bookings/bkg_nope/deposit", {}, key=uuid4().hex)
    assert (unknown.status, unknown.code) == (404, "unknown_booking")
    refused = await shop.call("POST", path, {}, key="k", token=stranger)
    assert (refused.status, refused.code) == (403, "forbidden")


async def test_a_word_about_a_deposit_that_nobody_asked_for_is_unknown(shop: Shop) -> None:
    unknown = await shop.act_as_payer("dep_" + 32 * "0")
    assert (unknown.status, unknown.code) == (404, "unknown_payment")


# -- add-ons and invoices ----------------------------------------------------------------------


async def test_addons_are_on_the_invoice_and_the_invoice_adds_up(shop: Shop) -> None:
    booking = await requested(shop)
    path = f"/v1/bookings/{booking['booking_id']}"
    key = uuid4().hex
    body = {"type": "CATERING", "description": "Buffet", "cost": 700}
    made = await shop.organize("POST", f"{path}/addons", body, key=key)
    assert made.status == 201
    assert made.body == {
        "addon_id": made.body["addon_id"],
        "booking_id": booking["booking_id"],
        **body,
    }
    again = await shop.organize("POST", f"{path}/addons", body, key=key)
    assert again.body == made.body
    av = await shop.organize("POST", f"{path}/addons", {"type": "AV", "cost": 50})
    await shop.act_as_payer((await ask(shop, booking)).body["payment_id"])
    invoice = await shop.organize("GET", f"{path}/invoice")
    assert invoice.body == {
        "booking_id": booking["booking_id"],
        "currency": "CHF",
        "hire": 2000,
        "addons": [made.body, av.body],
        "deposit_paid": 500,
        "balance": 2250,
    }
    gone = await shop.organize("DELETE", f"{path}/addons/{av.body['addon_id']}")
    assert (gone.status, gone.body) == (204, b"")
    gone = await shop.organize("DELETE", f"{path}/addons/{av.body['addon_id']}")
    assert (gone.status, gone.code) == (404, "unknown_addon")
    assert (await shop.organize("GET", f"{path}/invoice")).body["balance"] == 2200
    for change in ({"cost": -1}, {"cost": 1.5}, {"type": "catering"}, {"description": 3}):
        refused = await shop.organize("POST", f"{path}/addons", {**body, **change})
        assert (refused.status, refused.code) == (400, "malformed_request")
        assert next(iter(change)) in refused.body["detail"]
    await shop.organize("POST", f"{path}/cancel")
    refused = await shop.organize("POST", f"{path}/addons", body)
    assert (refused.status, refused.code) == (409, "booking_cancelled")


async def test_an_invoice_is_a_page_for_those_who_would_rather_have_one(shop: Shop) -> None:
    venue = {"name": "Große Halle Łódź", "address": "Ulica 1\n90-001"}
    booking = await requested(shop, **venue)
    path = f"/v1/bookings/{booking['booking_id']}/invoice"
    for number in range(40):
        addon = {"type": "AV", "description": f"Item {number}\t漢字 " * 9, "cost": number}
        await shop.organize("POST", f"{path.removesuffix('/invoice')}/addons", addon)
    page = await shop.organize("GET", path, accept="application/pdf")
    assert page.status == 200
    assert page.headers["Content-Type"] == "application/pdf"
    assert page.body.startswith(b"%PDF-")
    assert page.body.count(b"/Type /Page\n") > 1
    for accept in ("*/*", "application/json, application/pdf;q=0.5", "text/html"):
        found = await shop.organize("GET", path, accept=accept)
        assert found.body["booking_id"] == booking["booking_id"]
    stranger = await shop.token("organizer", "other")
    refused = await shop.call("GET", path, token=stranger, accept="application/pdf")
    assert (refused.status, refused.code) == (403, "forbidden")


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (123_450, "EUR", "EUR 1,234.50"),
        (5, "EUR", "EUR 0.05"),
        (0, "EUR", "EUR 0.00"),
        (1_000_000, "JPY", "JPY 1,000,000"),
        (1_234_567, "KWD", "KWD 1,234.567"),
        (-250, "EUR", "\N{MINUS SIGN}EUR 2.50"),
    ],
)
async def test_an_amount_is_shown_as_its_currency_has_it(
    minor: int, currency: str, text: str
) -> None:
    assert money(minor, currency) == text


# -- what keeps a hall -------------------------------------------------------------------------


async def test_the_hall_of_what_is_on_sale_is_not_given_up(shop: Shop) -> None:
    event_id, _ = await shop.on_sale()
    event = (await shop.call("GET", f"/v1/events/{event_id}")).body
    path = f"/v1/bookings/{event['booking_id']}/cancel"
    refused = await shop.organize("POST", path)
    assert (refused.status, refused.code) == (409, "event_on_sale")
    await shop.step(event_id, "close-sales")
    assert (await shop.organize("POST", path)).status == 200
    refused = await shop.step(event_id, "open-sales")
    assert (refused.status, refused.code) == (409, "booking_not_confirmed")
