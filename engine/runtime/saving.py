"""Brings snapshots forward behind the sales, a bounded piece at a time.

What makes a snapshot whole is read between two turns, when all that memory holds is durable. Losing
a snapshot costs time at the next load, never data: what is not known to be stored is sent again.

    fast     one snapshot, brought forward by what has changed
    durable  seldom, and written anew while the sale goes on: what changes once it has been read is
             read again, and the last piece makes the whole as of one fact
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence

from engine import snapshot
from engine.runtime.actor import Actor, Piece
from engine.runtime.limits import Limits
from engine.runtime.ports import (
    Clock,
    Observer,
    SnapshotDelta,
    SnapshotStore,
    StoreUnavailable,
)
from engine.state import State

SAVES_MAX = 32  # under way at a time
ENTITIES_A_FACT_KEPT = 2  # at most: of a sale larger than that, the replay may take half a load
PARTS_OF_A_PIECE = 4  # that a durable one is read in, each a millisecond or two of the loop
STANDS_BACK = 4.0  # times as long as reading a part took: keeping is never urgent, yet must keep up
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
        limits: Limits,
        spawn: Callable[[Coroutine[None, None, None]], asyncio.Task[None]],
    ) -> None:
        self._snapshots = snapshots
        self._clock = clock
        self._observer = observer
        self._piece_max = limits.piece_max
        self._facts_between_kept = limits.facts_between_kept
        self._spawn = spawn
        self._lagging: dict[str, Actor] = {}  # whose fast snapshot is behind
        self._saves: set[asyncio.Task[None]] = set()
        self._pieces: list[tuple[Actor, State, asyncio.Future[Piece | None]]] = []
        self._finishing = False
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
        """Only between turns: read what the snapshots lack, and send it off."""
        self._read_pieces()
        if not self._due or self._clock.now_ms() < self._paused_until_ms:
            return
        budget = self._piece_max
        for actor in list(self._lagging.values()):
            if budget <= 0 or not self.has_room:
                return  # goes on after the next turn
            if not actor.unsaved_any:
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
        self._begin(actor, self._put_away(actor, seq, forget))

    async def finish(self, actors: Sequence[Actor]) -> None:
        """At the end, when nothing is decided any more: both snapshots of every sale."""
        self._finishing = True
        self._read_pieces()
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
        try:
            await self._store(actor, delta)
        finally:
            actor.saving = False
        if self._keep_due(actor):
            await self._keep(actor)

    def _keep_due(self, actor: Actor) -> bool:
        if actor.state is None:
            return False
        facts = actor.state.header.seq - actor.kept_seq
        wanted = max(self._facts_between_kept, snapshot.count(actor.state) // ENTITIES_A_FACT_KEPT)
        return facts >= wanted or self._clock.now_ms() - actor.kept_at_ms >= KEPT_AFTER_MS

    async def _store(self, actor: Actor, delta: SnapshotDelta) -> bool:
        """Whether it is known to be stored."""
        state = actor.state
        try:
            stored = await self._snapshots.save(delta)
        except StoreUnavailable as error:
            self._observer.snapshot_failed(error)
            self._paused_until_ms = self._clock.now_ms() + PAUSE_MS
            if actor.state is state:
                actor.unsaved.add(name for name, _ in delta.entities)
                self.lags(actor)
            return False
        if actor.state is not state:
            return False
        if stored:
            actor.saved = (delta.epoch, delta.seq)
            self._due = self._due or not actor.unsaved.within(self._piece_max // 2)
        else:
            actor.save_anew()
            self.lags(actor)
        return stored

    async def _put_away(self, actor: Actor, seq: int, forget: Callable[[], None]) -> None:
        try:
            await self._keep(actor)
        finally:
            actor.saving = False
        if actor.state is not None and actor.state.header.seq == seq:
            forget()

    async def _finish(self, actor: Actor) -> None:
        """Its shard may still be lost meanwhile: then it is another owner's to store."""
        stored = True
        while stored and actor.unsaved_any:
            stored = await self._store(actor, actor.delta(self._piece_max))
        await self._keep(actor)

    async def _keep(self, actor: Actor) -> None:
        """Store the sale durably, unless it is, or about to be."""
        state = actor.state
        if state is None or state.header.seq <= actor.kept_seq or actor.unkept is not None:
            return
        unkept = actor.keep_anew()
        try:
            draft = await self._snapshots.draft(actor.sale_id)
            while actor.state is state and not unkept.within(self._piece_max):
                await draft.add(await self._read_at_leisure(actor, state))
            while (piece := await self._between_turns(actor, state)) is not None:
                await draft.add(piece.entities)
                if piece.whole:
                    await draft.finish(actor.shard_id, actor.epoch, piece.seq, piece.journal_seq)
                    actor.kept_seq, actor.kept_at_ms = piece.seq, self._clock.now_ms()
                    return
        except StoreUnavailable as error:
            self._observer.snapshot_failed(error)
        finally:
            if actor.unkept is unkept:
                actor.unkept = None

    async def _read_at_leisure(self, actor: Actor, state: State) -> dict[str, bytes | None]:
        """A piece, while the sale goes on."""
        entities: dict[str, bytes | None] = {}
        for _ in range(PARTS_OF_A_PIECE):
            began_s = self._clock.monotonic_s()
            entities |= actor.piece(max(1, self._piece_max // PARTS_OF_A_PIECE)).entities
            took_s = self._clock.monotonic_s() - began_s
            await self._clock.sleep(0.0 if self._finishing else STANDS_BACK * took_s)
            if actor.state is not state:
                break
        return entities

    async def _between_turns(self, actor: Actor, state: State) -> Piece | None:
        """The next piece, as of the end of a turn; None: the state is not the actor's any more."""
        read: asyncio.Future[Piece | None] = asyncio.get_running_loop().create_future()
        self._pieces.append((actor, state, read))
        if self._finishing:
            self._read_pieces()
        return await read

    def _read_pieces(self) -> None:
        asked, self._pieces = self._pieces, []
        for actor, state, read in asked:
            if not read.cancelled():
                read.set_result(actor.piece(self._piece_max) if actor.state is state else None)
