"""Holds end by themselves, through the journal like everything else."""

import asyncio
from datetime import timedelta

from engine.commands import CancelEvent, ReadSale
from engine.order import OrderStatus, OrderView
from engine.state import SaleView
from tests.runtime.desk import SECOND_MS
from tests.runtime.memory import Mishap
from tests.runtime.world import NEIGHBOUR, SALE, STRANGER, Node, World, a, until

MINUTE_S = timedelta(minutes=1).total_seconds()
MINUTE_MS = int(MINUTE_S * 1000)


async def held(node: Node, sale_id: str = SALE) -> int:
    view = a(SaleView, await node.ask(ReadSale(), sale_id))
    return sum(tier.held for tier in view.tiers)


async def pay(node: Node, order_id: str) -> OrderView:
    asked = a(OrderView, await node.ask(node.world.desk.request_payment(order_id)))
    return a(OrderView, await node.ask(node.world.desk.confirm(asked)))


async def test_a_hold_that_ran_out_is_ended_by_a_fact_and_its_places_are_free() -> None:
    world = World()
    async with world.node() as node:
        await node.open()
        placed = await node.place(2, hold_ms=MINUTE_MS)
        await asyncio.sleep(MINUTE_S - 1)
        assert await held(node) == 2
        await asyncio.sleep(2)
        assert await held(node) == 0
        ended = world.journal.all_entries()[-1]
        assert type(ended.fact).__name__ == "OrderCancelled"
        assert placed.expires_at_ms <= ended.at_ms <= placed.expires_at_ms + 200


async def test_a_paid_order_in_front_hides_no_deadline_behind_it() -> None:
    world = World()
    async with world.node() as node:
        await node.open()
        first = await node.place(hold_ms=MINUTE_MS)
        await node.place(hold_ms=2 * MINUTE_MS)
        paid = await pay(node, first.order_id)
        assert paid.status is OrderStatus.CONFIRMED
        await asyncio.sleep(2 * MINUTE_S + 1)
        assert await held(node) == 0
        assert world.kinds().count("OrderCancelled") == 1


async def test_a_shorter_hold_that_comes_later_ends_first() -> None:
    world = World()
    async with world.node() as node:
        await node.open()
        await node.place(hold_ms=3 * MINUTE_MS)
        await node.place(hold_ms=MINUTE_MS)
        await asyncio.sleep(MINUTE_S + 1)
        assert await held(node) == 1


async def test_after_a_restart_holds_end_in_sales_that_nobody_touches() -> None:
    world = World()
    async with world.node() as node:
        await node.open(SALE, STRANGER)
        for sale_id in (SALE, STRANGER):
            await node.place(sale_id=sale_id, hold_ms=MINUTE_MS)
        await node.kill()
    async with world.node():
        await asyncio.sleep(MINUTE_S + 1)
        for sale_id in (SALE, STRANGER):
            assert world.kinds(sale_id)[-1] == "OrderCancelled"


async def test_holds_that_ran_out_while_no_node_lived_end_at_once() -> None:
    world = World()
    async with world.node() as node:
        await node.open()
        await node.place(hold_ms=MINUTE_MS)
        await node.kill()
    await asyncio.sleep(10 * MINUTE_S)
    async with world.node():
        await asyncio.sleep(1)
        assert world.kinds()[-1] == "OrderCancelled"


async def test_a_hold_ends_though_the_append_that_ends_it_fails() -> None:
    for mishap in (Mishap.LOST, Mishap.ANSWER_LOST, Mishap.REFUSED):
        world = World()
        async with world.node() as node:
            await node.open()
            await node.place(hold_ms=MINUTE_MS)
            world.journal.mishaps.append(mishap)
            await asyncio.sleep(MINUTE_S + 1)
            assert not world.journal.mishaps
            assert world.kinds() == ["SaleOpened", "OrderPlaced", "OrderCancelled"]


async def test_a_hold_in_a_doubtful_append_ends_though_nobody_touches_the_sale_again() -> None:
    for mishap in (Mishap.LOST, Mishap.ANSWER_LOST):
        world = World()
        async with world.node() as node:
            await node.open()
            world.journal.mishaps.append(mishap)
            await node.place(hold_ms=MINUTE_MS)
            await asyncio.sleep(MINUTE_S + 1)
            assert world.kinds()[-1] == "OrderCancelled"


async def test_a_sale_that_cannot_be_loaded_for_its_deadline_is_tried_again() -> None:
    world = World()
    async with world.node() as node:
        await node.open()
        await node.place(hold_ms=MINUTE_MS)
        await node.kill()
    async with world.node(reload_ms=5000) as node:
        world.journal.away = True
        await asyncio.sleep(2 * MINUTE_S)
        world.journal.away = False
        await asyncio.sleep(6)
        assert world.kinds()[-1] == "OrderCancelled"


async def test_many_holds_end_some_at_a_time() -> None:
    world = World()
    async with world.node(sweep_orders_max=3) as node:
        await node.open(quantity=10)
        for _ in range(10):
            await node.place(hold_ms=MINUTE_MS)
        await asyncio.sleep(MINUTE_S + 1)
        assert await held(node) == 0
        sizes = [len(batch.entries) for batch in world.journal.batches(0)][-4:]
        assert sizes == [3, 3, 3, 1]


async def test_a_cancelled_event_gives_all_orders_up_after_a_crash_too() -> None:
    world = World()
    async with world.node(sweep_orders_max=1) as node:
        await node.open()
        sold = await node.place()
        await pay(node, sold.order_id)
        await node.place()
        await node.ask(CancelEvent(2))
        await node.kill()
    async with world.node(sweep_orders_max=1):
        await asyncio.sleep(1)
    assert sorted(world.kinds()[-2:]) == ["OrderCancelled", "OrderRefunded"]


async def test_the_clock_may_go_back_but_not_for_a_sale() -> None:
    world = World()
    async with world.node() as node:
        await node.open()
        placed = await node.place(hold_ms=MINUTE_MS)
        world.clock.offset_ms += MINUTE_MS
        expired = a(OrderView, await node.ask(world.desk.read(placed.order_id)))
        world.clock.offset_ms -= MINUTE_MS
        again = a(OrderView, await node.ask(world.desk.read(placed.order_id)))
        assert expired.status is again.status is OrderStatus.CANCELLED
        await node.place()
    stamps = [entry.at_ms for entry in world.journal.all_entries()]
    assert stamps == sorted(stamps)


async def test_a_sale_whose_load_is_cut_off_by_a_new_epoch_is_ended_all_the_same() -> None:
    """It was loading because of its deadline, of which nobody else knew any more."""
    world = World()
    async with world.node() as node:
        await node.open(SALE, NEIGHBOUR)
        await node.place(sale_id=NEIGHBOUR, hold_ms=10 * SECOND_MS)
        await node.kill()
    world.journal.database.unsettled = lambda shard_ids: []  # type: ignore[method-assign]
    async with world.node() as node:
        await node.ask(ReadSale())
        world.journal.reads.shut()
        world.snapshots.away = True
        node.supervisor.remind([NEIGHBOUR])
        await until(lambda: world.journal.reads.waiting)
        world.journal.mishaps.append(Mishap.LOST)
        asked = node.ask(world.desk.place(SALE))
        await asyncio.sleep(0.05)
        world.journal.reads.open()
        await asked
        await asyncio.sleep(20)
        assert world.kinds(NEIGHBOUR)[-1] == "OrderCancelled"
