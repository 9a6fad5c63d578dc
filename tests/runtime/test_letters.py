"""Every letter gets one answer, and there is a limit to how many may wait for theirs."""

import asyncio

import pytest

from engine.commands import ReadDoors, ReadSale
from engine.facts import OrderPlaced
from engine.rejections import Rejection
from engine.replies import Reply
from engine.runtime.faults import (
    DeadlinePassed,
    Fault,
    JournalUnavailable,
    MailboxFull,
    NotOwner,
    OutcomeUnknown,
    SaleUnavailable,
)
from engine.runtime.limits import Limits
from engine.scan import DoorsView
from tests.runtime.memory import Mishap
from tests.runtime.world import (
    NEIGHBOUR,
    SALE,
    STRANGER,
    Node,
    World,
    fault_of,
    settle,
    until,
)


async def test_letters_that_came_while_a_sale_was_loading_are_answered_in_order() -> None:
    world = World()
    async with world.node() as node:
        await node.open(quantity=2)
    world.journal.reads.shut()
    async with world.node() as node:
        asked = [node.ask(world.desk.place(SALE)) for _ in range(4)]
        await settle()
        assert node.supervisor.depth == 4
        world.journal.reads.open()
        kinds = [type(await answer) for answer in asked]
        assert kinds == [OrderPlaced, OrderPlaced, Rejection, Rejection]
        assert node.supervisor.depth == 0


async def test_nothing_is_decided_on_a_sale_that_is_half_loaded() -> None:
    world = World()
    async with world.node() as node:
        await node.open(quantity=40)
        for _ in range(40):
            await node.place()
    world.snapshots = type(world.snapshots)()
    async with world.node() as node:
        answers = []
        while len(world.observer.loaded) < 2:  # the replay gives way to others many times
            answers.append(node.ask(world.desk.place(SALE)))
            await asyncio.sleep(0)
        assert {type(answer) for answer in await asyncio.gather(*answers)} == {Rejection}


async def test_who_waits_for_a_sale_that_does_not_load_hears_at_the_deadline() -> None:
    world = World()
    async with world.node() as node:
        world.journal.reads.shut()
        assert await fault_of(node.ask(ReadSale())) is DeadlinePassed
        assert node.supervisor.depth == 0
        world.journal.reads.open()


async def test_a_late_letter_behind_a_younger_one_hears_in_time_too() -> None:
    """The doors go first, so who waits for a load does not wait in the order of coming."""
    world = World()
    async with world.node(step_letters_max=1, turn_steps_max=1, letter_ttl_s=1) as node:
        world.journal.reads.shut()
        orders = [node.ask(world.desk.place(SALE)) for _ in range(3)]
        await asyncio.sleep(0)
        world.clock.stopped_s += 0.5
        scan = node.ask(ReadDoors())
        await asyncio.sleep(0.7)
        assert [asked.done() for asked in (*orders, scan)] == [True] * 3 + [False]
        assert {await fault_of(asked) for asked in (*orders, scan)} == {DeadlinePassed}
        world.journal.reads.open()


async def test_who_waits_for_a_sale_that_cannot_be_read_hears_of_the_journal() -> None:
    world = World()
    async with world.node() as node:
        await node.open()
        world.journal.away = True
        assert await fault_of(node.ask(ReadSale(), NEIGHBOUR)) is JournalUnavailable
        world.journal.away = False
        assert isinstance(await node.ask(ReadSale(), NEIGHBOUR), Rejection)


async def test_a_load_of_an_old_epoch_ends_without_a_trace() -> None:
    world = World()
    async with world.node() as node:
        await node.open()
        world.journal.reads.shut()
        loading = node.ask(ReadSale(), NEIGHBOUR)
        await until(lambda: world.journal.reads.waiting == 1)
        world.journal.mishaps.append(Mishap.LOST)
        node.ask(world.desk.place(SALE))
        await until(lambda: world.journal.reads.waiting == 3)
        world.journal.away = True
        world.journal.reads.open()
        assert await fault_of(loading) is JournalUnavailable
        world.journal.away = False
        assert isinstance(await node.ask(ReadSale(), NEIGHBOUR), Rejection)


