"""Who lives, who owns what, and how far everything is: for the people on call."""

from datetime import datetime

import asyncpg
from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError

from persistence.streams import stream_key

_NODES = """
SELECT name, roles, host, pid, address, leaving, started_at,
       extract(epoch FROM lease_until - clock_timestamp())::float8 AS lease_s
FROM nodes ORDER BY name
"""

_SHARDS = """
SELECT s.shard_id, s.owner, s.epoch, s.last_seq, s.last_seq - coalesce(o.seq, 0) AS lag,
       n.lease_until > clock_timestamp() AS alive
FROM shards s LEFT JOIN projection_offsets o USING (shard_id) LEFT JOIN nodes n ON n.name = s.owner
ORDER BY s.shard_id
"""


class NodeStanding(Struct, frozen=True):
    """`lease_s`: seconds that its lease still has; below 0 it is dead to the others."""

    name: str
    roles: list[str]
    host: str
    pid: int
    address: str
    leaving: bool
    started_at: datetime
    lease_s: float


class ShardStanding(Struct, frozen=True):
    """`lag`: batches that the projector has not read; `depth`: parcels in the stream, None where
    Redis does not say. `alive` None: nobody owns it."""

    shard_id: int
    owner: str | None
    epoch: int
    last_seq: int
    lag: int
    alive: bool | None
    depth: int | None


class Standing(Struct, frozen=True):
    nodes: list[NodeStanding]
    shards: list[ShardStanding]


async def standing(connection: asyncpg.Connection, redis: Redis) -> Standing:
    nodes = await connection.fetch(_NODES)
    shards = await connection.fetch(_SHARDS)
    return Standing(
        [NodeStanding(**row) for row in nodes],
        [ShardStanding(**row, depth=await _depth(redis, row["shard_id"])) for row in shards],
    )


async def _depth(redis: Redis, shard_id: int) -> int | None:
    try:
        return int(await redis.xlen(stream_key(shard_id)))
    except (RedisError, OSError):
        return None
