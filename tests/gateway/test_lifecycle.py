"""The whole table of an event's life over HTTP, its sale told of each step: legal and illegal.

The table is written out as the API's contract says it, state by state.
"""

import asyncio

import pytest

from tests.shop import Shop

pytestmark = pytest.mark.asyncio(loop_scope="session")

TARGET = {
    "publish": "PUBLISHED",
    "open-sales": "ON_SALE",
    "close-sales": "PUBLISHED",
    "cancel": "CANCELLED",
    "complete": "COMPLETED",
}
LEGAL = {
    "DRAFT": {"publish", "cancel"},
    "PUBLISHED": {"open-sales", "cancel", "complete"},
    "ON_SALE": {"close-sales", "cancel", "complete"},
    "SOLD_OUT": {"close-sales", "cancel", "complete"},
    "COMPLETED": set[str](),
    "CANCELLED": set[str](),
}
WAY = {
    "DRAFT": [],
    "PUBLISHED": ["publish"],
    "ON_SALE": ["publish", "open-sales"],
    "SOLD_OUT": ["publish", "open-sales"],
    "COMPLETED": ["publish", "open-sales", "complete"],
    "CANCELLED": ["publish", "open-sales", "cancel"],
}


async def brought_to(shop: Shop, status: str) -> str:
    event_id: str = (await shop.event())["event_id"]
    tier = await shop.tier(event_id, total_quantity=1)
    for step in WAY[status]:
        assert (await shop.step(event_id, step)).status == 200
    if status == "SOLD_OUT":
        await shop.bought(event_id, tier["tier_id"])
    await becomes(shop, event_id, status)
    return event_id


async def becomes(shop: Shop, event_id: str, status: str) -> None:
    """SOLD_OUT follows the projection."""
    async with asyncio.timeout(20):
        while True:
            found = await shop.organize("GET", f"/v1/events/{event_id}")
            if found.body["status"] == status:
                return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("step", TARGET)
@pytest.mark.parametrize("status", LEGAL)
async def test_a_step_leads_where_the_contract_says_or_names_both_states(
    shop: Shop, status: str, step: str
) -> None:
    event_id = await brought_to(shop, status)
    taken = await shop.step(event_id, step)
    if step in LEGAL[status]:
        assert (taken.status, taken.body["status"]) == (200, TARGET[step])
        await becomes(shop, event_id, TARGET[step])
    else:
        assert (taken.status, taken.code) == (409, "illegal_transition")
        assert (taken.body["from"], taken.body["to"]) == (status, TARGET[step])
        found = await shop.organize("GET", f"/v1/events/{event_id}")
        assert found.body["status"] == status


async def test_sold_out_goes_back_to_on_sale_by_itself(shop: Shop) -> None:
    event_id = await brought_to(shop, "SOLD_OUT")
    event = (await shop.organize("GET", f"/v1/events/{event_id}")).body
    (tier,) = event["tiers"]
    change = {"total_quantity": 2}
    assert (await shop.organize("PATCH", f"/v1/tiers/{tier['tier_id']}", change)).status == 200
    await becomes(shop, event_id, "ON_SALE")


async def test_an_event_completes_by_itself_once_it_is_over(shop: Shop) -> None:
    event_id, _ = await shop.on_sale()
    over = {"start_time": "2026-01-01T10:00:00Z", "end_time": "2026-01-01T11:00:00Z"}
    assert (await shop.organize("PATCH", f"/v1/events/{event_id}", over)).status == 200
    await becomes(shop, event_id, "COMPLETED")
