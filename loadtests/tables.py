"""What the projected tables must hold by the replayed sales, and what they do hold.

Each function answers two maps of the same shape, the wanted one and the found one, from a row's
key to its content.
"""

from collections.abc import Mapping
from typing import Any

import asyncpg

from engine.catalogue import to_ms
from engine.ticket import token_digest
from loadtests.ledger import Ledger

Rows = Mapping[Any, tuple[Any, ...]]

_ORDERS = """
SELECT order_id, event_id, buyer_id, status, cancel_reason, currency, total_minor, refunded_minor,
    placed_at, expires_at
FROM orders
"""
_ITEMS = "SELECT order_id, position, tier_id, quantity, unit_price_minor FROM order_items"
_TICKETS = "SELECT order_id, number, event_id, tier_id, token_digest, status FROM ticket_standings"
_CHECK_INS = """
SELECT event_id, device_id, nonce, token_digest, order_id, number, result, reason,
    undone_at IS NOT NULL AS undone
FROM checkins
"""
_COUNTERS = "SELECT tier_id, event_id, quantity, held, sold FROM tier_counters"


async def orders(connection: asyncpg.Connection, found: Ledger) -> tuple[Rows, Rows]:
    wanted = {
        order.order_id: (
            sale_id,
            order.buyer_id,
            order.status,
            order.cancel_reason,
            order.currency,
            order.total_minor,
            sum(r.amount_minor for r in order.refunds if r.payment_id == order.paid_by),
            order.placed_at_ms,
            order.expires_at_ms,
        )
        for sale_id, order in found.orders()
    }
    rows = await connection.fetch(_ORDERS)
    return wanted, {row[0]: (*row[1:8], to_ms(row[8]), to_ms(row[9])) for row in rows}


async def items(connection: asyncpg.Connection, found: Ledger) -> tuple[Rows, Rows]:
    wanted = {
        (order.order_id, position): (item.tier_id, item.quantity, item.unit_price_minor)
        for _, order in found.orders()
        for position, item in enumerate(order.items)
    }
    return wanted, {tuple(row[:2]): tuple(row[2:]) for row in await connection.fetch(_ITEMS)}


async def tickets(connection: asyncpg.Connection, found: Ledger) -> tuple[Rows, Rows]:
    wanted = {
        (order.order_id, ticket.number): (
            sale_id,
            order.item(ticket).tier_id,
            token_digest(ticket.token),
            ticket.status,
        )
        for sale_id, order in found.orders()
        for ticket in order.tickets
    }
    return wanted, {tuple(row[:2]): tuple(row[2:]) for row in await connection.fetch(_TICKETS)}


async def check_ins(connection: asyncpg.Connection, found: Ledger) -> tuple[Rows, Rows]:
    wanted = {
        (sale_id, scan.fact.device_id, scan.fact.nonce): (
            scan.fact.token_digest,
            scan.fact.order_id,
            scan.fact.number,
            scan.fact.result,
            scan.fact.reason,
            scan.undone_at_ms is not None,
        )
        for sale_id, state in found.state_by_sale.items()
        for scan in state.scan_by_key.values()
    }
    return wanted, {tuple(row[:3]): tuple(row[3:]) for row in await connection.fetch(_CHECK_INS)}


async def counters(connection: asyncpg.Connection, found: Ledger) -> tuple[Rows, Rows]:
    wanted = {
        tier_id: (sale_id, tier.terms.quantity, tier.held, tier.sold)
        for sale_id, state in found.state_by_sale.items()
        for tier_id, tier in state.header.tiers.items()
    }
    return wanted, {row[0]: tuple(row[1:]) for row in await connection.fetch(_COUNTERS)}
