"""What a node asks the journal when it takes shards over, where the journal fails in between."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from engine.runtime.faults import JournalUnavailable
from engine.runtime.limits import Limits
from engine.runtime.ownership import Lease, Ownership
from engine.runtime.ports import Grant, Roster
from engine.runtime.supervisor import Supervisor
from tests.runtime.world import until

NODE = "one"
STEPS = 10


class Clock:
    def now_ms(self) -> int:
        return 0

    def monotonic_s(self) -> float:
        return 0.0


class Heard:
    """Whatever an observer is told."""

    def __getattr__(self, _: str) -> Any:
        return lambda *_: None


class Journal:
    """Grants everything; asked what is unsettled it fails once."""

    def __init__(self) -> None:
        self.owner_by_shard: dict[int, str | None] = {}
        self.asked: list[list[int]] = []
        self.steps = 0

    async def acquire(self, shard_ids: Sequence[int]) -> list[Grant]:
        self.owner_by_shard.update(dict.fromkeys(shard_ids, NODE))
        return [Grant(shard_id, 1, 0) for shard_id in shard_ids]

    async def unsettled(self, shard_ids: Sequence[int]) -> list[str]:
        self.asked.append(list(shard_ids))
        if len(self.asked) == 1:
            raise JournalUnavailable
        return []

    async def changed(self, seconds: float) -> None:
        self.steps += 1
        await asyncio.sleep(0)

    async def renew(self, *, willing: bool) -> Roster:
        here = frozenset({NODE})
        owners = dict(self.owner_by_shard)
        return Roster(0, True, here, here, owners, dict.fromkeys(owners, 0))


async def test_what_falls_due_in_a_shard_is_asked_for_until_it_is_known() -> None:
    journal, anything = Journal(), cast(Any, Heard())
    known = cast(Any, journal)
    clock = cast(Any, Clock())
    supervisor = Supervisor(
        journal=known, snapshots=anything, clock=clock, observer=anything, shards=2, limits=Limits()
    )
    ownership = Ownership(
        node=NODE,
        membership=known,
        journal=known,
        streams=None,
        supervisor=supervisor,
        clock=clock,
        observer=anything,
        shards=2,
        lease=Lease(),
    )
    running = asyncio.create_task(ownership.run())
    await until(lambda: journal.steps > STEPS)
    running.cancel()
    assert list(supervisor.epoch_by_shard) == [0, 1]
    assert journal.asked == [[0, 1], [0, 1]]
