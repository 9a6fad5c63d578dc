"""How each kind of fault is done, and undone.

A strike is a context: what it breaks is broken within it and healed behind it, also when we are
cancelled in the middle. What we stop is woken by a shell, too, should we be killed meanwhile.
"""

import asyncio
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from random import Random

import asyncpg
from redis.exceptions import RedisError

from loadtests.nemesis import proxy
from loadtests.nemesis.network import CROWD, POSTGRES, VALKEY, short
from loadtests.nemesis.proxy import Disturbance, Link
from loadtests.nemesis.schedule import Kind, Planned
from loadtests.nemesis.world import ENGINE, GATEWAY, PROJECTOR, Process, World
from persistence.transactions import AWAY

JOURNAL = b"stampede journal"  # how the writers of the journal introduce themselves
DELAY_S = (0.01, 0.1)
IN_FLIGHT_S_MAX = 3.0
WOKEN_LATE_S = 2.0
CONNECT_S_MAX = 2.0
BACK_S_MAX, LOOK_S = 3.0, 0.02

# What a strike may meet while something else is broken: then it did not happen.
MISSED = (*AWAY, asyncpg.PostgresError, RedisError, LookupError, ProcessLookupError)

Strike = Callable[["Target"], AbstractAsyncContextManager[str]]


