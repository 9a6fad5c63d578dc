"""The sandbox goes wrong as banks do, and money ends right all the same: by its own ledger."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest

from gateway.payments.faults import Fault, drawn
from tests.shop import Answer, Shop
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def ask(shop: Shop, order_id: str, key: str | None = None) -> Answer:
    path, ann = f"/v1/orders/{order_id}/payment", await shop.token("buyer", "ann")
    body = {"method": "card"}
    return await shop.call("POST", path, body, token=ann, key=key or uuid4().hex)


async def act(shop: Shop, payment_id: str, *faults: Fault, outcome: str = "succeed") -> Answer:
    body = {"outcome": outcome, "faults": faults}
    return await shop.call("POST", f"/v1/sandbox/payments/{payment_id}", body)


async def in_ledger(shop: Shop, payment_id: str) -> dict[str, Any]:
    cursor = ""
    while True:
        found = await shop.call("GET", f"/v1/sandbox/ledger?limit=200&cursor={cursor}")
        assert found.status == 200, found.body
        for line in found.body["items"]:
            if line["payment_id"] == payment_id:
                return dict(line)
        cursor = found.body["next_cursor"]


async def paid(shop: Shop, event_id: str, tier_id: str, *faults: Fault) -> tuple[str, str]:
    """An order that somebody pays while things go wrong; its id and its payment's."""
    order_id = (await shop.order(event_id, tier_id)).body["order_id"]
    payment_id = (await ask(shop, order_id)).body["payment_id"]
    acted = await act(shop, payment_id, *faults)
    assert acted.status == (503 if Fault.CHARGE_LOST in faults else 200), acted.body
    return order_id, payment_id


async def until_is(shop: Shop, order_id: str, **wanted: Any) -> dict[str, Any]:
    async def so() -> bool:
        order = await shop.read(order_id)
        return all(order.get(name) == value for name, value in wanted.items())

    await until(so, seconds=60)
    return await shop.read(order_id)


@asynccontextmanager
async def mixed(shop: Shop, **shares: float) -> AsyncIterator[None]:
    """While it lasts, so many of the payments that are asked for have these faults."""
    for mix in (shares, None):
        body = {"seed": 1, "shares": mix or {}}
        assert (await shop.call("PUT", "/v1/sandbox/faults", body)).status == 200
        if mix is not None:
            yield


@pytest.mark.parametrize(
    "faults",
    [
        [Fault.WEBHOOK_TWICE],
        [Fault.WEBHOOK_LATE],
        [Fault.WEBHOOK_DISORDER],
        [Fault.WEBHOOK_NEVER],
        [Fault.CHARGE_LOST],
        [Fault.CHARGE_LOST, Fault.WEBHOOK_NEVER, Fault.SLOW],
    ],
    ids="-".join,
)
async def test_whatever_becomes_of_a_webhook_the_order_is_confirmed_once(
    shop: Shop, faults: list[Fault]
) -> None:
    event_id, (tier_id,) = await shop.on_sale({"total_quantity": 1})
    order_id, payment_id = await paid(shop, event_id, tier_id, *faults)
    order = await until_is(shop, order_id, status="CONFIRMED")
    await act(shop, payment_id)
    assert await shop.read(order_id) == order
    line = await in_ledger(shop, payment_id)
    assert (line["outcome"], line["refunds"]) == ("succeeded", [])
    assert set(line["faults"]) == set(faults)


async def test_an_answer_lost_at_the_creation_is_asked_for_again_with_the_same_key(
    shop: Shop,
) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    order_id = (await shop.order(event_id, tier_id)).body["order_id"]
    async with mixed(shop, create_lost=1.0):
        lost = await ask(shop, order_id, "k")
        again = await ask(shop, order_id, "k")
    assert (lost.status, lost.code) == (503, "outcome_unknown")
    assert again.status == 202
    await act(shop, again.body["payment_id"])
    await until_is(shop, order_id, status="CONFIRMED")


