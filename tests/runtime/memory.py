"""The runtime's ports in memory, and the ways in which the world can fail one node's use of them.

Nothing is shared by reference: what goes in is encoded, what comes out is decoded.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from enum import Enum, auto

import msgspec
from msgspec import Struct

from engine import facts as f
from engine.runtime.faults import JournalUnavailable, OutcomeUnknown
from engine.runtime.ports import (
    Batch,
    Grant,
    Roster,
    Snapshot,
    SnapshotDelta,
    StoreUnavailable,
)
from tests.runtime.database import Database

_encode = msgspec.msgpack.Encoder().encode
_decode_snapshot = msgspec.msgpack.Decoder(Snapshot).decode


class Mishap(Enum):
    """What may befall one append."""

    REFUSED = auto()  # definitely not written
    ANSWER_LOST = auto()  # written, and nobody hears of it
    LOST = auto()  # not written, and nobody knows
    LATE = auto()  # in doubt now, and it arrives once the shard was acquired anew
    TAKEN_OVER = auto()  # another owner has acquired the shards in between


class Gate:
    """Open unless it is shut; who comes meanwhile waits."""

    def __init__(self) -> None:
        self._opened = asyncio.Event()
        self._opened.set()
        self.waiting = 0

    def shut(self) -> None:
        self._opened.clear()

    def open(self) -> None:
        self._opened.set()

    async def pass_through(self) -> None:
        self.waiting += 1
        try:
            await self._opened.wait()
        finally:
            self.waiting -= 1


class MemoryJournal:
    """One node's journal in the database."""

    def __init__(
        self, database: Database | None = None, node: str = "node", incarnation: str = "1"
    ) -> None:
        self.database = database or Database()
        self._node = node
        self._incarnation = incarnation
        self._late: list[Batch] = []
        self.away = False
        self.mishaps: deque[Mishap] = deque()  # of the next appends
        self.appends = Gate()
        self.reads = Gate()
        self.appended: list[int] = []  # how many batches each append had

    async def acquire(self, shard_ids: Sequence[int]) -> list[Grant]:
        await asyncio.sleep(0)
        self._answer_if_here()
        taken = self.database.acquire(shard_ids, self._node, self._incarnation)
        return await self._grants(taken)

    async def reacquire(self, grants: Sequence[Grant]) -> list[Grant]:
        await asyncio.sleep(0)
        self._answer_if_here()
        return await self._grants(self.database.reacquire(grants))

    async def _grants(self, shard_ids: list[int]) -> list[Grant]:
        """The epochs are bumped; only what comes from now on is fenced."""
        await asyncio.sleep(0)
        grants = self.database.grants(shard_ids)
        late, self._late = self._late, []
        self._write(late)
        return grants

    async def release(self, grant: Grant, successor: str | None) -> None:
        await asyncio.sleep(0)
        self._answer_if_here()
        self.database.release(grant, successor)

    def _answer_if_here(self) -> None:
        if self.away:
            raise JournalUnavailable

    async def append(self, batches: Sequence[Batch]) -> frozenset[int]:
        await asyncio.sleep(0)
        await self.appends.pass_through()
        self._answer_if_here()
        match self.mishaps.popleft() if self.mishaps else None:
            case Mishap.REFUSED:
                raise JournalUnavailable
            case Mishap.LOST:
                raise OutcomeUnknown
            case Mishap.LATE:
                self._late += batches
                raise OutcomeUnknown
            case Mishap.TAKEN_OVER:
                self.database.acquire([batch.shard_id for batch in batches], "another", "1")
            case Mishap.ANSWER_LOST:
                self._write(batches)
                raise OutcomeUnknown
        return self._write(batches)

    def _write(self, batches: Sequence[Batch]) -> frozenset[int]:
        self.appended.append(len(batches))
        return self.database.append(batches)

    async def landed(self, batch: Batch) -> bool:
        await asyncio.sleep(0)
        self._answer_if_here()
        return self.database.landed(batch)

    async def suffix(self, shard_id: int, sale_id: str, after_seq: int) -> AsyncIterator[Batch]:
        await self.reads.pass_through()
        self._answer_if_here()
        for batch in self.database.suffix(shard_id, sale_id, after_seq):
            yield batch
            await asyncio.sleep(0)
            self._answer_if_here()

    async def unsettled(self, shard_ids: Sequence[int]) -> list[str]:
        await asyncio.sleep(0)
        self._answer_if_here()
        return self.database.unsettled(shard_ids)

    # What the tests read.

    @property
    def personal_keys(self) -> list[tuple[str, bytes]]:
        return self.database.personal_keys

    def batches(self, shard_id: int) -> list[Batch]:
        return self.database.batches(shard_id)

    def entries(self, shard_id: int) -> list[f.Entry]:
        return self.database.entries(shard_id)

    def all_entries(self) -> list[f.Entry]:
        return self.database.all_entries()


class MemoryMembership:
    """One process, by its node's name, among those of the database."""

    def __init__(self, database: Database, node: str, incarnation: str, ttl_s: float) -> None:
        self._database = database
        self._node = node
        self._incarnation = incarnation
        self._ttl_s = ttl_s
        self._joined = False
        self._moves = 0  # that we know of
        self.away = False

    async def renew(self, *, willing: bool) -> Roster:
        await self._reach()
        accepted = self._database.renew(
            self._node, self._incarnation, self._ttl_s, willing=willing, first=not self._joined
        )
        self._joined |= accepted
        await asyncio.sleep(0)
        return self._database.roster(accepted=accepted)

    async def leave(self) -> None:
        await self._reach()
        self._database.leave(self._node, self._incarnation)

    async def changed(self, seconds: float) -> None:
        if self._moves == self._database.moves:
            await self._database.moved.heard(seconds)
        self._moves = self._database.moves

    async def _reach(self) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise JournalUnavailable


