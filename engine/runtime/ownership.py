"""Keeps this node's lease, and takes and gives up shards as nodes come and go.

The lease decides only when a shard is taken over; the epoch decides who may write. The time in
which memory may be trusted is counted from before the lease was asked for, so it ends before any
other node can think that the lease has ended. A node whose clock is far off owns nothing.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial

from msgspec import Struct

from engine.placement import wanted_owner
from engine.runtime.faults import JournalUnavailable, OutcomeUnknown
from engine.runtime.ports import (
    Clock,
    Grant,
    Journal,
    Membership,
    Observer,
    Roster,
    Streams,
)
from engine.runtime.reading import Answers, Reader
from engine.runtime.supervisor import Supervisor


class Lease(Struct, frozen=True, kw_only=True):
    """`ttl_s` is how long a dead owner's shards are left alone."""

    ttl_s: float = 3.0
    renew_s: float = 1.0
    retry_s: float = 0.2
    margin_s: float = 0.25
    skew_max_ms: int = 2_000


class Ownership:
    """`streams` None: nobody asks from other processes."""

    def __init__(
        self,
        *,
        node: str,
        membership: Membership,
        journal: Journal,
        streams: Streams | None,
        supervisor: Supervisor,
        clock: Clock,
        observer: Observer,
        shards: int,
        lease: Lease,
    ) -> None:
        self._node = node
        self._membership = membership
        self._journal = journal
        self._streams = streams
        self._supervisor = supervisor
        self._clock = clock
        self._observer = observer
        self._shards = shards
        self._lease = lease
        self._tasks = asyncio.TaskGroup()
        self._readers: dict[int, asyncio.Task[None]] = {}
        self._moving: dict[int, asyncio.Task[None]] = {}
        self._unasked: set[int] = set()  # taken, and what falls due in them is not known yet
        self._asking: asyncio.Task[None] | None = None
        self._answers = Answers(streams, observer, self._spawn) if streams is not None else None
        self._resigning = False
        self._resigned = False
        self._fit = True
        self._stepping = asyncio.Lock()
        self.trouble: str | None = None
        self.begun = asyncio.Event()  # after the first step

    async def run(self) -> None:
        """Until cancelled. Ends by itself only with an exception, which is a bug."""
        async with self._tasks:
            try:
                await self._keep()
            finally:
                if self._answers is not None:
                    await self._answers.finish()

    async def _keep(self) -> None:
        while True:
            await self.step()
            self.begun.set()
            pause_s = self._lease.retry_s if self.trouble else self._lease.renew_s
            await self._membership.changed(pause_s)

    async def resign(self) -> None:
        """Hand every shard over to the nodes that stay. Where there is none they are ours still,
        but take nothing in from elsewhere any more."""
        self._resigning = True
        await self.step()
        while self._moving:
            await asyncio.wait(self._moving.values())
            await self.step()  # one that did not know may have handed us another meanwhile
        self._resigned = True
        for shard_id in self._supervisor.epoch_by_shard:
            self._stop_reading(shard_id)

    async def leave(self) -> None:
        """At the very end, when nothing is decided any more."""
        try:
            await self._membership.leave()
        except (JournalUnavailable, OutcomeUnknown) as fault:
            self._observer.lease_failed(fault)  # it will run out

    # -- a step ----------------------------------------------------------------------------

    async def step(self) -> None:
        """Renew the lease, and bring what we own nearer to what we should own."""
        async with self._stepping:
            try:
                await self._step()
            except (JournalUnavailable, OutcomeUnknown) as fault:
                self.trouble = "the database does not answer"
                self._observer.lease_failed(fault)

    async def _step(self) -> None:
        asked_s, asked_ms = self._clock.monotonic_s(), self._clock.now_ms()
        roster = await self._membership.renew(willing=self._fit and not self._resigning)
        self.trouble = self._unfit(roster, asked_ms)
        self._fit = self.trouble is None
        if self.trouble is not None:
            await self._give_up(roster)
            return
        self._supervisor.trust(asked_s + self._lease.ttl_s - self._lease.margin_s)
        for shard_id, epoch in self._supervisor.epoch_by_shard.items():
            # Ours by name under a newer epoch: another has owned it meanwhile, and given it back.
            ours = roster.owner_by_shard.get(shard_id) == self._node
            if not ours or roster.epoch_by_shard[shard_id] > epoch:
                self._drop(shard_id)
        if self._resigned:
            await self._decline(roster)
        else:
            await self._take(roster)
        self._give(roster)
        if self._unasked and self._asking is None:
            self._asking = self._spawn(self._ask_what_falls_due())

    def _unfit(self, roster: Roster, asked_ms: int) -> str | None:
        if not roster.accepted:
            return f"another process lives as {self._node}"
        off_ms = max(asked_ms - roster.now_ms, roster.now_ms - self._clock.now_ms())
        if off_ms > self._lease.skew_max_ms:
            return f"the clock is {off_ms} ms off the database's"
        return None

    async def _give_up(self, roster: Roster) -> None:
        """At once: with a wrong clock nothing may be decided any more.

        What is ours by name is declined, also what we never took, or dropped in an earlier step
        that failed.
        """
        for shard_id in self._supervisor.epoch_by_shard:
            self._drop(shard_id)
        if roster.accepted:
            await self._decline(roster)

    async def _decline(self, roster: Roster) -> None:
        """Leave to others what is ours by name only; a new epoch fences what is in flight."""
        owned = {*self._supervisor.epoch_by_shard, *self._moving}
        named = {shard for shard, owner in roster.owner_by_shard.items() if owner == self._node}
        if declined := sorted(named - owned):
            for grant in await self._journal.acquire(declined):
                await self._journal.release(grant, None)

    def _drop(self, shard_id: int) -> None:
        self._stop_reading(shard_id)
        self._supervisor.drop(shard_id)

    async def _take(self, roster: Roster) -> None:
        """Ours by name is ours at once: an earlier life of ours has no use for it."""
        owned = {*self._supervisor.epoch_by_shard, *self._moving}
        missing = [
            shard_id
            for shard_id in range(self._shards)
            if shard_id not in owned and self._may_take(shard_id, roster)
        ]
        if missing:
            self._begin_with(await self._journal.acquire(missing))

    def _begin_with(self, grants: list[Grant]) -> None:
        for grant in grants:
            self._unasked.add(grant.shard_id)
            shard = self._supervisor.take_over(grant)
            if self._streams is not None and self._answers is not None:
                reader = Reader(
                    shard,
                    streams=self._streams,
                    answers=self._answers,
                    supervisor=self._supervisor,
                    clock=self._clock,
                    observer=self._observer,
                )
                self._readers[grant.shard_id] = self._spawn(reader.run())

    async def _ask_what_falls_due(self) -> None:
        """Beside the steps: others may be about to hand us more, and their letters wait."""
        asked, self._unasked = sorted(self._unasked), set()
        try:
            self._supervisor.remind(await self._journal.unsettled(asked))
        except (JournalUnavailable, OutcomeUnknown) as fault:
            self._unasked.update(asked)  # the next step asks again
            self._observer.lease_failed(fault)
        finally:
            self._asking = None

    def _may_take(self, shard_id: int, roster: Roster) -> bool:
        owner = roster.owner_by_shard.get(shard_id)
        if owner == self._node:
            return True
        free = owner is None or owner not in roster.living
        return free and wanted_owner(shard_id, roster.willing) == self._node

    def _give(self, roster: Roster) -> None:
        for shard_id in self._supervisor.epoch_by_shard:
            successor = wanted_owner(shard_id, roster.willing)
            if successor not in (None, self._node) and shard_id not in self._moving:
                assert successor is not None
                moving = self._spawn(self._hand_over(shard_id, successor))
                self._moving[shard_id] = moving
                moving.add_done_callback(partial(self._moved, shard_id))

    def _moved(self, shard_id: int, _: asyncio.Task[None]) -> None:
        del self._moving[shard_id]

    async def _hand_over(self, shard_id: int, successor: str) -> None:
        """Its letters go on gathering in the stream, where the successor finds them."""
        self._stop_reading(shard_id)
        grant = await self._supervisor.drain(shard_id)
        if grant is None:
            return
        try:
            await self._journal.release(grant, successor)
        except (JournalUnavailable, OutcomeUnknown) as fault:
            self._observer.lease_failed(fault)  # ours still, by name: the next step takes it again
        else:
            self._observer.shard_handed_over(shard_id, successor)

    def _stop_reading(self, shard_id: int) -> None:
        reader = self._readers.pop(shard_id, None)
        if reader is not None:
            reader.cancel()

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        return self._tasks.create_task(work)


async def show_life(membership: Membership, lease: Lease) -> None:
    """For a node that owns nothing: that it lives is all that it has to tell."""
    while True:
        with suppress(JournalUnavailable):
            await membership.renew(willing=False)
        await membership.changed(lease.renew_s)