class Target:
    """Where a fault strikes; `hot_shard` is the one that most people want something of."""

    def __init__(self, world: World, plan: Planned, hot_shard: int) -> None:
        self.world = world
        self.plan = plan
        self.hot_shard = hot_shard
        self.random = Random(plan.chance)

    async def node(self) -> Process:
        """Any engine or gateway. Raises LookupError where none lives."""
        return self.random.choice(await self._living(ENGINE, GATEWAY))

    async def owner(self) -> Process:
        await self._living(ENGINE)
        return self.world.owner_of(self.hot_shard)

    async def projector(self) -> Process:
        return (await self._living(PROJECTOR))[0]

    async def _living(self, *roles: str) -> list[Process]:
        """Those with one of the roles; one that has just been killed is soon back."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + BACK_S_MAX
        while True:
            found = [each for each in self.world.processes() if each.roles & set(roles)]
            if found:
                return found
            if loop.time() > deadline:
                raise LookupError(f"nobody lives who is {' or '.join(roles)}")
            await asyncio.sleep(LOOK_S)


@asynccontextmanager
async def _kill(target: Target) -> AsyncIterator[str]:
    node = await target.node()
    os.kill(node.pid, signal.SIGKILL)
    yield node.name


@asynccontextmanager
async def _kill_owner(target: Target) -> AsyncIterator[str]:
    owner = await target.owner()
    os.kill(owner.pid, signal.SIGKILL)
    yield owner.name


@asynccontextmanager
async def _kill_projector(target: Target) -> AsyncIterator[str]:
    projector = await target.projector()
    os.kill(projector.pid, signal.SIGKILL)
    yield projector.name


@asynccontextmanager
async def _zombie(target: Target) -> AsyncIterator[str]:
    owner = await target.owner()
    with stopped([owner.pid], target.plan.lasts_s):
        yield owner.name


@asynccontextmanager
async def _handover(target: Target) -> AsyncIterator[str]:
    node = await target.node()
    os.kill(node.pid, signal.SIGTERM)
    yield node.name


@asynccontextmanager
async def _cut_postgres(target: Target) -> AsyncIterator[str]:
    connection = await asyncpg.connect(target.world.server.dsn, timeout=CONNECT_S_MAX)
    ended = await connection.fetchval(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE application_name LIKE 'stampede%'",
        timeout=CONNECT_S_MAX,
    )
    await connection.close(timeout=CONNECT_S_MAX)
    yield f"{ended} backends"


@asynccontextmanager
async def _crash_postgres(target: Target) -> AsyncIterator[str]:
    """SIGQUIT is `pg_ctl stop -m immediate`: no checkpoint, as if the power had gone."""
    postmaster = target.world.postgres_pids()[0]
    how = target.random.choice((signal.SIGQUIT, signal.SIGKILL))
    os.kill(postmaster, how)
    yield how.name


@asynccontextmanager
async def _freeze_postgres(target: Target) -> AsyncIterator[str]:
    pids = target.world.postgres_pids()
    with stopped(pids, target.plan.lasts_s):
        yield f"{len(pids)} processes"


@asynccontextmanager
async def _cut_valkey(target: Target) -> AsyncIterator[str]:
    async with target.world.valkey() as client:
        ended = await client.client_kill_filter(_type="normal", skipme=True)
    yield f"{ended} connections"


@asynccontextmanager
async def _flush_valkey(target: Target) -> AsyncIterator[str]:
    async with target.world.valkey() as client:
        keys = await client.dbsize()
        await client.flushall()
    yield f"{keys} keys"


@asynccontextmanager
async def _crash_valkey(target: Target) -> AsyncIterator[str]:
    pid = await target.world.valkey_pid()
    folder = target.world.server.folder / "redis"
    aside = folder / "appendonlydir.lost"
    with suppress(FileNotFoundError):  # it has not been written since the last time
        (folder / "appendonlydir").rename(aside)
    os.kill(pid, signal.SIGKILL)
    shutil.rmtree(aside, ignore_errors=True)
    yield "all its data"


@asynccontextmanager
async def _freeze_valkey(target: Target) -> AsyncIterator[str]:
    with stopped([await target.world.valkey_pid()], target.plan.lasts_s):
        yield "the server"


def _partition(*, postgres: bool, redis: bool) -> Strike:
    @asynccontextmanager
    async def strike(target: Target) -> AsyncIterator[str]:
        node = await target.node()
        cut_off = Disturbance(proxy.Kind.HOLD, pids=frozenset([node.pid]))
        async with AsyncExitStack() as stack:
            if postgres:
                await stack.enter_async_context(target.world.postgres.disturbed(cut_off))
            if redis:
                await stack.enter_async_context(target.world.redis.disturbed(cut_off))
            yield node.name

    return strike


def _lost(*others: str, to_node: bool = True, from_node: bool = True) -> Strike:
    """What passes between a node and these addresses."""

    @asynccontextmanager
    async def strike(target: Target) -> AsyncIterator[str]:
        network = target.world.network
        if network is None:
            raise LookupError("all nodes share one network")
        node = await target.node()
        home = network.home_by_name[short(node.name)].address
        ways = [(other, home) for other in others if to_node]
        ways += [(home, other) for other in others if from_node]
        with network.losing(ways, target.plan.number):
            yield node.name

    return strike


@asynccontextmanager
async def _slow(target: Target) -> AsyncIterator[str]:
    delay_s = target.random.uniform(*DELAY_S)
    slow = Disturbance(proxy.Kind.DELAY, delay_s=delay_s)
    async with target.world.postgres.disturbed(slow), target.world.redis.disturbed(slow):
        yield f"{delay_s * 1000:.0f} ms a piece"


def _cut(kind: proxy.Kind) -> Strike:
    @asynccontextmanager
    async def strike(target: Target) -> AsyncIterator[str]:
        node = await target.node()
        cutting = Disturbance(kind, pids=frozenset([node.pid]))
        async with target.world.postgres.disturbed(cutting):
            yield node.name

    return strike


@asynccontextmanager
async def _late(target: Target) -> AsyncIterator[str]:
    """Its connection breaks behind the batch; the batch arrives when the fault is over."""
    owner = await target.owner()
    links = target.world.postgres.find(pids=frozenset([owner.pid]), hello=JOURNAL)
    held = Disturbance(proxy.Kind.HOLD_REQUESTS, links=links)
    async with target.world.postgres.disturbed(held):
        await in_flight(links)
        for link in links:
            link.cut()
        yield owner.name


STRIKES: dict[Kind, Strike] = {
    Kind.KILL: _kill,
    Kind.KILL_OWNER: _kill_owner,
    Kind.KILL_PROJECTOR: _kill_projector,
    Kind.ZOMBIE: _zombie,
    Kind.HANDOVER: _handover,
    Kind.POSTGRES_CUT: _cut_postgres,
    Kind.POSTGRES_CRASH: _crash_postgres,
    Kind.POSTGRES_FREEZE: _freeze_postgres,
    Kind.VALKEY_CUT: _cut_valkey,
    Kind.VALKEY_FLUSH: _flush_valkey,
    Kind.VALKEY_CRASH: _crash_valkey,
    Kind.VALKEY_FREEZE: _freeze_valkey,
    Kind.PARTITION: _partition(postgres=True, redis=True),
    Kind.PARTITION_POSTGRES: _partition(postgres=True, redis=False),
    Kind.PARTITION_VALKEY: _partition(postgres=False, redis=True),
    Kind.SLOW: _slow,
    Kind.CUT_BEFORE: _cut(proxy.Kind.CUT_BEFORE),
    Kind.CUT_DURING: _cut(proxy.Kind.CUT_DURING),
    Kind.CUT_AFTER: _cut(proxy.Kind.CUT_AFTER),
    Kind.LATE: _late,
    Kind.SPLIT_POSTGRES: _lost(POSTGRES),
    Kind.SPLIT_VALKEY: _lost(VALKEY),
    Kind.SPLIT_SERVERS: _lost(POSTGRES, VALKEY),
    Kind.SPLIT_ALL: _lost(POSTGRES, VALKEY, CROWD),
    Kind.MUTE: _lost(POSTGRES, VALKEY, to_node=False),
    Kind.DEAF: _lost(POSTGRES, VALKEY, from_node=False),
}


async def in_flight(links: frozenset[Link]) -> None:
    """Returns once a batch waits in one of these. Raises LookupError where none comes."""
    deadline = asyncio.get_running_loop().time() + IN_FLIGHT_S_MAX
    while not any(link.held for link in links):
        if asyncio.get_running_loop().time() > deadline:
            raise LookupError("nothing was on its way")
        await asyncio.sleep(0.001)


@contextmanager
def stopped(pids: Sequence[int], seconds: float) -> Iterator[None]:
    """SIGSTOP, and SIGCONT at the end of the block, or a little after `seconds` at the latest.

    A stopped server could not even end when we are killed, so its waking does not depend on us.
    """
    listed = shlex.join(map(str, pids))
    wake = f"sleep {seconds + WOKEN_LATE_S:.1f}; kill -CONT {listed}"
    waking = subprocess.Popen(
        ["sh", "-c", wake],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        os.killpg(waking.pid, signal.SIGKILL)
        waking.wait()
