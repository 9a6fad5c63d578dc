"""The contract of the search index, on a server that speaks Elasticsearch's language.

That is the in-memory one of the development requirements; where REAL_ELASTICSEARCH_URL is
set, a real one as well. Their scores differ; ids and their order do not.
"""

import os
from collections.abc import AsyncIterator, Iterator, Sequence
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from elasticsearch import AsyncElasticsearch

from engine.finding import Closeness, Document, Found, Search, Suggestion
from engine.wording import question
from persistence.search import fallback
from persistence.search.elastic import ElasticIndex, body_of
from persistence.search.elastic_indexes import ElasticIndexes, connect
from persistence.search.fallback import IndexWithFallback, SearchUnavailable
from persistence.search.following import Follower, reindex
from persistence.search.postgres import PostgresIndex
from persistence.search.writing import PostgresWriter
from persistence.transactions import Connection
from tests.persistence.databases import fresh_database
from tests.persistence.search.index_contract import IndexContract, asked, ids
from tests.persistence.search.oracle import document
from tests.search_server import search_server

pytestmark = pytest.mark.asyncio(loop_scope="session")

REAL = "REAL_ELASTICSEARCH_URL"


class OnElastic:
    """An index of its own; what is written is refreshed at once."""

    def __init__(self, client: AsyncElasticsearch, *, tells_scores_exactly: bool) -> None:
        self.tells_scores_exactly = tells_scores_exactly
        self.client = client
        self.alias = f"test-{uuid4().hex[:12]}"
        self.indexes = ElasticIndexes(client, self.alias)
        self.index = ElasticIndex(client, self.alias)

    async def write(self, documents: Sequence[Document]) -> None:
        name = await self.indexes.current()
        if name is None:
            name = await self.indexes.make()
            await self.indexes.switch_to(name)
        for first in range(0, len(documents), 500):
            some = documents[first : first + 500]
            await self.indexes.write(name, some, refresh=True)

    async def search(self, search: Search) -> Found:
        return await self.index.search(search)

    async def suggest(self, text: str, limit: int) -> list[Suggestion]:
        return await self.index.suggest(text, limit)

    async def end(self) -> None:
        name = await self.indexes.current()
        if name is not None:
            await self.client.indices.delete(index=name)


@pytest.fixture(scope="session")
def in_memory_url() -> Iterator[str]:
    with search_server() as server:
        yield server.url


@pytest_asyncio.fixture(loop_scope="session", params=["in memory", "real"])
async def index(request: pytest.FixtureRequest, in_memory_url: str) -> AsyncIterator[OnElastic]:
    real = request.param == "real"
    if real and REAL not in os.environ:
        pytest.skip(f"{REAL} names no server")
    client = connect(os.environ[REAL] if real else in_memory_url, plain_json=not real)
    index = OnElastic(client, tells_scores_exactly=real)
    yield index
    await index.end()
    await client.close()


@pytest_asyncio.fixture(loop_scope="session")
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with (
        fresh_database(postgres_dsn) as dsn,
        asyncpg.create_pool(dsn, min_size=1, max_size=3) as pool,
    ):
        yield pool


class TestElasticIndex(IndexContract):
    pass


def follower(connection: Connection, index: OnElastic) -> Follower:
    return Follower(connection, index.indexes, failed=lambda error: None)


async def test_it_follows_the_documents_on_postgres(index: OnElastic, pool: asyncpg.Pool) -> None:
    writer = PostgresWriter(pool)
    await writer.write([document(1, "Jazz"), document(2, "Blues")])
    async with pool.acquire() as connection:
        following = follower(connection, index)
        assert await following.step() == 2
        assert await following.step() == 0
        await writer.write([document(1, "Soul", version=3)])
        assert await following.step() == 1
    await index.client.indices.refresh(index=index.alias)
    assert (await index.search(asked("jazz"))).total == 0
    assert (await index.search(asked("soul"))).total == 1


