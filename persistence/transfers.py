"""Tickets that were given to another: what the projector must know of them, and writes."""

from collections.abc import Iterable

import asyncpg

from engine import facts as f

_RECEIVED = """
SELECT order_id, number, tier_id FROM tickets
WHERE order_id = ANY($1) AND transferred_from IS NOT NULL
"""

# In the order of execution.
STATEMENTS: dict[str, str] = {
    "received": """
        UPDATE tickets SET transferred_from = t.origin, holder_id = t.holder
        FROM unnest($1::text[], $2::int[], $3::int[], $4::text[])
            AS t (order_id, number, origin, holder)
        WHERE tickets.order_id = t.order_id AND tickets.number = t.number
        """,
    "transferred": """
        UPDATE tickets SET status = 'TRANSFERRED'
        FROM unnest($1::text[], $2::int[]) AS t (order_id, number)
        WHERE tickets.order_id = t.order_id AND tickets.number = t.number
        """,
}


async def received(
    connection: asyncpg.Connection, entries: Iterable[f.Entry]
) -> dict[tuple[str, int], str]:
    """The tier of each ticket that came by transfer, of the orders that are refunded."""
    refunded = {e.fact.order_id for e in entries if isinstance(e.fact, f.OrderRefunded)}
    rows = await connection.fetch(_RECEIVED, list(refunded)) if refunded else []
    return {(order_id, number): tier_id for order_id, number, tier_id in rows}
