"""Watches who owns which shard while everything breaks: epochs grow, and who gives up is silent."""

import asyncio
from collections.abc import Iterable, Mapping

import asyncpg

from persistence.transactions import AWAY

LOOK_S = 0.1
ANSWER_S_MAX = 1.0
_OWNERS = "SELECT shard_id, epoch, owner, last_seq FROM shards"


class Watch:
    """`takeovers`: epochs that came up while we looked. `wrong`: what no run may show."""

    def __init__(self, dsn: str) -> None:
        self.owner_by_shard: dict[int, str | None] = {}
        self.epoch_by_shard: dict[int, int] = {}
        self.takeovers = 0
        self.wrong: list[str] = []
        self._dsn = dsn
        self._owner_by_epoch: dict[tuple[int, int], str] = {}
        self._given_up_at: dict[tuple[int, int], int] = {}

    async def run(self) -> None:
        """For ever, also while the database is away."""
        while True:
            try:
                connection = await asyncpg.connect(self._dsn, timeout=ANSWER_S_MAX)
                await self._look_on(connection)
            except AWAY:
                await asyncio.sleep(LOOK_S)

    async def _look_on(self, connection: asyncpg.Connection) -> None:
        try:
            while True:
                for row in await connection.fetch(_OWNERS, timeout=ANSWER_S_MAX):
                    self.saw(*row)
                await asyncio.sleep(LOOK_S)
        finally:
            connection.terminate()

    def saw(self, shard_id: int, epoch: int, owner: str | None, last_seq: int) -> None:
        """A shard as its row was when we looked."""
        before = self.epoch_by_shard.get(shard_id, epoch)
        if epoch < before:
            self.wrong.append(f"shard {shard_id}: its epoch went back from {before} to {epoch}")
        self.takeovers += max(0, epoch - before)
        self.epoch_by_shard[shard_id] = epoch
        self.owner_by_shard[shard_id] = owner
        self._check_silence((shard_id, epoch), owner, last_seq)

    def shards_of(self, owner: str) -> set[int]:
        return {shard_id for shard_id, name in self.owner_by_shard.items() if name == owner}

    def grown_since(self, before: Mapping[int, int], shard_ids: Iterable[int]) -> bool:
        """Whether each of these has a later epoch than it had `before`."""
        return all(self.epoch_by_shard[each] > before.get(each, 0) for each in shard_ids)

    def _check_silence(self, grant: tuple[int, int], owner: str | None, last_seq: int) -> None:
        """Who has given a shard up writes no more; the next one writes with an epoch of its own.

        Where the owner of an epoch has changed, that epoch is over.
        """
        if owner is not None:
            self._owner_by_epoch.setdefault(grant, owner)
        if self._owner_by_epoch.get(grant) == owner:
            return
        if last_seq > self._given_up_at.setdefault(grant, last_seq):
            self.wrong.append(f"shard {grant[0]}: epoch {grant[1]} was given up, and written with")
