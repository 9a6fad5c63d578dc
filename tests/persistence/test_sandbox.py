"""The sandbox's books: who is to be told of what, and by whom."""

import asyncpg

from persistence.sandbox import SandboxBooks
from tests.persistence.databases import fresh_database


async def test_who_acts_for_the_payer_is_not_forestalled_by_whoever_repeats_words(
    postgres_dsn: str,
) -> None:
    async with fresh_database(postgres_dsn) as dsn, asyncpg.create_pool(dsn) as pool:
        books = SandboxBooks(pool)
        await books.open("pay_1", "ord_1", 500, "EUR", [])
        await books.decide("pay_1", "succeeded", [], [("succeeded", 0.0)])
        assert await books.due_webhooks() == []
        (word,) = await books.due_webhooks("pay_1")
        assert (word.payment_id, word.outcome) == ("pay_1", "succeeded")