async def test_a_letter_past_its_deadline_is_answered_undecided() -> None:
    world = World()
    async with world.node(letter_ttl_s=1) as node:
        await node.open()
        world.journal.appends.shut()
        first = node.ask(world.desk.place(SALE))
        await settle()
        behind = node.ask(world.desk.place(SALE))
        assert await fault_of(behind) is DeadlinePassed
        assert await fault_of(first) is OutcomeUnknown
        world.journal.appends.open()
        await until(lambda: len(world.kinds()) == 2)
    assert world.kinds() == ["SaleOpened", "OrderPlaced"]


async def test_at_the_stop_whatever_was_taken_in_is_answered_and_nothing_more_is() -> None:
    world = World()
    async with world.node(step_letters_max=3, turn_steps_max=1) as node:
        await node.open(SALE, STRANGER)
        asked = [node.ask(world.desk.place(sale), sale) for sale in (SALE, STRANGER) * 10]
        loading = node.ask(ReadSale(), NEIGHBOUR)
        node.supervisor.stop()
        with pytest.raises(SaleUnavailable):
            node.ask(world.desk.place(SALE))
        await node.running
        assert {type(answer.result()) for answer in asked} == {OrderPlaced}
        assert isinstance(loading.result(), Rejection)


async def test_a_stop_waits_for_a_sale_that_is_rebuilt_after_a_bug() -> None:
    world = World()
    async with world.node() as node:
        await node.open()
        world.journal.appends.shut()
        node.ask(world.desk.place(SALE))
        await settle()
        died = node.ask(world.desk.deadly(SALE))
        behind = node.ask(world.desk.place(SALE))
        node.supervisor.stop()
        world.journal.appends.open()
        await node.running
        assert (await fault_of(died)).__name__ == "SaleDied"
        assert isinstance(behind.result(), OrderPlaced)


async def test_a_stop_ends_though_the_journal_never_comes_back() -> None:
    world = World()
    async with world.node() as node:
        await node.open()
        world.journal.mishaps.append(Mishap.LOST)
        asked = node.ask(world.desk.place(SALE))
        await until(lambda: not world.journal.mishaps)
        world.journal.away = True
        await until(lambda: node.supervisor.recovering)
        node.supervisor.stop()
        await node.running
        assert await fault_of(asked) is OutcomeUnknown
    assert SALE not in world.snapshots.fast or world.snapshots.fast[SALE].seq == 1


async def test_at_death_every_letter_is_answered() -> None:
    world = World()
    async with world.node() as node:
        await node.open(SALE)
        world.journal.appends.shut()
        in_append = node.ask(world.desk.place(SALE))
        await settle()
        queued = node.ask(world.desk.place(SALE))
        world.journal.reads.shut()
        loading = node.ask(ReadSale(), STRANGER)
        await node.kill()
        assert await fault_of(in_append) is OutcomeUnknown
        assert await fault_of(queued) is SaleUnavailable
        assert await fault_of(loading) is SaleUnavailable
        assert node.supervisor.depth == 0


async def test_a_bug_of_the_runtime_itself_ends_it_loudly_and_answers_all() -> None:
    world = World()
    async with world.node() as node:
        await node.open()

        async def broken(_: object) -> frozenset[int]:
            raise ZeroDivisionError

        world.journal.append = broken  # type: ignore[assignment, method-assign]
        assert await fault_of(node.ask(world.desk.place(SALE))) is OutcomeUnknown
        with pytest.raises(ExceptionGroup):
            await node.running


async def test_who_has_gone_harms_nobody_and_the_order_stands() -> None:
    world = World()
    async with world.node() as node:
        await node.open()
        world.journal.appends.shut()
        gone, stays = node.ask(world.desk.place(SALE)), node.ask(world.desk.place(SALE))
        await settle()
        gone.cancel()
        world.journal.appends.open()
        assert await stays in world.facts()
        assert world.kinds() == ["SaleOpened", "OrderPlaced", "OrderPlaced"]


async def test_a_full_mailbox_refuses_and_takes_in_again_once_it_has_answered() -> None:
    world = World()
    async with world.node(mailbox_max=5, sale_quota_max=5) as node:
        await node.open()
        asked = [node.ask(world.desk.place(SALE)) for _ in range(5)]
        with pytest.raises(MailboxFull):
            node.ask(world.desk.place(NEIGHBOUR), NEIGHBOUR)
        assert world.observer.refused == ["MailboxFull"]
        assert isinstance(await node.ask(ReadSale(), STRANGER), Rejection), "the other shard's"
        await asyncio.gather(*asked)
        assert isinstance(await node.ask(world.desk.place(SALE)), OrderPlaced)


