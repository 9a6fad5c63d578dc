"""Orders that have left memory: who asks for one, pays it or sends a key again sees no change."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import asyncpg
import pytest
import pytest_asyncio

from engine import facts as f
from engine import ids
from loadtests import ledger, tables
from loadtests.audit import until_quiet
from persistence.journal import decode
from tests.server import Server, running
from tests.shop import Answer, Shop
from tests.waiting import until_projected

pytestmark = pytest.mark.asyncio(loop_scope="session")

SETTINGS = {"STAMPEDE_FINISHED_ORDER_KEPT_SECONDS": "1", "STAMPEDE_ORDER_HOLD_SECONDS": "3"}
LOOKS_MAX = 600
LOOK_S = 0.1
ANN: dict[str, Any] = {"buyer_email": "ann@example.org", "attendees": [{"name": "Ann"}]}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def hasty(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server that keeps nothing in memory that it need not."""
    async with running(tmp_path_factory.mktemp("hasty") / "data", SETTINGS) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shop(hasty: Server) -> AsyncIterator[Shop]:
    async with aiohttp.ClientSession() as session:
        yield Shop(hasty.url, session)


@pytest_asyncio.fixture(loop_scope="session")
async def database(hasty: Server) -> AsyncIterator[asyncpg.Connection]:
    sockets = (hasty.folder / "postgres.sockets").resolve()
    connection = await asyncpg.connect(f"postgresql://stampede@/stampede?host={sockets}&port=5432")
    yield connection
    await connection.close()


