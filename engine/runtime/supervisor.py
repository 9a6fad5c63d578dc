"""Drives the actors of one process: decide what waits, one append for all, then the answers.

While an append is under way the next turn's letters gather: group commit without a timer. A turn
never begins before the last one is durable, so whatever an answer was computed from is durable too
when the answer leaves, a refusal or a replay as well.

An append ends in one of three ways. Committed: the answers go out. Fenced: another node owns the
shard, it is unloaded and all who wait hear NotOwner. Unknown: the shards are acquired anew, with
that the question is settled for ever, and the journal answers what the connection did not.
"""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine

from msgspec import Struct

from engine.commands import Command, NameAttendee, PlaceOrder, Sweep
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
from engine.runtime.forgetting import Forgetter
from engine.runtime.loading import Loader
from engine.runtime.ports import Batch, Clock, Grant, Journal, Observer, SnapshotStore
from engine.runtime.saving import Saver
from engine.runtime.shard import Shard
from engine.runtime.turn import Part
from engine.runtime.wakes import Wakes


class Limits(Struct, frozen=True, kw_only=True):
    """The runtime's bounds; the defaults suit one process of a small machine."""

    mailbox_max: int = 20_000  # of a shard's lane
    sale_quota_max: int = 16_000
    turn_letters_max: int = 512
    turn_sweeps_max: int = 2
    sweep_orders_max: int = 500
    letter_ttl_ms: int = 5_000
    deaths_max: int = 3
    loads_max: int = 8
    finished_order_kept_ms: int = 60 * 60 * 1000
    reload_ms: int = 10_000  # before a sale that could not be loaded is tried again by itself
    idle_ms: int = 10 * 60 * 1000
    tick_s: float = 0.1
    acquire_retry_s: float = 0.2


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
        self._clock = clock
        self._observer = observer
        self._shards = shards
        self._limits = limits
        self._random = random
        self._shard_by_id: dict[int, Shard] = {}
        self._in_flight: list[Part] = []
        self._tasks = asyncio.TaskGroup()
        self._wakes = Wakes()
        self._work = asyncio.Event()
        self._loads: set[asyncio.Task[None]] = set()
        self._ticked = False
        self._recovering = False
        self._stopping = False
        self._loader = Loader(
            journal=journal,
            snapshots=snapshots,
            clock=clock,
            observer=observer,
            loads_max=limits.loads_max,
            deaths_max=limits.deaths_max,
        )
        self._saver = Saver(snapshots=snapshots, clock=clock, observer=observer, spawn=self._spawn)
        self._forgetter = Forgetter(
            saver=self._saver, wakes=self._wakes, clock=clock, idle_ms=limits.idle_ms
        )

    # -- the way in ------------------------------------------------------------------------

    def post(
        self, sale_id: str, command: Command, reply_to: Callable[[Reply | Fault], None]
    ) -> None:
        """Leave a letter for a sale. Raises a Fault where it can't be taken."""
        try:
            self._post(sale_id, command, reply_to)
        except Fault as fault:
            self._observer.letter_refused(type(fault).__name__)
            raise

    def _post(
        self, sale_id: str, command: Command, reply_to: Callable[[Reply | Fault], None]
    ) -> None:
        shard = self._shard_by_id.get(shard_of(sale_id, self._shards))
        if shard is None:
            raise NotOwner
        if self._stopping:
            raise SaleUnavailable
        if self._recovering:
            raise JournalUnavailable
        deadline_ms = self._clock.now_ms() + self._limits.letter_ttl_ms
        shard.offer(Letter(sale_id, command, deadline_ms, reply_to))
        self._work.set()

    def lost_shards(self) -> list[int]:
        return [shard.shard_id for shard in self._shard_by_id.values() if shard.lost]

    @property
    def recovering(self) -> bool:
        """The journal is away: what an append did is not known yet, and nothing is taken in."""
        return self._recovering

    @property
    def depth(self) -> int:
        """Letters without an answer."""
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
        """Decide until `stop`; whatever was taken in by then is answered, at death as well."""
        try:
            async with self._tasks:
                ticking = self._tasks.create_task(self._tick(), name="deadlines")
                while not self._stopping or self.depth:
                    await self._work.wait()
                    self._work.clear()
                    await self._take_turn()
                for task in (ticking, *self._loads):
                    task.cancel()
                await self._saver.finish(self._alive())
        finally:
            self._stopping = True
            for part in self._in_flight:
                part.refuse(OutcomeUnknown())
            for shard in self._shard_by_id.values():
                shard.close(SaleUnavailable())

    def stop(self) -> None:
        """Take nothing more in; `run` ends once every letter has its answer."""
        self._stopping = True
        self._work.set()

    def _alive(self) -> list[Actor]:
        shards = self._shard_by_id.values()
        actors = [actor for shard in shards for actor in shard.actor_by_sale.values()]
        return [actor for actor in actors if actor.state is not None]

    def _shard_of(self, sale_id: str) -> Shard:
        return self._shard_by_id[shard_of(sale_id, self._shards)]

    def _remind(self, sale_id: str) -> None:
        self._shard_of(sale_id).remind(sale_id)
        self._work.set()

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """A bug in the runtime's own tasks ends the process: nothing else may come of them."""
        return self._tasks.create_task(work)

    async def _tick(self) -> None:
        while True:
            await self._clock.sleep(self._limits.tick_s)
            now_ms = self._clock.now_ms()
            for sale_id in self._wakes.take_due(now_ms):
                self._remind(sale_id)
            for part in self._in_flight:
                part.answer_late(now_ms)
            for shard in self._shard_by_id.values():
                shard.answer_overdue(now_ms)
            self._ticked = True
            self._work.set()

    # -- a turn ----------------------------------------------------------------------------

    async def _take_turn(self) -> None:
        busy = [shard for shard in self._shard_by_id.values() if shard.has_work]
        self._in_flight = [self._decide(shard) for shard in busy]
        await self._commit(self._in_flight)
        self._in_flight = []
        self._tend()
        if any(shard.has_work for shard in busy):
            self._work.set()

    def _decide(self, shard: Shard) -> Part:
        part = Part(shard)
        limits = self._limits
        now_ms = self._clock.now_ms()
        for sale_id in shard.take_due(limits.turn_sweeps_max):
            actor = shard.actor(sale_id)
            if actor.state is None:
                actor.reminded = True
                self._ensure_loaded(shard, actor)
            else:
                sweep = Sweep(
                    limits.sweep_orders_max, self._random(32), limits.finished_order_kept_ms
                )
                self._handle(part, actor, sweep, now_ms)
                part.changed[sale_id] = actor
        for letter in shard.take(limits.turn_letters_max):
            if letter.deadline_ms < now_ms:
                shard.answer(letter, DeadlinePassed())
                continue
            actor = shard.actor(letter.sale_id)
            if actor.state is None:
                shard.park(letter)
                self._ensure_loaded(shard, actor)
                continue
            reply = self._handle(part, actor, letter.command, now_ms)
            if isinstance(reply, SaleDied):
                shard.answer(letter, reply)
            else:
                part.answers.append((letter, reply))
        return part

    def _handle(self, part: Part, actor: Actor, command: Command, now_ms: int) -> Reply | SaleDied:
        try:
            entries, reply = actor.handle(command, now_ms)
        except Exception as bug:  # the actor dies; what it decided before stands
            self._bury(part, actor, bug)
            return SaleDied()
        if entries:
            part.entries += entries
            part.personal_keys += _personal_key(command)
            part.changed[actor.sale_id] = actor
        return reply

    def _bury(self, part: Part, actor: Actor, bug: Exception) -> None:
        actor.state = None
        actor.loading = True  # not before this turn is durable
        actor.reminded = True
        part.broken.append(actor)
        self._loader.died(actor.sale_id, bug)

    async def _commit(self, parts: list[Part]) -> None:
        writing = [part for part in parts if part.entries]
        if writing:
            await self._append(writing)
        else:
            await asyncio.sleep(0)  # a storm of refusals must not starve those who ask
        for part in parts:
            if not part.entries:
                self._settle(part)

    async def _append(self, parts: list[Part]) -> None:
        began = time.perf_counter()
        batches = [part.batch() for part in parts]
        letters = sum(len(part.answers) for part in self._in_flight)
        try:
            committed = await self._journal.append(batches)
        except (JournalUnavailable, OutcomeUnknown) as fault:
            self._observer.journal_failed(fault)
            await self._recover(parts, batches)
            return
        for part in parts:
            if part.shard.shard_id in committed:
                part.shard.last_seq += 1
                self._settle(part)
            else:
                self._lose(part)
        facts = sum(len(batch.entries) for batch in batches)
        self._observer.turn_committed(letters, facts, time.perf_counter() - began)

    def _settle(self, part: Part) -> None:
        """All that the part was computed from is durable."""
        shard = part.shard
        for actor in part.changed.values():
            actor.journal_seq = shard.last_seq
            self._saver.lags(actor)
            self._schedule(shard, actor)
        part.deliver()
        for actor in part.broken:
            actor.loading = False
            self._ensure_loaded(shard, actor)

    def _lose(self, part: Part) -> None:
        """Fenced: what this turn decided for the shard never was."""
        self._observer.shard_lost(part.shard.shard_id)
        part.refuse(NotOwner())
        part.shard.close(NotOwner())

    # -- the unknown end -------------------------------------------------------------------

    async def _recover(self, parts: list[Part], batches: list[Batch]) -> None:
        """Take the shards of a doubtful append anew until it is known what became of it."""
        while (known := await self._find_out(batches)) is None:
            self._recovering = True
            if self._stopping and not self.depth:
                for part in parts:
                    part.shard.close(NotOwner())
                return
            await self._clock.sleep(self._limits.acquire_retry_s)
        self._recovering = False
        grant_by_shard, landed = known
        for part, stands in zip(parts, landed, strict=True):
            self._resume(part, grant_by_shard.get(part.shard.shard_id), stands)

    async def _find_out(self, batches: list[Batch]) -> tuple[dict[int, Grant], list[bool]] | None:
        try:
            grants = await self._journal.acquire([batch.shard_id for batch in batches])
            landed = [await self._journal.landed(batch) for batch in batches]
        except (JournalUnavailable, OutcomeUnknown) as fault:
            self._observer.journal_failed(fault)
            return None
        return {grant.shard_id: grant for grant in grants}, landed

    def _resume(self, part: Part, grant: Grant | None, landed: bool) -> None:
        if landed:
            part.deliver()
        if grant is None:
            self._lose(part)
            return
        undecided, part.answers = [letter for letter, _ in part.answers], []
        part.shard.resume(grant, undecided)
        for actor in (*part.changed.values(), *part.broken):
            self._remind(actor.sale_id)

    # -- between turns ---------------------------------------------------------------------

    def _ensure_loaded(self, shard: Shard, actor: Actor) -> None:
        if not actor.loading:
            actor.loading = True
            task = self._spawn(self._load(shard, actor))
            self._loads.add(task)
            task.add_done_callback(self._loads.discard)

    async def _load(self, shard: Shard, actor: Actor) -> None:
        sale_id = actor.sale_id
        fault = await self._loader.load(actor, shard.grant)
        if shard.actor_by_sale.get(sale_id) is not actor:
            actor.state = None  # forgotten while it was loading; its letters went elsewhere
            return
        actor.loading = False
        self._work.set()
        letters = shard.unpark(sale_id)
        if fault is not None:
            shard.forget(actor)
            if actor.reminded:
                self._wakes.set(sale_id, self._clock.now_ms() + self._limits.reload_ms)
            for letter in letters:
                shard.answer(letter, fault)
            return
        actor.reminded = False
        shard.put_back(letters)
        self._saver.lags(actor)
        self._schedule(shard, actor)
        self._forgetter.met(shard, actor)

    def _schedule(self, shard: Shard, actor: Actor) -> None:
        """Know of the sale's next deadline."""
        deadline_ms = actor.next_sweep_ms(self._limits.finished_order_kept_ms)
        if deadline_ms is None:
            return
        if deadline_ms <= self._clock.now_ms():
            shard.remind(actor.sale_id)
        else:
            self._wakes.set(actor.sale_id, deadline_ms)

    def _tend(self) -> None:
        """Snapshots and forgetting, at the only time when all that memory holds is durable."""
        if self._ticked:
            self._ticked = False
            self._saver.tick()
            self._forgetter.forget_some(self._shard_by_id.values())
        self._saver.send_some()


def _personal_key(command: Command) -> list[tuple[str, bytes]]:
    if isinstance(command, PlaceOrder | NameAttendee) and command.personal_key is not None:
        return [(command.order_id, command.personal_key)]
    return []
