"""Brings snapshots forward behind the sale, a bounded piece at a time.

What is sent was read between two turns, when all that memory holds is durable. Losing a snapshot
costs time at the next load, never data: a failure here starts the snapshot anew and hurts nobody.
"""

import asyncio

from engine.runtime.actor import Actor
from engine.runtime.ports import Observer, Snapshot, SnapshotDelta, SnapshotStore, StoreUnavailable

ENTITIES_MAX = 1_000  # a piece: what one encoding may cost the loop
FACTS_BETWEEN_KEPT = 20_000  # bounds the replay should the fast store be lost
PAUSE_S = 1.0


class Saver:
    def __init__(self, snapshots: SnapshotStore, observer: Observer) -> None:
        self._snapshots = snapshots
        self._observer = observer

    async def save(self, actor: Actor, delta: SnapshotDelta) -> None:
        """Bring the fast snapshot forward; `actor.saving` is set and is cleared here."""
        try:
            await self._save(actor, delta)
        except StoreUnavailable as error:
            self._observer.snapshot_failed(error)
            self._begin_anew(actor)
            await asyncio.sleep(PAUSE_S)
        actor.saving = False

    async def _save(self, actor: Actor, delta: SnapshotDelta) -> None:
        if not await self._snapshots.save(delta):
            self._begin_anew(actor)
            return
        actor.saved = (delta.epoch, delta.seq)
        if delta.whole and delta.seq - actor.kept_seq >= FACTS_BETWEEN_KEPT:
            await self._snapshots.keep_saved(delta.shard_id, delta.sale_id)
            actor.kept_seq = delta.seq

    def _begin_anew(self, actor: Actor) -> None:
        if actor.state is not None:
            actor.touch_all()

    async def keep(self, actor: Actor, whole: Snapshot) -> None:
        """Store durably, unless that is done already; clears `actor.saving`."""
        try:
            if whole.seq > actor.kept_seq:
                await self._snapshots.keep(whole)
                actor.kept_seq = whole.seq
        except StoreUnavailable as error:
            self._observer.snapshot_failed(error)
        actor.saving = False

    async def save_last(self, actor: Actor, epoch: int) -> None:
        """Both snapshots, all of it; nothing is decided any more."""
        assert actor.state is not None
        try:
            while actor.state.touched:
                await self._save(actor, actor.delta(epoch, ENTITIES_MAX))
        except StoreUnavailable as error:
            self._observer.snapshot_failed(error)
        await self.keep(actor, actor.whole_snapshot(epoch))
