"""A world for nodes to live in: journal, snapshots and clock outlast them."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any, TypeVar

from engine import commands as c
from engine import facts as f
from engine import snapshot
from engine.replies import Reply
from engine.runtime.faults import Fault
from engine.runtime.limits import Limits
from engine.runtime.mailbox import LocalMailbox
from engine.runtime.supervisor import Supervisor
from engine.sale import apply
from engine.state import SaleView
from tests.runtime.database import Database
from tests.runtime.desk import Desk, sale_in_shard
from tests.runtime.journal_contract import audit
from tests.runtime.memory import MemoryJournal, MemorySnapshots, Recorder
from tests.runtime.virtual_time import VirtualClock

SHARDS = 2
SALE = sale_in_shard(0, SHARDS)
NEIGHBOUR = sale_in_shard(0, SHARDS, nth=1)  # in the same shard
STRANGER = sale_in_shard(1, SHARDS)  # in the other one

_T = TypeVar("_T")


class World:
    def __init__(self, *, fence: bool = True) -> None:
        self.journal = MemoryJournal(Database(fence=fence))
        self.snapshots = MemorySnapshots()
        self.clock = VirtualClock()
        self.observer = Recorder()
        self.desk = Desk()

    @asynccontextmanager
    async def node(self, **limits: Any) -> AsyncIterator["Node"]:
        """A node that serves; where the test has not ended it, it is stopped in order."""
        node = Node(self, Limits(**limits))
        await node.start()
        yield node
        if not node.running.done():
            await node.stop()

    def facts(self, sale_id: str = SALE) -> list[f.Fact]:
        return [e.fact for e in self.journal.all_entries() if e.sale_id == sale_id]

    def kinds(self, sale_id: str = SALE) -> list[str]:
        return [type(fact).__name__ for fact in self.facts(sale_id)]

    def replayed(self, sale_id: str = SALE, to_seq: int | None = None) -> dict[str, bytes]:
        """The sale's entities by the journal alone."""
        state = snapshot.fresh(sale_id)
        for entry in self.journal.all_entries():
            if entry.sale_id == sale_id and (to_seq is None or entry.seq <= to_seq):
                apply(state, entry)
        return dict(snapshot.encode(state, snapshot.names(state)))

    async def saved(self, seq: int, sale_id: str = SALE) -> None:
        """Wait until the fast snapshot is whole and has come so far."""

        def there() -> bool:
            fast = self.snapshots.fast.get(sale_id)
            return fast is not None and fast.whole and fast.seq >= seq

        await until(there)

    def audit(self) -> None:
        for shard_id in range(SHARDS):
            audit(self.journal.batches(shard_id))


class Node:
    def __init__(self, world: World, limits: Limits) -> None:
        self.world = world
        self.limits = limits
        self.supervisor = Supervisor(
            journal=world.journal,
            snapshots=world.snapshots,
            clock=world.clock,
            observer=world.observer,
            shards=SHARDS,
            limits=limits,
            random=Random(0).randbytes,
        )
        self.running: asyncio.Task[None]
        self._mailbox = LocalMailbox(self.supervisor)

    async def start(self) -> None:
        supervisor, journal = self.supervisor, self.world.journal
        for grant in await journal.acquire(range(SHARDS)):
            supervisor.take_over(grant)
        supervisor.remind(await journal.unsettled(range(SHARDS)))
        supervisor.trust(math.inf)
        self.running = asyncio.create_task(self.supervisor.run())
        await asyncio.sleep(0)  # a task that is cancelled before it begins can answer nobody

    async def stop(self) -> None:
        self.supervisor.stop()
        await self.running

    async def kill(self) -> None:
        """What lies in memory is gone; nothing is saved, nothing more is written."""
        self.running.cancel()
        await asyncio.wait([self.running])

    def ask(self, command: c.Command, sale_id: str = SALE) -> "asyncio.Future[Reply]":
        return self._mailbox.ask(sale_id, command)

    async def open(self, *sale_ids: str, quantity: int = 10) -> None:
        for sale_id in sale_ids or (SALE,):
            opened = await self.ask(self.world.desk.open_sale(quantity), sale_id)
            assert isinstance(opened, SaleView)

    async def place(self, quantity: int = 1, sale_id: str = SALE, **more: Any) -> f.OrderPlaced:
        return a(
            f.OrderPlaced,
            await self.ask(self.world.desk.place(sale_id, quantity, **more), sale_id),
        )

    async def fill(self, orders: int, sale_id: str = SALE) -> None:
        """As many orders at once."""
        desk = self.world.desk
        await asyncio.gather(*(self.ask(desk.place(sale_id), sale_id) for _ in range(orders)))


def a(kind: type[_T], answer: object) -> _T:
    """The answer, which must be of that kind."""
    assert isinstance(answer, kind), answer
    return answer


async def fault_of(asked: Awaitable[Reply]) -> type[Fault]:
    """The fault that an answer is; anything else fails."""
    try:
        answer = await asked
    except Fault as fault:
        return type(fault)
    raise AssertionError(answer)


async def until(happened: Callable[[], object]) -> None:
    """Let the loop go on till then, in virtual time."""
    for turn in range(10_000):
        if happened():
            return
        await asyncio.sleep(0 if turn < 100 else 0.05)
    raise AssertionError("it never happened")


async def settle() -> None:
    """Let everything happen that needs no time."""
    for _ in range(50):
        await asyncio.sleep(0)