async def test_who_is_declined_may_pay_otherwise(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    order_id, declined = await paid(shop, event_id, tier_id, Fault.DECLINE)
    assert (await in_ledger(shop, declined))["outcome"] == "declined"
    assert (await shop.read(order_id))["status"] == "PENDING"
    other = (await ask(shop, order_id)).body["payment_id"]
    assert other != declined
    await act(shop, other)
    await until_is(shop, order_id, status="CONFIRMED")


@pytest.mark.parametrize("fault", [Fault.REFUND_FAILS, Fault.REFUND_LOST, Fault.REFUND_PENDING])
async def test_a_refund_is_asked_for_until_it_is_done_and_done_once(
    shop: Shop, fault: Fault
) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    order_id, payment_id = await paid(shop, event_id, tier_id, fault)
    await until_is(shop, order_id, status="CONFIRMED")
    path, till = f"/v1/orders/{order_id}/refund", await shop.box_office()
    assert (await shop.call("POST", path, {}, token=till, key=uuid4().hex)).status == 200
    await until_is(shop, order_id, refund={"status": "done"})
    (refund,) = (await in_ledger(shop, payment_id))["refunds"]
    assert (refund["amount"], refund["status"]) == (2_500, "done")
    assert refund["calls"] > 2


async def test_a_refund_that_is_refused_is_shown_and_sent_anew_by_hand(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    order_id, payment_id = await paid(shop, event_id, tier_id, Fault.REFUND_REFUSED)
    await until_is(shop, order_id, status="CONFIRMED")
    till = await shop.box_office()
    await shop.call("POST", f"/v1/orders/{order_id}/refund", {}, token=till, key=uuid4().hex)
    await until_is(shop, order_id, refund={"status": "failed"})

    async def listed(status: str) -> list[dict[str, Any]]:
        found = await shop.organize("GET", f"/v1/events/{event_id}/refunds?status={status}")
        return list(found.body["items"])

    await until(lambda: listed("failed"))
    (line,) = await listed("failed")
    assert (line["order_id"], line["amount"], line["attempt"]) == (order_id, 2_500, 0)
    retry = f"/v1/refunds/{line['refund_id']}/retry"
    stranger = await shop.token("organizer", "stranger")
    assert (await shop.call("POST", retry, token=stranger)).status == 404
    for _ in range(2):
        assert (await shop.call("POST", retry, token=till)).status == 200
    await until_is(shop, order_id, refund={"status": "done"})
    done = [r["status"] for r in (await in_ledger(shop, payment_id))["refunds"]]
    assert sorted(done) == ["done", "refused"]
    await until(lambda: listed("done"))
    assert [line["attempt"] for line in await listed("done")] == [1]


async def test_a_payment_that_nobody_needs_is_cancelled_and_late_money_goes_back(
    shop: Shop,
) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    order_id = (await shop.order(event_id, tier_id)).body["order_id"]
    payment_id = (await ask(shop, order_id)).body["payment_id"]
    ann = await shop.token("buyer", "ann")
    assert (await shop.call("DELETE", f"/v1/orders/{order_id}", token=ann)).status == 200

    async def is_cancelled() -> bool:
        return bool((await in_ledger(shop, payment_id))["cancelled"])

    await until(is_cancelled, seconds=60)
    await act(shop, payment_id)
    order = await until_is(shop, order_id, refund={"status": "done"})
    assert (order["status"], order["cancel_reason"]) == ("CANCELLED", "buyer")
    (refund,) = (await in_ledger(shop, payment_id))["refunds"]
    assert (refund["amount"], refund["status"]) == (2_500, "done")


async def test_a_deposit_of_which_no_webhook_tells_confirms_its_booking(shop: Shop) -> None:
    venue = await shop.venue(deposit_amount=900)
    event = await shop.event(venue_id=venue["venue_id"])
    booking = f"/v1/bookings/{event['booking_id']}"
    asked = await shop.organize("POST", f"{booking}/deposit", key=uuid4().hex)
    assert asked.status == 202, asked.body
    await act(shop, asked.body["payment_id"], Fault.WEBHOOK_NEVER)

    async def is_confirmed() -> bool:
        return bool((await shop.organize("GET", booking)).body["status"] == "CONFIRMED")

    await until(is_confirmed, seconds=60)


async def test_many_who_pay_twice_at_once_are_charged_for_one_order(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    order_id = (await shop.order(event_id, tier_id)).body["order_id"]
    payment_id = (await ask(shop, order_id)).body["payment_id"]
    await asyncio.gather(*(act(shop, payment_id, Fault.WEBHOOK_TWICE) for _ in range(10)))
    assert (await shop.read(order_id))["status"] == "CONFIRMED"
    assert (await in_ledger(shop, payment_id))["refunds"] == []


async def test_what_is_drawn_follows_from_the_seed_and_hits_its_share() -> None:
    ids = [f"pay_{number}" for number in range(4_000)]
    shares: dict[str, float] = {Fault.DECLINE: 0.25, Fault.SLOW: 0.0}
    first = [drawn(7, shares, payment_id) for payment_id in ids]
    assert first == [drawn(7, shares, payment_id) for payment_id in ids]
    assert first != [drawn(8, shares, payment_id) for payment_id in ids]
    assert 900 < sum(faults == [Fault.DECLINE] for faults in first) < 1_100
    assert not any(Fault.SLOW in faults for faults in first)
