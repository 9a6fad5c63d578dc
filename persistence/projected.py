"""The projected tables as they are checked: what they hold of a sale, and what they must hold.

Ids carry their sale, so the rows of a sale are a range of each primary key.
"""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any, TypeAlias

import asyncpg
from msgspec import Struct

from engine import ids
from engine.catalogue import from_ms
from engine.purchase import Item
from persistence.recount import Order, Recount, Ticket
from persistence.recount_scans import Scan
from persistence.recount_waiting import Waiter

READ_ROWS = 1_000

Key: TypeAlias = tuple[Any, ...]
Rows: TypeAlias = dict[Key, tuple[Any, ...]]


class Table(Struct, frozen=True):
    """`prefix` begins the primary key's ids; None: the rows are found by `sale_column`."""

    name: str
    prefix: str | None
    key: tuple[str, ...]
    columns: tuple[str, ...]
    sale_column: str = "event_id"

    @property
    def of_sale(self) -> str:
        """A condition, which takes `bounds`."""
        return (
            f"{self.key[0]} >= $1 AND {self.key[0]} < $2"
            if self.prefix
            else f"{self.sale_column} = $1"
        )

    def bounds(self, sale_id: str) -> tuple[str, ...]:
        if self.prefix is None:
            return (sale_id,)
        return ids.range_of(self.prefix, sale_id)

    @property
    def sale(self) -> str:
        """An expression: the sale that a row's key belongs to."""
        return f"'evt_' || substr({self.key[0]}, 5, 16)" if self.prefix else self.sale_column


TABLES = (
    Table(
        "orders",
        "ord_",
        ("order_id",),
        (
            *("event_id", "buyer_id", "status", "cancel_reason", "currency", "total_minor"),
            *("refunded_minor", "placed_at", "expires_at", "confirmed_at", "sealed"),
            *("promo_id", "promo_code"),
        ),
    ),
    Table(
        "order_items",
        "ord_",
        ("order_id", "position"),
        ("tier_id", "quantity", "unit_price_minor", "discount_minor"),
    ),
    Table(
        "payments",
        "pay_",
        ("payment_id",),
        (
            *("order_id", "event_id", "method", "amount_minor", "status", "seq"),
            *("taken_minor", "taken_at"),
        ),
    ),
    Table(
        "refunds",
        "ref_",
        ("refund_id",),
        (
            *("order_id", "event_id", "payment_id", "amount_minor", "status", "seq"),
            *("owed_at", "settled_at", "attempt"),
        ),
    ),
    Table(
        "tickets",
        "ord_",
        ("order_id", "number"),
        (
            *("event_id", "tier_id", "token_digest", "status", "issued_at"),
            *("transferred_from", "holder_id"),
        ),
    ),
    Table("admissions", "ord_", ("order_id", "number"), ("checked_in_at", "admitted_seq")),
    Table(
        "checkins",
        None,
        ("event_id", "seq"),
        (
            *("device_id", "nonce", "token_digest", "order_id", "number", "tier_id", "gate"),
            *("result", "reason", "override_reason", "scanned_at", "decided_at"),
            *("undone_at", "undone_by", "outcome", "told", "corrected_at", "contested"),
            *("displaced", "leaving", "visit", "resolved"),
        ),
    ),
    Table(
        "waitlist",
        "wle_",
        ("entry_id",),
        (
            *("event_id", "tier_id", "buyer_id", "quantity", "status", "joined_at"),
            *("expires_at", "rest_entry_id", "order_id", "left_because", "ended_at"),
            *("origin_id", "sealed"),
        ),
    ),
    Table("tier_counters", None, ("tier_id",), ("event_id", "quantity", "held", "sold")),
    Table("sale_offsets", None, ("sale_id",), ("seq",), "sale_id"),
)


async def found(
    connection: asyncpg.Connection, table: Table, sale_id: str
) -> AsyncIterator[tuple[Key, tuple[Any, ...]]]:
    """The sale's rows, inside a transaction."""
    query = f"SELECT {', '.join((*table.key, *table.columns))} FROM {table.name}"
    rows = connection.cursor(
        f"{query} WHERE {table.of_sale}", *table.bounds(sale_id), prefetch=READ_ROWS
    )
    width = len(table.key)
    async for row in rows:
        values = tuple(row)
        yield values[:width], values[width:]


async def differences(
    connection: asyncpg.Connection, table: Table, sale_id: str, wanted: Mapping[Key, Any]
) -> tuple[int, list[str]]:
    """How many rows there are, and what is wrong with them. Inside a transaction."""
    missing = dict(wanted)
    wrong = []
    count = 0
    async for key, row in found(connection, table, sale_id):
        count += 1
        expected = missing.pop(key, None)
        if expected is None:
            wrong.append(f"the row {_named(key)} follows from no fact")
        elif expected != row:
            wrong.append(f"the row {_named(key)} has {_first_difference(table, row, expected)}")
    wrong += [f"the row {_named(key)} is missing" for key in missing]
    return count, wrong


