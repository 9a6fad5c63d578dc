"""The actor of one sale: its state, and the letters that wait for it.

Deciding and applying stand with no `await` between, so a sale is never seen half changed. The state
may be ahead of the journal; whoever drives the actor lets no answer out before the commit.
"""

from collections import deque
from collections.abc import Callable
from itertools import islice

from msgspec import Struct

from engine import snapshot
from engine.commands import Command
from engine.facts import Entry
from engine.replies import Reply
from engine.runtime.faults import Fault
from engine.runtime.ports import Snapshot, SnapshotDelta
from engine.sale import apply, decide, reply
from engine.state import State

SNAPSHOT_KEPT_AFTER_END_MS = 30 * 24 * 60 * 60 * 1000


class Letter(Struct, gc=False):
    """A command on its way. `reply_to` is called exactly once, whatever happens."""

    sale_id: str
    command: Command
    deadline_ms: int
    reply_to: Callable[[Reply | Fault], None]


class Actor:
    def __init__(self, sale_id: str, shard_id: int) -> None:
        self.sale_id = sale_id
        self.shard_id = shard_id
        self.state: State | None = None  # None until it is loaded, and after a death
        self.parked: deque[Letter] = deque()  # what came while there was no state
        self.journal_seq = 0  # the batch that holds its newest fact
        self.saved: tuple[int, int] | None = None  # (epoch, seq) of the fast snapshot
        self.saving = False
        self.kept_seq = 0  # the fact that the durable snapshot has reached
        self.busy_at_ms = 0
        self.loading = False
        self.wake_at_ms: int | None = None  # the deadline that the supervisor knows of

    def handle(self, command: Command, clock_ms: int) -> tuple[list[Entry], Reply]:
        """Decide and apply; time never goes back for a sale."""
        state = self.state
        assert state is not None
        header = state.header
        now_ms = max(clock_ms, header.now_ms)
        self.busy_at_ms = clock_ms
        decided = decide(state, command, now_ms)
        if not isinstance(decided, list):
            return [], decided
        entries = []
        for fact in decided:
            entry = Entry(self.sale_id, header.seq + 1, now_ms, fact)
            apply(state, entry)
            entries.append(entry)
        return entries, reply(state, command, decided)

    def resting(self, since_ms: int) -> bool:
        """Nothing has come since, nothing falls due, and the fast snapshot is up to date."""
        state = self.state
        assert state is not None
        quiet = self.busy_at_ms < since_ms and not (self.saving or state.touched)
        return quiet and state.next_deadline_ms() is None

    def restore(self, found: Snapshot | None) -> None:
        """Start from a snapshot, or from nothing; the journal's suffix comes after."""
        if found is None:
            self.state, self.journal_seq, self.saved = snapshot.fresh(self.sale_id), 0, None
            return
        self.state = snapshot.restore(found.entities)
        self.journal_seq = found.journal_seq
        if found.incremental:
            self.saved = (found.epoch, found.seq)
        else:
            self.saved, self.kept_seq = None, found.seq
            self.touch_all()

    def replay(self, entry: Entry, journal_seq: int) -> None:
        assert self.state is not None
        if entry.seq > self.state.header.seq:
            apply(self.state, entry)
        self.journal_seq = journal_seq

    def touch_all(self) -> None:
        assert self.state is not None
        self.saved = None
        self.state.touched = dict.fromkeys(snapshot.names(self.state))

    def delta(self, epoch: int, entities_max: int) -> SnapshotDelta:
        """The next part of what the fast snapshot lacks. Only between turns: all is durable."""
        state = self.state
        assert state is not None
        chosen = list(islice(state.touched, entities_max))
        for name in chosen:
            del state.touched[name]
        return SnapshotDelta(
            sale_id=self.sale_id,
            shard_id=self.shard_id,
            epoch=epoch,
            seq=state.header.seq,
            journal_seq=self.journal_seq,
            base=self.saved,
            whole=not state.touched,
            expires_at_ms=state.header.terms.ends_at_ms + SNAPSHOT_KEPT_AFTER_END_MS,
            entities=list(snapshot.encode(state, chosen)),
            view=state.view(),
        )

    def whole_snapshot(self, epoch: int) -> Snapshot:
        state = self.state
        assert state is not None
        return Snapshot(
            sale_id=self.sale_id,
            shard_id=self.shard_id,
            epoch=epoch,
            seq=state.header.seq,
            journal_seq=self.journal_seq,
            entities=dict(snapshot.encode(state, snapshot.names(state))),
            incremental=False,
        )
