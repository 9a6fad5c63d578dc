"""What an event has taken, given back and kept, as its organizer and fsck see it."""

import csv
import io
import os
import sys
from asyncio.subprocess import PIPE, create_subprocess_exec
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from tests.server import Server
from tests.shop import Shop
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def settled(shop: Shop, event_id: str) -> dict[str, Any]:
    """Once the tables have it and all that is owed was sent back."""
    path = f"/v1/events/{event_id}/settlement"

    async def nothing_is_owed() -> bool:
        totals = (await shop.organize("GET", path)).body["totals"]
        return bool(totals) and totals[0]["sent_back"] == 7_500 and totals[0]["owed"] == 0

    await until(nothing_is_owed, seconds=60)
    return dict((await shop.organize("GET", path)).body)


async def sell(shop: Shop) -> str:
    """Three places, one given back; and money that came for an order given up."""
    event_id, (tier_id,) = await shop.on_sale()
    order = await shop.bought(event_id, tier_id, 3)
    till, ann = await shop.box_office(), await shop.token("buyer", "ann")
    body = {"ticket_ids": [order["tickets"][0]["ticket_id"]]}
    refund = f"/v1/orders/{order['order_id']}/refund"
    assert (await shop.call("POST", refund, body, token=till, key=uuid4().hex)).status == 200
    late = f"/v1/orders/{(await shop.order(event_id, tier_id, 2)).body['order_id']}"
    method = {"method": "card"}
    asked = await shop.call("POST", f"{late}/payment", method, token=ann, key=uuid4().hex)
    await shop.call("DELETE", late, token=ann)
    await shop.act_as_payer(asked.body["payment_id"])
    return event_id


async def test_money_taken_is_confirmed_or_returned_and_what_is_kept_is_left(shop: Shop) -> None:
    began = datetime.now(UTC).date()
    event_id = await sell(shop)
    found = await settled(shop, event_id)
    sums = {"taken": 12_500, "confirmed": 7_500, "returned": 5_000, "refunded": 2_500}
    sums |= {"net": 5_000, "sent_back": 7_500}
    assert found["totals"] == [{"currency": "EUR", **sums, "owed": 0}]
    days = found["days"]
    assert {day["provider"] for day in days} == {"sandbox"}
    assert began.isoformat() <= days[-1]["date"] <= datetime.now(UTC).date().isoformat()
    for name, amount in sums.items():
        assert sum(day[name] for day in days) == amount
    path = f"/v1/events/{event_id}/settlement"
    sheet = await shop.organize("GET", path, accept="text/csv")
    rows = list(csv.DictReader(io.StringIO(sheet.body.decode())))
    assert [row["taken"] for row in rows] == [str(day["taken"]) for day in days]
    stranger = await shop.token("organizer", "stranger")
    assert (await shop.call("GET", path, token=stranger)).status == 403


async def stampede(server: Server, *arguments: str) -> tuple[int, str]:
    environment = {**os.environ, "STAMPEDE_DATA_DIR": str(server.folder)}
    command = (sys.executable, "-m", "gateway", *arguments)
    process = await create_subprocess_exec(*command, env=environment, stdout=PIPE)
    told, _ = await process.communicate()
    return process.returncode or 0, told.decode()


async def test_the_command_line_tells_the_same_and_fsck_finds_a_bank_that_does_not(
    shop: Shop, server: Server
) -> None:
    event_id = await sell(shop)
    found = await settled(shop, event_id)
    code, told = await stampede(server, "settlement", "--event-id", event_id)
    rows = list(csv.DictReader(io.StringIO(told)))
    assert code == 0
    assert sum(int(row["net"]) for row in rows) == found["totals"][0]["net"]
    bank = "the bank"
    code, told = await stampede(server, "fsck")
    assert bank not in told
    sockets = (server.folder / "postgres.sockets").resolve()
    dsn = f"postgresql://stampede@/stampede?host={sockets}&port=5432"
    connection = await asyncpg.connect(dsn)
    spoil = (
        "UPDATE sandbox_payments SET amount_minor = amount_minor + $1"
        " WHERE payment_id = (SELECT min(payment_id) FROM payments"
        " WHERE event_id = $2 AND status = 'succeeded')"
    )
    await connection.execute(spoil, 1, event_id)
    try:
        code, told = await stampede(server, "fsck")
    finally:
        await connection.execute(spoil, -1, event_id)
        await connection.close()
    assert code == 1
    assert "the bank took 7501, the facts tell of 7500" in told
