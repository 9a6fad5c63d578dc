"""Who owns what and when it moves: nothing is lost on the way, no deposed owner is believed."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest_asyncio

from engine.commands import ReadSale
from engine.facts import OrderPlaced
from engine.placement import wanted_owner
from engine.rejections import Reason, Rejection
from engine.runtime.faults import JournalUnavailable
from engine.runtime.ports import Grant
from engine.state import SaleView
from tests.runtime.cluster import LEASE, SALES, SHARDS, Cluster, Member, sale_of
from tests.runtime.desk import SECOND_MS
from tests.runtime.world import a, settle, until


@pytest_asyncio.fixture
async def cluster() -> AsyncIterator[Cluster]:
    made = Cluster()
    yield made
    await made.end()


async def test_every_shard_has_the_owner_that_hashing_wants(cluster: Cluster) -> None:
    ada, bob = await cluster.start("ada", "bob")
    await asyncio.sleep(3 * LEASE.renew_s)
    for member in (ada, bob):
        wanted = [s for s in range(SHARDS) if wanted_owner(s, ["ada", "bob"]) == member.name]
        assert member.owns == wanted


async def test_a_dead_owners_shards_are_taken_after_its_lease_and_not_before(
    cluster: Cluster,
) -> None:
    ada, bob = await cluster.start("ada", "bob")
    await until(lambda: ada.owns and bob.owns)
    await ada.membership.renew(willing=True)
    ada.life.kill()
    await asyncio.sleep(LEASE.ttl_s - 0.1)
    assert len(bob.owns) < SHARDS
    await asyncio.sleep(LEASE.renew_s + 0.2)
    assert len(bob.owns) == SHARDS


async def test_a_process_takes_the_shards_of_a_dead_one_of_its_name_at_once(
    cluster: Cluster,
) -> None:
    (ada,) = await cluster.start("ada")
    ada.life.kill()
    cluster.database.dead.add("1")
    (again,) = await cluster.start("ada", incarnation="2")
    assert asyncio.get_running_loop().time() < LEASE.ttl_s
    assert len(again.owns) == SHARDS


async def test_a_paused_owner_wakes_and_is_not_believed(cluster: Cluster) -> None:
    ada, bob = await cluster.start("ada", "bob")
    await until(lambda: ada.owns and bob.owns)
    sale_id = sale_of(ada.owns[0])
    await ada.ask(cluster.desk.open_sale(quantity=1), sale_id)
    ada.life.pause()
    waiting = ada.ask(ReadSale(), sale_id)
    await until(lambda: len(bob.owns) == SHARDS)
    a(OrderPlaced, await bob.ask(cluster.desk.place(sale_id), sale_id))
    ada.life.wake()
    seen = a(SaleView, await waiting)
    assert seen.tiers[0].held == 1


async def test_what_others_had_meanwhile_is_not_believed_though_it_is_given_back(
    cluster: Cluster,
) -> None:
    ada, bob = await cluster.start("ada", "bob")
    await until(lambda: ada.owns and bob.owns)
    (shard_id, *_), sale_id = ada.owns, sale_of(ada.owns[0])
    await ada.ask(cluster.desk.open_sale(quantity=1), sale_id)
    ada.membership.away = True
    await until(lambda: len(bob.owns) == SHARDS)
    a(OrderPlaced, await bob.ask(cluster.desk.place(sale_id), sale_id))
    grant = await bob.supervisor.drain(shard_id)
    assert grant is not None
    await bob.journal.release(grant, "ada")  # it comes back as it were, in a moment
    ada.membership.away = False
    await until(lambda: ada.ownership.trouble is None)
    seen = a(SaleView, await ada.ask(ReadSale(), sale_id))
    assert seen.tiers[0].held == 1


async def test_a_name_is_waited_for_while_its_process_may_live_and_that_owns_nothing_then(
    cluster: Cluster,
) -> None:
    (ada,) = await cluster.start("ada")
    began_s = asyncio.get_running_loop().time()
    ada.life.pause()
    cluster.members.remove(ada)
    await cluster.start("ada", incarnation="2")
    assert asyncio.get_running_loop().time() > began_s + LEASE.ttl_s - LEASE.renew_s
    ada.life.wake()
    await until(lambda: ada.ownership.trouble)
    assert ada.owns == []
    ada.running.cancel()


async def test_of_two_living_processes_of_a_name_the_earlier_goes_on(cluster: Cluster) -> None:
    (ada,) = await cluster.start("ada")
    ada.life.pause()
    namesake = Member(cluster, "ada", "2")
    namesake.life.begin(namesake.begin)
    await asyncio.sleep(LEASE.ttl_s / 2)
    ada.life.wake()
    await asyncio.sleep(2 * LEASE.ttl_s)
    assert namesake.ownership.trouble == "another process lives as ada"
    assert (len(ada.owns), namesake.owns) == (SHARDS, [])
    namesake.running.cancel()


async def test_a_planned_hand_over_answers_every_letter(cluster: Cluster) -> None:
    ada, bob = await cluster.start("ada", "bob")
    await until(lambda: ada.owns and bob.owns)
    for sale_id in SALES:
        await bob.ask(cluster.desk.open_sale(quantity=100), sale_id)
    asked = []
    resigning = asyncio.create_task(ada.ownership.resign())
    for _ in range(20):
        asked += [m.ask(cluster.desk.place(s), s) for s in SALES for m in (ada, bob)]
        await asyncio.sleep(0)
    answers = await asyncio.gather(*asked)
    await resigning
    assert all(isinstance(answer, OrderPlaced) for answer in answers)
    await until(lambda: len(bob.owns) == SHARDS)


async def test_answers_on_their_way_are_sent_before_a_node_ends(cluster: Cluster) -> None:
    """They were decided: who asked must not have to ask again because the owner was stopped."""
    ada, bob = await cluster.start("ada", "bob")
    await until(lambda: ada.owns and bob.owns)
    sale_id = sale_of(ada.owns[0])
    asked = bob.ask(ReadSale(), sale_id)
    answer = cluster.streams.answer
    under_way = asyncio.Event()

    async def slow(*sent: object) -> None:
        under_way.set()
        await asyncio.sleep(0.3)
        await answer(*sent)  # type: ignore[arg-type]

    cluster.streams.answer = slow  # type: ignore[method-assign, assignment]
    await under_way.wait()
    await ada.stop()
    assert await asked is not None


async def test_a_database_that_did_not_answer_once_moves_no_shard(cluster: Cluster) -> None:
    ada, bob = await cluster.start("ada", "bob")
    await until(lambda: ada.owns and bob.owns)
    owned = ada.owns
    ada.membership.away = True
    await until(lambda: ada.ownership.trouble)
    ada.membership.away = False
    await asyncio.sleep(3 * LEASE.renew_s)
    assert ada.owns == owned
    assert ada.observer.handed_over == []


async def test_a_node_with_a_wrong_clock_owns_nothing_until_it_is_right(cluster: Cluster) -> None:
    ada, bob = await cluster.start("ada", "bob")
    await until(lambda: ada.owns and bob.owns)
    ada.clock.offset_ms += LEASE.skew_max_ms + 1_000
    await until(lambda: len(bob.owns) == SHARDS)
    assert ada.owns == []
    ada.clock.offset_ms -= LEASE.skew_max_ms + 1_000
    await until(lambda: ada.owns)
    await until(cluster.is_settled)


async def test_a_drain_waits_for_a_sale_that_loads_without_turning_round(cluster: Cluster) -> None:
    """Else the loop would do nothing else as long as the load takes."""
    ada, bob = await cluster.start("ada", "bob")
    await until(lambda: ada.owns and bob.owns)
    ada.journal.reads.shut()
    asked = ada.ask(ReadSale(), sale_of(ada.owns[0]))
    await settle()
    resigning = asyncio.create_task(ada.ownership.resign())
    turns = len(ada.observer.turns)
    await asyncio.sleep(1)
    assert not resigning.done()
    assert len(ada.observer.turns) - turns < 50
    ada.journal.reads.open()
    await resigning
    assert a(Rejection, await asked).reason is Reason.UNKNOWN_EVENT


async def test_a_shard_handed_to_a_node_that_resigns_is_handed_on(cluster: Cluster) -> None:
    """Whoever hands it over may not know yet; the node must not end with it, nor keep the name."""
    ada, bob = await cluster.start("ada", "bob")
    await until(lambda: ada.owns and bob.owns)
    release, handed = bob.journal.release, ada.owns[0]

    async def release_while_more_comes(grant: Grant, successor: str | None) -> None:
        if handed in ada.owns:
            ada.supervisor.drop(handed)
            cluster.database.release(cluster.database.grants([handed])[0], "bob")
        await release(grant, successor)

    bob.journal.release = release_while_more_comes  # type: ignore[method-assign]
    await bob.ownership.resign()
    taken = len(bob.observer.taken)
    assert handed in bob.observer.taken
    assert bob.owns == []
    cluster.database.release(cluster.database.grants([handed])[0], "bob")
    await until(lambda: len(ada.owns) == SHARDS)
    assert len(bob.observer.taken) == taken


async def test_what_a_node_with_a_wrong_clock_owns_by_name_only_goes_to_others(
    cluster: Cluster,
) -> None:
    """It has dropped its shards, and the database did not answer when it wanted to release them."""
    ada, bob = await cluster.start("ada", "bob")
    await until(lambda: ada.owns and bob.owns)
    ada.journal.away = True
    ada.clock.offset_ms += LEASE.skew_max_ms + 1_000
    await until(lambda: not ada.owns)
    ada.journal.away = False
    await until(lambda: len(bob.owns) == SHARDS)
    ada.clock.offset_ms -= LEASE.skew_max_ms + 1_000


async def test_a_shard_that_is_lost_while_others_are_given_up_ends_nothing(
    cluster: Cluster,
) -> None:
    ada, bob = await cluster.start("ada", "bob")
    await until(lambda: ada.owns and bob.owns)
    release = bob.journal.release
    last = bob.owns[-1]

    async def lose_another(grant: Grant, successor: str | None) -> None:
        if last in bob.supervisor.epoch_by_shard:
            bob.supervisor.drop(last)
        await release(grant, successor)

    bob.journal.release = lose_another  # type: ignore[method-assign]
    bob.clock.offset_ms += LEASE.skew_max_ms + 1_000
    await until(lambda: len(ada.owns) == SHARDS)
    assert not bob.running.done()


async def test_a_shard_that_is_lost_while_a_node_stores_its_sales_ends_nothing(
    cluster: Cluster,
) -> None:
    ada, bob = await cluster.start("ada", "bob")
    await until(lambda: ada.owns and bob.owns)
    for shard_id in bob.owns:
        await bob.ask(cluster.desk.open_sale(), sale_of(shard_id))
    cluster.snapshots.gate.shut()
    stopping = asyncio.create_task(bob.stop())
    bob.supervisor.stop()
    await settle()
    for shard_id in bob.owns:
        bob.supervisor.drop(shard_id)
    cluster.snapshots.gate.open()
    await stopping
    assert bob.running.cancelled()


async def test_what_is_due_is_looked_for_until_the_database_answers(cluster: Cluster) -> None:
    ada, bob = await cluster.start("ada", "bob")
    await until(lambda: ada.owns and bob.owns)
    sale_id = sale_of(ada.owns[0])
    await ada.ask(cluster.desk.open_sale(), sale_id)
    await ada.ask(cluster.desk.place(sale_id, hold_ms=10 * SECOND_MS), sale_id)
    unsettled = bob.journal.unsettled
    failures = [JournalUnavailable()]

    async def fail_once(shard_ids: Sequence[int]) -> list[str]:
        if failures:
            raise failures.pop()
        return await unsettled(shard_ids)

    bob.journal.unsettled = fail_once  # type: ignore[method-assign]
    ada.life.kill()
    await asyncio.sleep(20)
    assert not failures
    assert cluster.database.unsettled(range(SHARDS)) == []
