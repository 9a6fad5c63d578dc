"""Drives the actors of one process: decide what waits, one append for all, then the answers.

While an append is under way the next turn's letters gather: group commit without a timer. A turn
never begins before the last one is durable, so whatever an answer was computed from is durable too
when the answer leaves, a refusal or a replay as well.

A refusal or a read that follows from memory alone goes out without an append only while we may
trust that nobody else owns the shard; else the journal is asked whether it is ours still.

An append ends in one of three ways. Committed: the answers go out. Fenced: another node owns the
shard, it is unloaded and all who wait hear NotOwner. Unknown: `committing` finds out, and memory is
loaded afresh.
"""

import asyncio
import math
import os
import time
from collections.abc import Callable, Coroutine, Iterable

from engine.commands import Command, Sweep
from engine.ids import shard_of
from engine.replies import Reply
from engine.runtime.actor import Actor, Letter
from engine.runtime.caretaking import Caretaker
from engine.runtime.committing import Committer, FoundOut
from engine.runtime.faults import (
    DeadlinePassed,
    Fault,
    JournalUnavailable,
    NotOwner,
    OutcomeUnknown,
    SaleDied,
    SaleUnavailable,
)
from engine.runtime.inbox import Arrival
from engine.runtime.limits import Limits
from engine.runtime.ports import Batch, Clock, Grant, Journal, Observer, SnapshotStore
from engine.runtime.shard import Shard
from engine.runtime.turn import Part

GATHERING_PASSES = 2  # of the loop: answers are written in one, what has come is read in the next


