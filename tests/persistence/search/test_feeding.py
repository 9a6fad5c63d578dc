"""What feeds the index: no change is lost, whoever makes it, and sales leave it alone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
import pytest_asyncio

from engine.finding import Found, Search
from engine.lifecycle import Step
from persistence.search import writing
from persistence.search.feeder import Feeder, mark_all, waiting
from persistence.search.postgres import PostgresIndex
from tests.persistence.catalogue_world import NOON, ORGANIZER, World, catalogue_world, tier_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def world(postgres_dsn: str) -> AsyncIterator[World]:
    async with catalogue_world(postgres_dsn) as made:
        yield made


@asynccontextmanager
async def feeder(world: World, postgres_dsn: str) -> AsyncIterator[Feeder]:
    connection = await asyncpg.connect(postgres_dsn, database=world.database)
    yield Feeder(connection)
    await connection.close()


async def found(world: World, text: str) -> Found:
    return await PostgresIndex(world.pool).search(Search(text=text, as_of=NOON))


async def changes(world: World) -> int:
    async with world.pool.acquire() as connection:
        return int(await connection.fetchval("SELECT count(*) FROM search_changes"))


async def test_a_change_waits_in_the_outbox_until_its_document_is_written(
    world: World, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with feeder(world, postgres_dsn) as feeding:
        await world.on_sale(title="Jazz")
        with monkeypatch.context() as broken:
            broken.setattr(writing, "_source", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                await feeding.step()
        assert (await found(world, "jazz")).total == 0
        assert await changes(world) > 0
    async with feeder(world, postgres_dsn) as feeding:  # as after a crash
        assert await feeding.step() == 1
        assert (await found(world, "jazz")).total == 1
        assert await feeding.step() == 0


async def test_a_refused_change_leaves_no_mark(world: World) -> None:
    event, _ = await world.on_sale()
    before = await changes(world)
    await world.catalogue.take_step(ORGANIZER, event.event_id, Step.PUBLISH, None)
    await world.catalogue.change_event(ORGANIZER, event.event_id, {"title": event.title})
    assert await changes(world) == before


async def test_a_sale_marks_its_event_only_when_a_tier_runs_out_or_has_places_again(
    world: World, postgres_dsn: str
) -> None:
    _, tier = await world.on_sale(title="Jazz")
    async with feeder(world, postgres_dsn) as feeding:
        await feeding.step()
        await world.sell_out(tier)
        await world.pool.execute("UPDATE tier_counters SET sold = 0")
        await feeding.step()
        for sold in range(1, tier.total_quantity):
            await world.pool.execute("UPDATE tier_counters SET sold = $1", sold)
        assert await changes(world) == 0
        await world.pool.execute("UPDATE tier_counters SET held = 1")
        assert await feeding.step() == 1
        (hit,) = (await found(world, "jazz")).hits
        assert not hit.has_available_tickets
        await world.pool.execute("UPDATE tier_counters SET held = 0")
        assert await feeding.step() == 1
        (hit,) = (await found(world, "jazz")).hits
        assert hit.has_available_tickets


async def test_a_document_changes_by_itself_when_a_tiers_sale_begins_and_ends(
    world: World, postgres_dsn: str
) -> None:
    now = datetime.now(UTC)
    event = await world.event(await world.venue(), title="Jazz")
    soon = tier_of(event, price=900, sale_start=now + timedelta(hours=1))
    await world.catalogue.add_tier(ORGANIZER, soon, None)
    later = tier_of(event, price=100, sale_start=now + timedelta(hours=2))
    await world.catalogue.add_tier(ORGANIZER, later, None)
    await world.step(event, Step.PUBLISH, Step.OPEN_SALES)
    async with feeder(world, postgres_dsn) as feeding:
        await feeding.step()
        (hit,) = (await found(world, "jazz")).hits
        assert (hit.has_available_tickets, hit.min_price, hit.max_price) == (False, 100, 900)
        refresh_at = await world.pool.fetchval("SELECT refresh_at FROM search_sources")
        assert refresh_at == soon.sale_start
        async with world.pool.acquire() as connection, connection.transaction():
            # The first hour has passed.
            await connection.execute("ALTER TABLE tiers DISABLE TRIGGER USER")
            await connection.execute("UPDATE tiers SET sale_start = sale_start - interval '1 hour'")
            await connection.execute("ALTER TABLE tiers ENABLE TRIGGER USER")
            await connection.execute("UPDATE search_sources SET refresh_at = now()")
        assert await feeding.step() == 1
        (hit,) = (await found(world, "jazz")).hits
        assert (hit.has_available_tickets, hit.min_price, hit.max_price) == (True, 900, 900)


async def test_a_venue_that_moves_takes_its_events_along(world: World, postgres_dsn: str) -> None:
    venue = await world.venue()
    event = await world.event(venue, title="Jazz")
    await world.step(event, Step.PUBLISH)
    async with feeder(world, postgres_dsn) as feeding:
        await feeding.step()
        await world.catalogue.change_venue(venue.venue_id, {"city": "Kraków"})
        assert await feeding.step() == 1
        assert (await found(world, "jazz krakow")).facets.city == {"Kraków": 1}


async def test_all_documents_can_be_made_anew(world: World, postgres_dsn: str) -> None:
    for title in ("Jazz", "Blues"):
        await world.on_sale(title=title)
    async with feeder(world, postgres_dsn) as feeding:
        await feeding.step()
        await world.pool.execute("TRUNCATE search_documents, search_sources, search_words")
        connection = await asyncpg.connect(postgres_dsn, database=world.database)
        assert await mark_all(connection) == await waiting(connection) == 2
        await connection.close()
        assert await feeding.step() == 2
        assert (await found(world, "blues")).total == 1
