"""Looks after the sales of a process: has them loaded, woken when something falls due, snapshotted
and forgotten. Snapshots and forgetting stand between turns, when all that memory holds is durable.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator

from engine.runtime.actor import Actor
from engine.runtime.forgetting import Forgetter
from engine.runtime.limits import Limits
from engine.runtime.loading import Loader
from engine.runtime.ports import Clock, Journal, Observer, SnapshotStore
from engine.runtime.saving import Saver
from engine.runtime.shard import Shard
from engine.runtime.wakes import Wakes


class Caretaker:
    """`spawn` starts a task that somebody owns; `work` is set when a sale may be decided on."""

    def __init__(
        self,
        *,
        journal: Journal,
        snapshots: SnapshotStore,
        clock: Clock,
        observer: Observer,
        limits: Limits,
        spawn: Callable[[Coroutine[None, None, None]], asyncio.Task[None]],
        work: asyncio.Event,
    ) -> None:
        self._clock = clock
        self._limits = limits
        self._spawn = spawn
        self._work = work
        self._wakes = Wakes()
        self._loads: set[asyncio.Task[None]] = set()
        self._ticked = False
        self._loader = Loader(
            journal=journal,
            snapshots=snapshots,
            clock=clock,
            observer=observer,
            loads_max=limits.loads_max,
            deaths_max=limits.deaths_max,
        )
        self._saver = Saver(
            snapshots=snapshots, clock=clock, observer=observer, limits=limits, spawn=spawn
        )
        self._forgetter = Forgetter(
            saver=self._saver, wakes=self._wakes, clock=clock, idle_ms=limits.idle_ms
        )

    def load(self, shard: Shard, actor: Actor) -> None:
        """Unless it is about to be loaded already."""
        if not actor.loading:
            actor.loading = True
            task = self._spawn(self._load(shard, actor))
            self._loads.add(task)
            task.add_done_callback(self._loads.discard)

    async def _load(self, shard: Shard, actor: Actor) -> None:
        sale_id = actor.sale_id
        fault = await self._loader.load(actor, shard.grant)
        if shard.actor_by_sale.get(sale_id) is not actor:
            actor.state = None  # forgotten while it was loading; its letters went elsewhere
            return
        actor.loading = False
        self._work.set()
        letters = shard.unpark(sale_id)
        if fault is not None:
            shard.forget(actor)
            if actor.reminded:
                self._wakes.set(sale_id, self._clock.now_ms() + self._limits.reload_ms)
            for letter in letters:
                shard.answer(letter, fault)
            return
        actor.reminded = False
        shard.put_back(letters)
        self.changed(shard, actor)
        self._forgetter.met(shard, actor)

    def died(self, actor: Actor, bug: Exception) -> None:
        self._loader.died(actor.sale_id, bug)

    def changed(self, shard: Shard, actor: Actor) -> None:
        """It has durable facts that no snapshot has, or another deadline."""
        self._saver.lags(actor)
        deadline_ms = actor.next_sweep_ms(self._limits.finished_order_kept_ms)
        if deadline_ms is None:
            return
        if deadline_ms <= self._clock.now_ms():
            shard.remind(actor.sale_id)
        else:
            self._wakes.set(actor.sale_id, deadline_ms)

    def tick(self) -> Iterator[str]:
        """The sales in which something falls due by now; the next `tend` will look around."""
        self._ticked = True
        return self._wakes.take_due(self._clock.now_ms())

    def tend(self, shards: Iterable[Shard]) -> None:
        """Only between turns."""
        if self._ticked:
            self._ticked = False
            self._saver.tick()
            self._forgetter.forget_some(shards)
        self._saver.send_some()

    async def finish(self, shards: Iterable[Shard]) -> None:
        """At the end, when nothing is decided any more: store every sale."""
        for task in self._loads:
            task.cancel()
        actors = [actor for shard in shards for actor in shard.actor_by_sale.values()]
        await self._saver.finish([actor for actor in actors if actor.state is not None])