def _named(key: Key) -> str:
    return " ".join(str(part) for part in key)


def _first_difference(table: Table, row: tuple[Any, ...], expected: tuple[Any, ...]) -> str:
    compared = zip(table.columns, row, expected, strict=True)
    name, is_, must = next((n, i, m) for n, i, m in compared if i != m)
    return f"{name} {_shown(is_)}, by the facts {_shown(must)}"


def _shown(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if isinstance(value, datetime) else str(value)


def expected(recount: Recount) -> dict[str, Rows]:
    """By table, what its rows must be."""
    sale_id, orders = recount.sale_id, recount.orders.items()
    return {
        "orders": {(order_id,): _order(sale_id, order) for order_id, order in orders},
        "order_items": {
            (order_id, position): _item(item)
            for order_id, order in orders
            for position, item in enumerate(order.placed.items)
        },
        "payments": {
            (payment_id,): (
                *(p.order_id, sale_id, p.method, p.amount_minor, p.status, p.seq),
                *(p.taken_minor, _instant(p.taken_at_ms)),
            )
            for payment_id, p in recount.payments.items()
        },
        "refunds": {
            (refund_id,): (
                *(r.order_id, sale_id, r.payment_id, r.amount_minor, r.status, r.seq),
                *(from_ms(r.owed_at_ms), _instant(r.settled_at_ms), r.attempt),
            )
            for refund_id, r in recount.refunds.items()
        },
        "tickets": {
            (order_id, number): _ticket(sale_id, ticket)
            for order_id, order in orders
            for number, ticket in enumerate(order.tickets)
        },
        "admissions": {
            (order_id, number): _admission(ticket)
            for order_id, order in orders
            for number, ticket in enumerate(order.tickets)
            if ticket.used
        },
        "checkins": {(sale_id, scan.seq): _scan(scan) for scan in recount.scans.values()},
        "waitlist": {
            (entry_id,): _waiter(sale_id, waiter)
            for entry_id, waiter in recount.waiters.by_id.items()
        },
        "tier_counters": {
            (tier_id,): (sale_id, places.quantity, places.held, places.sold)
            for tier_id, places in recount.tiers.items()
        },
        "sale_offsets": {(sale_id,): (recount.seq,)} if recount.seq else {},
    }


def _order(sale_id: str, order: Order) -> tuple[Any, ...]:
    placed = order.placed
    return (
        *(sale_id, placed.buyer_id, order.status, order.cancel_reason, placed.currency),
        *(order.total_minor, order.refunded_minor),
        *(from_ms(placed.placed_at_ms), from_ms(placed.expires_at_ms)),
        *(_instant(order.confirmed_at_ms), placed.sealed),
        *((promo.promo_id, promo.code) if (promo := placed.promo) is not None else (None, None)),
    )


def _item(item: Item) -> tuple[Any, ...]:
    return item.tier_id, item.quantity, item.unit_price_minor, item.discount_minor


def _ticket(sale_id: str, ticket: Ticket) -> tuple[Any, ...]:
    return (
        *(sale_id, ticket.tier_id, ticket.digest, ticket.status),
        *(from_ms(ticket.issued_at_ms), ticket.transferred_from, ticket.holder_id),
    )


def _admission(ticket: Ticket) -> tuple[Any, ...]:
    in_by = ticket.admitted_by
    return _instant(ticket.checked_in_at_ms), in_by.seq if in_by is not None else None


def _waiter(sale_id: str, waiter: Waiter) -> tuple[Any, ...]:
    return (
        *(sale_id, waiter.tier_id, waiter.buyer_id, waiter.quantity, waiter.status),
        *(from_ms(waiter.joined_at_ms), _instant(waiter.expires_at_ms), waiter.rest_entry_id),
        *(waiter.order_id, waiter.left_because, _instant(waiter.ended_at_ms)),
        *(waiter.origin_id, waiter.sealed),
    )


def _scan(scan: Scan) -> tuple[Any, ...]:
    fact, offline = scan.fact, scan.fact.offline
    undone_at_ms, undone_by = scan.undone or (None, None)
    return (
        *(fact.device_id, fact.nonce, fact.token_digest, fact.order_id, fact.number),
        *(fact.tier_id, fact.gate, fact.result, fact.reason, fact.override_reason),
        *(_instant(fact.scanned_at_ms), from_ms(scan.at_ms)),
        *(_instant(undone_at_ms), undone_by),
        *((offline.outcome, offline.told) if offline else (None, None)),
        _instant(offline.at_ms if offline else fact.corrected_at_ms),
        *(offline.contested if offline else False, scan.displaced),
        *(fact.leaving, fact.visit, scan.resolved),
    )


def _instant(ms: int | None) -> datetime | None:
    return from_ms(ms) if ms is not None else None
