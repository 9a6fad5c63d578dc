"""The contract of the search index, on Postgres."""

from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest
import pytest_asyncio
from msgspec.structs import replace

from engine.catalogue import Category
from engine.finding import Document, Found, Search, Sort, Suggestion
from persistence.search import postgres
from persistence.search.postgres import PostgresIndex
from persistence.search.writing import PostgresWriter
from tests.persistence.databases import fresh_database
from tests.persistence.search.index_contract import IndexContract, asked, ids, pages
from tests.persistence.search.oracle import document

pytestmark = pytest.mark.asyncio(loop_scope="session")


class OnPostgres:
    tells_scores_exactly = True

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self._writer = PostgresWriter(pool)
        self._index = PostgresIndex(pool)

    async def write(self, documents: Sequence[Document]) -> None:
        await self._writer.write(documents)

    async def search(self, search: Search) -> Found:
        return await self._index.search(search)

    async def suggest(self, text: str, limit: int) -> list[Suggestion]:
        return await self._index.suggest(text, limit)


@pytest_asyncio.fixture(loop_scope="session")
async def index(postgres_dsn: str) -> AsyncIterator[OnPostgres]:
    settings = {"plan_cache_mode": "force_custom_plan"}
    async with (
        fresh_database(postgres_dsn) as dsn,
        asyncpg.create_pool(dsn, min_size=1, max_size=2, server_settings=settings) as pool,
    ):
        yield OnPostgres(pool)


class TestPostgresIndex(IndexContract):
    pass


async def test_a_broad_answer_is_paged_to_its_end_titles_first(
    index: OnPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "RANKED_MAX", 20)
    named = [document(n, "Jazz Night") for n in range(1, 16)]
    others = [document(n, f"Evening {n}", description="jazz") for n in range(16, 60)]
    await index.write([*others, *named])
    found = ids(await pages(index, asked("jazz", limit=7)))
    assert sorted(found[:15]) == sorted(each.event_id for each in named)
    assert sorted(found) == sorted(each.event_id for each in (*named, *others))


async def test_a_broad_answer_moves_liked_categories_ahead(
    index: OnPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "RANKED_MAX", 5)
    categories = list(Category)
    written = [document(n, category=categories[n % 4]) for n in range(1, 41)]
    await index.write(written)
    tastes = ((Category.SPORTS, 0.8),)
    found = ids(await pages(index, asked(limit=3, tastes=tastes)))
    liked = [each.event_id for each in written if each.category is Category.SPORTS]
    assert found[: len(liked)] == liked
    assert sorted(found) == [each.event_id for each in written]


async def test_a_page_goes_on_where_another_index_has_stopped(index: OnPostgres) -> None:
    await index.write([document(n) for n in range(1, 10)])
    for sort in (Sort.RELEVANCE, Sort.DATE):
        search = asked("concert", sort=sort, limit=4)
        first = await index.search(search)
        assert first.next is not None
        elsewhere = replace(first.next, source="elsewhere")
        second = await index.search(replace(search, after=elsewhere, limit=10))
        assert len(set(ids([first, second]))) == 9
