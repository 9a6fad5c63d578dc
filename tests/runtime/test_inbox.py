"""How far a shard's stream is decided: exactly that, whoever owns the shard meanwhile."""

import asyncio

from engine.commands import ReadSale
from engine.facts import OrderPlaced
from engine.runtime.faults import OutcomeUnknown
from engine.runtime.inbox import Inbox
from engine.runtime.ports import Consumed, Parcel
from engine.runtime.reading import BACKLOG_MAX
from engine.state import SaleView
from tests.runtime.cluster import SHARDS, Cluster, Member, sale_of
from tests.runtime.desk import sale_in_shard
from tests.runtime.world import a, fault_of, until


def parcel(entry_id: str, calls: int = 2) -> Parcel:
    return Parcel(entry_id, "gateway", 0, tuple((n, "sale", ReadSale()) for n in range(calls)))


def test_nothing_is_consumed_before_it_is_decided() -> None:
    inbox = Inbox(Consumed())
    assert inbox.open(parcel("1-0")) == [0, 1]
    assert inbox.read_to == "1-0"
    assert inbox.progress() is None


def test_an_entry_is_passed_when_all_its_calls_are_decided() -> None:
    inbox = Inbox(Consumed())
    inbox.open(parcel("1-0"))
    inbox.decide(("1-0", 1))
    assert inbox.progress() == Consumed("0-0", (("1-0", (1,)),))
    inbox.decide(("1-0", 0))
    assert inbox.progress() == Consumed("1-0")


def test_what_is_decided_out_of_order_is_known_beyond() -> None:
    inbox = Inbox(Consumed())
    inbox.open(parcel("1-0"))
    inbox.open(parcel("2-0"))
    inbox.decide(("2-0", 0))
    inbox.decide(("2-0", 1))
    assert inbox.progress() == Consumed("0-0", (("2-0", (0, 1)),))


def test_a_new_owner_is_left_with_what_was_not_decided() -> None:
    inbox = Inbox(Consumed("1-0", (("2-0", (1,)), ("3-0", (0, 1)))))
    assert inbox.read_to == "1-0"
    assert inbox.open(parcel("2-0")) == [0]
    assert inbox.open(parcel("3-0")) == []
    inbox.decide(("2-0", 0))
    assert inbox.progress() == Consumed("3-0")


def test_an_id_that_redis_has_given_again_to_fewer_calls_is_passed() -> None:
    inbox = Inbox(Consumed("1-0", (("1-1", (0, 1, 2)),)))
    assert inbox.open(parcel("1-1", 1)) == []
    assert inbox.progress() == Consumed("1-1")


def test_what_was_decided_before_us_is_passed_on_though_we_have_not_read_it_yet() -> None:
    inbox = Inbox(Consumed("1-0", (("3-0", (0,)),)))
    inbox.open(parcel("2-0", 1))
    inbox.decide(("2-0", 0))
    assert inbox.progress() == Consumed("2-0", (("3-0", (0,)),))


def test_what_a_stream_that_was_emptied_has_lost_is_not_passed_on_for_ever() -> None:
    inbox = Inbox(Consumed("1-0", (("9-0", (0,)), ("10-1", (0,)), ("20-0", (1,)))))
    inbox.open(parcel("10-2", 1))
    inbox.decide(("10-2", 0))
    assert inbox.progress() == Consumed("10-2", (("20-0", (1,)),))


def test_what_was_put_back_is_not_consumed() -> None:
    inbox = Inbox(Consumed())
    inbox.open(parcel("1-0", 1))
    inbox.decide(("1-0", 0))
    inbox.put_back(("1-0", 0))
    assert inbox.progress() is None


def test_what_the_journal_knows_is_the_most_that_may_be_trimmed() -> None:
    inbox = Inbox(Consumed())
    for entry_id in ("1-0", "2-0"):
        inbox.open(parcel(entry_id, 1))
        inbox.decide((entry_id, 0))
    assert inbox.decided_to == "0-0"
    inbox.commit(Consumed("1-0"))
    assert inbox.decided_to == "1-0"
    assert inbox.backlog == 1


def test_an_entry_without_calls_is_passed_with_the_next_one() -> None:
    inbox = Inbox(Consumed())
    assert inbox.open(parcel("1-0", 0)) == []
    assert inbox.progress() == Consumed("1-0")


async def two() -> tuple[Cluster, Member, Member]:
    """With bob, who owns what is asked for by ada."""
    cluster = Cluster()
    ada, bob = await cluster.start("ada", "bob")
    await until(lambda: ada.owns and bob.owns)
    return cluster, ada, bob


