"""What trends: tickets confirmed in the last 24 hours, in Redis, a sorted set an hour.

The projector counts them in `trending_hours`, with its offset; what it has changed there is copied
to Redis as it stands, never added, so a copy made twice is the same. How far Redis has followed
stands in Redis itself, written with the copy: a Redis that comes back empty, or older, is filled
again.

The window is the hour that is under way and the 24 before it.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from engine import wording
from engine.finding import Trend
from persistence.alone import alone
from persistence.transactions import Connection, reading

WINDOW = timedelta(hours=24)
KEPT = timedelta(hours=48)
ROWS_MAX = 2_000
IDLE_S = 0.25
AWAY_S = 1.0
UNION_TTL_S = 2
LOCK = 7_308_052_004  # an arbitrary number that is ours
CITY_EVENTS_MAX = 10_000
LOOKED_AT = 200  # at once
LOOKED_AT_MAX = 5_000

_HOUR_S = 3_600
_PREFIX = "stampede:{trending}"  # one slot of a cluster
_FED = f"{_PREFIX}:fed"

_NEWER = """
SELECT hour, event_id, tickets, change FROM trending_hours WHERE change > $1 AND hour >= $2
ORDER BY change LIMIT $3
"""
_SUMS = """
SELECT event_id, sum(tickets)::bigint AS tickets FROM trending_hours
WHERE hour BETWEEN $1 AND $2 AND ($3::text[] IS NULL OR event_id = ANY($3))
GROUP BY event_id ORDER BY tickets DESC, event_id LIMIT $4
"""
_OPEN = """
SELECT event_id FROM events
WHERE event_id = ANY($1) AND status IN ('PUBLISHED', 'ON_SALE') AND end_time > $2
"""
_OPEN_THERE = """
SELECT event_id FROM search_documents JOIN events USING (event_id)
WHERE findable AND city_key = $1 AND status IN ('PUBLISHED', 'ON_SALE') AND end_time > $2
ORDER BY search_documents.start_time LIMIT $3
"""


def hour_of(instant: datetime) -> datetime:
    return instant.replace(minute=0, second=0, microsecond=0)


def bucket(hour: datetime) -> str:
    return f"{_PREFIX}:hour:{int(hour.timestamp()) // _HOUR_S}"


async def feed_trends(dsn: str, redis: Redis) -> None:
    """For ever, one process at a time."""
    await alone(
        dsn, "trending feeder", LOCK, lambda connection: TrendingFeeder(connection, redis).run()
    )


class TrendingFeeder:
    """Copies what the projector has counted to Redis."""

    def __init__(self, connection: asyncpg.Connection, redis: Redis) -> None:
        self._connection = connection
        self._redis = redis

    async def run(self) -> None:
        forget_at = datetime.now(UTC)
        while True:
            now = datetime.now(UTC)
            if now >= forget_at:
                await self.forget(now)
                forget_at = now + timedelta(hours=1)
            try:
                copied = await self.step(now)
                await asyncio.sleep(0 if copied else IDLE_S)
            except (RedisError, OSError):
                await asyncio.sleep(AWAY_S)

    async def step(self, now: datetime) -> int:
        """Copy what has changed; how many counts. Raises RedisError where Redis is away."""
        fed = int(await self._redis.get(_FED) or 0)
        since = hour_of(now) - WINDOW
        rows = await self._connection.fetch(_NEWER, fed, since, ROWS_MAX)
        if not rows:
            return 0
        async with self._redis.pipeline(transaction=True) as pipeline:
            for row in rows:
                pipeline.zadd(bucket(row["hour"]), {row["event_id"]: row["tickets"]})
            for hour in {row["hour"] for row in rows}:
                pipeline.expireat(bucket(hour), hour + WINDOW + timedelta(hours=2))
            pipeline.set(_FED, rows[-1]["change"])
            await pipeline.execute()
        return len(rows)

    async def forget(self, now: datetime) -> None:
        await self._connection.execute("DELETE FROM trending_hours WHERE hour < $1", now - KEPT)


class RedisTrending:
    """Read from Redis; from the tables where Redis is away."""

    def __init__(self, pool: asyncpg.Pool, redis: Redis) -> None:
        self._pool = pool
        self._redis = redis

    async def top(self, city: str | None, limit: int, now: datetime) -> list[Trend]:
        """Events that can still be gone to, most tickets first."""
        async with reading(self._pool) as connection:
            if city is None:
                return await self._top(connection, limit, now)
            key = wording.key(city)
            rows = await connection.fetch(_OPEN_THERE, key, now, CITY_EVENTS_MAX)
            trends = await self._of(connection, [row["event_id"] for row in rows], now)
        return sorted(trends, key=lambda trend: (-trend.tickets, trend.event_id))[:limit]

    async def _top(self, connection: Connection, limit: int, now: datetime) -> list[Trend]:
        found: list[Trend] = []
        for first in range(0, LOOKED_AT_MAX, LOOKED_AT):
            trends = await self._between(connection, first, now)
            rows = await connection.fetch(_OPEN, [trend.event_id for trend in trends], now)
            still = {row["event_id"] for row in rows}
            found += [trend for trend in trends if trend.event_id in still]
            if len(found) >= limit or len(trends) < LOOKED_AT:
                break
        return found[:limit]

    async def _between(self, connection: Connection, first: int, now: datetime) -> list[Trend]:
        try:
            window = await self._window(now)
            last = first + LOOKED_AT - 1
            scored = await self._redis.zrevrange(window, first, last, withscores=True)
        except (RedisError, OSError):
            return (await _sums(connection, None, now, first + LOOKED_AT))[first:]
        return [
            Trend(event_id.decode(), int(tickets))
            for event_id, tickets in cast(list[tuple[bytes, float]], scored)
        ]

    async def _of(
        self, connection: Connection, event_ids: Sequence[str], now: datetime
    ) -> list[Trend]:
        if not event_ids:
            return []
        try:
            window = await self._window(now)
            scores = await cast(Any, self._redis).zmscore(window, list(event_ids))
        except (RedisError, OSError):
            return await _sums(connection, event_ids, now, len(event_ids))
        pairs = zip(event_ids, scores, strict=True)
        return [Trend(event_id, int(score)) for event_id, score in pairs if score]

    async def _window(self, now: datetime) -> str:
        """The sum of the window's hours, made anew every few seconds."""
        hour = hour_of(now)
        union = f"{_PREFIX}:window:{int(hour.timestamp()) // _HOUR_S}"
        if not await self._redis.exists(union):
            hours = [bucket(hour - timedelta(hours=back)) for back in range(25)]
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.zunionstore(union, hours)
                pipeline.expire(union, UNION_TTL_S)
                await pipeline.execute()
        return union


async def _sums(
    connection: Connection, event_ids: Sequence[str] | None, now: datetime, limit: int
) -> list[Trend]:
    hour, ids = hour_of(now), None if event_ids is None else list(event_ids)
    rows = await connection.fetch(_SUMS, hour - WINDOW, hour, ids, limit)
    return [Trend(row["event_id"], row["tickets"]) for row in rows]