async def test_a_batch_that_is_written_twice_is_as_one(
    index: OnElastic, pool: asyncpg.Pool
) -> None:
    await PostgresWriter(pool).write([document(n) for n in range(1, 6)])
    async with pool.acquire() as connection:
        await follower(connection, index).step()
        await connection.execute("DELETE FROM search_followers")  # as after a crash
        assert await follower(connection, index).step() == 5
    await index.client.indices.refresh(index=index.alias)
    assert (await index.search(asked())).total == 5


async def test_an_index_that_was_lost_is_made_again(index: OnElastic, pool: asyncpg.Pool) -> None:
    await PostgresWriter(pool).write([document(1)])
    async with pool.acquire() as connection:
        await follower(connection, index).step()
        await index.end()
        assert await follower(connection, index).step() == 1
    await index.client.indices.refresh(index=index.alias)
    assert (await index.search(asked())).total == 1


async def test_reindexing_switches_at_once_and_loses_no_change(
    index: OnElastic, pool: asyncpg.Pool
) -> None:
    writer = PostgresWriter(pool)
    await writer.write([document(n) for n in range(1, 1_201)])
    told: list[int] = []
    async with pool.acquire() as connection:
        following = follower(connection, index)
        while await following.step():
            pass
        before = await index.indexes.current()
        name = await reindex(connection, index.indexes, told.append)
        assert await index.indexes.current() == name != before
        assert sum(told) == 1_200
        assert (await index.search(asked())).total == 1_200
        await writer.write([document(7, "Soul", version=1_201)])
        assert await following.step() == 1
    await index.client.indices.refresh(index=index.alias)
    assert (await index.search(asked("soul"))).total == 1


async def test_postgres_answers_while_the_server_is_away(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fallback, "SPARED_S", 60.0)
    await PostgresWriter(pool).write([document(n) for n in range(1, 8)])
    failures: list[Exception] = []
    client = connect("http://127.0.0.1:9", plain_json=True)
    first = ElasticIndex(client, "nowhere")
    index = IndexWithFallback(first, PostgresIndex(pool), failures.append)
    found = await index.search(asked("concert", limit=5))
    assert (len(found.hits), found.total, found.degraded) == (5, 7, True)
    assert len(await index.suggest("conc", 5)) == 1
    assert [type(failure) for failure in failures] == [SearchUnavailable]  # then it is spared
    await client.close()


async def test_pages_go_on_when_the_other_index_must_answer(
    index: OnElastic, pool: asyncpg.Pool
) -> None:
    documents = [document(n) for n in range(1, 10)]
    await index.write(documents)
    await PostgresWriter(pool).write(documents)
    search = asked("concert", limit=4)
    first = await index.search(search)
    second = await PostgresIndex(pool).search(asked("concert", limit=9, after=first.next))
    assert sorted(ids([first, second])) == [each.event_id for each in documents]


def _worth(words: list[str], beginning: str | None) -> list[object]:
    ways: list[object] = []
    for place, exact, begun in (("title", 10.0, 6.0), ("place", 6.0, 3.0), ("about", 4.0, 2.0)):
        ways.append(
            {"constant_score": {"filter": {"terms": {place: tuple(words)}}, "boost": exact}}
        )
        if beginning is not None:
            prefix = {"prefix": {place: beginning}}
            ways.append({"constant_score": {"filter": prefix, "boost": begun}})
    return ways


async def test_a_request_is_as_it_was_agreed() -> None:
    search = asked("vue js", city="Kraków", price_most=5_000, limit=10)
    body = body_of(search, question(search.text), Closeness.EXACT)
    assert body["post_filter"] == {"bool": {"filter": [{"term": {"city_key": "krakow"}}]}}
    assert body["query"]["function_score"]["query"]["bool"] == {
        "filter": [{"term": {"findable": True}}, {"range": {"prices": {"lte": 5_000}}}],
        "must": [
            {"dis_max": {"queries": _worth(["vue", "vuejs"], None)}},
            {"dis_max": {"queries": _worth(["js", "vuejs"], "js")}},
        ],
        "should": [
            {
                "constant_score": {
                    "filter": {"terms": {"title_joined": ("vue", "vuejs", "js")}},
                    "boost": 8.0,
                }
            }
        ],
    }
