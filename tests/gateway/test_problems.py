"""One table from reason to status, and it is whole."""

import pytest

from engine.rejections import Reason
from gateway.problems import STATUS
from tests.shop import Shop


def test_every_reason_has_its_status() -> None:
    assert set(STATUS) == set(Reason)


@pytest.mark.asyncio(loop_scope="session")
async def test_the_facts_of_a_case_leave_the_status_of_the_answer_alone(shop: Shop) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    order = await shop.bought(event_id, tier_id)
    token = await shop.token("buyer", "ann")
    found = await shop.call("DELETE", f"/v1/orders/{order['order_id']}", token=token)
    assert (found.status, found.code) == (409, "order_not_pending")
    assert (found.body["status"], found.body["current_status"]) == (409, "CONFIRMED")
