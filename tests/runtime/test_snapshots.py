"""Snapshots hold what is durable, cost what changed, and losing them costs time alone."""

import asyncio

import msgspec
import pytest
from msgspec.structs import replace

from engine import snapshot
from engine.commands import ReadSale
from engine.facts import OrderPlaced
from engine.runtime.ports import StoreUnavailable
from engine.state import Header, SaleView
from tests.runtime.memory import Mishap
from tests.runtime.world import NEIGHBOUR, SALE, World, a, fault_of, settle, until

MINUTE_S = 60.0


def restored(world: World, sale_id: str = SALE) -> dict[str, bytes]:
    """The fast snapshot's state, encoded again."""
    state = snapshot.restore(world.snapshots.fast[sale_id].entities)
    return dict(snapshot.encode(state, snapshot.names(state)))


def of_another_format(header: bytes) -> bytes:
    fields = msgspec.msgpack.decode(header)
    fields[Header.__struct_fields__.index("snapshot_format")] += 1
    return msgspec.msgpack.encode(fields)


async def test_a_snapshot_never_holds_what_is_not_durable() -> None:
    world = World()
    async with world.node() as node:
        await node.open()
        await world.saved(1)
        world.journal.appends.shut()
        hanging = node.ask(world.desk.place(SALE))
        await asyncio.sleep(3)
        assert [delta.seq for delta in world.snapshots.saved] == [1]
        world.journal.appends.open()
        assert isinstance(await hanging, OrderPlaced)
        await world.saved(2)


async def test_what_did_not_land_never_reaches_a_snapshot() -> None:
    world = World()
    async with world.node() as node:
        await node.open()
        await world.saved(1)
        world.journal.mishaps += [Mishap.LOST]
        order = world.desk.place(SALE)
        placed = node.ask(order)
        await until(lambda: not world.journal.mishaps)
        world.journal.away = True
        await asyncio.sleep(1)
        world.journal.away = False
        await placed
        await world.saved(2)
        assert restored(world) == world.replayed()
    assert {delta.seq for delta in world.snapshots.saved} == {1, 2}


async def test_incremental_snapshots_restore_to_the_same_bytes_as_replay() -> None:
    world = World()
    async with world.node() as node:
        await node.open(SALE, NEIGHBOUR, quantity=200)
        for round_ in range(1, 6):
            await node.fill(20)
            await node.fill(3, NEIGHBOUR)
            await world.saved(1 + 20 * round_)
            await world.saved(1 + 3 * round_, NEIGHBOUR)
            assert restored(world) == world.replayed()
            assert restored(world, NEIGHBOUR) == world.replayed(NEIGHBOUR)
    of_sale = [delta for delta in world.snapshots.saved if delta.sale_id == SALE]
    assert [delta.base is None for delta in of_sale][0:1] == [True]
    assert max(len(delta.entities) for delta in of_sale) <= 21, "what changed, and the header"
    assert not world.snapshots.missed


async def test_changes_are_coalesced() -> None:
    world = World()
    async with world.node() as node:
        await node.open(quantity=200)
        for _ in range(100):
            await node.place()
        await world.saved(101)
    assert len(world.snapshots.saved) <= 3


@pytest.mark.parametrize("loss", ["emptied", "moved on"])
async def test_a_snapshot_that_does_not_stand_where_it_should_is_written_anew_in_pieces(
    loss: str,
) -> None:
    world = World()
    async with world.node(piece_max=10) as node:
        await node.open(quantity=200)
        await node.fill(50)
        await world.saved(51)
        before = len(world.snapshots.saved)
        match loss:
            case "emptied":
                world.snapshots.fast.clear()
            case "moved on":
                world.snapshots.fast[SALE].epoch += 1
        await node.place()
        await until(lambda: len(world.snapshots.saved) > before + 5)
        await world.saved(52)
        anew = world.snapshots.saved[before:]
        anew = anew[[delta.base for delta in anew].index(None) :]
        assert max(len(delta.entities) for delta in anew) <= 10
        assert [delta.whole for delta in anew] == [0] * (len(anew) - 1) + [1 + 51]
        assert restored(world) == world.replayed()


