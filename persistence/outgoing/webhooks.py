"""Who wants to hear what, the calls that wait, and what became of the others."""

import asyncio
from collections.abc import Awaitable, Callable, Collection

import asyncpg

from engine.outgoing import Call, Delivery, Endpoint, WebhookType
from persistence.alone import alone, first_of
from persistence.statements import clean
from persistence.transactions import Connection, reading

LOCK = 7_308_052_006  # an arbitrary number that is the webhook caller's
PURGED_MAX = 1_000
_ENDPOINT = ", ".join(Endpoint.__struct_fields__)
_DELIVERY = ", ".join(Delivery.__struct_fields__)

# Of each endpoint its oldest few: one that is slow keeps nobody waiting but itself.
_DUE = f"""
SELECT e.url, e.secret, d.* FROM webhook_endpoints e, LATERAL (
    SELECT {_DELIVERY} FROM webhook_deliveries w
    WHERE w.endpoint_id = e.endpoint_id AND state = 'waiting' AND due_at <= now()
        AND delivery_id <> ALL($1::bigint[])
    ORDER BY due_at LIMIT 2
) d
WHERE e.is_active AND e.endpoint_id <> ALL($2::text[])
ORDER BY d.due_at LIMIT $3
"""
_DELIVERED = """
WITH done AS (
    UPDATE webhook_deliveries SET state = 'delivered', attempts = attempts + 1, status = $3,
        error = NULL
    WHERE delivery_id = $1
)
UPDATE webhook_endpoints SET failing_since = NULL
WHERE endpoint_id = $2 AND failing_since IS NOT NULL
"""
_FAILED = """
WITH done AS (
    UPDATE webhook_deliveries SET attempts = attempts + 1, status = $3, error = $4,
        state = CASE WHEN $5::float8 IS NULL THEN 'failed' ELSE 'waiting' END,
        due_at = now() + coalesce($5::float8, 0) * interval '1 second'
    WHERE delivery_id = $1
)
UPDATE webhook_endpoints SET failing_since = coalesce(failing_since, now()),
    is_active = is_active
        AND coalesce(failing_since, now()) > now() - interval '3 days'
WHERE endpoint_id = $2
"""
_PURGE = """
DELETE FROM webhook_deliveries WHERE delivery_id IN (
    SELECT delivery_id FROM webhook_deliveries
    WHERE created_at < now() - interval '30 days' LIMIT $1
)
"""
_TOO_LATE = """
UPDATE webhook_deliveries SET state = 'failed', error = 'too late'
WHERE state = 'waiting' AND created_at < now() - interval '7 days'
"""
_REDELIVER = """
UPDATE webhook_deliveries SET state = 'waiting', attempts = 0, due_at = now(), created_at = now()
WHERE endpoint_id = $1 AND delivery_id = $2
"""


async def call_alone(dsn: str, work: Callable[["Deliveries"], Awaitable[None]]) -> None:
    """For ever, one process at a time."""
    await alone(dsn, "webhooks", LOCK, lambda connection: first_of(work(Deliveries(connection))))


