"""Money on its way back, of orders and of deposits: who is asked for it next, and what sticks."""

from datetime import timedelta

import asyncpg

from engine.projection import Asked, DueRefund, RefundCounts, RefundRow
from persistence.statements import clean
from persistence.transactions import reading

STUCK_AFTER = timedelta(minutes=15)

_ALL = """
SELECT refund_id, attempt, r.amount_minor, r.payment_id, r.order_id AS paid_for, r.status
FROM refunds r
UNION ALL
SELECT refund_id, attempt, r.amount_minor, r.payment_id, r.booking_id, r.status
FROM deposit_refunds r
"""
_COLUMNS = """
r.refund_id, r.attempt, r.amount_minor, r.payment_id, r.paid_for,
coalesce(i.amount_minor, 0), coalesce(i.currency, ''), i.reference
"""
_ITS_PROVIDER = "i.provider IS NULL OR i.provider = $1"
_DUE = f"""
WITH waiting AS (
    SELECT * FROM ({_ALL}) AS a WHERE status = 'pending'
), claimed AS (
    INSERT INTO refund_tries AS t (refund_id, try_at)
    SELECT w.refund_id, clock_timestamp() + interval '2 seconds'
    FROM waiting w LEFT JOIN refund_tries t USING (refund_id)
    LEFT JOIN intents i USING (payment_id)
    WHERE (t.try_at IS NULL OR t.try_at <= clock_timestamp()) AND ({_ITS_PROVIDER})
    ORDER BY t.try_at NULLS FIRST LIMIT $2
    ON CONFLICT (refund_id) DO UPDATE SET tries = t.tries + 1, try_at = clock_timestamp()
        + make_interval(secs => least(600, 2 * power(2, least(t.tries, 10))))
    WHERE t.try_at <= clock_timestamp()
    RETURNING refund_id
)
SELECT {_COLUMNS} FROM claimed JOIN waiting r USING (refund_id)
LEFT JOIN intents i USING (payment_id)
"""
_FIND = f"""
SELECT {_COLUMNS} FROM ({_ALL}) AS r LEFT JOIN intents i USING (payment_id)
WHERE r.refund_id = $2 AND ({_ITS_PROVIDER})
"""
# By its two indexes: by far the most refunds are done.
_COUNTS = f"""
SELECT count(*) FILTER (WHERE status = 'pending'),
    count(*) FILTER (WHERE status = 'pending' AND first_at < clock_timestamp() - $1::interval),
    count(*) FILTER (WHERE status = 'failed')
FROM (
    SELECT * FROM ({_ALL}) AS a WHERE status = 'pending'
    UNION ALL SELECT * FROM ({_ALL}) AS a WHERE status = 'failed'
) AS r LEFT JOIN refund_tries USING (refund_id)
"""
_FORGET = """
DELETE FROM refund_tries t WHERE try_at < clock_timestamp() - interval '1 minute'
  AND NOT EXISTS (SELECT FROM refunds WHERE refund_id = t.refund_id AND status = 'pending')
  AND NOT EXISTS (SELECT FROM deposit_refunds WHERE refund_id = t.refund_id AND status = 'pending')
"""
_OF_EVENT = """
SELECT refund_id, r.order_id, payment_id, amount_minor, currency, r.status, attempt, owed_at,
    settled_at
FROM refunds r JOIN orders o USING (order_id)
WHERE r.event_id = $1 AND r.refund_id > $2 AND ($3::text IS NULL OR r.status = $3)
ORDER BY refund_id LIMIT $4
"""


class Refunds:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def due(self, provider: str, limit: int) -> list[DueRefund]:
        """Each is given to one who asks, and again later, further and further apart."""
        async with reading(self._pool) as connection:
            rows = await connection.fetch(_DUE, provider, limit)
        return [_due(row) for row in rows]

    async def find(self, provider: str, refund_id: str) -> DueRefund | None:
        async with reading(self._pool) as connection:
            row = await connection.fetchrow(_FIND, provider, clean(refund_id))
        return _due(row) if row else None

    async def hurry(self, refund_id: str) -> None:
        """The next try is due at once."""
        async with reading(self._pool) as connection:
            await connection.execute("DELETE FROM refund_tries WHERE refund_id = $1", refund_id)

    async def counts(self) -> RefundCounts:
        async with reading(self._pool) as connection:
            await connection.execute(_FORGET)
            row = await connection.fetchrow(_COUNTS, STUCK_AFTER)
        assert row is not None
        return RefundCounts(*row)

    async def of_event(
        self, event_id: str, status: str | None, after: str, limit: int
    ) -> list[RefundRow]:
        """By id, from the one after `after`."""
        async with reading(self._pool) as connection:
            rows = await connection.fetch(_OF_EVENT, event_id, clean(after), status, limit)
        return [RefundRow(*row) for row in rows]


def _due(row: asyncpg.Record) -> DueRefund:
    refund_id, attempt, amount_minor, *asked = row
    return DueRefund(refund_id, attempt, amount_minor, Asked(*asked))
