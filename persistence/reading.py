"""What is read from the projected tables, for lists and look-ups that no actor is asked for."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from engine import ids
from engine.catalogue import to_ms
from engine.order import OrderStatus
from engine.projection import (
    AttendeeRow,
    CheckInRow,
    ConflictRow,
    EntryRow,
    OrderOnFile,
    OrderRow,
)
from engine.purchase import (
    ArchivedOrder,
    CancelReason,
    Item,
    Payment,
    PaymentStatus,
    PromoUsed,
    Refund,
    RefundStatus,
)
from persistence import waitlists
from persistence.elsewhere import Elsewhere
from persistence.statements import clean
from persistence.transactions import reading

_REACHED = "SELECT seq FROM sale_offsets WHERE sale_id = $1"
_ORDER = """
SELECT buyer_id, status, cancel_reason, currency, placed_at, expires_at, sealed, promo_id,
    promo_code
FROM orders WHERE order_id = $1
"""
_ITEMS = """
SELECT tier_id, quantity, unit_price_minor, discount_minor FROM order_items
WHERE order_id = $1 ORDER BY position
"""
_PAYMENTS = """
SELECT payment_id, method, amount_minor, status FROM payments
WHERE payment_id >= $1 AND payment_id < $2 ORDER BY seq
"""
_REFUNDS = """
SELECT refund_id, payment_id, amount_minor, status FROM refunds WHERE order_id = $1 ORDER BY seq
"""
# A device that has let the same ticket in twice does not disagree with itself: its first counts.
_DISAGREES = """(c.outcome = 'conflict' OR c.contested OR c.displaced)
    AND c.outcome <> 'duplicate' AND c.undone_at IS NULL"""
_CONFLICTS = f"""
SELECT c.seq, c.device_id, c.nonce, c.order_id, c.number, c.tier_id, c.gate, c.contested,
    c.scanned_at, c.corrected_at, c.decided_at, a.device_id, a.nonce, a.gate, t.checked_in_at
FROM checkins c JOIN ticket_standings t USING (order_id, number)
    LEFT JOIN checkins a ON a.event_id = c.event_id AND a.seq = t.admitted_seq
WHERE c.event_id = $1 AND c.seq > $2 AND {_DISAGREES} AND NOT c.visit
  AND (c.contested OR a.device_id IS NULL OR a.device_id <> c.device_id)
  AND NOT EXISTS (
    SELECT FROM checkins first
    WHERE (first.event_id, first.order_id, first.number, first.device_id)
        = (c.event_id, c.order_id, c.number, c.device_id)
      AND (first.corrected_at, first.seq) < (c.corrected_at, c.seq)
      AND {_DISAGREES.replace("c.", "first.")})
"""
# Where one may come back, the same of each stay: two scans are of one if no exit is between them.
_AT = "CASE WHEN {0}.told IS NULL THEN {0}.decided_at ELSE {0}.corrected_at END"
_PLACE = f"({_AT}, {{0}}.seq)"
_SAME_TICKET = "({0}.event_id, {0}.order_id, {0}.number) = (c.event_id, c.order_id, c.number)"
_STANDS = "(({0}.result = 'ADMIT' AND NOT {0}.displaced) OR {0}.resolved)"


def _one_stay(scan: str) -> str:
    first, then, between = (_PLACE.format(name) for name in (scan, "c", "e"))
    return f"""NOT EXISTS (
        SELECT FROM checkins e WHERE e.visit AND e.leaving AND {_SAME_TICKET.format("e")}
          AND (({between} > {first} AND {between} < {then})
            OR ({between} > {then} AND {between} < {first})))"""


_LET_IN = "{0}.visit AND {0}.told = 'ADMIT' AND NOT {0}.leaving AND {0}.undone_at IS NULL"
_CONFLICTS_OF_STAYS = f"""
SELECT c.seq, c.device_id, c.nonce, c.order_id, c.number, c.tier_id, c.gate, c.contested,
    c.scanned_at, c.corrected_at, c.decided_at, a.device_id, a.nonce, a.gate, a.at
FROM checkins c LEFT JOIN LATERAL (
    SELECT a.device_id, a.nonce, a.gate, {_AT.format("a")} AS at
    FROM checkins a
    WHERE a.visit AND NOT a.leaving AND {_SAME_TICKET.format("a")} AND a.undone_at IS NULL
      AND {_STANDS.format("a")} AND {_one_stay("a")}
    LIMIT 1) a ON true
WHERE c.event_id = $1 AND c.seq > $2 AND {_LET_IN.format("c")}
  AND (c.contested OR NOT {_STANDS.format("c")})
  AND (c.contested OR a.device_id IS NULL OR a.device_id <> c.device_id)
  AND NOT EXISTS (
    SELECT FROM checkins first
    WHERE {_SAME_TICKET.format("first")} AND first.device_id = c.device_id
      AND {_LET_IN.format("first")} AND (first.contested OR NOT {_STANDS.format("first")})
      AND {_PLACE.format("first")} < {_PLACE.format("c")} AND {_one_stay("first")})
