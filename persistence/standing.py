"""Who lives, who owns what, and how far everything is: for the people on call."""

from collections.abc import Iterator
from datetime import datetime

import asyncpg
from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError

from persistence.streams import connect, stream_key

_NODES = """
SELECT name, roles, host, pid, address, leaving, started_at,
       extract(epoch FROM lease_until - clock_timestamp())::float8 AS lease_s
FROM nodes ORDER BY name
"""

_SHARDS = """
SELECT s.shard_id, s.owner, s.epoch, s.last_seq, s.last_seq - coalesce(o.seq, 0) AS lag,
       coalesce(n.lease_until > clock_timestamp(), false) AS alive
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
    """`alive`: its owner is. `lag`: batches that the projector has not read. `depth`: parcels in
    the stream, None where Redis does not say."""

    shard_id: int
    owner: str | None
    epoch: int
    last_seq: int
    lag: int
    alive: bool
    depth: int | None


class Standing(Struct, frozen=True):
    nodes: list[NodeStanding]
    shards: list[ShardStanding]

    def lines(self) -> Iterator[str]:
        yield f"{'node':<20} {'roles':<18} {'lease':>7} {'pid':>8}  where"
        for node in self.nodes:
            leaving = node.leaving and "engine" in node.roles
            lease = "leaving" if leaving else f"{node.lease_s:.1f} s"
            roles = "+".join(node.roles)
            where = f"{node.host} {node.address}"
            yield f"{node.name:<20} {roles:<18} {lease:>7} {node.pid:>8}  {where}"
        yield ""
        yield f"{'shard':>5} {'owner':<20} {'epoch':>6} {'batches':>9} {'unread':>7} {'waiting':>8}"
        for shard in self.shards:
            owner = (shard.owner or "nobody") + (
                "" if shard.alive or shard.owner is None else " (dead)"
            )
            waiting = "?" if shard.depth is None else shard.depth
            yield (
                f"{shard.shard_id:>5} {owner:<20} {shard.epoch:>6} {shard.last_seq:>9}"
                f" {shard.lag:>7} {waiting:>8}"
            )


async def standing(database_url: str, redis_url: str) -> Standing:
    connection = await asyncpg.connect(database_url)
    redis = connect(redis_url)
    try:
        nodes = await connection.fetch(_NODES)
        shards = await connection.fetch(_SHARDS)
        return Standing(
            [NodeStanding(**row) for row in nodes],
            [ShardStanding(**row, depth=await _depth(redis, row["shard_id"])) for row in shards],
        )
    finally:
        await redis.aclose()
        await connection.close()


async def _depth(redis: Redis, shard_id: int) -> int | None:
    try:
        return int(await redis.xlen(stream_key(shard_id)))
    except (RedisError, OSError):
        return None
