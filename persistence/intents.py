"""What was asked of the payment providers, and when they are asked again what became of it."""

from datetime import timedelta

import asyncpg

from engine.projection import Asked, DueLook
from persistence.together import Together
from persistence.transactions import Connection, reading

FORGOTTEN_AFTER = timedelta(days=30)  # no provider lets anybody pay so late

_OPEN = """
INSERT INTO intents (payment_id, provider, paid_for, amount_minor, currency)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[])
ON CONFLICT (payment_id) DO UPDATE SET payment_id = excluded.payment_id
RETURNING payment_id, paid_for, amount_minor, currency, reference
"""
# By far the most have been told of by a webhook before anybody had to ask.
_HEARD = """
UPDATE intents SET look_at = NULL WHERE payment_id IN (
    SELECT i.payment_id FROM intents i
    LEFT JOIN payments p USING (payment_id) LEFT JOIN deposits d USING (payment_id)
    WHERE i.look_at <= clock_timestamp()
      AND coalesce(p.status, d.status) IN ('succeeded', 'returned')
    LIMIT $1)
"""
# The next look is at the end of the hold, if that comes sooner: then there is something to do.
_DUE = """
WITH due AS (
    SELECT payment_id FROM intents WHERE look_at <= clock_timestamp() AND provider = $1
    ORDER BY look_at LIMIT $2 FOR UPDATE SKIP LOCKED
), known AS (
    SELECT i.payment_id,
        coalesce(o.expires_at, b.expires_at) AS ends_at,
        coalesce(o.status <> 'PENDING' OR o.expires_at <= clock_timestamp(),
            b.status <> 'REQUESTED', false) OR p.status = 'declined' OR d.status = 'declined'
            AS over,
        clock_timestamp() + make_interval(secs => least(3600, 5 * power(2, least(looks, 12))))
            AS backed_off
    FROM due JOIN intents i USING (payment_id)
    LEFT JOIN orders o ON o.order_id = i.paid_for
    LEFT JOIN payments p ON p.payment_id = i.payment_id
    LEFT JOIN bookings b ON b.booking_id = i.paid_for
    LEFT JOIN deposits d ON d.payment_id = i.payment_id
)
UPDATE intents i SET looks = looks + 1, look_at = CASE
    WHEN asked_at < clock_timestamp() - $3::interval THEN NULL
    WHEN k.ends_at > clock_timestamp() THEN least(k.ends_at + interval '1 second', backed_off)
    ELSE backed_off END
FROM known k
WHERE i.payment_id = k.payment_id
RETURNING i.payment_id, paid_for, amount_minor, currency, reference, coalesce(k.over, false)
"""


class Intents:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._opening = Together(pool, "intents", _open)

    async def open(self, provider: str, asked: Asked) -> Asked:
        """Write down what is about to be asked, unless it is known; as it is known."""
        known = await self._opening.ask(asked.payment_id, (provider, asked))
        assert known is not None
        return known

    async def refer(self, payment_id: str, reference: str) -> None:
        """The provider has told its own name for it."""
        async with reading(self._pool) as connection:
            await connection.execute(
                "UPDATE intents SET reference = $2 WHERE payment_id = $1", payment_id, reference
            )

    async def due(self, provider: str, limit: int) -> list[DueLook]:
        """Each is given to one who asks, and again later, further and further apart."""
        async with reading(self._pool) as connection:
            await connection.execute(_HEARD, 10 * limit)
            rows = await connection.fetch(_DUE, provider, limit, FORGOTTEN_AFTER)
        return [DueLook(Asked(*asked), over) for *asked, over in rows]

    async def close(self, payment_id: str) -> None:
        """There is nothing more to hear of it."""
        async with reading(self._pool) as connection:
            await connection.execute(
                "UPDATE intents SET look_at = NULL WHERE payment_id = $1", payment_id
            )

    async def overdue(self) -> int:
        """Payments of which nothing is known an hour after they were asked for."""
        async with reading(self._pool) as connection:
            count: int = await connection.fetchval(
                "SELECT count(*) FROM intents"
                " WHERE look_at IS NOT NULL AND asked_at < clock_timestamp() - interval '1 hour'"
            )
        return count


async def _open(connection: Connection, many: list[tuple[str, Asked]]) -> dict[str, Asked]:
    rows = await connection.fetch(
        _OPEN,
        [asked.payment_id for _, asked in many],
        [provider for provider, _ in many],
        [asked.paid_for for _, asked in many],
        [asked.amount_minor for _, asked in many],
        [asked.currency for _, asked in many],
    )
    return {known.payment_id: known for known in (Asked(*row) for row in rows)}
