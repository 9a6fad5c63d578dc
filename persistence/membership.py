"""This node's lease among the others, by the database's clock alone.

One connection, with time-outs far below the lease: a database that hangs must not make a node
believe longer than it may.
"""

import asyncio
import os
import socket
from collections.abc import Sequence

import asyncpg

from engine.runtime.faults import JournalUnavailable
from engine.runtime.ports import Roster
from persistence.journal import NodeName
from persistence.processes import is_dead, name_process
from persistence.transactions import AWAY, session

TIMEOUT_S = 1.0
FORGOTTEN_AFTER_S = 3600
CHANNEL = "stampede_shards"

# The first renewal takes the name over from a process whose lease has ended, or that is dead for
# certain ($11): what is started again in the same place serves at once, and a living one keeps its
# name, for it trusts its memory until its lease ends. Later renewals prolong.
_RENEW = """
INSERT INTO nodes (name, incarnation, roles, host, pid, process, address, lease_until, leaving)
VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp() + make_interval(secs => $8), $9)
ON CONFLICT (name) DO UPDATE SET
    incarnation = excluded.incarnation, roles = excluded.roles, host = excluded.host,
    pid = excluded.pid, process = excluded.process, address = excluded.address,
    lease_until = excluded.lease_until, leaving = excluded.leaving,
    started_at = CASE WHEN nodes.incarnation = excluded.incarnation
                      THEN nodes.started_at ELSE now() END
WHERE nodes.incarnation = excluded.incarnation
   OR $10 AND (nodes.incarnation = $11 OR nodes.lease_until <= clock_timestamp())
RETURNING 1
"""

# One statement, for a hand-over waits for it: shard ids, owners and epochs are arrays, in order.
_ROSTER = """
WITH living AS (
    SELECT name, NOT leaving AND 'engine' = ANY(roles) AS willing FROM nodes
    WHERE lease_until > clock_timestamp()
)
SELECT (SELECT array_agg(name) FROM living) AS living,
       (SELECT array_agg(name) FROM living WHERE willing) AS willing,
       (SELECT array_agg(shard_id ORDER BY shard_id) FROM shards) AS shard_ids,
       (SELECT array_agg(owner ORDER BY shard_id) FROM shards) AS owners,
       (SELECT array_agg(epoch ORDER BY shard_id) FROM shards) AS epochs,
       (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms
"""


class PostgresMembership:
    """`pid`: the process whose life the lease vouches for, this one unless told otherwise."""

    def __init__(
        self,
        dsn: str,
        node: NodeName,
        *,
        roles: Sequence[str],
        address: str,
        ttl_s: float,
        pid: int | None = None,
    ) -> None:
        self._dsn = dsn
        self._node = node
        self._roles = list(roles)
        self._address = address
        self._ttl_s = ttl_s
        self._pid = os.getpid() if pid is None else pid
        self._connection: asyncpg.Connection | None = None
        self._joined = False
        self._moved = asyncio.Event()

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close(timeout=TIMEOUT_S)

    async def renew(self, *, willing: bool) -> Roster:
        try:
            return await self._renew(willing)
        except (*AWAY, asyncpg.PostgresError) as error:
            self._disconnect()
            raise JournalUnavailable from error

    async def _renew(self, willing: bool) -> Roster:
        connection = await self._connected()
        dead = None if self._joined else await self._dead_namesake(connection)
        accepted = await connection.fetchval(
            _RENEW,
            self._node.name,
            self._node.incarnation,
            self._roles,
            socket.gethostname(),
            self._pid,
            name_process(self._pid),
            self._address,
            self._ttl_s,
            not willing,
            not self._joined,
            dead,
        )
        if accepted and not self._joined:
            await self._forget_the_dead(connection)
            self._joined = True
        found = await connection.fetchrow(_ROSTER)
        assert found is not None
        shard_ids = found["shard_ids"] or ()
        return Roster(
            now_ms=found["now_ms"],
            accepted=bool(accepted),
            living=frozenset(found["living"] or ()),
            willing=frozenset(found["willing"] or ()),
            owner_by_shard=dict(zip(shard_ids, found["owners"] or (), strict=True)),
            epoch_by_shard=dict(zip(shard_ids, found["epochs"] or (), strict=True)),
        )

    async def _dead_namesake(self, connection: asyncpg.Connection) -> str | None:
        """The incarnation that has our name and is certainly dead."""
        found = await connection.fetchrow(
            "SELECT incarnation, process FROM nodes WHERE name = $1", self._node.name
        )
        return found["incarnation"] if found is not None and is_dead(found["process"]) else None

    async def _forget_the_dead(self, connection: asyncpg.Connection) -> None:
        await connection.execute(
            "DELETE FROM nodes WHERE lease_until < clock_timestamp() - make_interval(secs => $1)",
            FORGOTTEN_AFTER_S,
        )

    async def leave(self) -> None:
        try:
            connection = await self._connected()
            await connection.execute(
                "DELETE FROM nodes WHERE name = $1 AND incarnation = $2",
                self._node.name,
                self._node.incarnation,
            )
            await connection.execute("SELECT pg_notify($1, '')", CHANNEL)
        except (*AWAY, asyncpg.PostgresError) as error:
            self._disconnect()
            raise JournalUnavailable from error

    async def changed(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._moved.wait(), seconds)
        except TimeoutError:
            return
        self._moved.clear()

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                self._dsn,
                timeout=TIMEOUT_S,
                command_timeout=TIMEOUT_S,
                server_settings=session("membership"),
            )
            await self._connection.add_listener(CHANNEL, self._hear)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    def _hear(self, _connection: object, _pid: int, _channel: str, for_whom: object) -> None:
        if for_whom in ("", self._node.name):  # nobody in particular, or us
            self._moved.set()
