"""Fakes at the doors: looked for together, each with an answer of its own."""

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256

import asyncpg
import pytest
import pytest_asyncio

from engine.runtime.faults import JournalUnavailable
from persistence.elsewhere import TOKENS_MAX, Elsewhere
from tests.persistence.databases import fresh_database

TOKENS = 2 * TOKENS_MAX
HERE, THERE = "evt_here", "evt_there"


def digest(number: int) -> bytes:
    return sha256(str(number).encode()).digest()


@pytest.fixture
def asked() -> list[str]:
    return []


@pytest_asyncio.fixture
async def pool(postgres_dsn: str, asked: list[str]) -> AsyncIterator[asyncpg.Pool]:
    """With a ticket for every third token here, and for every fifth there."""

    async def listen(connection: asyncpg.Connection) -> None:
        connection.add_query_logger(lambda record: asked.append(record.query))

    async with (
        fresh_database(postgres_dsn) as dsn,
        asyncpg.create_pool(dsn, min_size=1, max_size=1, init=listen) as opened,
    ):
        rows = [
            (f"ord_{event}", number, event, "tier", digest(number))
            for event, each in ((HERE, 3), (THERE, 5))
            for number in range(0, TOKENS, each)
        ]
        await opened.executemany(
            "INSERT INTO tickets (order_id, number, event_id, tier_id, token_digest, status,"
            " issued_at) VALUES ($1, $2, $3, $4, $5, 'VALID', now())",
            rows,
        )
        yield opened


async def test_many_are_asked_for_together_and_each_gets_its_own_answer(
    pool: asyncpg.Pool, asked: list[str]
) -> None:
    elsewhere = Elsewhere(pool)
    asked.clear()
    found = await asyncio.gather(*(elsewhere.has(digest(n), HERE) for n in range(TOKENS)))
    assert found == [number % 5 == 0 for number in range(TOKENS)]
    assert sum("token_digest" in query for query in asked) == TOKENS / TOKENS_MAX
    there = await asyncio.gather(*(elsewhere.has(digest(n), THERE) for n in range(TOKENS)))
    assert there == [number % 3 == 0 for number in range(TOKENS)]


async def test_while_the_database_is_away_everybody_hears_so(pool: asyncpg.Pool) -> None:
    elsewhere = Elsewhere(pool)
    await pool.close()
    waiting = [elsewhere.has(digest(n), HERE) for n in range(TOKENS)]
    heard = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(one) for one in heard} == {JournalUnavailable}
