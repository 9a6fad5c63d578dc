"""An answer means durable; and how an append ends."""

import asyncio

import pytest

from engine.commands import Command, ReadSale
from engine.facts import Entry, OrderPlaced
from engine.order import OrderView
from engine.rejections import Reason, Rejection
from engine.replies import Replayed, Reply
from engine.runtime.actor import Actor
from engine.runtime.faults import DeadlinePassed, JournalUnavailable, NotOwner, OutcomeUnknown
from engine.state import SaleView
from tests.runtime.desk import FLOOR
from tests.runtime.memory import Mishap
from tests.runtime.world import NEIGHBOUR, SALE, STRANGER, World, a, fault_of, settle, until


async def test_an_order_is_answered_only_once_the_journal_has_it() -> None:
    world = World()
    async with world.node() as node:
        await node.open()
        world.journal.appends.shut()
        asked = node.ask(world.desk.place(SALE))
        await settle()
        assert not asked.done()
        world.journal.appends.open()
        assert await asked in world.facts()


async def test_what_was_computed_from_an_order_waits_for_its_commit_too() -> None:
    """A refusal, a replay and a read would tell of an order that may never have been."""
    world = World()
    async with world.node() as node:
        await node.open(quantity=1)
        order = world.desk.place(SALE)
        world.journal.appends.shut()
        answers = [
            node.ask(order),
            node.ask(world.desk.place(SALE)),
            node.ask(order),
            node.ask(world.desk.read(order.order_id)),
        ]
        await settle()
        assert not any(asked.done() for asked in answers)
        world.journal.appends.open()
        placed, sold_out, replayed, read = await asyncio.gather(*answers)
        assert isinstance(placed, OrderPlaced)
        assert a(Rejection, sold_out).reason is Reason.SOLD_OUT
        assert replayed == Replayed(placed)
        assert a(OrderView, read).order_id == order.order_id


async def test_a_refusal_that_comes_during_an_append_waits_for_it() -> None:
    world = World()
    async with world.node() as node:
        await node.open(quantity=1)
        world.journal.appends.shut()
        last = node.ask(world.desk.place(SALE))
        await settle()
        too_late = node.ask(world.desk.place(SALE))
        await settle()
        assert not too_late.done()
        world.journal.appends.open()
        assert isinstance(await last, OrderPlaced)
        assert isinstance(await too_late, Rejection)


async def test_what_arrives_during_an_append_goes_with_the_next() -> None:
    world = World()
    async with world.node() as node:
        await node.open(SALE, NEIGHBOUR, STRANGER)
        world.journal.appends.shut()
        first = node.ask(world.desk.place(SALE))
        await settle()
        appends = len(world.journal.appended)
        sales = [SALE, SALE, NEIGHBOUR, STRANGER, STRANGER]
        rest = [node.ask(world.desk.place(sale, tier_id=FLOOR), sale) for sale in sales]
        await settle()
        world.journal.appends.open()
        await asyncio.gather(first, *rest)
        assert world.journal.appended[appends:] == [1, 2], "one append, of both shards"


async def test_a_long_turn_lets_others_run_between_its_steps_and_is_one_append() -> None:
    in_steps = await breaths_before_the_append(step_letters_max=1, turn_steps_max=6)
    at_once = await breaths_before_the_append(step_letters_max=6, turn_steps_max=1)
    assert in_steps == at_once + 5


async def breaths_before_the_append(**limits: int) -> int:
    """How often others run while six orders are decided, which go into one append."""
    world = World()
    async with world.node(**limits) as node:
        await node.open()
        asked = [node.ask(world.desk.place(SALE)) for _ in range(6)]
        world.journal.appends.shut()
        breaths = 0
        while not world.journal.appends.waiting:
            breaths += 1
            await asyncio.sleep(0)
        world.journal.appends.open()
        await asyncio.gather(*asked)
    assert [len(batch.entries) for batch in world.journal.batches(0)] == [1, 6]
    return breaths