class _Fast(Struct):
    epoch: int
    seq: int
    journal_seq: int
    whole: bool
    entities: dict[str, bytes]


class MemorySnapshots:
    """A fast store, brought forward by compare-and-set, and a durable one."""

    def __init__(self) -> None:
        self.fast: dict[str, _Fast] = {}
        self.durable: dict[str, bytes] = {}
        self.away = False
        self.answers_lost = 0  # of the next saves, which land
        self.gate = Gate()
        self.saved: list[SnapshotDelta] = []
        self.missed: list[SnapshotDelta] = []

    async def load(self, grant: Grant, sale_id: str) -> Snapshot | None:
        await asyncio.sleep(0)
        found = self._load_fast(grant.shard_id, sale_id), self.kept(sale_id)
        return next((s for s in found if s is not None and _is_history(s, grant)), None)

    async def load_failing(self, grant: Grant, sale_id: str) -> Snapshot | None:
        raise StoreUnavailable

    def _load_fast(self, shard_id: int, sale_id: str) -> Snapshot | None:
        fast = None if self.away else self.fast.get(sale_id)
        if fast is None or not fast.whole:
            return None
        return Snapshot(
            sale_id,
            shard_id,
            fast.epoch,
            fast.seq,
            fast.journal_seq,
            dict(fast.entities),
            incremental=True,
        )

    def kept(self, sale_id: str) -> Snapshot | None:
        packed = self.durable.get(sale_id)
        return _decode_snapshot(packed) if packed is not None else None

    async def save(self, delta: SnapshotDelta) -> bool:
        await self._reach()
        stored = self._store(delta)
        (self.saved if stored else self.missed).append(delta)
        if self.answers_lost:
            self.answers_lost -= 1
            raise StoreUnavailable
        return stored

    def _store(self, delta: SnapshotDelta) -> bool:
        before = self.fast.get(delta.sale_id)
        if delta.base is not None and (before is None or not _fits(delta, delta.base, before)):
            return False
        entities = before.entities if before is not None and delta.base is not None else {}
        changed = entities | dict(delta.entities)
        now = {name: value for name, value in changed.items() if value is not None}
        whole = delta.whole == len(now)
        self.fast[delta.sale_id] = _Fast(
            delta.epoch,
            delta.seq,
            delta.journal_seq,
            whole,
            now,
        )
        return whole or not delta.whole

    async def draft(self, sale_id: str) -> "_Draft":
        await self._reach()
        return _Draft(self, sale_id)

    async def keep(self, snapshot: Snapshot) -> None:
        await self._reach()
        before = self.kept(snapshot.sale_id)
        if before is None or before.seq < snapshot.seq:
            self.durable[snapshot.sale_id] = _encode(snapshot)

    async def _reach(self) -> None:
        await asyncio.sleep(0)
        await self.gate.pass_through()
        if self.away:
            raise StoreUnavailable


class _Draft:
    def __init__(self, snapshots: MemorySnapshots, sale_id: str) -> None:
        self._snapshots = snapshots
        self._sale_id = sale_id
        self._entities: dict[str, bytes | None] = {}

    async def add(self, entities: Mapping[str, bytes | None]) -> None:
        await asyncio.sleep(0)
        self._entities |= entities

    async def finish(self, shard_id: int, epoch: int, seq: int, journal_seq: int) -> None:
        entities = {name: entity for name, entity in self._entities.items() if entity is not None}
        place = (self._sale_id, shard_id, epoch, seq, journal_seq)
        await self._snapshots.keep(Snapshot(*place, entities, incremental=False))


def _fits(delta: SnapshotDelta, base: tuple[int, int], before: _Fast) -> bool:
    since = before.epoch == delta.epoch and base[1] <= before.seq <= delta.sent_seq
    return since or base == (before.epoch, before.seq)


def _is_history(found: Snapshot, grant: Grant) -> bool:
    return found.journal_seq <= grant.last_seq and found.epoch <= grant.epoch


class Recorder:
    """An Observer that remembers what it was told."""

    def __init__(self) -> None:
        self.turns: list[tuple[int, int]] = []  # letters, facts
        self.refused: list[str] = []
        self.loaded: list[tuple[str, int]] = []  # sale, facts replayed
        self.died: list[tuple[str, BaseException]] = []
        self.taken: list[int] = []
        self.handed_over: list[tuple[int, str]] = []
        self.lost: list[int] = []
        self.lease_faults: list[BaseException] = []
        self.stream_faults: list[BaseException] = []
        self.journal_faults: list[BaseException] = []
        self.snapshot_faults: list[BaseException] = []

    def turn_committed(self, letters: int, facts: int, seconds: float) -> None:
        self.turns.append((letters, facts))

    def letter_refused(self, reason: str) -> None:
        self.refused.append(reason)

    def sale_loaded(self, sale_id: str, seconds: float, facts_replayed: int) -> None:
        self.loaded.append((sale_id, facts_replayed))

    def sale_died(self, sale_id: str, error: BaseException) -> None:
        self.died.append((sale_id, error))

    def shard_taken(self, shard_id: int) -> None:
        self.taken.append(shard_id)

    def shard_handed_over(self, shard_id: int, successor: str) -> None:
        self.handed_over.append((shard_id, successor))

    def lease_failed(self, error: BaseException) -> None:
        self.lease_faults.append(error)

    def streams_failed(self, error: BaseException) -> None:
        self.stream_faults.append(error)

    def shard_lost(self, shard_id: int) -> None:
        self.lost.append(shard_id)

    def journal_failed(self, error: BaseException) -> None:
        self.journal_faults.append(error)

    def snapshot_failed(self, error: BaseException) -> None:
        self.snapshot_faults.append(error)
