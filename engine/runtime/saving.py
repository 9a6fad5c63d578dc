"""Brings snapshots forward behind the sales, a bounded piece at a time.

What is sent is read between two turns, when all that memory holds is durable. Losing a snapshot
costs time at the next load, never data: what is not known to be stored is sent anew, all of it.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence

from engine.runtime.actor import Actor
from engine.runtime.ports import (
    Clock,
    Observer,
    Snapshot,
    SnapshotDelta,
    SnapshotStore,
    StoreUnavailable,
)

ENTITIES_MAX = 1_000  # a piece: what one encoding may cost the loop
SAVES_MAX = 32  # under way at a time
FACTS_BETWEEN_KEPT = 200_000  # bounds the replay should the fast store be lost: a second or so
KEPT_AFTER_MS = 60 * 60 * 1000  # or the journal of a sale that never rests could not be archived
PAUSE_MS = 1_000  # after a failure


class Saver:
    """`spawn` starts a task that somebody owns."""

    def __init__(
        self,
        *,
        snapshots: SnapshotStore,
        clock: Clock,
        observer: Observer,
        spawn: Callable[[Coroutine[None, None, None]], asyncio.Task[None]],
    ) -> None:
        self._snapshots = snapshots
        self._clock = clock
        self._observer = observer
        self._spawn = spawn
        self._lagging: dict[str, Actor] = {}  # whose fast snapshot is behind
        self._saves: set[asyncio.Task[None]] = set()
        self._due = False
        self._paused_until_ms = 0

    @property
    def has_room(self) -> bool:
        return len(self._saves) < SAVES_MAX

    def lags(self, actor: Actor) -> None:
        self._lagging[actor.sale_id] = actor

    def tick(self) -> None:
        """Changes gather from one tick to the next."""
        self._due = True

    def send_some(self) -> None:
        """Only between turns: read what the fast snapshots lack, and send it off."""
        if not self._due or self._clock.now_ms() < self._paused_until_ms:
            return
        budget = ENTITIES_MAX
        for actor in list(self._lagging.values()):
            if budget <= 0 or not self.has_room:
                return  # goes on after the next turn
            if actor.state is None or not actor.state.touched:
                del self._lagging[actor.sale_id]
            elif not actor.saving:
                delta = actor.delta(budget)
                budget -= len(delta.entities)
                self._begin(actor, self._save(actor, delta))
        self._due = False

    def put_away(self, actor: Actor, forget: Callable[[], None]) -> None:
        """Only between turns: store a sale that rests durably, and forget it if it rests still."""
        assert actor.state is not None
        seq = actor.state.header.seq
        self._begin(actor, self._put_away(actor, seq, self._behind(actor), forget))

    async def finish(self, actors: Sequence[Actor]) -> None:
        """At the end, when nothing is decided any more: both snapshots of every sale."""
        while self._saves:
            await asyncio.wait(self._saves)
        for first in range(0, len(actors), SAVES_MAX):
            await asyncio.gather(*map(self._finish, actors[first : first + SAVES_MAX]))

    def _begin(self, actor: Actor, work: Coroutine[None, None, None]) -> None:
        actor.saving = True
        task = self._spawn(work)
        self._saves.add(task)
        task.add_done_callback(self._saves.discard)

    async def _save(self, actor: Actor, delta: SnapshotDelta) -> None:
        stored = False
        try:
            stored = await self._store(delta)
        finally:
            actor.saving = False
            self._note(actor, delta, stored)
        if stored and delta.whole and self._keep_due(actor, delta.seq):
            await self._keep(actor, delta.seq, None)

    def _keep_due(self, actor: Actor, seq: int) -> bool:
        waited_ms = self._clock.now_ms() - actor.kept_at_ms
        return seq - actor.kept_seq >= FACTS_BETWEEN_KEPT or waited_ms >= KEPT_AFTER_MS

    async def _store(self, delta: SnapshotDelta) -> bool:
        try:
            return await self._snapshots.save(delta)
        except StoreUnavailable as error:
            self._observer.snapshot_failed(error)
            self._paused_until_ms = self._clock.now_ms() + PAUSE_MS
            return False

    def _note(self, actor: Actor, delta: SnapshotDelta, stored: bool) -> None:
        state = actor.state
        if stored:
            actor.saved = (delta.epoch, delta.seq)
            self._due = self._due or (state is not None and len(state.touched) >= ENTITIES_MAX // 2)
        elif state is not None:
            actor.touch_all()
            self.lags(actor)

    async def _put_away(
        self, actor: Actor, seq: int, behind: Snapshot | None, forget: Callable[[], None]
    ) -> None:
        try:
            await self._keep(actor, seq, behind)
        finally:
            actor.saving = False
        if actor.state is not None and actor.state.header.seq == seq:
            forget()

    async def _finish(self, actor: Actor) -> None:
        """Its shard may still be lost meanwhile: then it is another owner's to store."""
        stored = True
        while stored and actor.state is not None and actor.state.touched:
            delta = actor.delta(ENTITIES_MAX)
            stored = await self._store(delta)
            self._note(actor, delta, stored)
        if actor.state is not None:
            await self._keep(actor, actor.state.header.seq, self._behind(actor))

    def _behind(self, actor: Actor) -> Snapshot | None:
        """The whole sale, where the fast store does not have it."""
        assert actor.state is not None
        return actor.whole_snapshot() if actor.state.touched else None

    async def _keep(self, actor: Actor, seq: int, behind: Snapshot | None) -> None:
        """Store the sale durably, out of the fast store unless that is behind."""
        before = actor.kept_seq
        if seq <= before:
            return
        before_ms, actor.kept_at_ms = actor.kept_at_ms, self._clock.now_ms()
        actor.kept_seq = seq  # at once: one at a time
        try:
            if behind is not None:
                await self._snapshots.keep(behind)
            else:
                await self._snapshots.keep_saved(actor.shard_id, actor.sale_id)
        except StoreUnavailable as error:
            self._observer.snapshot_failed(error)
            actor.kept_seq, actor.kept_at_ms = before, before_ms