async def until(happened: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(LOOKS_MAX):
        if await happened():
            return
        await asyncio.sleep(LOOK_S)
    raise AssertionError("it never happened")


async def archived(database: asyncpg.Connection, *order_ids: str, times: int = 1) -> None:
    """Wait till these orders have left memory so many times, and the tables say so."""
    for order_id in order_ids:

        async def have_left(order_id: str = order_id) -> bool:
            return await _departures(database, order_id) >= times

        await until(have_left)

    await until_projected(database)


async def _departures(database: asyncpg.Connection, order_id: str) -> int:
    rows = await database.fetch(
        "SELECT batch, crc FROM journal WHERE sale_ids @> ARRAY[$1]", ids.event_of_order(order_id)
    )
    facts = [entry.fact for row in rows for entry in decode(*row)]
    return sum(order_id in fact.order_ids for fact in facts if isinstance(fact, f.OrdersArchived))


async def everything(shop: Shop, order_id: str) -> list[tuple[int, Any]]:
    """What everybody is told who asks something of this order that changes nothing."""
    order, ticket = f"/v1/orders/{order_id}", f"/v1/tickets/{ids.ticket_id(order_id, 0)}"
    ann, orga, till = (
        await shop.token("buyer", "ann"),
        await shop.organizer(),
        await shop.box_office(),
    )
    strangers = [await shop.token("buyer", "eve"), await shop.token("organizer", "other")]
    name = {"attendee_name": "Bob"}
    answers = [await shop.call("GET", order, token=token) for token in (ann, orga, till)]
    answers += [await shop.call("GET", order, token=token) for token in strangers]
    answers += [
        await shop.call("DELETE", order, token=ann),
        await shop.call("DELETE", order, token=strangers[0]),
        await shop.call("POST", f"{order}/payment", {"method": "card"}, token=ann, key="late"),
        await shop.call("POST", f"{order}/refund", {}, token=till, key="r"),
        await shop.call("GET", ticket, token=ann),
        await shop.call("PATCH", ticket, name, token=ann),
        await shop.call("POST", f"{ticket}/reissue", token=ann, key="i"),
    ]
    return [(answer.status, answer.body) for answer in answers]


async def ask_for_payment(shop: Shop, order_id: str, key: str) -> Answer:
    path, ann = f"/v1/orders/{order_id}/payment", await shop.token("buyer", "ann")
    return await shop.call("POST", path, {"method": "card"}, token=ann, key=key)


async def ended(shop: Shop, order_id: str) -> None:
    async def is_cancelled() -> bool:
        return bool((await shop.read(order_id))["status"] == "CANCELLED")

    await until(is_cancelled)


async def test_whatever_is_asked_of_an_archived_order_is_answered_as_before(
    shop: Shop, database: asyncpg.Connection
) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    ann = await shop.token("buyer", "ann")
    given_up = (await shop.order(event_id, tier_id, **ANN)).body["order_id"]
    await shop.call("DELETE", f"/v1/orders/{given_up}", token=ann)
    expired = (await shop.order(event_id, tier_id, **ANN)).body["order_id"]
    await ask_for_payment(shop, expired, "p")
    other_event, (other_tier,) = await shop.on_sale()
    dropped = (await shop.order(other_event, other_tier, **ANN)).body["order_id"]
    await shop.step(other_event, "cancel")
    orders = (expired, given_up, dropped)
    for order_id in orders:
        await ended(shop, order_id)
    before = [await everything(shop, order_id) for order_id in orders]
    await archived(database, *orders)
    assert [await everything(shop, order_id) for order_id in orders] == before
    reasons = [answers[0][1]["cancel_reason"] for answers in before]
    assert reasons == ["expired", "buyer", "event_cancelled"]
    statuses = [[status for status, _ in answers] for answers in before]
    assert statuses[0] == [200, 200, 200, 404, 404, 409, 404, 409, 409, 404, 404, 404]
    assert statuses[1][5] == 200, "giving it up again is no mistake"
    assert before[0][0][1]["buyer_email"] == "ann@example.org"
    never = ids.order_id(event_id, bytes(ids.ORDER_RANDOM_BYTES))
    assert {status for status, _ in await everything(shop, never)} == {404}


async def test_a_key_gives_its_first_answer_though_the_order_is_archived(
    shop: Shop, database: asyncpg.Connection
) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    first = await shop.order(event_id, tier_id, 2, key="k", buyer_email="a@example.org")
    order_id = first.body["order_id"]
    asked = await ask_for_payment(shop, order_id, "p1")
    await shop.pay(order_id, "decline")
    asked_again = await ask_for_payment(shop, order_id, "p2")
    assert asked.body["payment_id"] != asked_again.body["payment_id"]
    await archived(database, order_id)
    again = await shop.order(event_id, tier_id, 2, key="k", buyer_email="a@example.org")
    assert (again.status, again.body) == (201, first.body)
    assert again.headers["Idempotency-Replayed"] == "true"
    for key, told in (("p1", asked), ("p2", asked_again)):
        replayed = await ask_for_payment(shop, order_id, key)
        assert (replayed.status, replayed.body) == (202, told.body)
        assert replayed.headers["Idempotency-Replayed"] == "true"
    other = await shop.order(event_id, tier_id, 1, key="k")
    assert (other.status, other.code) == (422, "idempotency_key_reused")


async def test_an_archived_order_that_is_paid_late_gets_its_places_if_they_are_free(
    shop: Shop, database: asyncpg.Connection
) -> None:
    event_id, (tier_id,) = await shop.on_sale({"total_quantity": 1})
    placed = await shop.order(event_id, tier_id, key="k", **ANN)
    order_id = placed.body["order_id"]
    asked = await ask_for_payment(shop, order_id, "p")
    await archived(database, order_id)
    await asyncio.gather(
        *(shop.act_as_payer(asked.body["payment_id"], "succeed") for _ in range(3))
    )
    order = await shop.read(order_id)
    assert (order["status"], order["payment_id"]) == ("CONFIRMED", asked.body["payment_id"])
    (ticket,) = order["tickets"]
    assert (ticket["status"], ticket["attendee_name"]) == ("VALID", "Ann")
    assert (await shop.order(event_id, tier_id)).code == "sold_out"
    again = await shop.order(event_id, tier_id, key="k", **ANN)
    assert (again.status, again.body) == (201, placed.body)


async def test_money_for_an_archived_order_goes_back_where_its_places_are_gone(
    shop: Shop, database: asyncpg.Connection
) -> None:
    event_id, (tier_id,) = await shop.on_sale({"total_quantity": 1})
    order_id = (await shop.order(event_id, tier_id)).body["order_id"]
    payment_id = (await ask_for_payment(shop, order_id, "p")).body["payment_id"]
    await archived(database, order_id)
    await shop.bought(event_id, tier_id, buyer="bob")
    await shop.act_as_payer(payment_id)

    async def is_refunded() -> bool:
        return bool((await shop.read(order_id)).get("refund") == {"status": "done"})

    await until(is_refunded)
    order = await shop.read(order_id)
    assert (order["status"], order["cancel_reason"]) == ("CANCELLED", "expired")
    await archived(database, order_id, times=2)
    await shop.act_as_payer(payment_id)
    assert await shop.read(order_id) == order
    assert await database.fetchval("SELECT count(*) FROM sandbox_refunds") == 1


async def test_a_declined_payment_of_an_archived_order_may_still_succeed(
    shop: Shop, database: asyncpg.Connection
) -> None:
    event_id, (tier_id,) = await shop.on_sale()
    order_id = (await shop.order(event_id, tier_id)).body["order_id"]
    payment_id = (await ask_for_payment(shop, order_id, "p")).body["payment_id"]
    await archived(database, order_id)
    await shop.act_as_payer(payment_id, "decline")
    assert (await shop.read(order_id))["status"] == "CANCELLED"
    await shop.act_as_payer(payment_id, "succeed")
    assert (await shop.read(order_id))["status"] == "CONFIRMED"


async def test_the_tables_hold_what_the_journal_tells_of_orders_in_and_out_of_memory(
    shop: Shop, database: asyncpg.Connection
) -> None:
    assert not await until_quiet(database)
    async with database.transaction(isolation="repeatable_read", readonly=True):
        found = await ledger.read(database)
        assert not found.rows_wrong + found.sales_wrong
        assert any(found.archived_by_sale.values())
        for read in (tables.orders, tables.items, tables.tickets, tables.counters):
            wanted, rows = await read(database, found)
            assert wanted == rows
