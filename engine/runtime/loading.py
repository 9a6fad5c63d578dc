"""Brings a sale's actor to life: snapshot and suffix, or full replay, and never without bound.

A snapshot is a short cut and no more: one that is away or broken costs time, never the sale.
However large a sale is, it is put together in small pieces, and the others go on meanwhile.
A sale that keeps dying of a bug is stopped for a while: it alone, and loudly.
"""

import asyncio
from collections import deque

from engine import snapshot
from engine.runtime.actor import Actor
from engine.runtime.faults import Fault, SaleUnavailable
from engine.runtime.ports import (
    Clock,
    Grant,
    Journal,
    Observer,
    Snapshot,
    SnapshotStore,
    StoreUnavailable,
)
from engine.sale import apply
from engine.state import State

DEATHS_WINDOW_MS = 60_000
FACTS_AT_ONCE_MAX = 250  # what a replay may cost the loop at a time


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
                self._observer.journal_failed(fault)
                return fault
            except Exception as bug:  # a fact that can't be applied stops its sale only
                self.died(actor.sale_id, bug)
                return SaleUnavailable()
        return None

    async def _load(self, actor: Actor, grant: Grant) -> None:
        began_ms = self._clock.now_ms()
        found = await self._snapshot(grant, actor.sale_id)
        try:
            state, journal_seq = await self._replay(grant, actor.sale_id, found)
        except Fault:
            raise
        except Exception as broken:
            if found is None:
                raise
            self._observer.snapshot_failed(broken)
            found = None
            state, journal_seq = await self._replay(grant, actor.sale_id, None)
        now_ms = self._clock.now_ms()
        actor.begin(state, journal_seq, found, now_ms)
        replayed = state.header.seq - (found.seq if found else 0)
        self._observer.sale_loaded(actor.sale_id, (now_ms - began_ms) / 1000, replayed)

    async def _snapshot(self, grant: Grant, sale_id: str) -> Snapshot | None:
        try:
            return await self._snapshots.load(grant, sale_id)
        except StoreUnavailable as error:
            self._observer.snapshot_failed(error)
            return None

    async def _replay(
        self, grant: Grant, sale_id: str, found: Snapshot | None
    ) -> tuple[State, int]:
        """The state at the end of the journal, and the batch that brought its newest fact."""
        state = await _restored(found) if found else snapshot.fresh(sale_id)
        journal_seq = found.journal_seq if found else 0
        async for batch in self._journal.suffix(grant.shard_id, sale_id, journal_seq):
            for entry in batch.entries:
                if entry.sale_id == sale_id:
                    apply(state, entry)
                    if entry.seq % FACTS_AT_ONCE_MAX == 0:
                        state.order_by_id.rest()
                        await asyncio.sleep(0)
            journal_seq = batch.seq
        return state, journal_seq

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


async def _restored(found: Snapshot) -> State:
    restoring = snapshot.Restoring(found.entities)
    for _ in restoring.steps():
        await asyncio.sleep(0)
    return restoring.state
