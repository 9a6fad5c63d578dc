"""Brings a turn's batches into the journal, and finds out how an append ended that nobody answered.

Unknown is no end: the shards are acquired anew from our own epochs, with that the question is
settled for ever, and the journal answers what the connection did not.
"""

import math
from collections.abc import Callable, Sequence

from msgspec import Struct

from engine.runtime.faults import JournalUnavailable, OutcomeUnknown
from engine.runtime.limits import Limits
from engine.runtime.ports import Batch, Clock, Grant, Journal, Observer


class FoundOut(Struct, frozen=True, gc=False):
    """Of an append in doubt: which shards are ours still, and which of its batches stand."""

    grant_by_shard: dict[int, Grant]
    stands: list[bool]


class Committer:
    """`abandoned`: whether nobody waits any more to hear how an append ended."""

    def __init__(
        self,
        *,
        journal: Journal,
        clock: Clock,
        observer: Observer,
        limits: Limits,
        abandoned: Callable[[], bool],
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._observer = observer
        self._limits = limits
        self._abandoned = abandoned
        self._recovering = False
        self._appending_since_s = math.inf

    @property
    def recovering(self) -> bool:
        """The journal is away: what an append did is not known yet."""
        return self.recovering_at(self._clock.monotonic_s())

    def recovering_at(self, now_s: float) -> bool:
        return self._recovering or now_s - self._appending_since_s > self._limits.append_slow_s

    async def append(self, batches: Sequence[Batch]) -> frozenset[int] | FoundOut | None:
        """The shards whose batches were not fenced; what was found out; None: it was abandoned."""
        self._appending_since_s = self._clock.monotonic_s()
        try:
            return await self._journal.append(batches)
        except (JournalUnavailable, OutcomeUnknown) as fault:
            self._observer.journal_failed(fault)
            return await self._recover(batches)
        finally:
            self._appending_since_s = math.inf

    async def _recover(self, batches: Sequence[Batch]) -> FoundOut | None:
        while (found := await self._find_out(batches)) is None:
            self._recovering = True
            if self._abandoned():
                return None
            await self._clock.sleep(self._limits.acquire_retry_s)
        self._recovering = False
        return found

    async def _find_out(self, batches: Sequence[Batch]) -> FoundOut | None:
        held = [Grant(batch.shard_id, batch.epoch, batch.seq) for batch in batches]
        try:
            grants = await self._journal.reacquire(held)
            stands = [bool(b.entries) and await self._journal.landed(b) for b in batches]
        except (JournalUnavailable, OutcomeUnknown) as fault:
            self._observer.journal_failed(fault)
            return None
        return FoundOut({grant.shard_id: grant for grant in grants}, stands)
