"""Snapshots kept durably: as of one fact, though they are read in pieces while the sale goes on."""

import asyncio
from collections.abc import Mapping
from itertools import pairwise

import pytest

from engine.facts import OrdersArchived
from engine.runtime.actor import Actor, Piece
from engine.runtime.ports import SnapshotDraft, StoreUnavailable
from engine.state import State
from tests.runtime.world import SALE, World, fault_of, until

READ_S = 0.002


@pytest.mark.parametrize("blind", [False, True])
async def test_what_is_kept_durably_is_as_of_one_fact_though_the_sale_goes_on_meanwhile(
    blind: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`blind`, the control: what changes once it has been read is not read again."""
    if blind:
        monkeypatch.setattr(Actor, "_gather", _gather_for_the_fast_one_alone)
    world = World()
    slowly(world)
    async with world.node(finished_order_kept_ms=500, piece_max=10, facts_between_kept=60) as node:
        await node.open(quantity=500)
        placed = [await node.place() for _ in range(70)]
        for order in placed[::3]:
            await node.ask(world.desk.cancel(order.order_id))
            await asyncio.sleep(0.1)
        while SALE not in world.snapshots.durable:
            await node.place()
            await asyncio.sleep(0.1)
        kept = world.snapshots.kept(SALE)
        assert kept is not None
        assert len(placed) < kept.seq < len(world.facts())
        until_then = world.facts()[: kept.seq]
        assert any(isinstance(fact, OrdersArchived) for fact in until_then)
        assert (kept.entities == world.replayed(to_seq=kept.seq)) is not blind


def _gather_for_the_fast_one_alone(actor: Actor, state: State) -> None:
    actor.unsaved.add(state.touched)
    state.touched.clear()


async def test_what_is_kept_durably_is_durable() -> None:
    world = World()
    drafts = slowly(world)
    async with world.node(piece_max=10, facts_between_kept=30) as node:
        await node.open(quantity=500)
        await node.fill(40)
        await until(lambda: drafts and drafts[0].pieces)
        world.journal.appends.shut()
        hanging = node.ask(world.desk.place(SALE))
        await asyncio.sleep(3)
        assert not world.snapshots.durable
        world.journal.appends.open()
        await hanging
        await kept_as_replayed(world)


async def test_a_sale_is_kept_durably_though_the_fast_store_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    async with world.node(facts_between_kept=10) as node:
        await node.open(quantity=100)
        await world.saved(1)

        async def away(_: object) -> bool:
            raise StoreUnavailable

        monkeypatch.setattr(world.snapshots, "save", away)
        await node.fill(30)
        await until(lambda: SALE in world.snapshots.durable)


async def test_a_draft_dies_with_what_it_was_read_from() -> None:
    world = World()
    drafts = slowly(world)
    async with world.node(piece_max=10, facts_between_kept=30) as node:
        await node.open(quantity=500)
        await node.fill(40)
        await until(lambda: drafts and drafts[0].pieces == 2)
        await fault_of(node.ask(world.desk.deadly(SALE)))
        await node.place()
        await until(lambda: SALE in world.snapshots.durable)
        assert [draft.finished for draft in drafts] == [False, True]
        assert drafts[0].pieces == 2
        await kept_as_replayed(world)


@pytest.mark.parametrize("at_the_end", [False, True])
async def test_reading_a_sale_for_good_takes_a_fifth_of_the_time_unless_it_is_the_end(
    at_the_end: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    read, reads_s = Actor.piece, list[float]()

    def read_slowly(actor: Actor, entities_max: int) -> Piece:
        world.clock.stopped_s += READ_S
        reads_s.append(world.clock.monotonic_s())
        return read(actor, entities_max)

    monkeypatch.setattr(Actor, "piece", read_slowly)
    facts = 1_000 if at_the_end else 30
    async with world.node(piece_max=12, facts_between_kept=facts) as node:
        await node.open(quantity=500)
        await node.fill(40)
        if not at_the_end:
            await until(lambda: SALE in world.snapshots.durable)
    pauses_s = [later - sooner - READ_S for sooner, later in pairwise(reads_s)]
    stood_back = sum(pause_s > 3.9 * READ_S for pause_s in pauses_s)
    assert stood_back == 0 if at_the_end else stood_back >= 8, pauses_s
    await kept_as_replayed(world)


async def kept_as_replayed(world: World) -> None:
    await until(lambda: SALE in world.snapshots.durable)
    kept = world.snapshots.kept(SALE)
    assert kept is not None
    assert kept.entities == world.replayed(to_seq=kept.seq)


class SlowDraft:
    def __init__(self, draft: SnapshotDraft) -> None:
        self._draft = draft
        self.pieces = 0
        self.finished = False

    async def add(self, entities: Mapping[str, bytes | None]) -> None:
        self.pieces += 1
        await asyncio.sleep(0.4)
        await self._draft.add(entities)

    async def finish(self, shard_id: int, epoch: int, seq: int, journal_seq: int) -> None:
        await self._draft.finish(shard_id, epoch, seq, journal_seq)
        self.finished = True


def slowly(world: World) -> list[SlowDraft]:
    """Have each piece of a durable snapshot take a while."""
    begin = world.snapshots.draft
    drafts: list[SlowDraft] = []

    async def draft(sale_id: str) -> SlowDraft:
        drafts.append(SlowDraft(await begin(sale_id)))
        return drafts[-1]

    world.snapshots.draft = draft  # type: ignore[assignment, method-assign]
    return drafts
