"""Search on a catalogue of 100,000 events, and how well it answers the judged queries.

The catalogue is the real conferences again and again, in other years, cities' halls and prices, so
words are as common among them as they are in the real list.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import cast
from uuid import uuid4

import asyncpg
from msgspec.structs import replace

from benchmarks import relevance
from benchmarks.asked import Asked
from benchmarks.judged import judged
from benchmarks.relevance import AS_OF, Ask
from benchmarks.results import Figure, Measurement, measured
from benchmarks.servers import stampede
from engine.finding import Document, Search
from loadtests.conferences import everything
from persistence.embedded import EmbeddedPostgres
from persistence.migrations import migrate
from persistence.search.postgres import SESSION, PostgresIndex
from persistence.search.writing import PostgresWriter
from persistence.transactions import Connection

EVENTS = 100_000
BATCH = 500
TOGETHER = 20
COMMON = ("conference", "javascript", "berlin", "summit", "2023", "c", "")

_TABLES = ("search_documents", "search_words")

Write = Callable[[Sequence[Document]], Awaitable[None]]

REAL_SERVER = "REAL_ELASTICSEARCH_URL"


def catalogue(count: int) -> list[Document]:
    real = everything()
    made = []
    for number in range(1, count + 1):
        edition, place = divmod(number - 1, len(real))
        document = relevance.document(number, real[place])
        moved = timedelta(days=edition * 17)
        made.append(
            replace(
                document,
                venue=f"Congress Centre {edition}",
                start_time=document.start_time + moved,
                end_time=document.end_time + moved,
                prices=tuple(price + edition * 100 for price in document.prices),
            )
        )
    return made


@asynccontextmanager
async def on_postgres() -> AsyncIterator[asyncpg.Pool]:
    with tempfile.TemporaryDirectory(prefix="stampede-bench-") as name:
        postgres = EmbeddedPostgres(Path(name) / "postgres")
        dsn = await postgres.start()
        try:
            connection = await asyncpg.connect(dsn)
            await migrate(connection)
            await connection.close()
            async with asyncpg.create_pool(
                dsn, min_size=1, max_size=8, server_settings=SESSION
            ) as pool:
                yield pool
        finally:
            await postgres.stop()


async def answered(ask: Ask) -> list[Figure]:
    """The judged queries on the real conferences alone."""
    figures = []
    for half, scores in (await relevance.by_half(ask)).items():
        of = f"{half} half ({scores.queries} queries)"
        figures += [
            Figure(f"success@1, {of}", "", [scores.success_at_1]),
            Figure(f"success@5, {of}", "", [scores.success_at_5]),
            Figure(f"MRR, {of}", "", [scores.mrr]),
        ]
    return figures


async def filled(write: Write, documents: Sequence[Document]) -> Figure:
    began = time.perf_counter()
    for first in range(0, len(documents), BATCH):
        await write(documents[first : first + BATCH])
    rate = len(documents) / (time.perf_counter() - began)
    return Figure("documents indexed", "a second", [rate])


async def timed(ask: Ask, rounds: int) -> list[Figure]:
    judged_ = [replace(relevance.search_of(query), limit=50) for query in judged()]
    alone = [await _p95(ask, judged_, 1) for _ in range(rounds)]
    together = [await _p95(ask, judged_ * 3, TOGETHER) for _ in range(rounds)]
    figures = [
        Figure("judged queries, one in flight, p95", "ms", alone),
        Figure(f"judged queries, {TOGETHER} in flight, p95", "ms", together),
    ]
    for word in COMMON:
        search = Search(text=word, as_of=AS_OF)
        found = await ask(search)
        total = f"{found.total:,}" if found.total_is_exact else f"over {found.total:,}"
        took = [await _p95(ask, [search] * 20, 1) for _ in range(rounds)]
        figures.append(Figure(f"{word or 'no word'!r} alone ({total} found), p95", "ms", took))
    return figures


async def _p95(ask: Ask, searches: Sequence[Search], together: int) -> float:
    took: list[float] = []
    waiting = iter(searches)

    async def one_after_another() -> None:
        for search in waiting:
            began = time.perf_counter()
            await ask(search)
            took.append((time.perf_counter() - began) * 1_000)

    await asyncio.gather(*(one_after_another() for _ in range(together)))
    return sorted(took)[int(len(took) * 0.95)]


async def postgres_figures(rounds: int) -> tuple[list[Figure], list[Figure]]:
    """Of the judged queries; of the large catalogue."""
    async with on_postgres() as pool:
        writer, index = PostgresWriter(pool), PostgresIndex(pool)
        await filled(writer.write, relevance.documents())
        await pool.execute("ANALYZE")
        right = await answered(index.search)
        await pool.execute(f"TRUNCATE {', '.join(_TABLES)}, search_sources")
        speed = [await filled(writer.write, catalogue(EVENTS))]
        await pool.execute("VACUUM ANALYZE")
        size = "SELECT sum(pg_total_relation_size(t::regclass)) FROM unnest($1::text[]) AS t"
        bytes_ = await pool.fetchval(size, list(_TABLES))
        speed.append(Figure("index size", "MB", [float(bytes_) / 1e6]))
        return right, [*speed, *await _cpu(pool, rounds), *await timed(index.search, rounds)]


async def _cpu(pool: asyncpg.Pool, rounds: int) -> list[Figure]:
    """What a query takes of a core, here and in Postgres: the same on a busy machine."""
    async with pool.acquire() as connection:
        index = PostgresIndex(cast(asyncpg.Pool, _Alone(connection)))
        stat = Path(f"/proc/{connection.get_server_pid()}/schedstat")
        took: list[list[float]] = []
        for _ in range(rounds):
            each = []
            for query in judged():
                search = replace(relevance.search_of(query), limit=50)
                began = int(stat.read_text().split()[0]) / 1e6 + time.process_time() * 1e3
                await index.search(search)
                ended = int(stat.read_text().split()[0]) / 1e6 + time.process_time() * 1e3
                each.append(ended - began)
            took.append(sorted(each))
    return [
        Figure(f"judged queries, CPU, {name}", "ms", [each[int(len(each) * at)] for each in took])
        for name, at in (("p50", 0.5), ("p95", 0.95))
    ]


class _Alone:
    """A pool of one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @asynccontextmanager
    async def acquire(self, timeout: float) -> AsyncIterator[Connection]:  # noqa: ASYNC109
        yield self._connection


