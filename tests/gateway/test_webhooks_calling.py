"""The caller against a real Postgres and receivers that fail, hang, flood and send elsewhere."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import asyncpg
import pytest
from aiohttp import web
from msgspec import Struct

from gateway.webhooks.addresses import PublicResolver
from gateway.webhooks.calling import Caller, Persistence
from persistence.outgoing.webhooks import Deliveries, Webhooks
from tests.gateway.test_webhook_addresses import Names
from tests.persistence.databases import fresh_database
from tests.receiver import Receiver, is_signed
from tests.waiting import until

QUICK = Persistence(attempts_max=3, first_pause_s=0.01, pause_s_max=0.05)
SECRET = "whsec_secret"


class House(Struct):
    receiver: Receiver
    connection: asyncpg.Connection
    pool: asyncpg.Pool

    async def endpoint(self, name: str, url: str | None = None, **more: Any) -> None:
        row = {
            "endpoint_id": name,
            "organizer_id": "orga",
            "url": url or self.receiver.url,
            "events": ["order.confirmed"],
            "secret": SECRET,
            "is_active": True,
            **more,
        }
        await self._insert("webhook_endpoints", row)

    async def delivery(self, endpoint: str, subject: str = "ord_1") -> None:
        row = {
            "endpoint_id": endpoint,
            "type": "order.confirmed",
            "subject": subject,
            "version": 0,
            "data": f'{{"order_id":"{subject}"}}',
            "happened_at": datetime(2031, 5, 1, tzinfo=UTC),
        }
        await self._insert("webhook_deliveries", row)

    async def _insert(self, table: str, row: dict[str, Any]) -> None:
        places = ", ".join(f"${n}" for n in range(1, len(row) + 1))
        statement = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})"
        await self.pool.execute(statement, *row.values())

    async def latest(self, endpoint: str) -> tuple[str, int, int | None, str | None]:
        (found,) = await Webhooks(self.pool).deliveries(endpoint, 10**18, 1)
        return found.state, found.attempts, found.status, found.error

    async def ended(self, endpoint: str, state: str) -> bool:
        return (await self.latest(endpoint))[0] == state

    @asynccontextmanager
    async def calling(self, resolver: PublicResolver | None = None) -> AsyncIterator[None]:
        deliveries = Deliveries(self.connection)
        caller = Caller(deliveries, QUICK, localhost=True, resolver=resolver)
        task = asyncio.create_task(caller.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])


@pytest.fixture
async def house(postgres_dsn: str) -> AsyncIterator[House]:
    async with (
        fresh_database(postgres_dsn) as dsn,
        Receiver().open() as receiver,
        asyncpg.create_pool(dsn, min_size=1, max_size=2) as pool,
    ):
        connection = await asyncpg.connect(dsn)
        yield House(receiver, connection, pool)
        await connection.close()


async def test_a_call_is_signed_and_the_same_at_every_try(house: House) -> None:
    answers = [web.Response(status=500), web.Response(status=204)]
    house.receiver.answer = lambda body: answers.pop(0)
    await house.endpoint("a")
    await house.delivery("a")
    async with house.calling():
        await until(lambda: house.ended("a", "delivered"))
    assert await house.latest("a") == ("delivered", 2, 204, None)
    first, second = house.receiver.bodies
    assert first == second
    assert first["type"] == "order.confirmed" and first["data"] == {"order_id": "ord_1"}
    assert first["created_at"] == "2031-05-01T00:00:00.000Z"
    for header, raw in house.receiver.signatures:
        assert is_signed(SECRET, header, raw)
        assert not is_signed("whsec_other", header, raw)
        assert not is_signed(SECRET, header, raw + b" ")


async def test_who_never_takes_it_is_given_up_and_can_be_told_by_hand(house: House) -> None:
    house.receiver.answer = lambda body: web.Response(status=503)
    await house.endpoint("a")
    await house.delivery("a")
    webhooks = Webhooks(house.pool)
    async with house.calling():
        await until(lambda: house.ended("a", "failed"))
        assert await house.latest("a") == ("failed", 3, 503, "answered 503")
        assert await webhooks.counts() == (0, 1)
        house.receiver.answer = lambda body: web.Response()
        (failed,) = await webhooks.deliveries("a", 10**18, 10)
        assert await webhooks.redeliver("a", failed.delivery_id)
        await until(lambda: house.ended("a", "delivered"))
        assert not await webhooks.redeliver("b", failed.delivery_id)


async def test_a_redirect_is_not_followed(house: House) -> None:
    moved = house.receiver.url.replace("/hook", "/inside")
    house.receiver.answer = lambda body: web.Response(status=302, headers={"Location": moved})
    await house.endpoint("a")
    await house.delivery("a")
    async with house.calling():
        await until(lambda: house.ended("a", "failed"))
    assert await house.latest("a") == ("failed", 3, 302, "answered 302")
    assert len(house.receiver.bodies) == 3


async def test_an_answer_without_end_is_cut_off(house: House) -> None:
    await house.endpoint("a", house.receiver.url.replace("/hook", "/flood"))
    await house.delivery("a")
    async with house.calling():
        await until(lambda: house.ended("a", "delivered"))
        await asyncio.wait_for(house.receiver.hangs.wait(), 20)


async def test_a_name_that_turns_to_the_inside_is_not_called(house: House) -> None:
    port = house.receiver.url.split(":")[2].partition("/")[0]
    await house.endpoint("a", "https://rebound.example/hook")
    await house.endpoint("b", f"http://169.254.169.254:{port}/latest")
    for endpoint in ("a", "b"):
        await house.delivery(endpoint)
    async with house.calling(PublicResolver(localhost=False, resolver=Names("127.0.0.1"))):
        for endpoint in ("a", "b"):
            await until(partial(house.ended, endpoint, "failed"))
            assert await house.latest(endpoint) == ("failed", 3, None, "forbidden address")


async def test_who_is_away_holds_up_nobody_else(house: House) -> None:
    await house.endpoint("away", "http://127.0.0.1:9/hook")
    await house.endpoint("here")
    for number in range(20):
        await house.delivery("away", f"ord_{number}")
    await house.delivery("here")
    async with house.calling():
        await until(lambda: house.ended("here", "delivered"), 5)


async def test_who_has_failed_for_days_is_switched_off(house: House) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=4)
    await house.endpoint("a", "http://127.0.0.1:9/hook", failing_since=long_ago)
    await house.endpoint("b", failing_since=long_ago)
    for endpoint in ("a", "b"):
        await house.delivery(endpoint)
    webhooks = Webhooks(house.pool)

    async def switched_off() -> bool:
        found = await webhooks.find("orga", "a")
        return found is not None and not found.is_active

    async with house.calling():
        await until(switched_off)
        await until(lambda: house.ended("b", "delivered"))
    well = await webhooks.find("orga", "b")
    assert well is not None and well.is_active and well.failing_since is None
