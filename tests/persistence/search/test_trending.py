"""What trends: exact to the hour, and made again when Redis has lost it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from engine.catalogue import Event
from engine.finding import Trend
from persistence.search.feeder import Feeder
from persistence.search.trending import RedisTrending, TrendingFeeder, hour_of
from persistence.streams import connect
from tests.persistence.catalogue_world import HOUR, NOON, World, catalogue_world

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOW = NOON - timedelta(days=1, minutes=-30)  # half past an hour


@dataclass
class Trends:
    world: World
    redis: Redis
    connection: asyncpg.Connection
    feeder: TrendingFeeder
    reader: RedisTrending

    async def confirm(self, event: Event, tickets: int, hour: datetime) -> None:
        """What the projector writes."""
        await self.world.pool.execute(
            "INSERT INTO trending_hours AS h VALUES ($1, $2, $3, nextval('trending_change'))"
            " ON CONFLICT (hour, event_id) DO UPDATE"
            " SET tickets = h.tickets + excluded.tickets, change = excluded.change",
            hour_of(hour),
            event.event_id,
            tickets,
        )

    async def top(self, city: str | None = None, now: datetime = NOW) -> list[Trend]:
        while await self.feeder.step(now):
            pass
        windows = [key async for key in self.redis.scan_iter("*:window:*")]
        if windows:
            await self.redis.delete(*windows)  # as they are after two seconds
        return await self.reader.top(city, 10, now)


@pytest_asyncio.fixture(loop_scope="session")
async def trends(postgres_dsn: str, redis_url: str) -> AsyncIterator[Trends]:
    redis = connect(redis_url)
    await redis.flushall()
    async with catalogue_world(postgres_dsn) as world:
        connection = await asyncpg.connect(postgres_dsn, database=world.database)
        feeder, reader = TrendingFeeder(connection, redis), RedisTrending(world.pool, redis)
        yield Trends(world, redis, connection, feeder, reader)
        await connection.close()
    await redis.aclose()


async def test_the_window_is_the_hour_under_way_and_the_24_before(trends: Trends) -> None:
    event, _ = await trends.world.on_sale()
    for hours in range(-30, 1):
        await trends.confirm(event, 2 ** (30 + hours), NOW + hours * HOUR)
    counted = sum(2 ** (30 + hours) for hours in range(-24, 1))
    assert await trends.top() == [Trend(event.event_id, counted)]
    an_hour_on = sum(2 ** (30 + hours) for hours in range(-23, 1))
    assert await trends.top(now=NOW + HOUR) == [Trend(event.event_id, an_hour_on)]


async def test_what_is_copied_twice_counts_once(trends: Trends) -> None:
    event, _ = await trends.world.on_sale()
    await trends.confirm(event, 3, NOW)
    await trends.top()
    await trends.redis.delete("stampede:{trending}:fed")  # as after a crash before it was written
    await trends.confirm(event, 4, NOW)
    assert await trends.top() == [Trend(event.event_id, 7)]


async def test_an_emptied_redis_is_filled_again(trends: Trends) -> None:
    first, _ = await trends.world.on_sale()
    second, _ = await trends.world.on_sale()
    await trends.confirm(first, 3, NOW - 5 * HOUR)
    await trends.confirm(second, 5, NOW)
    before = await trends.top()
    assert before == [Trend(second.event_id, 5), Trend(first.event_id, 3)]
    await trends.redis.flushall()
    assert await trends.top() == before


async def test_without_redis_the_tables_say_it(trends: Trends) -> None:
    event, _ = await trends.world.on_sale()
    await trends.confirm(event, 3, NOW)
    await trends.confirm(event, 9, NOW - 30 * HOUR)
    nowhere = connect("unix:///nonexistent/redis.sock")
    away = RedisTrending(trends.world.pool, nowhere)
    assert await away.top(None, 10, NOW) == [Trend(event.event_id, 3)]
    await Feeder(trends.connection).step()
    assert await away.top("BERLIN", 10, NOW) == [Trend(event.event_id, 3)]
    await nowhere.aclose()


async def test_a_city_has_its_own_and_what_is_over_trends_no_more(trends: Trends) -> None:
    krakow = await trends.world.venue(city="Kraków")
    here, _ = await trends.world.on_sale(venue_id=krakow.venue_id)
    there, _ = await trends.world.on_sale()
    await trends.confirm(here, 1, NOW)
    await trends.confirm(there, 2, NOW)
    await Feeder(trends.connection).step()
    assert await trends.top("krakow") == [Trend(here.event_id, 1)]
    assert len(await trends.top()) == 2
    await trends.confirm(here, 1, here.end_time)
    assert await trends.top(now=here.end_time) == []
