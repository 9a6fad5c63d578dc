"""What every baseline keeps in Postgres: orders and their items, and what of it is found again."""

from collections.abc import Sequence
from typing import Protocol

import asyncpg
from msgspec import Struct

from benchmarks.baselines.edge import PRICE_MINOR, Placed

EVENT_ID, TIER_ID = "evt_00000000000000aa", "tier_floor"

# No foreign keys and no index beyond the keys: as quick as tables can be that can be read.
# Rows of a hot page need room to be updated in place.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS tiers (
    tier_id text PRIMARY KEY, price bigint NOT NULL, available int NOT NULL
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE TABLE IF NOT EXISTS orders (
    order_id text PRIMARY KEY, event_id text NOT NULL, buyer_id text, status text NOT NULL,
    total_amount bigint NOT NULL, currency text NOT NULL,
    created_at timestamptz NOT NULL, expires_at timestamptz NOT NULL
);
CREATE TABLE IF NOT EXISTS order_items (
    order_id text NOT NULL, item_id text PRIMARY KEY, tier_id text NOT NULL,
    quantity int NOT NULL, unit_price bigint NOT NULL, subtotal bigint NOT NULL
);
CREATE TABLE IF NOT EXISTS places (
    place_id bigint PRIMARY KEY, tier_id text NOT NULL, order_id text
) WITH (fillfactor = 50);
CREATE INDEX IF NOT EXISTS free_places ON places (tier_id, place_id) WHERE order_id IS NULL;
"""

INSERT_ORDER = """
    INSERT INTO orders VALUES ($1, $2, $3, $4, $5, $6, now(), now() + interval '15 minutes')
"""

_WRITE_BEHIND = """
WITH written AS (
    INSERT INTO orders
    SELECT *, now(), now() + interval '15 minutes'
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[])
    ON CONFLICT DO NOTHING
)
INSERT INTO order_items
SELECT * FROM unnest($7::text[], $8::text[], $9::text[], $10::int[], $11::bigint[], $12::bigint[])
ON CONFLICT DO NOTHING
"""


class Way(Protocol):
    async def place(self, order: Placed) -> bool:
        """Whether its places were there, and the order is kept."""


class Kept(Struct, frozen=True):
    """`left`: places not sold, as the stock has it."""

    order_ids: frozenset[str]
    places_sold: int
    left: int


async def open_books(connection: asyncpg.Connection, places: int, *, a_row_each: bool) -> None:
    """The tables, and a tier with so many places, a row for each where asked; once a database."""
    await connection.execute(_SCHEMA)
    if await connection.fetchval("SELECT count(*) FROM tiers"):
        return
    await connection.execute("INSERT INTO tiers VALUES ($1, $2, $3)", TIER_ID, PRICE_MINOR, places)
    if a_row_each:
        fill = "INSERT INTO places SELECT n, $1, NULL FROM generate_series(1, $2::bigint) AS n"
        await connection.execute(fill, TIER_ID, places)
    await connection.execute("VACUUM ANALYZE")


async def kept(connection: asyncpg.Connection, left: int) -> Kept:
    """All orders with all of their items; `left`: as the stock says."""
    rows = await connection.fetch("""
        SELECT order_id, sum(subtotal) = max(total_amount) AS whole, sum(quantity) AS places
        FROM orders JOIN order_items USING (order_id) GROUP BY order_id
    """)
    whole = frozenset(row["order_id"] for row in rows if row["whole"])
    return Kept(whole, sum(row["places"] for row in rows), left)


async def write_behind(connection: asyncpg.Connection, orders: Sequence[Placed]) -> None:
    """All or none, in one statement; those that are there already stay."""
    items = [(order.order_id, item) for order in orders for item in order.items]
    await connection.execute(
        _WRITE_BEHIND,
        [o.order_id for o in orders],
        [o.event_id for o in orders],
        [o.buyer_id for o in orders],
        [o.status for o in orders],
        [o.total_amount for o in orders],
        [o.currency for o in orders],
        [order_id for order_id, _ in items],
        [item.item_id for _, item in items],
        [item.tier_id for _, item in items],
        [item.quantity for _, item in items],
        [item.unit_price for _, item in items],
        [item.subtotal for _, item in items],
    )
