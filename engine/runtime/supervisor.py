"""Drives the actors of one process: decide what waits, one append for all, then the answers.

While an append is under way the next turn's letters gather: group commit without a timer. A turn
never begins before the last one is durable, so whatever an answer was computed from is durable too
when the answer leaves, a refusal or a replay as well.

An append ends in one of three ways. Committed: the answers go out. Fenced: another node owns the
shard, it is unloaded and all who wait hear NotOwner. Unknown: the shards are acquired anew, with
that the question is settled for ever, and the journal answers what the connection did not.
"""

import asyncio
import heapq
import os
import time
from collections.abc import Callable, Coroutine

from msgspec import Struct

from engine.commands import Command, NameAttendee, PlaceOrder, Sweep
from engine.facts import Entry
from engine.ids import shard_of
from engine.replies import Reply
from engine.runtime.actor import Actor, Letter
from engine.runtime.faults import (
    DeadlinePassed,
    Fault,
    JournalUnavailable,
    NotOwner,
    OutcomeUnknown,
    SaleDied,
    SaleUnavailable,
)
from engine.runtime.loading import Loader
from engine.runtime.ports import Batch, Clock, Grant, Journal, Observer, Snapshot, SnapshotStore
from engine.runtime.saving import ENTITIES_MAX, Saver
from engine.runtime.shard import Shard, Standing


class Limits(Struct, frozen=True, kw_only=True):
    """The runtime's bounds; the defaults suit one process of a small machine."""

    mailbox_max: int = 20_000
    sale_quota_max: int = 16_000
    turn_letters_max: int = 512
    sweep_orders_max: int = 500
    letter_ttl_ms: int = 5_000
    deaths_max: int = 3
    loads_max: int = 8
    reload_ms: int = 10_000  # before a sale that could not be loaded is tried again by itself
    idle_ms: int = 10 * 60 * 1000
    tick_s: float = 0.1
    acquire_retry_s: float = 0.2


