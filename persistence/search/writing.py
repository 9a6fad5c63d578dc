"""Writes documents into the index on Postgres, and counts the words they have.

One writer at a time. A document is written only over an older version of itself.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import asyncpg
import msgspec

from engine import wording
from engine.finding import Document
from persistence.search import texts
from persistence.search.documents import Reading
from persistence.transactions import Connection

NO_PRICE = 2**62  # above all prices

_BEFORE = """
SELECT event_id, version, tsvector_to_array(words) AS words FROM search_documents
WHERE event_id = ANY($1)
"""

_WRITE = """
INSERT INTO search_documents AS d (event_id, version, findable, available, category, city, city_key,
    start_time, min_price, max_price, price_key, prices, position, title, title_joined, title_words,
    words)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,
    CASE WHEN $13::float8 IS NOT NULL THEN ll_to_earth($13, $14::float8) END, $15, $16,
    $17::text::tsvector, $18::text::tsvector)
ON CONFLICT (event_id) DO UPDATE SET version = excluded.version, findable = excluded.findable,
    available = excluded.available, category = excluded.category, city = excluded.city,
    city_key = excluded.city_key, start_time = excluded.start_time,
    min_price = excluded.min_price, max_price = excluded.max_price,
    price_key = excluded.price_key, prices = excluded.prices, position = excluded.position,
    title = excluded.title, title_joined = excluded.title_joined,
    title_words = excluded.title_words, words = excluded.words
WHERE d.version < excluded.version
"""

_WRITE_SOURCE = """
INSERT INTO search_sources AS s (event_id, version, document, refresh_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (event_id) DO UPDATE SET version = excluded.version, document = excluded.document,
    refresh_at = excluded.refresh_at
WHERE s.version < excluded.version
"""

_COUNT_WORDS = """
INSERT INTO search_words AS w (word, documents)
SELECT * FROM unnest($1::text[], $2::bigint[]) AS t (word, documents)
ON CONFLICT (word) DO UPDATE SET documents = w.documents + excluded.documents
"""


class PostgresWriter:
    """The index's side that is written to; the feeder does the same on its own connection."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def write(self, documents: Sequence[Document]) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await write(connection, [Reading(document, None) for document in documents])


async def write(connection: Connection, readings: Sequence[Reading]) -> None:
    """Within a transaction of the caller's; no event twice."""
    ids = [reading.document.event_id for reading in readings]
    before = {row["event_id"]: row for row in await connection.fetch(_BEFORE, ids)}
    counts: Counter[str] = Counter()
    rows, sources = [], []
    for document, refresh_at in ((r.document, r.refresh_at) for r in readings):
        old = before.get(document.event_id)
        if old is not None and old["version"] >= document.version:
            continue
        words = texts.words_of(document)
        counts.update(words.all)
        counts.subtract(old["words"] if old is not None else ())
        rows.append(_row(document, words))
        sources.append(_source(document, refresh_at))
    await connection.executemany(_WRITE, rows)
    await connection.executemany(_WRITE_SOURCE, sources)
    changed = sorted((word, count) for word, count in counts.items() if count)
    if changed:
        await connection.execute(
            _COUNT_WORDS, *(list(column) for column in zip(*changed, strict=True))
        )


def _row(document: Document, words: texts.Words) -> tuple[object, ...]:
    prices, near = document.prices, document.near
    return (
        document.event_id,
        document.version,
        document.findable,
        document.available,
        document.category,
        document.city,
        wording.key(document.city),
        document.start_time,
        prices[0] if prices else None,
        prices[-1] if prices else None,
        prices[0] if prices else NO_PRICE,
        list(prices),
        near.latitude if near else None,
        near.longitude if near else None,
        document.title,
        wording.joined(document.title),
        texts.plain_vector(words.title),
        texts.vector(words),
    )


def _source(
    document: Document, refresh_at: datetime | None
) -> tuple[str, int, bytes, datetime | None]:
    encoded = msgspec.json.encode(document)
    return document.event_id, document.version, encoded, refresh_at
