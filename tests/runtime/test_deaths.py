"""A bug kills the sale that has it, and that alone; the sale is rebuilt by replay."""

import asyncio

from engine import facts as f
from engine.commands import ReadSale
from engine.facts import OrderPlaced
from engine.rejections import Rejection
from engine.runtime.faults import SaleDied, SaleUnavailable
from engine.runtime.ports import Batch
from engine.state import SaleView
from tests.runtime.memory import Mishap
from tests.runtime.world import NEIGHBOUR, SALE, World, a, fault_of, settle


async def test_a_bug_kills_its_sale_alone_and_earlier_decisions_stand() -> None:
    world = World()
    async with world.node() as node:
        await node.open(SALE, NEIGHBOUR)
        before = node.ask(world.desk.place(SALE))
        deadly = node.ask(world.desk.deadly(SALE))
        after = node.ask(world.desk.place(SALE))
        elsewhere = node.ask(world.desk.place(NEIGHBOUR), NEIGHBOUR)
        assert await fault_of(deadly) is SaleDied
        assert [await before, await after] == world.facts()[1:]
        assert isinstance(await elsewhere, OrderPlaced)
        assert [sale for sale, _ in world.observer.died] == [SALE]


async def test_what_a_bug_left_half_done_is_not_in_the_rebuilt_sale() -> None:
    world = World()
    async with world.node() as node:
        await node.open()
        await fault_of(node.ask(world.desk.deadly(SALE)))
        view = a(SaleView, await node.ask(ReadSale()))
        assert [tier.held for tier in view.tiers] == [0, 0]


async def test_a_sale_that_died_is_not_rebuilt_before_its_last_turn_is_durable() -> None:
    world = World()
    async with world.node() as node:
        await node.open(quantity=2)
        world.journal.appends.shut()
        won = node.ask(world.desk.place(SALE))
        deadly = node.ask(world.desk.deadly(SALE))
        late = node.ask(world.desk.place(SALE, 2))
        assert await fault_of(deadly) is SaleDied
        await settle()
        world.journal.appends.open()
        assert isinstance(await won, OrderPlaced)
        assert isinstance(await late, Rejection)


async def test_a_bug_in_a_doubtful_append_loses_nothing_and_answers_all() -> None:
    for mishap in (Mishap.LOST, Mishap.ANSWER_LOST):
        world = World()
        async with world.node() as node:
            await node.open()
            world.journal.mishaps.append(mishap)
            before = node.ask(world.desk.place(SALE))
            deadly = node.ask(world.desk.deadly(SALE))
            after = node.ask(world.desk.place(SALE))
            assert await fault_of(deadly) is SaleDied
            assert {await before, await after} == set(world.facts()[1:])


async def test_a_hold_taken_just_before_a_death_still_expires() -> None:
    world = World()
    async with world.node() as node:
        await node.open()
        world.journal.mishaps.append(Mishap.ANSWER_LOST)
        held = node.ask(world.desk.place(SALE, hold_ms=60_000))
        await fault_of(node.ask(world.desk.deadly(SALE)))
        await held
        await asyncio.sleep(61)
        assert world.kinds()[-1] == "OrderCancelled"


async def test_a_hold_taken_just_before_a_death_expires_though_the_sale_could_not_be_reloaded() -> (
    None
):
    world = World()
    async with world.node() as node:
        await node.open()
        world.journal.reads.shut()
        held = node.ask(world.desk.place(SALE, hold_ms=60_000))
        await fault_of(node.ask(world.desk.deadly(SALE)))
        await held
        world.journal.away = True
        world.journal.reads.open()
        await asyncio.sleep(1)
        world.journal.away = False
        await asyncio.sleep(61)
        assert world.kinds()[-1] == "OrderCancelled"


async def test_a_sale_that_keeps_dying_is_stopped_for_a_while() -> None:
    world = World()
    async with world.node(deaths_max=3) as node:
        await node.open(SALE, NEIGHBOUR)
        for _ in range(3):
            assert await fault_of(node.ask(world.desk.deadly(SALE))) is SaleDied
        assert await fault_of(node.ask(world.desk.place(SALE))) is SaleUnavailable
        assert isinstance(await node.ask(world.desk.place(NEIGHBOUR), NEIGHBOUR), OrderPlaced)
        await asyncio.sleep(61)
        assert isinstance(await node.ask(world.desk.place(SALE)), OrderPlaced)


async def test_a_fact_that_cannot_be_applied_stops_its_sale_only() -> None:
    world = World()
    async with world.node() as node:
        await node.open(SALE, NEIGHBOUR)
    (grant,) = await world.journal.acquire([0])
    nonsense = f.Entry(SALE, 2, 0, f.OrderCancelled("ord_", f.CancelReason.BUYER))
    await world.journal.append([Batch(0, grant.epoch, grant.last_seq + 1, (nonsense,))])
    async with world.node() as node:
        assert await fault_of(node.ask(ReadSale())) is SaleUnavailable
        assert isinstance(await node.ask(ReadSale(), NEIGHBOUR), SaleView)
        assert node.supervisor.sales_loaded == 1


async def test_a_sweep_that_kills_its_sale_is_tried_again_without_a_storm() -> None:
    world = World()
    async with world.node() as node:
        await node.open()
        await node.place(hold_ms=1000)
        await asyncio.sleep(0.5)
        actor = node.supervisor._shard_by_id[0].actor_by_sale[SALE]
        assert actor.state is not None
        actor.state.header.tiers.clear()  # now the sweep can't give its places back
        await asyncio.sleep(2)
        assert [sale for sale, _ in world.observer.died] == [SALE]
        assert world.kinds()[-1] == "OrderCancelled", "the rebuilt one could"
