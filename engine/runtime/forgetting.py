"""Lets go of sales: those that do not exist, and those that rest. Only between turns.

A node holds what is live, not what exists; whoever asks for a sale that is gone has it loaded.
"""

from collections.abc import Iterable
from functools import partial

from engine.runtime.actor import Actor
from engine.runtime.ports import Clock
from engine.runtime.saving import Saver
from engine.runtime.shard import Shard
from engine.runtime.wakes import Wakes

_LOOKS_PER_IDLE_SPAN = 10


class Forgetter:
    def __init__(self, *, saver: Saver, wakes: Wakes, clock: Clock, idle_ms: int) -> None:
        self._saver = saver
        self._wakes = wakes
        self._clock = clock
        self._idle_ms = idle_ms
        self._looked_at_ms = 0
        self._strangers: list[tuple[Shard, Actor]] = []

    def met(self, shard: Shard, actor: Actor) -> None:
        """A sale was loaded; it may be one that the journal knows nothing of."""
        if actor.unknown:
            self._strangers.append((shard, actor))

    def forget_some(self, shards: Iterable[Shard]) -> None:
        strangers, self._strangers = self._strangers, []
        for shard, actor in strangers:
            if actor.unknown:
                self._forget(shard, actor)
        now_ms = self._clock.now_ms()
        if now_ms >= self._looked_at_ms + self._idle_ms // _LOOKS_PER_IDLE_SPAN:
            self._put_away(shards, now_ms)

    def _put_away(self, shards: Iterable[Shard], now_ms: int) -> None:
        for shard in shards:
            for actor in shard.actor_by_sale.values():
                if not self._saver.has_room:
                    return  # goes on after the next tick
                if actor.rests(now_ms - self._idle_ms):
                    self._saver.put_away(actor, partial(self._forget, shard, actor))
        self._looked_at_ms = now_ms

    def _forget(self, shard: Shard, actor: Actor) -> None:
        shard.forget(actor)
        self._wakes.cancel(actor.sale_id)