@pytest.mark.parametrize("loss", ["away", "answers lost", "answers lost in a rewrite"])
async def test_what_may_not_have_been_stored_is_sent_again_and_no_more(loss: str) -> None:
    world = World()
    async with world.node(piece_max=10) as node:
        await node.open(quantity=200)
        await node.fill(50)
        await world.saved(51)
        before = len(world.snapshots.saved)
        if loss == "answers lost in a rewrite":
            world.snapshots.fast.clear()
            await node.place()
            await until(lambda: len(world.snapshots.saved) == before + 2)
        sent = len(world.snapshots.saved)
        if loss == "away":
            world.snapshots.away = True
        else:
            world.snapshots.answers_lost = 3
        for _ in range(4):
            await node.fill(3)
            await asyncio.sleep(1)
        world.snapshots.away = False
        await until(lambda: world.observer.snapshot_faults)
        await world.saved(world.journal.all_entries()[-1].seq)
        assert restored(world) == world.replayed()
        assert all(delta.base for delta in world.snapshots.saved[sent:])
        assert len(world.snapshots.missed) == (loss == "answers lost in a rewrite")


async def test_a_snapshot_in_pieces_is_right_though_orders_come_in_between() -> None:
    world = World()
    async with world.node(piece_max=10) as node:
        await node.open(quantity=500)
        for _ in range(40):
            await node.fill(7)
            await asyncio.sleep(0.03)
        await world.saved(281)
        assert restored(world) == world.replayed()


async def test_a_late_piece_of_an_abandoned_rewrite_makes_nothing_whole() -> None:
    world = World()
    async with world.node(piece_max=10) as node:
        await node.open(quantity=200)
        await node.fill(50)
        await world.saved(51)
    last = world.snapshots.saved[-1]
    first = next(d for d in world.snapshots.saved if d.base is None)
    await world.snapshots.save(first)
    late = replace(last, base=(first.epoch, first.seq))
    assert not await world.snapshots.save(late)
    assert not world.snapshots.fast[SALE].whole


async def test_a_store_that_is_away_is_not_asked_all_the_time() -> None:
    world = World()
    async with world.node() as node:
        await node.open(quantity=500)
        world.snapshots.away = True
        for _ in range(100):
            await node.place()
            await asyncio.sleep(0.1)
        assert len(world.observer.snapshot_faults) <= 11
        world.snapshots.away = False
        await world.saved(101)


async def test_a_hanging_store_stops_neither_the_sale_nor_its_neighbours() -> None:
    world = World()
    async with world.node() as node:
        await node.open(SALE, NEIGHBOUR)
        world.snapshots.gate.shut()
        await node.place()
        await asyncio.sleep(1)
        await node.place()
        await node.place(sale_id=NEIGHBOUR)
        assert world.snapshots.gate.waiting == 2, "one save a sale"
        world.snapshots.gate.open()
        await world.saved(3)


async def test_a_save_that_hangs_over_a_death_spoils_nothing() -> None:
    world = World()
    async with world.node() as node:
        await node.open()
        await world.saved(1)
        await node.place()
        world.snapshots.gate.shut()
        await until(lambda: world.snapshots.gate.waiting)
        await fault_of(node.ask(world.desk.deadly(SALE)))
        await node.place()
        world.snapshots.gate.open()
        await node.place()
        await world.saved(4)
        assert restored(world) == world.replayed()


async def test_a_save_that_hangs_over_a_new_epoch_spoils_nothing() -> None:
    world = World()
    async with world.node() as node:
        await node.open()
        await world.saved(1)
        await node.place()
        world.snapshots.gate.shut()
        await until(lambda: world.snapshots.gate.waiting)
        world.journal.mishaps.append(Mishap.LOST)
        await node.place()
        await asyncio.sleep(1)
        world.snapshots.gate.open()
        await node.place()
        await world.saved(4)
        assert restored(world) == world.replayed()


