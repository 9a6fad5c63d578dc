"""Brings a sale's actor to life: snapshot and suffix, or full replay, and never without bound.

A sale that keeps dying of a bug is stopped for a while: it alone, and loudly.
"""

import asyncio
from collections import deque

from engine.runtime.actor import Actor
from engine.runtime.faults import Fault, SaleUnavailable
from engine.runtime.ports import Clock, Grant, Journal, Observer, SnapshotStore

DEATHS_WINDOW_MS = 60_000


class Loader:
    def __init__(
        self,
        *,
        journal: Journal,
        snapshots: SnapshotStore,
        clock: Clock,
        observer: Observer,
        loads_max: int,
        deaths_max: int,
    ) -> None:
        self._journal = journal
        self._snapshots = snapshots
        self._clock = clock
        self._observer = observer
        self._slots = asyncio.Semaphore(loads_max)
        self._deaths_max = deaths_max
        self._deaths: dict[str, deque[int]] = {}

    async def load(self, actor: Actor, grant: Grant) -> Fault | None:
        """Give the actor its state as of the end of the journal; a Fault where that can't be."""
        if self._stopped(actor.sale_id):
            return SaleUnavailable()
        async with self._slots:
            try:
                await self._load(actor, grant)
            except Fault as fault:
                return fault
            except Exception as bug:  # a fact that can't be applied stops its sale only
                self.died(actor.sale_id, bug)
                return SaleUnavailable()
        return None

    async def _load(self, actor: Actor, grant: Grant) -> None:
        began_ms = self._clock.now_ms()
        actor.restore(await self._snapshots.load(grant, actor.sale_id))
        replayed = 0
        suffix = self._journal.suffix(grant.shard_id, actor.sale_id, actor.journal_seq)
        async for batch in suffix:
            for entry in batch.entries:
                if entry.sale_id == actor.sale_id:
                    actor.replay(entry, batch.seq)
                    replayed += 1
        seconds = (self._clock.now_ms() - began_ms) / 1000
        self._observer.sale_loaded(actor.sale_id, seconds, replayed)

    def died(self, sale_id: str, error: BaseException) -> None:
        deaths = self._deaths.setdefault(sale_id, deque(maxlen=self._deaths_max))
        deaths.append(self._clock.now_ms())
        self._observer.sale_died(sale_id, error)

    def _stopped(self, sale_id: str) -> bool:
        deaths = self._deaths.get(sale_id)
        if deaths is None or len(deaths) < self._deaths_max:
            return False
        if self._clock.now_ms() - deaths[0] >= DEATHS_WINDOW_MS:
            del self._deaths[sale_id]
            return False
        return True
