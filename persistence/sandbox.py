"""The books of the embedded payment provider: tables of its own, which nothing else writes.

Each write is one transaction, durable before it is answered, as a bank's would be.
"""

from collections.abc import Sequence

import asyncpg
import msgspec

from engine.projection import SandboxPayment, SandboxRefund, SandboxWebhook
from persistence.statements import clean
from persistence.transactions import reading

WEBHOOKS_MAX = 100
WEBHOOK_TRIES_MAX = 30  # at most a minute apart

_COLUMNS = "payment_id, order_id, amount_minor, currency, outcome, cancelled, faults"
_OPEN = f"""
INSERT INTO sandbox_payments (payment_id, order_id, amount_minor, currency, faults)
VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING RETURNING {_COLUMNS}
"""
_DECIDE = f"""
UPDATE sandbox_payments SET decided_at = coalesce(decided_at, clock_timestamp()),
    outcome = CASE WHEN outcome = 'succeeded' THEN outcome ELSE $2 END,
    faults = ARRAY(SELECT DISTINCT unnest(faults || $3::text[]) ORDER BY 1)
WHERE payment_id = $1 RETURNING {_COLUMNS}
"""
_WILL_TELL = """
INSERT INTO sandbox_webhooks (payment_id, outcome, due_at)
SELECT $1, outcome, clock_timestamp() + make_interval(secs => delay)
FROM unnest($2::text[], $3::float8[]) WITH ORDINALITY AS t (outcome, delay, n) ORDER BY n
"""
# A refund's status is written once; what was refused or done stays so for its id.
_REFUND = """
INSERT INTO sandbox_refunds AS r (refund_id, payment_id, amount_minor, status)
VALUES ($1, $2, $3, $4)
ON CONFLICT (refund_id) DO UPDATE SET calls = r.calls + 1,
    status = CASE WHEN r.status = 'pending' THEN $4 ELSE r.status END
RETURNING refund_id, payment_id, amount_minor, status, calls
"""
# Whoever acts for the payer waits for his own words; what he leaves for 5 s is for all.
_DUE = """
UPDATE sandbox_webhooks w SET tries = tries + 1,
    due_at = clock_timestamp() + make_interval(secs => least(60, power(2, tries)))
FROM sandbox_payments p
WHERE p.payment_id = w.payment_id AND webhook_id IN (
    SELECT webhook_id FROM sandbox_webhooks
    WHERE (payment_id = $1 AND due_at <= clock_timestamp()
        OR $1::text IS NULL AND due_at <= clock_timestamp() - interval '5 seconds')
    ORDER BY webhook_id LIMIT $2 FOR UPDATE SKIP LOCKED)
RETURNING w.webhook_id, w.payment_id, w.outcome, p.amount_minor
"""
_MIX = """
INSERT INTO sandbox_mix (seed, shares) VALUES ($1, $2::jsonb)
ON CONFLICT (one) DO UPDATE SET seed = excluded.seed, shares = excluded.shares
"""


class SandboxBooks:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def open(
        self,
        payment_id: str,
        paid_for: str,
        amount_minor: int,
        currency: str,
        faults: Sequence[str],
    ) -> tuple[SandboxPayment, bool]:
        """Write a payment down unless its id is known; as it stands, and whether it is new."""
        async with reading(self._pool) as connection:
            row = await connection.fetchrow(
                _OPEN, payment_id, paid_for, amount_minor, currency, list(faults)
            )
        if row is not None:
            return _payment(row), True
        known = await self.find(payment_id)
        assert known is not None
        return known, False

    async def find(self, payment_id: str) -> SandboxPayment | None:
        query = f"SELECT {_COLUMNS} FROM sandbox_payments WHERE payment_id = $1"
        async with reading(self._pool) as connection:
            row = await connection.fetchrow(query, clean(payment_id))
        return _payment(row) if row else None

    async def decide(
        self,
        payment_id: str,
        outcome: str,
        faults: Sequence[str],
        words: Sequence[tuple[str, float]],
    ) -> SandboxPayment | None:
        """Set the outcome unless it has succeeded before, and write down who is to be told what.

        `words`: outcomes to tell, and in how many seconds. None where the id is unknown.
        """
        async with reading(self._pool) as connection, connection.transaction():
            row = await connection.fetchrow(_DECIDE, payment_id, outcome, list(faults))
            if row is None:
                return None
            outcomes, delays = [word for word, _ in words], [delay for _, delay in words]
            await connection.execute(_WILL_TELL, payment_id, outcomes, delays)
        return _payment(row)

    async def cancel(self, payment_id: str) -> None:
        async with reading(self._pool) as connection:
            await connection.execute(
                "UPDATE sandbox_payments SET cancelled = true"
                " WHERE payment_id = $1 AND outcome IS DISTINCT FROM 'succeeded'",
                payment_id,
            )

    async def refund(
        self, refund_id: str, payment_id: str, amount_minor: int, status: str
    ) -> SandboxRefund:
        """Write a refund down; what has been done or refused under that id stays as it is."""
        async with reading(self._pool) as connection:
            row = await connection.fetchrow(_REFUND, refund_id, payment_id, amount_minor, status)
        assert row is not None
        return SandboxRefund(*row)

    async def due_webhooks(self, payment_id: str | None = None) -> list[SandboxWebhook]:
        """Words that are due, each given to one who asks; later again, unless it is `told`."""
        async with reading(self._pool) as connection:
            rows = await connection.fetch(_DUE, payment_id, WEBHOOKS_MAX)
        return sorted((SandboxWebhook(*row) for row in rows), key=lambda word: word.webhook_id)

    async def told(self, webhook_id: int) -> None:
        async with reading(self._pool) as connection:
            await connection.execute(
                "DELETE FROM sandbox_webhooks WHERE webhook_id = $1 OR tries > $2",
                webhook_id,
                WEBHOOK_TRIES_MAX,
            )

    async def set_mix(self, seed: int, shares: dict[str, float]) -> None:
        async with reading(self._pool) as connection:
            await connection.execute(_MIX, seed, msgspec.json.encode(shares).decode())

    async def mix(self) -> tuple[int, dict[str, float]] | None:
        async with reading(self._pool) as connection:
            row = await connection.fetchrow("SELECT seed, shares FROM sandbox_mix")
        return (row[0], msgspec.json.decode(row[1], type=dict[str, float])) if row else None

    async def payments(self, after: str, limit: int) -> list[SandboxPayment]:
        """By id, from the one after `after`."""
        async with reading(self._pool) as connection:
            rows = await connection.fetch(
                f"SELECT {_COLUMNS} FROM sandbox_payments WHERE payment_id > $1"
                " ORDER BY payment_id LIMIT $2",
                clean(after),
                limit,
            )
        return [_payment(row) for row in rows]

    async def refunds(self, payment_ids: Sequence[str]) -> list[SandboxRefund]:
        async with reading(self._pool) as connection:
            rows = await connection.fetch(
                "SELECT refund_id, payment_id, amount_minor, status, calls FROM sandbox_refunds"
                " WHERE payment_id = ANY($1) ORDER BY refund_id",
                list(payment_ids),
            )
        return [SandboxRefund(*row) for row in rows]


def _payment(row: asyncpg.Record) -> SandboxPayment:
    return SandboxPayment(**{**row, "faults": tuple(row["faults"])})