async def test_every_so_many_facts_the_snapshot_is_kept_durably() -> None:
    world = World()
    async with world.node(facts_between_kept=10) as node:
        await node.open(quantity=100)
        await node.fill(30)
        await until(lambda: SALE in world.snapshots.durable)
        await node.kill()
    world.snapshots.fast.clear()
    async with world.node() as node:
        await node.place()
        assert world.observer.loaded[-1] == (SALE, 0)
        await world.saved(32)
        assert restored(world) == world.replayed()


async def test_a_sale_is_loaded_from_its_snapshot_and_what_came_after() -> None:
    world = World()
    async with world.node() as node:
        await node.open()
        await node.place()
        await world.saved(2)
        world.snapshots.gate.shut()
        await node.place()
        await node.kill()
    world.snapshots.gate.open()
    async with world.node() as node:
        view = a(SaleView, await node.ask(ReadSale()))
        assert (view.seq, view.tiers[0].held) == (3, 2)
        assert world.observer.loaded[-1] == (SALE, 1)


@pytest.mark.parametrize(
    "trouble", ["ahead", "not whole", "unreadable", "of another format", "away", "load fails"]
)
async def test_a_snapshot_that_is_no_use_costs_time_alone(
    trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    async with world.node() as node:
        await node.open()
        await node.place()
    world.snapshots.durable.clear()
    fast = world.snapshots.fast[SALE]
    match trouble:
        case "ahead":
            fast.journal_seq += 1
        case "not whole":
            fast.whole = False
        case "unreadable":
            fast.entities["sale"] = b"\xc1"
        case "of another format":
            fast.entities["sale"] = of_another_format(fast.entities["sale"])
        case "away":
            world.snapshots.away = True
        case "load fails":
            monkeypatch.setattr(world.snapshots, "load", world.snapshots.load_failing)
    async with world.node() as node:
        await node.place()
        assert world.observer.loaded[-1] == (SALE, 2)
        world.snapshots.away = False
        await world.saved(3)
        assert restored(world) == world.replayed()
        assert not world.observer.died


async def test_a_stop_leaves_both_snapshots_behind_and_the_next_start_replays_nothing() -> None:
    world = World()
    async with world.node() as node:
        await node.open(SALE, NEIGHBOUR)
        await node.fill(3)
    assert restored(world) == world.replayed()
    world.snapshots.fast.clear()
    async with world.node() as node:
        await node.place()
        await node.ask(ReadSale(), NEIGHBOUR)
        assert dict(world.observer.loaded[-2:]) == {SALE: 0, NEIGHBOUR: 0}


async def test_a_stop_without_the_fast_store_keeps_the_sales_durably() -> None:
    world = World()
    async with world.node() as node:
        await node.open()
        await node.place()
        await settle()

        async def away(_: object) -> bool:
            raise StoreUnavailable

        world.snapshots.save = away  # type: ignore[assignment, method-assign]
    kept = world.snapshots.kept(SALE)
    assert kept is not None
    assert kept.entities == world.replayed()


async def test_a_stop_waits_for_the_saves_that_are_under_way() -> None:
    world = World()
    async with world.node() as node:
        await node.open()
        await world.saved(1)
        world.snapshots.gate.shut()
        await node.place()
        await until(lambda: world.snapshots.gate.waiting)
        await node.place()
        node.supervisor.stop()
        await asyncio.sleep(1)
        assert not node.running.done()
        world.snapshots.gate.open()
        await node.running
    assert not world.snapshots.missed
    assert [delta.seq for delta in world.snapshots.saved] == [1, 2, 3]


async def test_a_save_that_fails_late_is_made_up_for_though_nothing_more_happens() -> None:
    world = World()
    async with world.node() as node:
        await node.open()
        world.snapshots.gate.shut()
        await until(lambda: world.snapshots.gate.waiting)
        await asyncio.sleep(1)
        world.snapshots.away = True
        world.snapshots.gate.open()
        await asyncio.sleep(0.5)
        world.snapshots.away = False
        await world.saved(1)


async def test_a_stop_ends_though_another_owner_keeps_moving_the_snapshot() -> None:
    world = World()
    async with world.node() as node:
        await node.open()

        async def missed(_: object) -> bool:
            return False

        world.snapshots.save = missed  # type: ignore[assignment, method-assign]
    assert world.snapshots.kept(SALE) is not None
