"""The actor of one sale: its state, and how far the journal and the snapshots have it.

Deciding and applying stand with no `await` between, so a sale is never seen half changed. The state
may be ahead of the journal; whoever drives the actor lets no answer out before the commit.
"""

from collections.abc import Callable

from msgspec import Struct

from engine import snapshot
from engine.commands import Command
from engine.facts import Entry, Fact
from engine.replies import Reply
from engine.runtime.faults import Fault
from engine.runtime.inbox import Arrival
from engine.runtime.lag import Lag
from engine.runtime.ports import Snapshot, SnapshotDelta
from engine.sale import apply, decide, follow, next_deadline_ms, reply
from engine.state import State

SNAPSHOT_KEPT_AFTER_END_MS = 30 * 24 * 60 * 60 * 1000


class Letter(Struct, gc=False):
    """A command on its way. `reply_to` is called exactly once, whatever happens.

    `until_s`: by the clock that never goes back; afterwards nobody listens. `arrival`: where it
    stood in the shard's stream, if it came by that.
    """

    sale_id: str
    command: Command
    until_s: float
    reply_to: Callable[[Reply | Fault], None]
    arrival: Arrival | None = None


class Piece(Struct, frozen=True):
    """Of a durable snapshot; `whole`: with it that has all of the sale, as of `seq`."""

    entities: dict[str, bytes | None]
    whole: bool
    seq: int
    journal_seq: int


class Actor:
    """Lives within one epoch of its shard: who owns the shard anew begins with new actors."""

    def __init__(self, sale_id: str, shard_id: int, epoch: int) -> None:
        self.sale_id = sale_id
        self.shard_id = shard_id
        self.epoch = epoch
        self.state: State | None = None  # None until it is loaded, and after a death
        self.loading = False  # or about to
        self.reminded = False  # something may be due though there is no state
        self.journal_seq = 0  # the batch that holds its newest fact
        self.saved: tuple[int, int] | None = None  # (epoch, seq) of the fast snapshot
        self.sent_seq = 0  # the latest that was sent on top of it, whatever became of that
        self.saving = False
        self.unsaved = Lag()  # what the fast snapshot lacks
        self.unkept: Lag | None = None  # what the durable snapshot lacks that is being written
        self.kept_seq = 0  # the fact that the durable snapshot has reached
        self.kept_at_ms = 0  # when, by the wall clock
        self.now_ms = 0  # the latest instant it was asked at

    def begin(
        self, state: State, journal_seq: int, loaded_from: Snapshot | None, clock_ms: int
    ) -> None:
        """Live with a state as of the end of the journal; no sooner, or it decides on the past."""
        self.state = state
        self.journal_seq = journal_seq
        self.now_ms = max(clock_ms, state.header.now_ms)
        self.kept_at_ms = clock_ms
        self.saved = None
        self.sent_seq = 0
        self.unsaved = Lag()
        self.unkept = None
        if loaded_from is not None and loaded_from.incremental:
            self.saved = (loaded_from.epoch, loaded_from.seq)
            return
        if loaded_from is not None:
            self.kept_seq = loaded_from.seq
        if not self.unknown:
            state.touched.clear()  # all will be sent, and is listed by and by
            self.save_anew()

    def handle(self, command: Command, clock_ms: int) -> tuple[list[Entry], Reply]:
        """Decide and apply; time never goes back for a sale."""
        state = self.state
        assert state is not None
        now_ms = self.now_ms = max(clock_ms, self.now_ms)
        decided = decide(state, command, now_ms)
        if not isinstance(decided, list):
            return [], decided
        entries: list[Entry] = []
        self._apply(state, decided, entries)
        if following := follow(state, now_ms):
            self._apply(state, following, entries)
        return entries, reply(state, command, decided)

    def _apply(self, state: State, facts: list[Fact], entries: list[Entry]) -> None:
        for fact in facts:
            entry = Entry(self.sale_id, state.header.seq + 1, self.now_ms, fact)
            apply(state, entry)
            entries.append(entry)

    @property
    def unknown(self) -> bool:
        """The journal has nothing of such a sale."""
        return self.state is not None and not self.state.header.seq

    def next_sweep_ms(self, finished_kept_ms: int) -> int | None:
        """When something falls due, or can be tidied away."""
        if self.state is None:
            return None
        due_ms = (
            next_deadline_ms(self.state, self.now_ms),
            self.state.next_tidying_ms(finished_kept_ms),
        )
        return min((ms for ms in due_ms if ms is not None), default=None)

    def rests(self, since_ms: int) -> bool:
        """Nothing has come since, and nothing falls due that anybody was promised."""
        if self.state is None or self.saving or self.unkept is not None:
            return False
        if self.now_ms >= since_ms:
            return False
        return next_deadline_ms(self.state, self.now_ms) is None

    @property
    def unsaved_any(self) -> bool:
        return self.state is not None and bool(self.state.touched or self.unsaved)

    def _gather(self, state: State) -> None:
        """What has changed, for both snapshots."""
        self.unsaved.add(state.touched)
        if self.unkept is not None:
            self.unkept.add(state.touched)
        state.touched.clear()

    def save_anew(self) -> None:
        """Nothing is known of what the fast store holds."""
        assert self.state is not None
        self.saved = None
        self.unsaved = Lag(snapshot.names(self.state))

    def delta(self, entities_max: int) -> SnapshotDelta:
        """The next part of what the fast snapshot lacks. Only between turns: all is durable."""
        state, sent_seq = self.state, self.sent_seq
        assert state is not None
        self._gather(state)
        chosen = self.unsaved.take(entities_max)
        self.sent_seq = state.header.seq
        return SnapshotDelta(
            sale_id=self.sale_id,
            shard_id=self.shard_id,
            epoch=self.epoch,
            seq=state.header.seq,
            journal_seq=self.journal_seq,
            base=self.saved,
            sent_seq=sent_seq,
            whole=0 if self.unsaved else snapshot.count(state),
            expires_at_ms=state.header.terms.ends_at_ms + SNAPSHOT_KEPT_AFTER_END_MS,
            entities=list(snapshot.changes(state, chosen)),
            view=state.view(),
        )

    def keep_anew(self) -> Lag:
        """Begin a durable snapshot: what it lacks, which is all."""
        assert self.state is not None
        self.unkept = Lag(snapshot.names(self.state))
        return self.unkept

    def piece(self, entities_max: int) -> Piece:
        """The next one of the durable snapshot. Where nothing is lacking after it, only between
        turns: all is durable.
        """
        state, unkept = self.state, self.unkept
        assert state is not None
        assert unkept is not None
        self._gather(state)
        entities = dict(snapshot.changes(state, unkept.take(entities_max)))
        return Piece(entities, not unkept, state.header.seq, self.journal_seq)