class Deliveries:
    """Its methods may be called at the same time: they take turns on the connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._turn = asyncio.Lock()

    async def due(
        self, not_these: Collection[int], full: Collection[str], limit: int
    ) -> list[Call]:
        """Calls to active endpoints; none to those that are `full`."""
        async with self._turn:
            rows = await self._connection.fetch(_DUE, list(not_these), list(full), limit)
        return [Call(Delivery(*rest), url, secret) for url, secret, *rest in rows]

    async def delivered(self, delivery: Delivery, status: int) -> None:
        await self._do(_DELIVERED, delivery.delivery_id, delivery.endpoint_id, status)

    async def failed(
        self, delivery: Delivery, status: int | None, error: str, again_after_s: float | None
    ) -> None:
        """`again_after_s` None: it was the last attempt."""
        known = (delivery.delivery_id, delivery.endpoint_id)
        await self._do(_FAILED, *known, status, error, again_after_s)

    async def tidy(self) -> None:
        await self._do(_TOO_LATE)
        await self._do(_PURGE, PURGED_MAX)

    async def _do(self, statement: str, *values: object) -> None:
        async with self._turn:
            await self._connection.execute(statement, *values)


class Webhooks:
    """What organizers see of their endpoints, and may change. `organizer_id` None: of all."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def add(self, endpoint: Endpoint, most: int) -> bool:
        """False where the organizer has so many already."""
        async with reading(self._pool) as connection, connection.transaction():
            await connection.execute(
                "SELECT pg_advisory_xact_lock($1, hashtext($2))", 7_308_052, endpoint.organizer_id
            )
            known = await connection.fetchval(
                "SELECT count(*) FROM webhook_endpoints WHERE organizer_id = $1",
                endpoint.organizer_id,
            )
            if known >= most:
                return False
            await connection.execute(
                f"INSERT INTO webhook_endpoints ({_ENDPOINT})"
                " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                *(endpoint.endpoint_id, endpoint.organizer_id, endpoint.url),
                *([str(event) for event in endpoint.events], endpoint.secret),
                *(endpoint.is_active, endpoint.failing_since, endpoint.created_at),
            )
        return True

    async def of(self, organizer_id: str | None, after: str, limit: int) -> list[Endpoint]:
        """By id, from the one after `after`."""
        async with reading(self._pool) as connection:
            rows = await connection.fetch(
                f"SELECT {_ENDPOINT} FROM webhook_endpoints"
                " WHERE ($1::text IS NULL OR organizer_id = $1) AND endpoint_id > $2"
                " ORDER BY endpoint_id LIMIT $3",
                organizer_id,
                clean(after),
                limit,
            )
        return [_endpoint(row) for row in rows]

    async def find(self, organizer_id: str | None, endpoint_id: str) -> Endpoint | None:
        async with reading(self._pool) as connection:
            row = await connection.fetchrow(
                f"SELECT {_ENDPOINT} FROM webhook_endpoints"
                " WHERE ($1::text IS NULL OR organizer_id = $1) AND endpoint_id = $2",
                organizer_id,
                clean(endpoint_id),
            )
        return _endpoint(row) if row is not None else None

    async def set_active(self, endpoint_id: str, active: bool) -> None:
        async with reading(self._pool) as connection:
            await connection.execute(
                "UPDATE webhook_endpoints SET is_active = $2, failing_since = NULL"
                " WHERE endpoint_id = $1",
                endpoint_id,
                active,
            )

    async def remove(self, endpoint_id: str) -> None:
        async with reading(self._pool) as connection:
            await connection.execute(
                "DELETE FROM webhook_endpoints WHERE endpoint_id = $1", endpoint_id
            )

    async def deliveries(self, endpoint_id: str, before: int, limit: int) -> list[Delivery]:
        """Newest first, from the one before `before`."""
        async with reading(self._pool) as connection:
            rows = await connection.fetch(
                f"SELECT {_DELIVERY} FROM webhook_deliveries"
                " WHERE endpoint_id = $1 AND delivery_id < $2 ORDER BY delivery_id DESC LIMIT $3",
                endpoint_id,
                before,
                limit,
            )
        return [Delivery(*row) for row in rows]

    async def redeliver(self, endpoint_id: str, delivery_id: int) -> bool:
        """Call again, whatever became of it; False where there is no such delivery."""
        async with reading(self._pool) as connection:
            done = await connection.execute(_REDELIVER, endpoint_id, delivery_id)
        return bool(done == "UPDATE 1")

    async def counts(self) -> tuple[int, int]:
        """How many calls wait, and how many were given up."""
        async with reading(self._pool) as connection:
            row = await connection.fetchrow(
                "SELECT count(*) FILTER (WHERE state = 'waiting'),"
                " count(*) FILTER (WHERE state = 'failed') FROM webhook_deliveries"
                " WHERE state <> 'delivered'"
            )
        assert row is not None
        return row[0], row[1]


def _endpoint(row: asyncpg.Record) -> Endpoint:
    fields = dict(row)
    events = tuple(WebhookType(event) for event in fields.pop("events"))
    return Endpoint(**fields, events=events)
