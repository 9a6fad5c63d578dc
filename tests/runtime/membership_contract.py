"""What every membership must do. A subclass offers `join` and runs where its database runs.

`join(node, incarnation)` is a process: its membership and its journal, over one empty database with
leases of `ttl_s`; `bury(incarnation)` makes it dead for whoever starts in its place, though it may
still call here.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from engine.runtime.ports import Journal, Membership

Process = tuple[Membership, Journal]
Join = Callable[[str, str], Awaitable[Process]]
Bury = Callable[[str], Awaitable[None]]

SHARD, OTHER_SHARD = 3, 5
PATIENCE_S = 5.0


class MembershipContract:
    ttl_s: float

    @pytest.fixture
    def join(self) -> Join:
        raise NotImplementedError

    @pytest.fixture
    def bury(self) -> Bury:
        raise NotImplementedError

    async def test_a_renewal_tells_who_lives_and_who_would_own(self, join: Join) -> None:
        one, two = (await join("one", "1"))[0], (await join("two", "1"))[0]
        assert (await one.renew(willing=True)).living == {"one"}
        roster = await two.renew(willing=False)
        assert roster.accepted
        assert roster.living == {"one", "two"}
        assert roster.willing == {"one"}

    async def test_the_clock_is_the_databases_and_goes_on(self, join: Join) -> None:
        (one, _) = await join("one", "1")
        first = await one.renew(willing=True)
        await asyncio.sleep(0.05)
        assert (await one.renew(willing=True)).now_ms >= first.now_ms + 50

    async def test_a_lease_runs_out_by_itself_and_not_before(self, join: Join) -> None:
        one, two = (await join("one", "1"))[0], (await join("two", "1"))[0]
        began_ms = (await one.renew(willing=True)).now_ms
        while "one" in (roster := await two.renew(willing=True)).living:
            assert roster.now_ms < began_ms + (self.ttl_s + PATIENCE_S) * 1000
            await asyncio.sleep(self.ttl_s / 20)
        assert roster.now_ms >= began_ms + self.ttl_s * 1000

    async def test_who_leaves_is_gone_at_once(self, join: Join) -> None:
        one, two = (await join("one", "1"))[0], (await join("two", "1"))[0]
        await one.renew(willing=True)
        await one.leave()
        assert (await two.renew(willing=True)).living == {"two"}

    async def test_a_dead_process_leaves_its_name_to_the_next_at_once(
        self, join: Join, bury: Bury
    ) -> None:
        earlier, later = (await join("one", "1"))[0], (await join("one", "2"))[0]
        await earlier.renew(willing=True)
        await bury("1")
        assert (await later.renew(willing=True)).accepted
        assert (await later.renew(willing=True)).living == {"one"}

    async def test_a_living_process_keeps_its_name(self, join: Join) -> None:
        earlier, later = (await join("one", "1"))[0], (await join("one", "2"))[0]
        await earlier.renew(willing=True)
        assert not (await later.renew(willing=True)).accepted
        assert (await earlier.renew(willing=True)).accepted

    async def test_a_name_whose_lease_has_ended_is_free_and_who_had_it_hears_of_it(
        self, join: Join
    ) -> None:
        earlier, later = (await join("one", "1"))[0], (await join("one", "2"))[0]
        began_ms = (await earlier.renew(willing=True)).now_ms
        while not (roster := await later.renew(willing=True)).accepted:
            assert roster.now_ms < began_ms + (self.ttl_s + PATIENCE_S) * 1000
            await asyncio.sleep(self.ttl_s / 20)
        assert roster.now_ms >= began_ms + self.ttl_s * 1000
        assert not (await earlier.renew(willing=True)).accepted
        await earlier.leave()  # it is not its lease that would end
        assert (await later.renew(willing=True)).living == {"one"}

    async def test_who_has_lost_its_name_never_has_it_again(self, join: Join, bury: Bury) -> None:
        earlier, later = (await join("one", "1"))[0], (await join("one", "2"))[0]
        began_ms = (await earlier.renew(willing=True)).now_ms
        while not (roster := await later.renew(willing=True)).accepted:
            assert roster.now_ms < began_ms + (self.ttl_s + PATIENCE_S) * 1000
            await asyncio.sleep(self.ttl_s / 20)
        await bury("2")
        assert not (await earlier.renew(willing=True)).accepted

    async def test_what_a_live_node_owns_stays_its_own(self, join: Join) -> None:
        (one, ones), (two, twos) = await join("one", "1"), await join("two", "1")
        await one.renew(willing=True)
        await two.renew(willing=True)
        assert len(await ones.acquire([SHARD])) == 1
        assert await twos.acquire([SHARD]) == []
        roster = await two.renew(willing=True)
        assert roster.owner_by_shard[SHARD] == "one"

    async def test_what_a_dead_node_owned_is_free(self, join: Join) -> None:
        (one, ones), (two, twos) = await join("one", "1"), await join("two", "1")
        await one.renew(willing=True)
        (before,) = await ones.acquire([SHARD])
        for _ in range(100):
            if "one" not in (await two.renew(willing=True)).living:
                break
            await asyncio.sleep(self.ttl_s / 20)
        (after,) = await twos.acquire([SHARD])
        assert after.epoch > before.epoch

    async def test_a_name_takes_its_own_at_once_and_a_replaced_process_nothing(
        self, join: Join, bury: Bury
    ) -> None:
        (earlier, earliers), (later, laters) = await join("one", "1"), await join("one", "2")
        await earlier.renew(willing=True)
        (before,) = await earliers.acquire([SHARD])
        await bury("1")
        await later.renew(willing=True)
        (after,) = await laters.acquire([SHARD])
        assert after.epoch > before.epoch
        assert await earliers.acquire([SHARD, OTHER_SHARD]) == []

    async def test_what_is_released_is_its_successors_or_anybodys(self, join: Join) -> None:
        (one, ones), (two, twos) = await join("one", "1"), await join("two", "1")
        await one.renew(willing=True)
        await two.renew(willing=True)
        grants = {grant.shard_id: grant for grant in await ones.acquire([SHARD, OTHER_SHARD])}
        await ones.release(grants[SHARD], "two")
        await ones.release(grants[OTHER_SHARD], None)
        owners = (await two.renew(willing=True)).owner_by_shard
        assert (owners[SHARD], owners[OTHER_SHARD]) == ("two", None)
        assert await ones.acquire([SHARD]) == []
        assert len(await twos.acquire([SHARD, OTHER_SHARD])) == 2

    async def test_a_release_under_an_old_epoch_does_nothing(self, join: Join) -> None:
        (one, ones) = await join("one", "1")
        await one.renew(willing=True)
        (grant,) = await ones.acquire([SHARD])
        await ones.reacquire([grant])
        await ones.release(grant, None)
        assert (await one.renew(willing=True)).owner_by_shard[SHARD] == "one"

    async def test_only_what_still_holds_is_acquired_anew(self, join: Join) -> None:
        (one, ones) = await join("one", "1")
        await one.renew(willing=True)
        (grant,) = await ones.acquire([SHARD])
        (again,) = await ones.reacquire([grant])
        assert again.epoch > grant.epoch
        assert await ones.reacquire([grant]) == []

    async def test_a_release_wakes_who_waits_for_changes(self, join: Join) -> None:
        (one, ones), (two, _) = await join("one", "1"), await join("two", "1")
        await one.renew(willing=True)
        await two.renew(willing=True)
        (grant,) = await ones.acquire([SHARD])
        waiting = asyncio.create_task(two.changed(PATIENCE_S * 10))
        await asyncio.sleep(0)
        await ones.release(grant, "two")
        async with asyncio.timeout(PATIENCE_S):
            await waiting

    async def test_a_release_that_nobody_waited_for_is_not_missed(self, join: Join) -> None:
        (one, ones), (two, _) = await join("one", "1"), await join("two", "1")
        await one.renew(willing=True)
        await two.renew(willing=True)
        (grant,) = await ones.acquire([SHARD])
        await ones.release(grant, "two")
        await two.renew(willing=True)
        async with asyncio.timeout(PATIENCE_S):
            await two.changed(PATIENCE_S * 10)
