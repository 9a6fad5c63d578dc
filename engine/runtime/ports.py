"""What the runtime needs from the world. Each port has one contract suite for all who offer it."""

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from engine.commands import Command
from engine.facts import Entry
from engine.replies import Reply
from engine.runtime.asking import ReplyTo
from engine.runtime.faults import Fault
from engine.state import SaleView


class Consumed(Struct, frozen=True, array_like=True):
    """How far a shard's stream is decided: all up to the entry `after`, and some beyond it.

    `beyond`: (entry id, positions of the calls in it) of what was decided out of order, because a
    call before it waited for its sale to be loaded.
    """

    after: str = "0-0"
    beyond: tuple[tuple[str, tuple[int, ...]], ...] = ()


class Grant(Struct, frozen=True):
    """The right to write a shard's journal after `last_seq`, until a higher epoch is granted."""

    shard_id: int
    epoch: int
    last_seq: int
    consumed: Consumed = Consumed()


class Batch(Struct, frozen=True):
    """One row of the journal: what one shard decided in one turn, the `seq`-th.

    Without entries it leaves no row, and `seq` is that of the last one: it says how far the stream
    is decided, or only asks whether the shard is still ours.

    `personal_keys`: (order id, key) of the sealed data in the entries, kept beside the journal
    and committed with it. `consumed` None: as it was.
    """

    shard_id: int
    epoch: int
    seq: int
    entries: tuple[Entry, ...]
    personal_keys: tuple[tuple[str, bytes], ...] = ()
    consumed: Consumed | None = None


class Journal(Protocol):
    """The fence, and what is written behind it, by one node."""

    async def acquire(self, shard_ids: Sequence[int]) -> list[Grant]:
        """Take over those of the shards that no other live node owns.

        Each epoch is bumped first, then it is read where the journal ends.
        """
        ...

    async def reacquire(self, grants: Sequence[Grant]) -> list[Grant]:
        """Bump the epochs of those grants that still hold, whatever their owner had in flight."""
        ...

    async def release(self, grant: Grant, successor: str | None) -> None:
        """Give a shard up, to that node alone or to whoever wants it; nothing is in flight."""
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


class Roster(Struct, frozen=True):
    """Who lives and who owns what, at `now_ms` of the database's clock.

    `accepted` False: another process lives under our name by now, and our lease is not renewed.
    `living` have a lease; `willing` are those of them that would own shards.
    """

    now_ms: int
    accepted: bool
    living: frozenset[str]
    willing: frozenset[str]
    owner_by_shard: Mapping[int, str | None]
    epoch_by_shard: Mapping[int, int]


class Membership(Protocol):
    """This node among the others. Leases run by the database's clock."""

    async def renew(self, *, willing: bool) -> Roster:
        """Prolong our lease by its whole length. Raises JournalUnavailable."""
        ...

    async def leave(self) -> None:
        """End our lease: others need not wait for it to run out."""
        ...

    async def changed(self, seconds: float) -> None:
        """Wait until somebody tells that a shard has been given up, at most so long."""
        ...


class Parcel(Struct, frozen=True, array_like=True):
    """An entry of a shard's stream: the calls that one gateway sent together.

    A call is (number, sale id, command); its answer goes to the gateway under its number, and is
    of no use to anybody after the deadline.
    """

    entry_id: str
    gateway: str
    deadline_ms: int
    calls: tuple[tuple[int, str, Command], ...]


