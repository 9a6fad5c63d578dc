"""What the projector writes: new rows by COPY, and a statement for each kind of change.

In the order of execution: rows exist before anything is said of them.
"""

from persistence import transfers
from persistence.waitlists import WRITE as WRITE_WAITLIST

# The columns of new rows, by table.
COPIED: dict[str, tuple[str, ...]] = {
    "orders": (
        *("order_id", "event_id", "buyer_id", "status", "currency", "total_minor"),
        *("placed_at", "expires_at", "sealed", "promo_id", "promo_code"),
    ),
    "order_items": (
        *("order_id", "position", "tier_id", "quantity", "unit_price_minor", "discount_minor"),
    ),
    "payments": (
        *("payment_id", "order_id", "event_id", "method", "amount_minor", "status", "seq"),
    ),
    "tickets": (
        *("order_id", "number", "event_id", "tier_id", "token_digest", "status", "issued_at"),
    ),
    "checkins": (
        *("event_id", "seq", "device_id", "nonce", "token_digest", "order_id", "number"),
        *("tier_id", "gate", "result", "reason", "override_reason", "scanned_at", "decided_at"),
        *("outcome", "told", "corrected_at", "contested", "leaving", "visit"),
    ),
    "token_changes": ("event_id", "token_digest", "tier_id", "status"),
}

