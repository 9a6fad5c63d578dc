"""What was taken, given back and kept, a day and a provider a row; from the tables.

`stampede fsck` holds the tables that this adds up against the journal, fact by fact, and the
journal against the sandbox's own ledger.
"""

from datetime import date

import asyncpg

from engine.projection import SettlementRow
from persistence.transactions import Connection, reading

# Ids carry their event, so an event's are a range of each primary key: see `projected.Table`.
_PAID = "p.payment_id >= $1 AND p.payment_id < $2"
_BACK = "r.refund_id >= 'ref_' || substr($1, 5) AND r.refund_id < 'ref_' || substr($2, 5)"
_MOVES = f"""
SELECT p.taken_at AS at, p.payment_id, p.order_id, p.taken_minor AS taken,
    CASE WHEN p.status = 'returned' THEN p.taken_minor ELSE 0 END AS returned,
    0 AS refunded, 0 AS sent_back
FROM payments p WHERE p.taken_at IS NOT NULL AND {_PAID}
UNION ALL
SELECT r.owed_at, r.payment_id, r.order_id, 0, 0, r.amount_minor, 0
FROM refunds r JOIN payments p USING (payment_id) WHERE p.status = 'succeeded' AND {_BACK}
UNION ALL
SELECT r.settled_at, r.payment_id, r.order_id, 0, 0, 0, r.amount_minor
FROM refunds r WHERE r.status = 'done' AND r.settled_at IS NOT NULL AND {_BACK}
"""
# A payment whose intent is not known was asked for before intents were written down.
_SUMS = f"""
SELECT (m.at AT TIME ZONE 'UTC')::date, coalesce(i.provider, 'unknown'), o.currency,
    sum(taken)::bigint, sum(returned)::bigint, sum(refunded)::bigint, sum(sent_back)::bigint
FROM ({_MOVES}) AS m JOIN orders o USING (order_id) LEFT JOIN intents i USING (payment_id)
WHERE $3::date IS NULL OR (m.at AT TIME ZONE 'UTC')::date = $3
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""


class Settlements:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def of_event(self, event_id: str) -> list[SettlementRow]:
        async with reading(self._pool) as connection:
            return await settlement(connection, event_id, None)


async def settlement(
    connection: Connection, event_id: str | None, day: date | None
) -> list[SettlementRow]:
    """By day, provider and currency. None: of all events, of all days."""
    first = "pay_" + (event_id or "evt_").removeprefix("evt_")
    rows = await connection.fetch(_SUMS, first, first + "g", day)
    return [SettlementRow(*row) for row in rows]
