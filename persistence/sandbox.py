"""The books of the embedded payment provider."""

import asyncpg

from engine.projection import SandboxPayment
from persistence.transactions import reading

_COLUMNS = "payment_id, order_id, amount_minor, currency, outcome"


class SandboxBooks:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def open(self, payment_id: str, paid_for: str, amount_minor: int, currency: str) -> None:
        """Write a payment down unless its id is known."""
        async with reading(self._pool) as connection:
            await connection.execute(
                "INSERT INTO sandbox_payments (payment_id, order_id, amount_minor, currency)"
                " VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
                payment_id,
                paid_for,
                amount_minor,
                currency,
            )

    async def decide(self, payment_id: str, outcome: str) -> SandboxPayment | None:
        """Set the outcome unless it has succeeded before; None where the id is unknown."""
        async with reading(self._pool) as connection:
            row = await connection.fetchrow(
                "UPDATE sandbox_payments SET told = false,"
                " outcome = CASE WHEN outcome = 'succeeded' THEN outcome ELSE $2 END"
                f" WHERE payment_id = $1 RETURNING {_COLUMNS}",
                payment_id,
                outcome,
            )
        return SandboxPayment(*row) if row else None

    async def refund(self, refund_id: str, payment_id: str, amount_minor: int) -> None:
        """Write a refund down unless its id is known."""
        async with reading(self._pool) as connection:
            await connection.execute(
                "INSERT INTO sandbox_refunds (refund_id, payment_id, amount_minor)"
                " VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                refund_id,
                payment_id,
                amount_minor,
            )

    async def untold(self) -> list[SandboxPayment]:
        """Payments whose outcome no webhook has delivered yet."""
        async with reading(self._pool) as connection:
            rows = await connection.fetch(
                f"SELECT {_COLUMNS} FROM sandbox_payments WHERE NOT told LIMIT 100"
            )
        return [SandboxPayment(*row) for row in rows]

    async def told(self, payment_id: str) -> None:
        async with reading(self._pool) as connection:
            await connection.execute(
                "UPDATE sandbox_payments SET told = true WHERE payment_id = $1", payment_id
            )