# Changes, whose columns come as arrays.
STATEMENTS: dict[str, str] = {
    "quantities": """
        INSERT INTO tier_counters (tier_id, event_id, quantity, held, sold)
        SELECT DISTINCT ON (tier_id) tier_id, event_id, quantity, 0, 0
        FROM unnest($1::text[], $2::text[], $3::bigint[])
            WITH ORDINALITY AS t (tier_id, event_id, quantity, n)
        ORDER BY tier_id, n DESC
        ON CONFLICT (tier_id) DO UPDATE SET quantity = excluded.quantity
        """,
    "paid": """
        UPDATE payments SET status = t.status, taken_at = t.taken_at,
            taken_minor = CASE WHEN t.taken_at IS NULL THEN 0
                ELSE coalesce(t.taken, amount_minor) END
        FROM (SELECT DISTINCT ON (payment_id) payment_id, status, taken, taken_at
              FROM unnest($1::text[], $2::text[], $3::bigint[], $4::timestamptz[])
                  WITH ORDINALITY AS u (payment_id, status, taken, taken_at, n)
              ORDER BY payment_id, n DESC) t
        WHERE payments.payment_id = t.payment_id
        """,
    "admitted": """
        INSERT INTO admissions (order_id, number, checked_in_at, admitted_seq)
        SELECT * FROM unnest($1::text[], $2::int[], $3::timestamptz[], $4::bigint[])
        ON CONFLICT (order_id, number) DO UPDATE
        SET checked_in_at = excluded.checked_in_at, admitted_seq = excluded.admitted_seq
        """,
    "not_admitted": """
        DELETE FROM admissions USING unnest($1::text[], $2::int[]) AS t (order_id, number)
        WHERE admissions.order_id = t.order_id AND admissions.number = t.number
        """,
    "tokens": """
        UPDATE tickets SET token_digest = t.digest
        FROM (SELECT DISTINCT ON (order_id, number) order_id, number, digest
              FROM unnest($1::text[], $2::int[], $3::bytea[])
                  WITH ORDINALITY AS u (order_id, number, digest, n)
              ORDER BY order_id, number, n DESC) t
        WHERE tickets.order_id = t.order_id AND tickets.number = t.number
        """,
    "named": """
        UPDATE tickets SET sealed = t.sealed
        FROM (SELECT DISTINCT ON (order_id, number) order_id, number, sealed
              FROM unnest($1::text[], $2::int[], $3::bytea[])
                  WITH ORDINALITY AS u (order_id, number, sealed, n)
              ORDER BY order_id, number, n DESC) t
        WHERE tickets.order_id = t.order_id AND tickets.number = t.number
        """,
    "status": """
        UPDATE orders SET status = t.status, cancel_reason = t.reason, confirmed_at = t.confirmed
        FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[])
            AS t (order_id, status, reason, confirmed)
        WHERE orders.order_id = t.order_id
        """,
    **transfers.STATEMENTS,
    "dead": """
        UPDATE tickets SET status = 'CANCELLED'
        FROM unnest($1::text[], $2::int[]) AS t (order_id, number)
        WHERE tickets.order_id = t.order_id AND tickets.number = t.number
        """,
    "refunds": """
        INSERT INTO refunds (refund_id, order_id, event_id, payment_id, amount_minor, status, seq,
                             owed_at)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[],
                             $6::text[], $7::bigint[], $8::timestamptz[])
        """,
    "settled": """
        UPDATE refunds SET status = t.status, settled_at = t.settled, attempt = attempt + t.retried
        FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::int[])
            AS t (refund_id, status, settled, retried)
        WHERE refunds.refund_id = t.refund_id
        """,
    "refunded": """
        UPDATE orders SET refunded_minor = refunded_minor + t.amount,
            status = CASE WHEN EXISTS (
                SELECT 1 FROM tickets
                WHERE tickets.order_id = orders.order_id
                  AND tickets.status NOT IN ('CANCELLED', 'TRANSFERRED')
            ) THEN orders.status ELSE 'REFUNDED' END
        FROM unnest($1::text[], $2::bigint[]) AS t (order_id, amount)
        WHERE orders.order_id = t.order_id
        """,
    "displaced": """
        UPDATE checkins SET displaced = true
        FROM unnest($1::text[], $2::text[], $3::text[]) AS t (event_id, device_id, nonce)
        WHERE checkins.event_id = t.event_id AND checkins.device_id = t.device_id
          AND checkins.nonce = t.nonce
        """,
    "settled_scans": """
        UPDATE checkins SET displaced = result = 'ADMIT' AND NOT t.stands,
            resolved = result = 'ALREADY_ADMITTED' AND t.stands
        FROM unnest($1::text[], $2::text[], $3::text[], $4::boolean[])
            AS t (event_id, device_id, nonce, stands)
        WHERE checkins.event_id = t.event_id AND checkins.device_id = t.device_id
          AND checkins.nonce = t.nonce
        """,
    "settled_admissions": """
        UPDATE admissions SET admitted_seq = c.seq
        FROM unnest($1::text[], $2::int[], $3::text[], $4::text[], $5::text[])
            AS t (order_id, number, event_id, device_id, nonce)
            JOIN checkins c USING (event_id, device_id, nonce)
        WHERE admissions.order_id = t.order_id AND admissions.number = t.number
        """,
    "untold": """
        INSERT INTO token_changes (event_id, token_digest, tier_id, status)
        SELECT s.event_id, s.token_digest, s.tier_id, s.worth
        FROM unnest($1::text[], $2::int[]) AS t (order_id, number)
            JOIN ticket_standings s USING (order_id, number)
        WHERE s.status IN ('VALID', 'USED')
        """,
    "undone": """
        UPDATE checkins SET undone_at = t.at, undone_by = t.by
        FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[])
            AS t (event_id, device_id, nonce, at, by)
        WHERE checkins.event_id = t.event_id AND checkins.device_id = t.device_id
          AND checkins.nonce = t.nonce
        """,
    "waitlist": WRITE_WAITLIST,
    "counters": """
        UPDATE tier_counters c SET held = c.held + t.held, sold = c.sold + t.sold
        FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])
            AS t (event_id, tier_id, held, sold)
        WHERE c.tier_id = t.tier_id
        """,
    "reached": """
        INSERT INTO sale_offsets (sale_id, seq) SELECT * FROM unnest($1::text[], $2::bigint[])
        ON CONFLICT (sale_id) DO UPDATE SET seq = excluded.seq
        """,
    "trending": """
        INSERT INTO trending_hours AS h (hour, event_id, tickets, change)
        SELECT hour, event_id, tickets, nextval('trending_change')
        FROM unnest($1::timestamptz[], $2::text[], $3::bigint[]) AS t (hour, event_id, tickets)
        ON CONFLICT (hour, event_id) DO UPDATE
        SET tickets = h.tickets + excluded.tickets, change = excluded.change
        """,
}