async def test_a_hot_sale_may_not_fill_the_mailbox_before_its_neighbours() -> None:
    world = World()
    async with world.node(mailbox_max=10, sale_quota_max=4) as node:
        await node.open(SALE, NEIGHBOUR)
        asked = [node.ask(world.desk.place(SALE)) for _ in range(4)]
        with pytest.raises(MailboxFull):
            node.ask(world.desk.place(SALE))
        asked.append(node.ask(world.desk.place(NEIGHBOUR), NEIGHBOUR))
        assert {type(answer) for answer in await asyncio.gather(*asked)} == {OrderPlaced}


@pytest.mark.parametrize("where", ["loading", "append"])
async def test_the_limit_counts_who_waits_for_a_load_or_an_append_as_well(where: str) -> None:
    world = World()
    async with world.node(mailbox_max=10, sale_quota_max=4, letter_ttl_s=1) as node:
        if where == "append":
            await node.open(quantity=100)
        gate = world.journal.reads if where == "loading" else world.journal.appends
        gate.shut()
        asked = [node.ask(world.desk.place(SALE)) for _ in range(4)]
        await settle()
        with pytest.raises(MailboxFull):
            node.ask(world.desk.place(SALE))
        gate.open()
        await asyncio.gather(*asked)


async def test_an_on_sale_that_fills_the_mailbox_leaves_the_doors_open() -> None:
    world = World()
    async with world.node(mailbox_max=4, sale_quota_max=4) as node:
        await node.open()
        asked = [node.ask(world.desk.place(SALE)) for _ in range(4)]
        scanned = node.ask(ReadDoors())
        assert isinstance(await scanned, DoorsView)
        await asyncio.gather(*asked)


async def test_the_doors_are_decided_first() -> None:
    world = World()
    async with world.node(step_letters_max=2, turn_steps_max=1) as node:
        await node.open()
        world.journal.appends.shut()
        orders = [node.ask(world.desk.place(SALE)) for _ in range(4)]
        scans = [node.ask(ReadDoors()) for _ in range(2)]
        await asyncio.gather(*scans)
        assert not any(asked.done() for asked in orders)
        world.journal.appends.open()
        await asyncio.gather(*orders)


async def test_a_storm_of_refusals_lets_others_do_their_work() -> None:
    world = World()
    async with world.node(step_letters_max=1, turn_steps_max=1) as node:
        await node.open(quantity=1)
        await node.place()
        refused = [node.ask(world.desk.place(SALE)) for _ in range(100)]
        breaths = 0
        while not refused[-1].done():
            breaths += 1
            await asyncio.sleep(0)
        assert breaths >= 100


async def test_what_lies_past_its_deadline_when_its_turn_comes_is_not_decided() -> None:
    world = World()
    async with world.node(tick_s=60.0) as node:
        await node.open()
        world.journal.appends.shut()
        first = node.ask(world.desk.place(SALE))
        await settle()
        behind = node.ask(world.desk.place(SALE))
        await asyncio.sleep(6)
        world.journal.appends.open()
        assert isinstance(await first, OrderPlaced)
        assert await fault_of(behind) is DeadlinePassed
        await node.kill()


async def test_no_letter_is_answered_twice_whatever_happens() -> None:
    world = World()
    answers: list[list[Reply | Fault]] = []
    async with world.node(letter_ttl_s=0.5) as node:
        await node.open(SALE, NEIGHBOUR)

        def post(count: int) -> None:
            for sale in (SALE, NEIGHBOUR) * count:
                answers.append([])
                node.supervisor.post(sale, world.desk.place(sale), answers[-1].append)

        world.journal.appends.shut()
        world.journal.mishaps += [Mishap.LOST, Mishap.ANSWER_LOST, Mishap.TAKEN_OVER]
        post(3)
        node.supervisor.post(SALE, world.desk.deadly(SALE), lambda _: None)
        await asyncio.sleep(0.4)
        post(3)
        await asyncio.sleep(0.4)
        world.journal.appends.open()
        await asyncio.sleep(0.2)
        while 0 in node.supervisor.epoch_by_shard:
            post(1)
            await asyncio.sleep(0.01)
        with pytest.raises(NotOwner):
            post(1)
        answers.pop()
    assert {len(answered) for answered in answers} == {1}


async def test_a_node_that_does_not_have_the_shard_says_so() -> None:
    world = World()
    node = Node(world, Limits())
    with pytest.raises(NotOwner):
        node.ask(ReadSale())