async def test_what_a_dead_owner_left_in_the_stream_is_decided_once_by_the_next() -> None:
    cluster, ada, bob = await two()
    shard_id = bob.owns[0]
    sale_id, slow_id = sale_of(shard_id), sale_in_shard(shard_id, SHARDS, nth=1)
    for opened in (sale_id, slow_id):
        await ada.ask(cluster.desk.open_sale(), opened)
    await bob.ask(ReadSale(), sale_id)
    _forget(bob, slow_id)
    bob.journal.reads.shut()  # what comes first waits for its sale, what comes then is decided
    cluster.snapshots.away = True
    waiting = [ada.ask(cluster.desk.place(slow_id), slow_id) for _ in range(2)]
    decided = [ada.ask(cluster.desk.place(sale_id), sale_id) for _ in range(2)]
    for answer in decided:
        a(OrderPlaced, await answer)
    assert not any(answer.done() for answer in waiting)
    (grant,) = cluster.database.grants([shard_id])
    assert grant.consumed.beyond
    bob.life.kill()
    for answer in waiting:
        a(OrderPlaced, await answer)
    placed = [e.fact for e in cluster.database.entries(shard_id)]
    assert sum(isinstance(fact, OrderPlaced) for fact in placed) == 4
    (grant,) = cluster.database.grants([shard_id])
    assert grant.consumed.beyond == ()
    await cluster.end()


async def test_refusals_and_reads_are_consumed_as_well() -> None:
    cluster, ada, bob = await two()
    sale_id = sale_of(bob.owns[0])
    await ada.ask(cluster.desk.open_sale(), sale_id)
    before = cluster.database.grants([bob.owns[0]])[0]
    a(SaleView, await ada.ask(ReadSale(), sale_id))
    after = cluster.database.grants([bob.owns[0]])[0]
    assert (after.last_seq, after.consumed) != (before.last_seq, before.consumed)
    assert after.last_seq == before.last_seq
    await cluster.end()


async def test_what_is_refused_unwritten_is_in_doubt_for_the_next_owner_decides_it() -> None:
    cluster, ada, bob = await two()
    shard_id, doubtful_id = bob.owns[0], sale_of(bob.owns[1])
    sale_id = sale_of(shard_id)
    for opened in (sale_id, doubtful_id):
        await ada.ask(cluster.desk.open_sale(), opened)
    bob.journal.away = True
    in_doubt = ada.ask(cluster.desk.place(doubtful_id), doubtful_id)
    await until(lambda: bob.supervisor.recovering)
    assert await fault_of(ada.ask(cluster.desk.place(sale_id), sale_id)) is OutcomeUnknown
    bob.life.kill()
    await until(lambda: _placed(cluster, shard_id))
    await asyncio.wait([in_doubt])
    in_doubt.exception()
    await cluster.end()


async def test_refusals_alone_never_fill_what_may_be_read() -> None:
    cluster, ada, bob = await two()
    sale_id, doubtful_id = sale_of(bob.owns[0]), sale_of(bob.owns[1])
    for opened in (sale_id, doubtful_id):
        await ada.ask(cluster.desk.open_sale(), opened)
    bob.journal.away = True
    in_doubt = ada.ask(cluster.desk.place(doubtful_id), doubtful_id)
    await until(lambda: bob.supervisor.recovering)
    for _ in range(BACKLOG_MAX + 1):
        assert await fault_of(ada.ask(ReadSale(), sale_id)) is OutcomeUnknown
    bob.journal.away = False
    a(SaleView, await ada.ask(ReadSale(), sale_id))
    a(OrderPlaced, await in_doubt)
    await cluster.end()


async def test_what_is_decided_is_trimmed() -> None:
    cluster, ada, bob = await two()
    sale_id = sale_of(bob.owns[0])
    await ada.ask(cluster.desk.open_sale(), sale_id)
    await asyncio.sleep(3)
    assert cluster.streams.waiting(bob.owns[0]) == 0
    await cluster.end()


def _placed(cluster: Cluster, shard_id: int) -> bool:
    return any(isinstance(e.fact, OrderPlaced) for e in cluster.database.entries(shard_id))


def _forget(member: Member, sale_id: str) -> None:
    for shard in member.supervisor._shard_by_id.values():
        if sale_id in shard.actor_by_sale:
            shard.forget(shard.actor_by_sale[sale_id])
