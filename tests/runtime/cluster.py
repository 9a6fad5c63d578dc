"""Nodes that share one database and one Redis, each with faults of its own, for scripted tests.

Each lives in a `Life` of the loop, so it can be paused and killed as a process can.
"""

import asyncio
from random import Random

from engine import commands as c
from engine.ids import shard_of
from engine.replies import Reply
from engine.runtime.faults import Fault
from engine.runtime.limits import Limits
from engine.runtime.mailbox import NearestMailbox
from engine.runtime.ownership import Lease, Ownership
from engine.runtime.remote import RemoteMailbox
from engine.runtime.supervisor import Supervisor
from tests.runtime.database import Database
from tests.runtime.desk import Desk, sale_in_shard
from tests.runtime.memory import MemoryJournal, MemoryMembership, MemorySnapshots, Recorder
from tests.runtime.memory_streams import MemoryStreams
from tests.runtime.virtual_time import Life, VirtualClock, VirtualLoop
from tests.runtime.world import until

SHARDS = 4
LEASE = Lease()
SALES = tuple(sale_in_shard(shard_id, SHARDS) for shard_id in range(SHARDS))


class Cluster:
    def __init__(self) -> None:
        self.database = Database()
        self.streams = MemoryStreams()
        self.snapshots = MemorySnapshots()
        self.desk = Desk()
        self.members: list[Member] = []

    async def start(self, *names: str, incarnation: str = "1") -> "list[Member]":
        """Nodes that have begun, and between them own every shard in the end."""
        started = [Member(self, name, incarnation) for name in names]
        self.members += started
        for member in started:
            member.life.begin(member.begin)
        await until(lambda: all(member.ownership.begun.is_set() for member in started))
        await until(self.is_settled)
        return started

    def is_settled(self) -> bool:
        owned = [s for member in self.members if member.alive for s in member.owns]
        return sorted(owned) == list(range(SHARDS))

    async def end(self) -> None:
        for member in self.members:
            if member.alive:
                await member.stop()
            else:
                member.life.wake()
                member.running.cancel()


class Member:
    def __init__(self, cluster: Cluster, name: str, incarnation: str) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.name = name
        self.life = Life(loop)
        self.clock = VirtualClock()
        self.observer = Recorder()
        self.journal = MemoryJournal(cluster.database, name, incarnation)
        self.membership = MemoryMembership(cluster.database, name, incarnation, LEASE.ttl_s)
        self.supervisor = Supervisor(
            journal=self.journal,
            snapshots=cluster.snapshots,
            clock=self.clock,
            observer=self.observer,
            shards=SHARDS,
            limits=Limits(),
            random=Random(0).randbytes,
        )
        self.ownership = Ownership(
            node=name,
            membership=self.membership,
            journal=self.journal,
            streams=cluster.streams,
            supervisor=self.supervisor,
            clock=self.clock,
            observer=self.observer,
            shards=SHARDS,
            lease=LEASE,
        )
        self.remote = RemoteMailbox(
            streams=cluster.streams,
            clock=self.clock,
            observer=self.observer,
            gateway=f"{name}/{incarnation}",
            shards=SHARDS,
        )
        self.mailbox = NearestMailbox(self.supervisor, self.remote)
        self.running: asyncio.Task[None]
        self._owning: asyncio.Task[None]
        self._deciding: asyncio.Task[None]

    @property
    def alive(self) -> bool:
        return not (self.life.killed or self.running.done())

    @property
    def owns(self) -> list[int]:
        return sorted(self.supervisor.epoch_by_shard)

    def begin(self) -> None:
        self.running = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            self._owning = tasks.create_task(self.ownership.run())
            self._deciding = tasks.create_task(self.supervisor.run())
            tasks.create_task(self.remote.run())

    async def stop(self) -> None:
        """As `gateway/node.py` and its parts do it."""
        await self.ownership.resign()
        self.supervisor.stop()
        await self._deciding
        self._owning.cancel()
        await asyncio.wait([self._owning])
        await self.ownership.leave()
        self.running.cancel()
        await asyncio.wait([self.running])

    def ask(self, command: c.Command, sale_id: str) -> "asyncio.Future[Reply]":
        """Asked inside, as its gateway would."""
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.life.begin(self._ask, answer, sale_id, command)
        return answer

    def _ask(self, answer: "asyncio.Future[Reply]", sale_id: str, command: c.Command) -> None:
        try:
            asked = self.mailbox.ask(sale_id, command)
        except Fault as fault:
            answer.set_exception(fault)
        else:
            asked.add_done_callback(lambda done: _pass_on(done, answer))


def _pass_on(asked: "asyncio.Future[Reply]", answer: "asyncio.Future[Reply]") -> None:
    if answer.done() or asked.cancelled():
        return
    error = asked.exception()
    if error is None:
        answer.set_result(asked.result())
    else:
        answer.set_exception(error)


def sale_of(shard_id: int) -> str:
    (found,) = [sale_id for sale_id in SALES if shard_of(sale_id, SHARDS) == shard_id]
    return found
