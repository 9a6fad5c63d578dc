"""Finished orders leave memory by themselves, a bounded number at a time, and cost nothing more."""

import asyncio
from typing import Any

from engine import facts as f
from engine import snapshot
from engine.commands import RecallOrder
from engine.order import OrderView
from engine.state import HEADER, KEY_KEPT_MS, Archived
from tests.engine.tables import Tables
from tests.runtime.world import SALE, Node, World, a, until

KEPT_S = 60.0
DAY_S = KEY_KEPT_MS / 1000


def keeping(**limits: Any) -> dict[str, Any]:
    return {"finished_order_kept_ms": int(KEPT_S * 1000), **limits}


async def given_up(node: Node) -> str:
    order_id = (await node.place()).order_id
    await node.ask(node.world.desk.cancel(order_id))
    return order_id


def archived(world: World) -> list[str]:
    facts = [fact for fact in world.facts() if isinstance(fact, f.OrdersArchived)]
    return [order_id for fact in facts for order_id in fact.order_ids]


async def whole_fast_snapshot(world: World) -> dict[str, bytes]:
    """What is stored once it has come to the journal's end."""
    fast = world.snapshots.fast

    def is_there() -> bool:
        end = world.journal.all_entries()[-1].seq
        return SALE in fast and fast[SALE].whole and fast[SALE].seq == end

    await until(is_there)
    return fast[SALE].entities


async def test_an_order_leaves_memory_and_its_snapshot_and_answers_from_elsewhere() -> None:
    world = World()
    async with world.node(**keeping()) as node:
        await node.open()
        order_id = await given_up(node)
        await asyncio.sleep(KEPT_S)
        assert isinstance(await node.ask(world.desk.read(order_id)), OrderView)
        await asyncio.sleep(2)
        assert archived(world) == [order_id]
        assert isinstance(await node.ask(world.desk.read(order_id)), Archived)
        entities = await whole_fast_snapshot(world)
        assert entities == world.replayed()
        assert order_id not in entities


async def test_after_a_day_of_quiet_nothing_is_kept_but_what_lives() -> None:
    world = World()
    async with world.node(
        **keeping(sweep_orders_max=3, idle_ms=2 * KEY_KEPT_MS, tick_s=1.0)
    ) as node:
        await node.open()
        orders = [await given_up(node) for _ in range(10)]
        pending = await node.place(hold_ms=2 * KEY_KEPT_MS)
        await asyncio.sleep(KEPT_S + 2)
        assert sorted(archived(world)) == sorted(orders)
        sizes = [len(x.order_ids) for x in world.facts() if isinstance(x, f.OrdersArchived)]
        assert sizes == [3, 3, 3, 1]
        quiet = len(world.journal.appended)
        await asyncio.sleep(DAY_S / 2)
        assert len(world.journal.appended) == quiet, "nothing is due, nothing is done"
        await asyncio.sleep(DAY_S / 2)
        entities = await whole_fast_snapshot(world)
        assert entities.keys() == {HEADER, pending.order_id}
        assert entities == world.replayed()


async def test_a_sale_that_rests_is_put_away_with_its_finished_orders() -> None:
    world = World()
    async with world.node(**keeping(idle_ms=20_000)) as node:
        await node.open()
        order_id = await given_up(node)
        await asyncio.sleep(KEPT_S / 2)
        assert node.supervisor.sales_loaded == 0
        await asyncio.sleep(KEPT_S)
        assert not archived(world), "nobody is woken to tidy up"
        await node.place()
        await asyncio.sleep(2)
        assert archived(world) == [order_id]


async def test_a_crash_loses_nothing_that_was_archived_or_recalled() -> None:
    world = World()
    async with world.node(**keeping()) as node:
        await node.open()
        order_id = await given_up(node)
        await asyncio.sleep(KEPT_S + 2)
        await node.kill()
    world.snapshots.fast.clear()
    async with world.node(**keeping()) as node:
        assert isinstance(await node.ask(world.desk.read(order_id)), Archived)
        tables = Tables()
        for entry in world.journal.all_entries():
            tables.hear(entry)
        file = tables.read(order_id)
        assert file.order is not None
        back = a(OrderView, await node.ask(RecallOrder(file.order, file.seq)))
        await node.kill()
    async with world.node(**keeping()) as node:
        assert await node.ask(world.desk.read(order_id)) == back
        await asyncio.sleep(KEPT_S + 2)
        assert archived(world) == [order_id, order_id]


async def test_a_snapshot_in_pieces_is_right_though_orders_leave_in_between() -> None:
    world = World()
    async with world.node(finished_order_kept_ms=500, sweep_orders_max=20, piece_max=10) as node:
        await node.open(quantity=500)
        for _ in range(60):
            await asyncio.gather(*(given_up(node) for _ in range(3)))
            world.snapshots.fast.clear()  # so it is begun anew all the time
            await asyncio.sleep(0.1)
        entities = await whole_fast_snapshot(world)
        restored = snapshot.restore(entities)
        assert dict(snapshot.encode(restored, snapshot.names(restored))) == world.replayed()
    assert len(archived(world)) > 100