class Supervisor:
    def __init__(
        self,
        *,
        journal: Journal,
        snapshots: SnapshotStore,
        clock: Clock,
        observer: Observer,
        shards: int,
        limits: Limits,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._clock = clock
        self._observer = observer
        self._shards = shards
        self._limits = limits
        self._random = random
        self._shard_by_id: dict[int, Shard] = {}
        self._trusted_until_s = -math.inf
        self._in_flight: list[Part] = []
        self._tasks = asyncio.TaskGroup()
        self._work = asyncio.Event()
        self._turned = asyncio.Event()  # set, and replaced, at the end of every turn
        self._stopping = False
        self._committer = Committer(
            journal=journal,
            clock=clock,
            observer=observer,
            limits=limits,
            abandoned=lambda: self._stopping and not self.depth,
        )
        self._caretaker = Caretaker(
            journal=journal,
            snapshots=snapshots,
            clock=clock,
            observer=observer,
            limits=limits,
            spawn=self._spawn,
            work=self._work,
        )

    # -- the way in ------------------------------------------------------------------------

    def takes(self, sale_id: str) -> bool:
        """Whether the sale is ours, and stays so as far as we know."""
        shard = self._shard_by_id.get(shard_of(sale_id, self._shards))
        return shard is not None and not shard.draining

    def post(
        self,
        sale_id: str,
        command: Command,
        reply_to: Callable[[Reply | Fault], None],
        deadline_ms: int | None = None,
        arrival: Arrival | None = None,
    ) -> None:
        """Leave a letter for a sale. Raises a Fault where it can't be taken."""
        now_s = self._clock.monotonic_s()
        ttl_s = self._limits.letter_ttl_s
        if deadline_ms is not None:
            ttl_s = min(ttl_s, (deadline_ms - self._clock.now_ms()) / 1000)
        letter = Letter(sale_id, command, now_s + ttl_s, reply_to, arrival)
        try:
            self._open_shard(sale_id, now_s).offer(letter)
        except Fault as fault:
            self._observer.letter_refused(type(fault).__name__)
            raise
        self._work.set()

    def _open_shard(self, sale_id: str, now_s: float) -> Shard:
        """Raises a Fault where nothing is taken in."""
        shard = self._shard_by_id.get(shard_of(sale_id, self._shards))
        if shard is None:
            raise NotOwner
        if self._stopping:
            raise SaleUnavailable
        if self._committer.recovering_at(now_s):
            raise JournalUnavailable
        return shard

    @property
    def recovering(self) -> bool:
        """The journal is away, and nothing is taken in."""
        return self._committer.recovering

    @property
    def depth(self) -> int:
        """Letters without an answer."""
        return sum(shard.depth for shard in self._shard_by_id.values())

    @property
    def sales_loaded(self) -> int:
        return sum(len(shard.actor_by_sale) for shard in self._shard_by_id.values())

    # -- what is ours ----------------------------------------------------------------------

    @property
    def epoch_by_shard(self) -> dict[int, int]:
        """Of the shards that are owned."""
        return {shard_id: shard.epoch for shard_id, shard in self._shard_by_id.items()}

    def trust(self, until_s: float) -> None:
        """Until then, by the clock that never goes back, no other node can have our shards."""
        self._trusted_until_s = until_s

    def take_over(self, grant: Grant) -> Shard:
        limits = self._limits
        shard = self._shard_by_id[grant.shard_id] = Shard(
            grant, mailbox_max=limits.mailbox_max, sale_quota_max=limits.sale_quota_max
        )
        self._observer.shard_taken(grant.shard_id)
        return shard

    def remind(self, sale_ids: Iterable[str]) -> None:
        """Load those of the sales that are ours: something may fall due in them."""
        for sale_id in sale_ids:
            self._remind(sale_id)

    async def drain(self, shard_id: int) -> Grant | None:
        """Answer all letters of a shard, take no more in, and let go of it; None: it was lost."""
        shard = self._shard_by_id[shard_id]
        shard.draining = True
        while not shard.lost and (shard.depth or any(p.shard is shard for p in self._in_flight)):
            await self._turned.wait()
        if shard.lost:
            return None
        del self._shard_by_id[shard_id]
        shard.close(NotOwner())
        return shard.grant

    def drop(self, shard_id: int) -> None:
        """Decide nothing more in a shard, whatever waits there."""
        self._unload(self._shard_by_id[shard_id])
        self._work.set()

    def _unload(self, shard: Shard) -> None:
        if self._shard_by_id.get(shard.shard_id) is shard:
            del self._shard_by_id[shard.shard_id]
            self._observer.shard_lost(shard.shard_id)
        shard.close(NotOwner())

    # -- life ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Decide until `stop`; whatever was taken in by then is answered, at death as well."""
        try:
            async with self._tasks:
                ticking = self._tasks.create_task(self._tick(), name="deadlines")
                while not self._stopping or self.depth:
                    await self._work.wait()
                    await self._gather()
                    self._work.clear()
                    await self._take_turn()
                ticking.cancel()
                await self._caretaker.finish(self._shard_by_id.values())
        finally:
            self._stopping = True
            for part in self._in_flight:
                part.refuse(OutcomeUnknown())
            for shard in self._shard_by_id.values():
                shard.close(SaleUnavailable())

    async def _gather(self) -> None:
        """Let the last turn's answers leave, and what they bring come in: the next append carries
        half as much again, and nobody waits for a clock.
        """
        for _ in range(GATHERING_PASSES):
            await asyncio.sleep(0)

    def stop(self) -> None:
        """Take nothing more in; `run` ends once every letter has its answer."""
        self._stopping = True
        self._work.set()

    def _remind(self, sale_id: str) -> None:
        shard = self._shard_by_id.get(shard_of(sale_id, self._shards))
        if shard is not None:
            shard.remind(sale_id)
            self._work.set()

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """A bug in the runtime's own tasks ends the process: nothing else may come of them."""
        return self._tasks.create_task(work)

    async def _tick(self) -> None:
        while True:
            await self._clock.sleep(self._limits.tick_s)
            for sale_id in self._caretaker.tick():
                self._remind(sale_id)
            now_s = self._clock.monotonic_s()
            for part in self._in_flight:
                part.answer_late(now_s)
            for shard in self._shard_by_id.values():
                shard.answer_overdue(now_s)
            self._work.set()

    # -- a turn ----------------------------------------------------------------------------

    async def _take_turn(self) -> None:
        busy = [shard for shard in self._shard_by_id.values() if shard.has_work]
        self._in_flight = [Part(shard, from_afar=shard.inbox.must_be_told) for shard in busy]
        await self._decide(self._in_flight)
        await self._commit(self._in_flight)
        self._in_flight = []
        self._caretaker.tend(self._shard_by_id.values())
        self._turned.set()
        self._turned = asyncio.Event()
        if any(shard.has_work for shard in busy):
            self._work.set()

    async def _decide(self, parts: list[Part]) -> None:
        """In steps: after a stall hundreds wait, and the loop has others to serve."""
        limits = self._limits
        of_step = 0
        for part in parts:
            self._sweep(part)
            for _ in range(limits.turn_steps_max):
                letters = part.shard.take(limits.step_letters_max)
                self._decide_step(part, letters)
                of_step += len(letters)
                if of_step >= limits.step_letters_max:
                    of_step = 0
                    await asyncio.sleep(0)
                if not letters:
                    break

    def _sweep(self, part: Part) -> None:
        limits, shard = self._limits, part.shard
        now_ms = self._clock.now_ms()
        for sale_id in shard.take_due(limits.turn_sweeps_max):
            actor = shard.actor(sale_id)
            if actor.state is None:
                actor.reminded = True
                self._caretaker.load(shard, actor)
            else:
                sweep = Sweep(
                    limits.sweep_orders_max, self._random(32), limits.finished_order_kept_ms
                )
                self._handle(part, actor, sweep, now_ms)
                part.changed[sale_id] = actor

    def _decide_step(self, part: Part, letters: list[Letter]) -> None:
        shard = part.shard
        now_ms, now_s = self._clock.now_ms(), self._clock.monotonic_s()
        for letter in letters:
            if letter.until_s < now_s:
                shard.answer(letter, DeadlinePassed())
                continue
            actor = shard.actor(letter.sale_id)
            if actor.state is None:
                shard.park(letter)
                self._caretaker.load(shard, actor)
                continue
            reply = self._handle(part, actor, letter.command, now_ms)
            if isinstance(reply, SaleDied):
                shard.answer(letter, reply)
            else:
                part.decided(letter, reply)

    def _handle(self, part: Part, actor: Actor, command: Command, now_ms: int) -> Reply | SaleDied:
        try:
            entries, reply = actor.handle(command, now_ms)
        except Exception as bug:  # the actor dies; what it decided before stands
            self._bury(part, actor, bug)
            return SaleDied()
        if entries:
            part.happened(actor, command, entries)
        return reply

    def _bury(self, part: Part, actor: Actor, bug: Exception) -> None:
        actor.state = None
        actor.loading = True  # not before this turn is durable
        actor.reminded = True
        part.broken.append(actor)
        self._caretaker.died(actor, bug)

    async def _commit(self, parts: list[Part]) -> None:
        trusted = self._clock.monotonic_s() < self._trusted_until_s  # asked after deciding
        writing: list[Part] = []
        silent: list[Part] = []
        for part in parts:
            # One that was lost between two steps is not among those that are trusted to be ours.
            must_ask = part.answers and (part.shard.lost or not trusted)
            (writing if part.entries or part.from_afar or must_ask else silent).append(part)
        if writing:
            await self._append(writing)
        else:
            await asyncio.sleep(0)  # a storm of refusals must not starve those who ask
        for part in silent:
            self._settle(part)

    async def _append(self, parts: list[Part]) -> None:
        began = time.perf_counter()
        batches = [part.batch() for part in parts]
        letters = sum(len(part.answers) for part in self._in_flight)
        committed = await self._committer.append(batches)
        if not isinstance(committed, frozenset):
            self._resume(parts, batches, committed)
            return
        for part, batch in zip(parts, batches, strict=True):
            if batch.shard_id in committed:
                part.shard.committed(batch)
                self._settle(part)
            else:
                self._lose(part)
        facts = sum(len(batch.entries) for batch in batches)
        self._observer.turn_committed(letters, facts, time.perf_counter() - began)

    def _settle(self, part: Part) -> None:
        """All that the part was computed from is durable."""
        shard = part.shard
        if shard.lost:
            part.deliver()
            return
        for actor in part.changed.values():
            actor.journal_seq = shard.last_seq
            self._caretaker.changed(shard, actor)
        part.deliver()
        for actor in part.broken:
            actor.loading = False
            self._caretaker.load(shard, actor)

    def _lose(self, part: Part) -> None:
        """Fenced: what this turn decided for the shard never was."""
        part.refuse(NotOwner())
        self._unload(part.shard)

    def _resume(self, parts: list[Part], batches: list[Batch], found: FoundOut | None) -> None:
        """After an append in doubt: memory is worth nothing, whatever became of it."""
        if found is None:
            for part in parts:
                part.shard.close(NotOwner())
            return
        for part, batch, stands in zip(parts, batches, found.stands, strict=True):
            if stands:
                part.shard.committed(batch)
                part.deliver()
            grant = found.grant_by_shard.get(batch.shard_id)
            if grant is None or part.shard.lost:
                self._lose(part)
                continue
            part.shard.resume(grant, part.undecided())
            for actor in (*part.changed.values(), *part.broken):
                self._remind(actor.sale_id)
