"""What the runtime needs from the world. Each port has one contract suite for all who offer it."""

from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Protocol

from msgspec import Struct

from engine.commands import Command
from engine.facts import Entry
from engine.replies import Reply
from engine.state import SaleView


class Grant(Struct, frozen=True, gc=False):
    """The right to write a shard's journal after `last_seq`, until a higher epoch is granted."""

    shard_id: int
    epoch: int
    last_seq: int


class Batch(Struct, frozen=True):
    """One row of the journal: what one shard decided in one turn.

    `personal_keys`: (order id, key) of the sealed data in the entries, kept beside the journal
    and committed with it.
    """

    shard_id: int
    epoch: int
    seq: int
    entries: tuple[Entry, ...]
    personal_keys: tuple[tuple[str, bytes], ...] = ()


class Journal(Protocol):
    async def acquire(self, shard_ids: Sequence[int]) -> list[Grant]:
        """Take the shards over: bump each epoch, then read where its journal ends."""
        ...

    async def append(self, batches: Sequence[Batch]) -> frozenset[int]:
        """Write all batches durably, each fenced on its own; the ids of the shards that took it.

        A shard that is missing in the answer has another owner, or has this seq already.
        Raises JournalUnavailable if nothing was taken, OutcomeUnknown if nobody can tell.
        """
        ...

    async def landed(self, batch: Batch) -> bool:
        """Whether this very batch is in the journal; asked after a new grant, so it is final."""
        ...

    def suffix(self, shard_id: int, sale_id: str, after_seq: int) -> AsyncIterator[Batch]:
        """The batches after `after_seq` that name the sale, in order."""
        ...

    async def unsettled(self, shard_ids: Sequence[int]) -> list[str]:
        """Sales that may have a deadline ahead: none that has is missing."""
        ...


class Snapshot(Struct, frozen=True):
    """A sale as of its fact `seq`, which the journal's batch `journal_seq` brought.

    `incremental`: the fast store holds it and can be brought forward from it.
    """

    sale_id: str
    shard_id: int
    epoch: int
    seq: int
    journal_seq: int
    entities: dict[str, bytes]
    incremental: bool


class SnapshotDelta(Struct, frozen=True):
    """What changed since the snapshot at `base` (epoch, seq); base None starts it anew.

    `whole`: with this, the stored snapshot is complete. `expires_at_ms`: when it may be forgotten.
    An entity that is None is there no more.
    """

    sale_id: str
    shard_id: int
    epoch: int
    seq: int
    journal_seq: int
    base: tuple[int, int] | None
    whole: bool
    expires_at_ms: int
    entities: list[tuple[str, bytes | None]]
    view: SaleView


class StoreUnavailable(Exception):
    """A snapshot could not be stored: it costs time at the next load, nothing else."""


class SnapshotStore(Protocol):
    async def load(self, grant: Grant, sale_id: str) -> Snapshot | None:
        """The newest whole snapshot that is not ahead of the journal."""
        ...

    async def save(self, delta: SnapshotDelta) -> bool:
        """Bring the fast snapshot forward; False where it does not stand at the delta's base."""
        ...

    async def keep(self, snapshot: Snapshot) -> None:
        """Store a snapshot durably."""
        ...

    async def keep_saved(self, shard_id: int, sale_id: str) -> None:
        """Store durably what the fast store holds of this sale, if that is whole."""
        ...


class Clock(Protocol):
    def now_ms(self) -> int: ...

    async def sleep(self, seconds: float) -> None: ...


class Mailbox(Protocol):
    """The way to a sale's owner, wherever it lives."""

    def ask(self, sale_id: str, command: Command) -> Awaitable[Reply]:
        """The sale's durable answer. Raises a Fault where there is none."""
        ...


class Observer(Protocol):
    """The one hook out of the runtime. Called on the loop: it must be quick and never raise."""

    def turn_committed(self, letters: int, facts: int, seconds: float) -> None: ...

    def letter_refused(self, reason: str) -> None: ...

    def sale_loaded(self, sale_id: str, seconds: float, facts_replayed: int) -> None: ...

    def sale_died(self, sale_id: str, error: BaseException) -> None: ...

    def shard_lost(self, shard_id: int) -> None: ...

    def journal_failed(self, error: BaseException) -> None: ...

    def snapshot_failed(self, error: BaseException) -> None: ...