class Streams(Protocol):
    """Calls from gateways to owners of shards, and answers back; ids of entries only grow.

    Everything raises MailboxUnavailable where the streams are away.
    """

    async def send(self, shard_id: int, parcel: Parcel) -> None:
        """Put it at the end of a shard's stream, which gives it its entry id.

        Raises MailboxFull where too much waits there, OutcomeUnknown where nobody can tell.
        """
        ...

    async def read(self, shard_id: int, after: str) -> list[Parcel]:
        """What comes after that entry; empty when a while has brought nothing."""
        ...

    async def trim(self, shard_id: int, up_to: str) -> None:
        """Forget all entries up to this one: they are decided, durably."""
        ...

    async def answer(self, gateway: str, answers: Sequence[tuple[int, Reply | Fault]]) -> None:
        """Leave answers for a gateway; if it never fetches them they vanish by themselves."""
        ...

    async def answers(self, gateway: str) -> list[tuple[int, Reply | Fault]]:
        """Fetch what was left for a gateway; empty when a while has brought nothing."""
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

    `sent_seq`: of the latest delta on top of that base of which nobody knows whether it is stored.
    Whatever has changed since `base` will be in this one or in a later one, so it is right on top
    of those, too.
    `whole`: of how many entities the stored snapshot consists when this has made it complete, and
    only if it does; 0, more is to come. `expires_at_ms`: when it may be forgotten.
    An entity that is None is there no more.
    """

    sale_id: str
    shard_id: int
    epoch: int
    seq: int
    journal_seq: int
    base: tuple[int, int] | None
    sent_seq: int
    whole: int
    expires_at_ms: int
    entities: list[tuple[str, bytes | None]]
    view: SaleView


class StoreUnavailable(Exception):
    """A snapshot could not be stored: it costs time at the next load, nothing else."""


class SnapshotDraft(Protocol):
    """A durable snapshot that is being written. Counts for nothing until it is finished."""

    async def add(self, entities: Mapping[str, bytes | None]) -> None:
        """In place of what earlier pieces say of the same entities; None: gone."""
        ...

    async def finish(self, shard_id: int, epoch: int, seq: int, journal_seq: int) -> None:
        """Whole, as of that fact; it replaces an older one."""
        ...


class SnapshotStore(Protocol):
    async def load(self, grant: Grant, sale_id: str) -> Snapshot | None:
        """The newest whole snapshot that is not ahead of the journal."""
        ...

    async def save(self, delta: SnapshotDelta) -> bool:
        """Bring the fast snapshot forward. False where it does not stand at the delta's base, or
        is not whole with the delta though it should be.
        """
        ...

    async def draft(self, sale_id: str) -> SnapshotDraft:
        """Begin to store a snapshot durably."""
        ...


class Clock(Protocol):
    def now_ms(self) -> int:
        """The wall clock: it may be stepped."""
        ...

    def monotonic_s(self) -> float:
        """Counts on while the process is stopped, and never back."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class Mailbox(Protocol):
    """The way to a sale's owner, wherever it lives."""

    def ask(self, sale_id: str, command: Command) -> Awaitable[Reply]:
        """The sale's durable answer. Raises a Fault where there is none."""
        ...


class Postbox(Mailbox, Protocol):
    """A Mailbox that calls back as well, which costs neither a future nor a wake-up."""

    def post(self, sale_id: str, command: Command, reply_to: ReplyTo) -> None:
        """Have `reply_to` called once with the answer or a Fault. Raises a Fault where it can't be
        taken at all.
        """
        ...


class Observer(Protocol):
    """The one hook out of the runtime. Called on the loop: it must be quick and never raise."""

    def turn_committed(self, letters: int, facts: int, seconds: float) -> None: ...

    def letter_refused(self, reason: str) -> None: ...

    def sale_loaded(self, sale_id: str, seconds: float, facts_replayed: int) -> None: ...

    def sale_died(self, sale_id: str, error: BaseException) -> None: ...

    def shard_taken(self, shard_id: int) -> None: ...

    def shard_handed_over(self, shard_id: int, successor: str) -> None: ...

    def shard_lost(self, shard_id: int) -> None: ...

    def lease_failed(self, error: BaseException) -> None: ...

    def streams_failed(self, error: BaseException) -> None: ...

    def journal_failed(self, error: BaseException) -> None: ...

    def snapshot_failed(self, error: BaseException) -> None: ...