"""
_ALL_CONFLICTS = f"{_CONFLICTS} UNION ALL {_CONFLICTS_OF_STAYS} ORDER BY seq LIMIT $3"


class Projections:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._elsewhere = Elsewhere(pool)

    async def lag(self) -> int:
        """How many batches of the journal the projector has not read yet."""
        async with reading(self._pool) as connection:
            batches: int = await connection.fetchval(
                "SELECT coalesce(sum(s.last_seq - coalesce(o.seq, 0)), 0)::bigint"
                " FROM shards s LEFT JOIN projection_offsets o USING (shard_id)"
            )
        return batches

    async def token_elsewhere(self, token_digest: bytes, event_id: str) -> bool:
        """Whether another event has issued this token."""
        return await self._elsewhere.has(token_digest, event_id)

    async def personal_keys(self, order_ids: Sequence[str]) -> dict[bytes, bytes]:
        """Key by key id, of the personal data of these orders."""
        async with reading(self._pool) as connection:
            rows = await connection.fetch(
                "SELECT key_id, key FROM personal_keys WHERE order_id = ANY($1)", list(order_ids)
            )
        return {row["key_id"]: row["key"] for row in rows}

    async def orders(self, event_id: str, after: str, limit: int) -> list[OrderRow]:
        """Orders of an event by id, from the one after `after`."""
        async with reading(self._pool) as connection:
            rows = await connection.fetch(
                "SELECT order_id, event_id, buyer_id, status, cancel_reason, currency, total_minor,"
                " refunded_minor, placed_at, expires_at, confirmed_at, promo_code FROM orders"
                " WHERE order_id >= $1 AND order_id < $2 AND order_id > $3"
                " ORDER BY order_id LIMIT $4",
                *ids.range_of("ord_", event_id),
                after,
                limit,
            )
        return [OrderRow(*row) for row in rows]

    async def order_on_file(self, order_id: str) -> OrderOnFile:
        """An order that its sale does not have in memory.

        How far the tables have come is read first: what is read after it is not older.
        """
        async with reading(self._pool) as connection:
            seq = await connection.fetchval(_REACHED, ids.event_of_order(order_id))
            row = await connection.fetchrow(_ORDER, order_id)
            if row is None or row["status"] != OrderStatus.CANCELLED:
                return OrderOnFile(seq or 0, row is not None, None)
            lines = await connection.fetch(_ITEMS, order_id)
            payments = await connection.fetch(_PAYMENTS, *ids.range_of("pay_", order_id))
            refunds = await connection.fetch(_REFUNDS, order_id)
        found = ArchivedOrder(
            order_id,
            row["buyer_id"],
            tuple(Item(*line) for line in lines),
            row["currency"],
            to_ms(row["placed_at"]),
            to_ms(row["expires_at"]),
            row["sealed"],
            CancelReason(row["cancel_reason"]),
            tuple(Payment(p, method, n, PaymentStatus(s)) for p, method, n, s in payments),
            tuple(Refund(r, p, n, RefundStatus(status)) for r, p, n, status in refunds),
            PromoUsed(row["promo_id"], row["promo_code"]) if row["promo_id"] else None,
        )
        return OrderOnFile(seq or 0, True, found)

    async def waitlist_entry(self, entry_id: str) -> EntryRow | None:
        async with reading(self._pool) as connection:
            return await waitlists.find(connection, entry_id)

    async def check_ins(
        self, event_id: str, since: datetime | None, after_seq: int, limit: int
    ) -> list[CheckInRow]:
        """Scans of an event in the order they were decided."""
        async with reading(self._pool) as connection:
            rows = await connection.fetch(
                "SELECT seq, device_id, nonce, order_id, number, tier_id, gate, result, reason,"
                " override_reason, scanned_at, decided_at, undone_at, undone_by, outcome, told,"
                " corrected_at, leaving FROM checkins"
                " WHERE event_id = $1 AND seq > $2"
                " AND ($3::timestamptz IS NULL OR decided_at >= $3)"
                " ORDER BY seq LIMIT $4",
                event_id,
                after_seq,
                since,
                limit,
            )
        return [CheckInRow(*row) for row in rows]

    async def reached(self, event_id: str) -> int:
        """The latest fact of the sale that the tables have."""
        async with reading(self._pool) as connection:
            return await connection.fetchval(_REACHED, event_id) or 0

    async def conflicts(self, event_id: str, after_seq: int, limit: int) -> list[ConflictRow]:
        """Where devices disagree, in the order of what was heard of."""
        async with reading(self._pool) as connection:
            rows = await connection.fetch(_ALL_CONFLICTS, event_id, after_seq, limit)
        return [ConflictRow(*row) for row in rows]

    async def attendees(
        self, event_id: str, after: tuple[str, int], limit: int
    ) -> list[AttendeeRow]:
        """Tickets of an event by order and number, from the one after `after`."""
        async with reading(self._pool) as connection:
            rows = await connection.fetch(
                "SELECT t.order_id, t.number, o.buyer_id, t.tier_id, coalesce(r.name, ''),"
                " t.status, t.issued_at, t.checked_in_at, o.sealed, t.sealed"
                " FROM ticket_standings t JOIN orders o USING (order_id)"
                " LEFT JOIN tiers r USING (tier_id)"
                " WHERE t.order_id >= $1 AND t.order_id < $2 AND (t.order_id, t.number) > ($3, $4)"
                " ORDER BY t.order_id, t.number LIMIT $5",
                *ids.range_of("ord_", event_id),
                clean(after[0]),
                after[1],
                limit,
            )
        return [AttendeeRow(*row) for row in rows]
