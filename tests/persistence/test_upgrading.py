"""What is in a database when it is brought from one version of the schema to the next."""

import asyncpg

from persistence.migrations import migrate
from tests.persistence.databases import empty_database

_TICKETS = """
INSERT INTO tickets (order_id, number, event_id, tier_id, token_digest, status, issued_at,
                     checked_in_at, admitted_seq)
SELECT 'ord', number, 'evt', 'tier', ''::bytea, status, now(), at, seq
FROM unnest($1::int[], $2::text[], $3::timestamptz[], $4::bigint[])
    AS t (number, status, at, seq)
"""
_VISIT = """
INSERT INTO checkins (event_id, seq, device_id, nonce, token_digest, order_id, number, result,
                      decided_at, visit)
VALUES ('evt', 9, 'gate', 'n', '', 'ord', 4, 'ADMIT', now(), true)
"""


async def test_tickets_stand_at_the_doors_as_before_and_no_device_is_told_anew(
    postgres_dsn: str,
) -> None:
    async with empty_database(postgres_dsn) as dsn:
        connection = await asyncpg.connect(dsn)
        await migrate(connection, newest=20)
        at = await connection.fetchval("SELECT now()")
        unused, is_in, is_out = ("VALID", None, None), ("USED", at, 7), ("USED", None, None)
        refunded_inside, refunded_outside = ("CANCELLED", at, 8), ("CANCELLED", None, None)
        tickets = [unused, is_in, is_out, refunded_inside, refunded_outside]
        columns = map(list, zip(*tickets, strict=True))
        await connection.execute(_TICKETS, list(range(len(tickets))), *columns)
        await connection.execute(_VISIT)
        told = await connection.fetchval("SELECT count(*) FROM token_changes")
        await migrate(connection)
        standings = await connection.fetch(
            "SELECT status, checked_in_at, admitted_seq FROM ticket_standings ORDER BY number"
        )
        assert [tuple(row) for row in standings] == tickets
        admitted = await connection.fetch("SELECT number FROM admissions ORDER BY number")
        assert [row["number"] for row in admitted] == [1, 2, 3, 4]
        assert await connection.fetchval("SELECT count(*) FROM token_changes") == told
        await connection.close()
