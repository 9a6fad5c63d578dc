"""The sandbox's books: who is to be told of what, and by whom."""

import asyncio

import asyncpg

from engine.projection import SandboxPayment
from gateway.payments.sandbox import Sandbox
from gateway.payments.side_by_side import AT_ONCE_MAX
from persistence.sandbox import SandboxBooks
from tests.persistence.databases import fresh_database


async def test_what_is_due_at_once_is_left_to_whoever_decides_and_then_to_all(
    postgres_dsn: str,
) -> None:
    async with fresh_database(postgres_dsn) as dsn, asyncpg.create_pool(dsn) as pool:
        books = SandboxBooks(pool)
        await books.open("pay_1", "ord_1", 500, "EUR", [])
        decided = await books.decide("pay_1", "succeeded", [], [("succeeded", 0.0)])
        assert decided is not None
        payment, (word,) = decided
        assert (payment.outcome, word.outcome, word.amount_minor) == ("succeeded", "succeeded", 500)
        assert await books.due_webhooks() == []
        await pool.execute("UPDATE sandbox_webhooks SET due_at = clock_timestamp()")
        assert await books.due_webhooks() == [word]
        await books.told(word.webhook_id)
        assert await pool.fetchval("SELECT count(*) FROM sandbox_webhooks") == 0


async def test_payments_that_come_at_once_are_written_together_and_each_stays_itself(
    postgres_dsn: str,
) -> None:
    asked: list[str] = []

    async def listen(connection: asyncpg.Connection) -> None:
        connection.add_query_logger(lambda record: asked.append(record.query))

    numbers = range(100)
    async with (
        fresh_database(postgres_dsn) as dsn,
        asyncpg.create_pool(dsn, min_size=1, max_size=1, init=listen) as pool,
    ):
        books = SandboxBooks(pool)
        await asyncio.gather(
            *(books.open(f"pay_{n}", f"ord_{n}", n, "EUR", ["slow"] * (n % 2)) for n in numbers)
        )
        outcomes = ["succeeded" if n % 3 else "declined" for n in numbers]
        decided = await asyncio.gather(
            *(
                books.decide(f"pay_{n}", outcomes[n], ["decline"], [(outcomes[n], n % 5)] * 2)
                for n in numbers
            )
        )
        assert sum("sandbox_" in query for query in asked) == 2
        for n, found in zip(numbers, decided, strict=True):
            assert found is not None
            payment, words = found
            assert (payment.order_id, payment.amount_minor) == (f"ord_{n}", n)
            assert payment.outcome == outcomes[n]
            assert payment.faults == (("decline", "slow") if n % 2 else ("decline",))
            assert [word.outcome for word in words] == [outcomes[n]] * (0 if n % 5 else 2)


async def test_decisions_of_one_payment_that_come_at_once_are_made_one_after_another(
    postgres_dsn: str,
) -> None:
    async with fresh_database(postgres_dsn) as dsn, asyncpg.create_pool(dsn) as pool:
        books = SandboxBooks(pool)
        await books.open("pay_1", "ord_1", 500, "EUR", [])
        told = ("declined", "succeeded", "declined")
        decided = await asyncio.gather(
            *(books.decide("pay_1", outcome, [], [(outcome, 1.0)]) for outcome in told)
        )
        outcomes = [found[0].outcome for found in decided if found is not None]
        assert outcomes == ["declined", "succeeded", "succeeded"]
        assert await books.open("pay_1", "ord_2", 600, "EUR", []) == (
            SandboxPayment("pay_1", "ord_1", 500, "EUR", "succeeded", False, ()),
            False,
        )


async def test_who_takes_long_to_hear_of_a_payment_holds_up_no_word_of_others(
    postgres_dsn: str,
) -> None:
    met, told = asyncio.Barrier(AT_ONCE_MAX), 3 * AT_ONCE_MAX

    async def deliver(body: bytes, headers: dict[str, str]) -> bool:
        await met.wait()
        return True

    async with fresh_database(postgres_dsn) as dsn, asyncpg.create_pool(dsn) as pool:
        sandbox = Sandbox(SandboxBooks(pool), "secret", deliver)
        for n in range(told):
            await sandbox.books.open(f"pay_{n}", f"ord_{n}", 500, "EUR", [])
            await sandbox.books.decide(f"pay_{n}", "succeeded", [], [("succeeded", 1.0)])
        await pool.execute("UPDATE sandbox_webhooks SET due_at = clock_timestamp()")
        async with asyncio.timeout(30):
            await sandbox.tell_the_untold()
        assert await pool.fetchval("SELECT count(*) FROM sandbox_webhooks") == 0
