"""A node holds what is live: sales that rest leave it and come back, unknown ones never stay."""

import asyncio
from collections.abc import Sized

from engine.commands import ReadSale
from engine.facts import OrderPlaced
from engine.rejections import Rejection
from engine.runtime.ports import StoreUnavailable
from tests.runtime.world import NEIGHBOUR, SALE, Node, World, fault_of, until


async def test_a_sale_that_rests_is_forgotten_and_comes_back() -> None:
    world = World()
    async with world.node(idle_ms=60_000) as node:
        await node.open(SALE, NEIGHBOUR)
        order = world.desk.place(SALE, hold_ms=30_000)
        await node.ask(order)
        await asyncio.sleep(50)
        assert node.supervisor.sales_loaded == 2
        await asyncio.sleep(60)
        assert node.supervisor.sales_loaded == 0
        assert world.snapshots.durable.keys() == {SALE, NEIGHBOUR}
        await node.place()
        assert world.observer.loaded[-1] == (SALE, 0), "also in the same epoch"
        assert world.replayed()["sale"]
        assert node.supervisor.sales_loaded == 1


async def test_a_sale_with_a_pending_hold_does_not_rest() -> None:
    world = World()
    async with world.node(idle_ms=10_000) as node:
        await node.open()
        await node.place(hold_ms=60_000)
        await asyncio.sleep(40)
        assert node.supervisor.sales_loaded == 1
        await asyncio.sleep(40)
        assert node.supervisor.sales_loaded == 0


async def test_a_sale_that_was_put_away_is_not_woken_for_a_deadline_that_is_none() -> None:
    world = World()
    async with world.node(idle_ms=5_000) as node:
        await node.open()
        placed = await node.place(hold_ms=60_000)
        await node.ask(world.desk.cancel(placed.order_id))
        await asyncio.sleep(70)
        assert [sale for sale, _ in world.observer.loaded] == [SALE]


async def test_a_sale_that_rests_is_forgotten_though_the_fast_store_is_away() -> None:
    world = World()
    async with world.node(idle_ms=60_000) as node:
        await node.open()

        async def away(_: object) -> bool:
            raise StoreUnavailable

        world.snapshots.save = away  # type: ignore[assignment, method-assign]
        await asyncio.sleep(120)
        assert node.supervisor.sales_loaded == 0
    kept = world.snapshots.kept(SALE)
    assert kept is not None
    assert kept.entities == world.replayed()


async def test_an_order_that_comes_while_a_sale_is_put_away_is_not_lost() -> None:
    world = World()
    async with world.node(idle_ms=60_000) as node:
        await node.open()
        await asyncio.sleep(30)
        world.snapshots.gate.shut()
        await until(lambda: world.snapshots.gate.waiting)
        placed = await node.place()
        world.snapshots.gate.open()
        await asyncio.sleep(1)
        assert node.supervisor.sales_loaded == 1
        assert placed in world.facts()
        assert isinstance(await node.ask(world.desk.place(SALE, 6)), OrderPlaced)
        assert isinstance(await node.ask(world.desk.place(SALE, 4)), Rejection)


async def test_unknown_sales_leave_nothing_behind() -> None:
    world = World()
    async with world.node() as node:
        for number in range(1000, 1200):
            unknown = f"evt_{number:016x}"
            assert isinstance(await node.ask(ReadSale(), unknown), Rejection)
        await asyncio.sleep(1)
        assert node.supervisor.sales_loaded == 0
        assert _sizes(node) == 0
    assert not world.snapshots.fast
    assert not world.snapshots.durable
    assert not world.journal.all_entries()


async def test_unknown_sales_leave_nothing_behind_while_the_journal_is_away_either() -> None:
    world = World()
    async with world.node() as node:
        world.journal.away = True
        for number in range(1000, 1100):
            await fault_of(node.ask(ReadSale(), f"evt_{number:016x}"))
        await asyncio.sleep(1)
        assert _sizes(node) == 0


def _sizes(node: Node) -> int:
    """How much the node remembers of any sale."""
    supervisor = node.supervisor
    memories: list[Sized] = [
        supervisor._caretaker._wakes._at_ms_by_sale,
        supervisor._caretaker._saver._lagging,
        supervisor._caretaker._forgetter._strangers,
        supervisor._caretaker._loader._deaths,
    ]
    for shard in supervisor._shard_by_id.values():
        memories += [shard.actor_by_sale, shard._parked_by_sale, shard._due]
        memories += [lane._unanswered_by_sale for lane in (shard._doors, shard._others)]
    return sum(len(memory) for memory in memories)