class _Turn(Struct):
    """What one turn decided, until it is durable."""

    answers: list[tuple[Shard, Letter, Reply]] = []
    batches: list[tuple[Shard, Batch]] = []
    changed: dict[str, Actor] = {}  # those whose next deadline may be another one by now
    broken: list[Actor] = []


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
        self._journal = journal
        self._snapshots = snapshots
        self._clock = clock
        self._observer = observer
        self._shards = shards
        self._limits = limits
        self._random = random
        self._shard_by_id: dict[int, Shard] = {}
        self._wakes: list[tuple[int, str]] = []  # a heap of (deadline_ms, sale id), some outdated
        self._unsaved: dict[str, Actor] = {}  # whose fast snapshot lags
        self._work = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loads = 0
        self._ticked = False
        self._recovering = False
        self._stopping = False
        self._failure: BaseException | None = None
        self._loader = Loader(
            journal=journal,
            snapshots=snapshots,
            clock=clock,
            observer=observer,
            loads_max=limits.loads_max,
            deaths_max=limits.deaths_max,
        )
        self._saver = Saver(snapshots, observer)

    # -- the way in ------------------------------------------------------------------------

    def post(
        self, sale_id: str, command: Command, reply_to: Callable[[Reply | Fault], None]
    ) -> None:
        """Leave a letter for a sale. Raises a Fault where it can't be taken."""
        shard = self._shard_by_id.get(shard_of(sale_id, self._shards))
        if shard is None:
            raise NotOwner
        if self._recovering or self._stopping:
            raise SaleUnavailable
        deadline_ms = self._clock.now_ms() + self._limits.letter_ttl_ms
        shard.offer(Letter(sale_id, command, deadline_ms, reply_to))
        self._work.set()

    def lost_shards(self) -> list[int]:
        return [s.shard_id for s in self._shard_by_id.values() if s.standing is Standing.LOST]

    @property
    def recovering(self) -> bool:
        return self._recovering

    @property
    def depth(self) -> int:
        return sum(shard.depth for shard in self._shard_by_id.values())

    @property
    def sales_loaded(self) -> int:
        return sum(len(shard.actor_by_sale) for shard in self._shard_by_id.values())

    # -- life ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take over every shard, and load the sales in which something may fall due."""
        limits = self._limits
        for grant in await self._journal.acquire(range(self._shards)):
            self._shard_by_id[grant.shard_id] = Shard(
                grant, mailbox_max=limits.mailbox_max, sale_quota_max=limits.sale_quota_max
            )
        for sale_id in await self._journal.unsettled(range(self._shards)):
            self._remind(sale_id)

    async def run(self) -> None:
        """Decide until `stop`; whatever was taken in by then is answered."""
        ticking = asyncio.create_task(self._tick(), name="deadlines")
        try:
            while not self._stopping or self.depth or self._loads:
                await self._work.wait()
                self._work.clear()
                if self._failure is not None:
                    raise self._failure
                await self._take_turn()
        finally:
            ticking.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(ticking, *self._tasks, return_exceptions=True)
        await self._save_all()

    def stop(self) -> None:
        """Take nothing more in; `run` ends once every letter has its answer."""
        self._stopping = True
        self._work.set()

    async def _tick(self) -> None:
        while True:
            await self._clock.sleep(self._limits.tick_s)
            now_ms = self._clock.now_ms()
            while self._wakes and self._wakes[0][0] <= now_ms:
                deadline_ms, sale_id = heapq.heappop(self._wakes)
                actor = self._shard_of(sale_id).actor_by_sale.get(sale_id)
                if actor is None:
                    self._remind(sale_id)
                elif actor.wake_at_ms == deadline_ms:
                    actor.wake_at_ms = None
                    self._remind(sale_id)
            self._forget_idle(now_ms)
            self._ticked = True
            self._work.set()

    def _shard_of(self, sale_id: str) -> Shard:
        return self._shard_by_id[shard_of(sale_id, self._shards)]

    def _remind(self, sale_id: str) -> None:
        """Have the sale end what is due."""
        sweep = Sweep(self._limits.sweep_orders_max, self._random(32))
        never_ms = 1 << 62
        shard = self._shard_of(sale_id)
        shard.remind(Letter(sale_id, sweep, never_ms, _nobody_waits))
        self._work.set()

    # -- a turn ----------------------------------------------------------------------------

    async def _take_turn(self) -> None:
        turn = _Turn()
        for shard in self._shard_by_id.values():
            if shard.depth and shard.standing is Standing.OURS:
                self._decide(shard, turn)
        if turn.batches:
            await self._commit(turn)
        else:
            await asyncio.sleep(0)  # a storm of refusals must not starve those who ask
        for _, letter, reply in turn.answers:
            letter.reply_to(reply)
        for actor in turn.broken:
            actor.loading = False
            self._ensure_loaded(self._shard_of(actor.sale_id), actor)
        for actor in turn.changed.values():
            self._schedule(actor)
        self._save_some()
        if self.depth:
            self._work.set()

    def _decide(self, shard: Shard, turn: _Turn) -> None:
        entries: list[Entry] = []
        keys: list[tuple[str, bytes]] = []
        now_ms = self._clock.now_ms()
        for letter in shard.take(self._limits.turn_letters_max):
            if letter.deadline_ms < now_ms:
                letter.reply_to(DeadlinePassed())
                continue
            actor = shard.actor(letter.sale_id)
            if actor.state is None:
                actor.parked.append(letter)
                self._ensure_loaded(shard, actor)
                continue
            try:
                decided, reply = actor.handle(letter.command, now_ms)
            except Exception as bug:  # the actor dies; what it decided before stands
                self._bury(actor, letter, bug, turn)
                continue
            turn.answers.append((shard, letter, reply))
            if decided:
                entries += decided
                keys += _personal_key(letter.command)
            if decided or isinstance(letter.command, Sweep):
                turn.changed[actor.sale_id] = actor
        if entries:
            seq = shard.last_seq + 1
            batch = Batch(shard.shard_id, shard.grant.epoch, seq, tuple(entries), tuple(keys))
            turn.batches.append((shard, batch))

    def _bury(self, actor: Actor, letter: Letter, bug: Exception, turn: _Turn) -> None:
        actor.state = None
        actor.loading = True  # not before this turn is durable
        turn.broken.append(actor)
        turn.changed.pop(actor.sale_id, None)
        self._unsaved.pop(actor.sale_id, None)
        self._loader.died(actor.sale_id, bug)
        letter.reply_to(SaleDied())

    async def _commit(self, turn: _Turn) -> None:
        began = time.perf_counter()
        try:
            committed = await self._journal.append([batch for _, batch in turn.batches])
        except (JournalUnavailable, OutcomeUnknown) as fault:
            self._observer.journal_failed(fault)
            await self._recover(turn)
            return
        for shard, batch in turn.batches:
            if batch.shard_id in committed:
                self._advance(shard, batch, turn)
            else:
                self._lose(shard, turn)
        facts = sum(len(batch.entries) for _, batch in turn.batches)
        seconds = time.perf_counter() - began
        self._observer.turn_committed(len(turn.answers), facts, seconds)

    def _advance(self, shard: Shard, batch: Batch, turn: _Turn) -> None:
        shard.last_seq = batch.seq
        for actor in turn.changed.values():
            if actor.shard_id == shard.shard_id:
                actor.journal_seq = batch.seq
                self._unsaved[actor.sale_id] = actor

    def _lose(self, shard: Shard, turn: _Turn) -> None:
        """Fenced: what this turn decided for the shard never was."""
        self._observer.shard_lost(shard.shard_id)
        for letter in self._withdraw(shard, turn):
            letter.reply_to(NotOwner())
        shard.stop(Standing.LOST, NotOwner())

    def _withdraw(self, shard: Shard, turn: _Turn) -> list[Letter]:
        """Take the shard's part out of the turn, and its actors' memory with it."""
        letters = [letter for where, letter, _ in turn.answers if where is shard]
        turn.answers = [answer for answer in turn.answers if answer[0] is not shard]
        turn.broken = [actor for actor in turn.broken if actor.shard_id != shard.shard_id]
        for sale_id in shard.actor_by_sale:
            turn.changed.pop(sale_id, None)
            self._unsaved.pop(sale_id, None)
        return letters

    # -- the unknown end -------------------------------------------------------------------

    async def _recover(self, turn: _Turn) -> None:
        """Take the shards of a doubtful append anew until it is known what became of it."""
        self._recovering = True
        try:
            while not await self._settle(turn):
                self._answer_the_late(turn)
                await self._clock.sleep(self._limits.acquire_retry_s)
        finally:
            self._recovering = False

    async def _settle(self, turn: _Turn) -> bool:
        try:
            grants = await self._journal.acquire([batch.shard_id for _, batch in turn.batches])
            landed = [await self._journal.landed(batch) for _, batch in turn.batches]
        except (JournalUnavailable, OutcomeUnknown) as fault:
            self._observer.journal_failed(fault)
            return False
        grant_by_shard = {grant.shard_id: grant for grant in grants}
        for (shard, _), stands in zip(turn.batches, landed, strict=True):
            self._resume(shard, grant_by_shard[shard.shard_id], stands, turn)
        return True

    def _resume(self, shard: Shard, grant: Grant, stands: bool, turn: _Turn) -> None:
        durable = [answer for answer in turn.answers if answer[0] is shard and stands]
        undecided = self._withdraw(shard, turn)
        shard.resume(grant)
        if stands:
            turn.answers += durable
        else:
            shard.put_back(undecided)
        for sale_id in {letter.sale_id for letter in undecided}:
            self._remind(sale_id)

    def _answer_the_late(self, turn: _Turn) -> None:
        """Nobody waits for ever: what was in the doubtful append is unknown, the rest undecided."""
        now_ms = self._clock.now_ms()
        late = [answer for answer in turn.answers if answer[1].deadline_ms < now_ms]
        turn.answers = [answer for answer in turn.answers if answer[1].deadline_ms >= now_ms]
        for _, letter, _ in late:
            letter.reply_to(OutcomeUnknown())
        for shard in self._shard_by_id.values():
            shard.answer_overdue(now_ms)

    # -- between turns ---------------------------------------------------------------------

    def _ensure_loaded(self, shard: Shard, actor: Actor) -> None:
        if not actor.loading:
            actor.loading = True
            self._own(self._bring_to_life(shard, actor))

    async def _bring_to_life(self, shard: Shard, actor: Actor) -> None:
        self._loads += 1
        fault = await self._loader.load(actor, shard.grant)
        self._loads -= 1
        actor.loading = False
        self._work.set()
        if shard.actor_by_sale.get(actor.sale_id) is not actor:
            return  # forgotten while it was loading; its letters went elsewhere
        parked = list(actor.parked)
        actor.parked.clear()
        if fault is not None:
            del shard.actor_by_sale[actor.sale_id]
            retry_ms = self._clock.now_ms() + self._limits.reload_ms
            heapq.heappush(self._wakes, (retry_ms, actor.sale_id))
            for letter in parked:
                letter.reply_to(fault)
            return
        shard.put_back(parked)
        self._unsaved[actor.sale_id] = actor
        self._schedule(actor)

    def _schedule(self, actor: Actor) -> None:
        """Know of the sale's next deadline."""
        if actor.state is None:
            return
        deadline_ms = actor.state.next_deadline_ms()
        if deadline_ms is not None and deadline_ms <= self._clock.now_ms():
            self._remind(actor.sale_id)
        elif deadline_ms is not None and deadline_ms != actor.wake_at_ms:
            actor.wake_at_ms = deadline_ms
            heapq.heappush(self._wakes, (deadline_ms, actor.sale_id))

    def _save_some(self) -> None:
        """Read what the snapshots lack, a bounded piece a turn, and send it off."""
        budget = ENTITIES_MAX
        for actor in list(self._unsaved.values()):
            state = actor.state
            if state is None or not state.touched:
                del self._unsaved[actor.sale_id]
                continue
            early = len(state.touched) >= ENTITIES_MAX // 2
            if actor.saving or budget <= 0 or not (self._ticked or early):
                continue
            actor.saving = True
            delta = actor.delta(self._shard_of(actor.sale_id).grant.epoch, budget)
            budget -= len(delta.entities)
            self._own(self._saver.save(actor, delta))
        self._ticked = False

    async def _save_all(self) -> None:
        """At the end: both snapshots of every sale, so that the next start replays nothing."""
        for shard in self._shard_by_id.values():
            for actor in shard.actor_by_sale.values():
                if actor.state is not None and shard.standing is Standing.OURS:
                    await self._saver.save_last(actor, shard.grant.epoch)

    def _forget_idle(self, now_ms: int) -> None:
        for shard in self._shard_by_id.values():
            for actor in list(shard.actor_by_sale.values()):
                if actor.state is None or actor.parked:
                    continue
                if not actor.state.header.seq:
                    del shard.actor_by_sale[actor.sale_id]  # there is no such sale
                elif actor.resting(now_ms - self._limits.idle_ms):
                    actor.saving = True
                    kept = actor.whole_snapshot(shard.grant.epoch)
                    self._own(self._passivate(shard, actor, kept))

    async def _passivate(self, shard: Shard, actor: Actor, kept: Snapshot) -> None:
        await self._saver.keep(actor, kept)
        unchanged = actor.state is not None and actor.state.header.seq == kept.seq
        if unchanged and not actor.parked and shard.actor_by_sale.get(actor.sale_id) is actor:
            del shard.actor_by_sale[actor.sale_id]

    def _own(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._disown)

    def _disown(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()  # a bug in the runtime itself ends the process
            self._work.set()


def _nobody_waits(_: Reply | Fault) -> None:
    """The owner's own letters need no answer."""


def _personal_key(command: Command) -> list[tuple[str, bytes]]:
    if isinstance(command, PlaceOrder | NameAttendee) and command.personal_key is not None:
        return [(command.order_id, command.personal_key)]
    return []
