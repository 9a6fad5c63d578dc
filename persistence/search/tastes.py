"""What a buyer likes: the categories of the events it was checked in to, the longer ago the less.

Read from the tickets that the projector marks as used, so nothing but a check-in counts.
"""

from collections import defaultdict
from datetime import datetime

import asyncpg

from engine.catalogue import Category
from engine.ranking import TASTE_HALVED_DAYS
from persistence.transactions import reading

ORDERS_MAX = 200  # the newest
DAY_S = 86_400

_ATTENDED = """
SELECT events.category, max(checked_in_at) AS at
FROM (
    SELECT order_id, event_id FROM orders WHERE buyer_id = $1 AND status = 'CONFIRMED'
    ORDER BY placed_at DESC LIMIT $3
) AS bought
JOIN ticket_standings AS ticket USING (order_id)
JOIN events ON events.event_id = bought.event_id
WHERE ticket.status = 'USED' AND ticket.checked_in_at <= $2
GROUP BY events.event_id, events.category
"""


class AttendedTastes:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def of(self, buyer_id: str, as_of: datetime) -> tuple[tuple[Category, float], ...]:
        """How a buyer likes each category, above 0 to 1, by what it had attended then."""
        async with reading(self._pool) as connection:
            rows = await connection.fetch(_ATTENDED, buyer_id, as_of, ORDERS_MAX)
        liking: defaultdict[Category, float] = defaultdict(float)
        for row in rows:
            days = (as_of - row["at"]).total_seconds() / DAY_S
            liking[Category(row["category"])] += 0.5 ** (days / TASTE_HALVED_DAYS)
        return tuple((category, min(1.0, liking[category])) for category in sorted(liking))