async def test_a_shard_lost_in_the_midst_of_a_turn_is_not_told_of_by_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That nobody else owns our shards was said of those that are still ours."""
    world = World()
    async with world.node(step_letters_max=1) as node:
        await node.open(quantity=1)
        await node.place()
        await world.journal.acquire([0])
        handle = Actor.handle

        def handled(actor: Actor, command: Command, clock_ms: int) -> tuple[list[Entry], Reply]:
            asyncio.get_running_loop().call_soon(node.supervisor.drop, 0)
            return handle(actor, command, clock_ms)

        monkeypatch.setattr(Actor, "handle", handled)
        refused, behind = (node.ask(world.desk.place(SALE)) for _ in range(2))
        assert await fault_of(refused) is NotOwner
        assert await fault_of(behind) is NotOwner


async def test_personal_keys_are_committed_with_their_order_and_are_in_no_fact() -> None:
    world = World()
    async with world.node() as node:
        await node.open()
        order = world.desk.place(SALE, personal_key=b"secret" * 4)
        await node.ask(order)
        await node.ask(order)
        assert world.journal.personal_keys == [(order.order_id, b"secret" * 4)]


async def test_a_lost_answer_gives_the_answers_that_were_computed() -> None:
    world = World()
    async with world.node() as node:
        await node.open(quantity=1)
        world.journal.mishaps.append(Mishap.ANSWER_LOST)
        won, lost = await asyncio.gather(
            node.ask(world.desk.place(SALE)), node.ask(world.desk.place(SALE))
        )
        assert a(Rejection, lost).reason is Reason.SOLD_OUT
        assert world.facts()[1:] == [won]
        assert a(OrderView, await node.ask(world.desk.read(a(OrderPlaced, won).order_id)))


@pytest.mark.parametrize("mishap", [Mishap.LOST, Mishap.REFUSED, Mishap.LATE])
async def test_what_has_not_landed_is_decided_again_and_once(mishap: Mishap) -> None:
    world = World()
    async with world.node() as node:
        await node.open(quantity=1)
        world.journal.mishaps.append(mishap)
        won, lost = await asyncio.gather(
            node.ask(world.desk.place(SALE)), node.ask(world.desk.place(SALE))
        )
        assert a(Rejection, lost).reason is Reason.SOLD_OUT
        assert world.facts()[1:] == [won]
    world.audit()


async def test_letters_of_the_time_of_doubt_follow_those_that_were_in_it() -> None:
    world = World()
    async with world.node() as node:
        await node.open(quantity=1)
        world.journal.appends.shut()
        world.journal.mishaps.append(Mishap.LOST)
        first = node.ask(world.desk.place(SALE))
        await settle()
        second = node.ask(world.desk.place(SALE))
        world.journal.appends.open()
        assert isinstance(await first, OrderPlaced)
        assert isinstance(await second, Rejection)


async def test_a_doubt_touches_only_the_shards_that_were_in_it() -> None:
    world = World()
    async with world.node() as node:
        await node.open(SALE, STRANGER)
        epochs = {b.epoch for b in world.journal.batches(1)}
        world.journal.mishaps.append(Mishap.LOST)
        await node.place()
        await node.place(sale_id=STRANGER)
        assert {b.epoch for b in world.journal.batches(1)} == epochs
        assert len({b.epoch for b in world.journal.batches(0)}) == 2


async def test_while_the_journal_is_away_nothing_is_taken_in_and_all_who_wait_hear_of_it() -> None:
    world = World()
    async with world.node() as node:
        await node.open()
        doubtful = world.desk.place(SALE)
        world.journal.mishaps.append(Mishap.ANSWER_LOST)
        world.journal.appends.shut()
        asked = node.ask(doubtful)
        await settle()
        behind = node.ask(world.desk.place(SALE))
        world.journal.appends.open()
        await until(lambda: not world.journal.mishaps)
        world.journal.away = True
        await until(lambda: node.supervisor.recovering)
        with pytest.raises(JournalUnavailable):
            node.ask(world.desk.place(SALE))
        assert await fault_of(asked) is OutcomeUnknown
        assert await fault_of(behind) is DeadlinePassed
        world.journal.away = False
        await until(lambda: not node.supervisor.recovering)
        assert isinstance(await node.ask(doubtful), Replayed), "the same key finds out"
        assert world.kinds() == ["SaleOpened", "OrderPlaced"]


async def test_who_waits_for_a_hanging_append_hears_at_the_deadline_that_nobody_knows() -> None:
    world = World()
    async with world.node(letter_ttl_s=1) as node:
        await node.open()
        world.journal.appends.shut()
        order = world.desk.place(SALE)
        assert await fault_of(node.ask(order)) is OutcomeUnknown
        world.journal.appends.open()
        assert isinstance(await node.ask(order), Replayed), "a commit is never cancelled"


async def test_a_fenced_shard_answers_not_owner_to_all_who_wait_and_keeps_nothing() -> None:
    world = World()
    async with world.node() as node:
        await node.open(SALE, NEIGHBOUR, STRANGER)
        world.journal.appends.shut()
        in_append = [node.ask(world.desk.place(SALE)), node.ask(world.desk.read("ord_"))]
        await settle()
        world.journal.reads.shut()
        behind = [node.ask(world.desk.place(sale), sale) for sale in (SALE, NEIGHBOUR)]
        world.journal.mishaps.append(Mishap.TAKEN_OVER)
        world.journal.appends.open()
        faults = [await fault_of(asked) for asked in (*in_append, *behind)]
        assert faults == [NotOwner] * 4
        assert list(node.supervisor.epoch_by_shard) == [1]
        assert world.observer.lost == [0]
        assert node.supervisor.sales_loaded == 1, "the other shard goes on"
        world.journal.reads.open()
        assert await node.place(sale_id=STRANGER) in world.facts(STRANGER)
        with pytest.raises(NotOwner):
            node.ask(world.desk.place(SALE))
    assert world.kinds() == ["SaleOpened"]


async def test_a_lost_shard_is_not_saved_at_the_end() -> None:
    world = World()
    async with world.node() as node:
        await node.open()
        world.journal.mishaps.append(Mishap.TAKEN_OVER)
        assert await fault_of(node.ask(world.desk.place(SALE))) is NotOwner
    stored = world.snapshots.fast.get(SALE)
    assert stored is None or stored.seq == 1


async def test_a_lost_shard_ends_no_holds() -> None:
    world = World()
    async with world.node() as node:
        await node.open()
        await node.place(hold_ms=60_000)
        world.journal.mishaps.append(Mishap.TAKEN_OVER)
        assert await fault_of(node.ask(world.desk.place(SALE))) is NotOwner
        await asyncio.sleep(61)
        assert node.supervisor.sales_loaded == 0
        assert len(world.observer.loaded) == 1


async def test_the_next_owner_goes_on_exactly_where_the_journal_ends() -> None:
    world = World()
    async with world.node() as old:
        await old.open(quantity=2)
        order = world.desk.place(SALE)
        placed = await old.ask(order)
        async with world.node() as new:
            assert await new.ask(order) == Replayed(a(OrderPlaced, placed))
            await new.place()
            assert await fault_of(old.ask(world.desk.place(SALE))) is NotOwner
            assert isinstance(await new.ask(world.desk.place(SALE)), Rejection)
    world.audit()


async def test_without_the_fence_the_old_owner_would_sell_what_the_new_one_has_sold() -> None:
    """The control: were this not so, the tests above would prove nothing."""
    world = World(fence=False)
    async with world.node() as old:
        await old.open(quantity=1)
        async with world.node() as new:
            assert isinstance(await new.ask(world.desk.place(SALE)), OrderPlaced)
            assert isinstance(await old.ask(world.desk.place(SALE)), OrderPlaced)
            await new.kill()
        await old.kill()
    with pytest.raises(AssertionError):
        world.audit()


async def test_an_opened_sale_reads_as_the_journal_has_it() -> None:
    world = World()
    async with world.node() as node:
        await node.open()
        placed = await node.place(3)
        view = a(SaleView, await node.ask(ReadSale()))
        assert view.seq == len(world.facts()) == 2
        assert view.tiers[0].held == placed.items[0].quantity
