"""The mails that wait, and what became of the others.

One sender at a time uses it, on the connection that says so (`persistence/alone.py`): whoever has
lost that connection can't take another mail.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection

import asyncpg
import msgspec

from engine import ids
from engine.outgoing import DeadMail, Mail, MailDetail, MailKind
from persistence.alone import alone, first_of
from persistence.transactions import Connection, reading

LOCK = 7_308_052_005  # an arbitrary number that is the mail sender's
ORDERS_MAX = 500  # of a mailing, at once
PURGED_MAX = 1_000
_DEAD_COLUMNS = ", ".join(DeadMail.__struct_fields__)

# A mailing starts once the tables have all that was in the journal when it was first seen.
_JOURNAL = "SELECT shard_id, last_seq FROM shards"
_TABLES = "SELECT shard_id, seq FROM projection_offsets"
_MAILING = "SELECT mailing_id, kind, event_id, after_order_id FROM mailings ORDER BY mailing_id"
_HOLDERS = """
SELECT order_id FROM orders
WHERE order_id >= $1 AND order_id < $2 AND order_id > $3 AND status = 'CONFIRMED'
ORDER BY order_id LIMIT $4
"""
_WRITE_OUT = """
INSERT INTO mails (kind, subject, version, event_id, order_id, detail, lane)
SELECT $1, order_id, $2, $3, order_id, '{}', 1 FROM orders
WHERE order_id = ANY($4) AND (sealed IS NOT NULL OR EXISTS (
    SELECT FROM tickets WHERE tickets.order_id = orders.order_id AND tickets.sealed IS NOT NULL
))
ON CONFLICT (kind, subject, version) DO NOTHING
"""
_NEXT = """
SELECT mail_id, kind, subject, version, event_id, order_id, detail, delivered, attempts, created_at
FROM mails WHERE state = 'waiting' AND due_at <= now() AND mail_id <> ALL($1::bigint[])
    AND created_at > now() - interval '7 days'
ORDER BY lane, due_at LIMIT 1
"""
_END = "UPDATE mails SET state = $2, error = $3 WHERE mail_id = $1"
_AGAIN = """
UPDATE mails SET due_at = now() + $2 * interval '1 second', attempts = attempts + $3, error = $4
WHERE mail_id = $1
"""
_PURGE = """
DELETE FROM mails WHERE mail_id IN (
    SELECT mail_id FROM mails WHERE created_at < now() - interval '30 days' LIMIT $1
)
"""
_TOO_LATE = """
UPDATE mails SET state = 'dead', error = 'too late'
WHERE state = 'waiting' AND created_at < now() - interval '7 days'
"""


async def send_alone(dsn: str, work: Callable[["MailOutbox"], Awaitable[None]]) -> None:
    """For ever, one process at a time."""
    await alone(dsn, "mail", LOCK, lambda connection: first_of(work(MailOutbox(connection))))


class MailOutbox:
    """Its methods may be called at the same time: they take turns on the connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._turn = asyncio.Lock()
        self._wanted: dict[int, dict[int, int]] = {}  # by mailing: batch by shard

    async def next(self, not_these: Collection[int]) -> Mail | None:
        """What is due, the single mails before the mass."""
        async with self._turn:
            row = await self._connection.fetchrow(_NEXT, list(not_these))
        if row is None:
            return None
        found = dict(row)
        detail = msgspec.json.decode(found.pop("detail"), type=MailDetail)
        return Mail(**{**found, "kind": MailKind(found["kind"])}, detail=detail)

    async def taken(self, mail_id: int, delivered: int) -> None:
        """So many of its messages are with the mail server."""
        async with self._turn:
            await self._connection.execute(
                "UPDATE mails SET delivered = $2 WHERE mail_id = $1", mail_id, delivered
            )

    async def sent(self, mail_id: int) -> None:
        await self._end(mail_id, "sent", None)

    async def nobody(self, mail_id: int) -> None:
        """There is no address, or its key has been erased."""
        await self._end(mail_id, "nobody", None)

    async def dead(self, mail_id: int, error: str) -> None:
        await self._end(mail_id, "dead", error)

    async def again(self, mail_id: int, after_s: float, error: str, *, counts: bool) -> None:
        """`counts`: as one of its attempts."""
        async with self._turn:
            await self._connection.execute(_AGAIN, mail_id, after_s, int(counts), error)

    async def _end(self, mail_id: int, state: str, error: str | None) -> None:
        async with self._turn:
            await self._connection.execute(_END, mail_id, state, error)

    async def tidy(self) -> None:
        async with self._turn:
            await self._connection.execute(_TOO_LATE)
            await self._connection.execute(_PURGE, PURGED_MAX)

    async def write_out(self) -> int:
        """A piece of the mailings that can be written out; how many orders."""
        async with self._turn:
            mailings = await self._connection.fetch(_MAILING)
            self._wanted = {row[0]: self._wanted.get(row[0], {}) for row in mailings}
            return sum([await self._piece(*row) for row in mailings if await self._ready(row[0])])

    async def _ready(self, mailing_id: int) -> bool:
        if not self._wanted[mailing_id]:
            self._wanted[mailing_id] = await self._batches(_JOURNAL)
        reached = await self._batches(_TABLES)
        wanted = self._wanted[mailing_id]
        return all(reached.get(shard_id, 0) >= seq for shard_id, seq in wanted.items())

    async def _batches(self, statement: str) -> dict[int, int]:
        return dict([tuple(row) for row in await self._connection.fetch(statement)])

    async def _piece(self, mailing_id: int, kind: str, event_id: str, after: str) -> int:
        # An event ends once; it may be moved again.
        version = 0 if kind == MailKind.EVENT_COMPLETED else mailing_id
        async with self._connection.transaction():
            rows = await self._connection.fetch(
                _HOLDERS, *ids.range_of("ord_", event_id), after, ORDERS_MAX
            )
            found = [row["order_id"] for row in rows]
            if found:
                await self._connection.execute(_WRITE_OUT, kind, version, event_id, found)
                statement = "UPDATE mailings SET after_order_id = $2 WHERE mailing_id = $1"
                await self._connection.execute(statement, mailing_id, found[-1])
            else:
                statement = "DELETE FROM mailings WHERE mailing_id = $1"
                await self._connection.execute(statement, mailing_id)
        return len(found)


class MailBooks:
    """What those on call see of the mails, and may do."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def counts(self) -> tuple[int, int]:
        """How many wait, and how many were given up."""
        async with reading(self._pool) as connection:
            row = await connection.fetchrow(
                "SELECT (SELECT count(*) FROM mails WHERE state = 'waiting'),"
                " (SELECT count(*) FROM mails WHERE state = 'dead')"
            )
        assert row is not None
        return row[0], row[1]

    async def dead(self, after: int, limit: int) -> list[DeadMail]:
        """Those that were given up, from the one after `after`."""
        async with reading(self._pool) as connection:
            rows = await connection.fetch(
                f"SELECT {_DEAD_COLUMNS} FROM mails"
                " WHERE state = 'dead' AND mail_id > $1 ORDER BY mail_id LIMIT $2",
                after,
                limit,
            )
        return [DeadMail(*row) for row in rows]

    async def try_again(self, mail_id: int) -> bool:
        """False where there is no such dead mail."""
        async with reading(self._pool) as connection:
            done = await connection.execute(
                "UPDATE mails SET state = 'waiting', attempts = 0, due_at = now(),"
                " created_at = greatest(created_at, now() - interval '6 days')"
                " WHERE mail_id = $1 AND state = 'dead'",
                mail_id,
            )
        return bool(done == "UPDATE 1")