async def elastic_figures(url: str, rounds: int) -> tuple[list[Figure], list[Figure]]:
    """The same on the real server at `url`; its indexes are ended afterwards."""
    from persistence.search.elastic import ElasticIndex
    from persistence.search.elastic_indexes import ElasticIndexes, connect

    alias = f"stampede-bench-{os.getpid()}"
    async with connect(url, plain_json=False) as client:
        indexes, index = ElasticIndexes(client, alias), ElasticIndex(client, alias)
        try:
            for_real = await indexes.make()
            await filled(lambda some: indexes.write(for_real, some), relevance.documents())
            await indexes.switch_to(for_real)
            right = await answered(index.search)
            large = await indexes.make()
            speed = [await filled(lambda some: indexes.write(large, some), catalogue(EVENTS))]
            await indexes.switch_to(large)
            told = await client.indices.stats(index=large, metric="store")
            bytes_ = told["_all"]["primaries"]["store"]["size_in_bytes"]
            speed.append(Figure("index size", "MB", [bytes_ / 1e6]))
            return right, speed + await timed(index.search, rounds)
        finally:
            name = await indexes.current()
            if name is not None:
                await client.indices.delete(index=name)


async def visible(times: int) -> Figure:
    """From the answer to a change to the first search that shows it, over HTTP."""
    async with stampede() as server:
        organizer = server.token("organizer", "orga")
        hall = {"name": "Hall", "city": "Berlin", "country": "Germany", "capacity": 100}
        venue = server.call(
            "POST", "/v1/venues", {**hall, "timezone": "Europe/Berlin"}, token=organizer
        )
        start, end = "2031-05-01T09:00:00Z", "2031-05-01T18:00:00Z"
        event = {"venue_id": venue["venue_id"], "title": "One", "category": "CONFERENCE"}
        times_ = {"start_time": start, "end_time": end}
        made = server.call("POST", "/v1/events", {**event, **times_}, token=organizer)
        path = f"/v1/events/{made['event_id']}"
        server.call("POST", f"{path}/publish", {}, token=organizer)
        took = [
            await asyncio.to_thread(_shown, server.call, path, uuid4().hex, organizer)
            for _ in range(times)
        ]
    return Figure("a changed title is found", "ms", took)


def _shown(call: Callable[..., dict[str, object]], path: str, word: str, token: str) -> float:
    call("PATCH", path, {"title": f"The {word}"}, token=token)
    began = time.perf_counter()
    while not call("GET", f"/v1/search/events?q={word}")["total"]:
        time.sleep(0.005)
    return (time.perf_counter() - began) * 1_000


async def measure(asked: Asked) -> list[Measurement]:
    """On Postgres, and on a real Elasticsearch where one is named."""
    command = "./run bench search"
    shown = await visible(times=20)
    right, speed = await postgres_figures(asked.rounds_or(5))
    speed.append(shown)
    sides = [("Postgres", right, speed)]
    if url := os.environ.get(REAL_SERVER):
        sides.append(("Elasticsearch", *await elastic_figures(url, asked.rounds_or(5))))
    queries = "80 judged queries on 4,825 real conferences; half of them held back from tuning."
    load = f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    large = f"{EVENTS:,} events, 50 results a page; each round's p95. Load at the end: {load}."
    return [
        measured(f"search on {side}, {what}", command, conditions, figures)
        for side, right, speed in sides
        for what, conditions, figures in (("relevance", queries, right), ("speed", large, speed))
    ]
