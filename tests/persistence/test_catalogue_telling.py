"""What a running sale is told of the catalogue's changes, and what a crash in between leaves."""

from collections.abc import Awaitable, Callable

import asyncpg
import pytest
from msgspec.structs import replace

from engine import commands as c
from engine.catalogue import Event, Tier, event_terms, tier_terms, to_ms
from engine.facts import OrderPlaced, SaleOpened
from engine.lifecycle import EventStatus, Step
from engine.rejections import Reason
from engine.runtime.faults import JournalUnavailable, OutcomeUnknown, SaleUnavailable
from tests.persistence.catalogue_world import (
    HOUR,
    NOON,
    ORGANIZER,
    World,
    done,
    draft,
    reason,
)


async def test_an_event_that_was_never_opened_changes_in_the_tables_alone(world: World) -> None:
    event = await world.event(await world.venue())
    tier = await world.tier(event)
    await world.catalogue.change_tier(ORGANIZER, tier.tier_id, {"price": 1})
    await world.catalogue.change_event(ORGANIZER, event.event_id, {"end_time": NOON + HOUR})
    await world.catalogue.set_gates(ORGANIZER, event.event_id, (c.Gate("A", ()),))
    await world.step(event, Step.PUBLISH, Step.COMPLETE)
    assert world.sales.asked == []
    assert (await world.read(event)).version == 0


async def test_a_sale_hears_of_every_change_that_concerns_it_in_the_order_of_versions(
    world: World,
) -> None:
    event = await world.event(await world.venue())
    first = await world.tier(event)
    gates = (c.Gate("North", (first.tier_id,)),)
    catalogue, event_id = world.catalogue, event.event_id
    await catalogue.set_gates(ORGANIZER, event_id, gates)
    await world.step(event, Step.PUBLISH, Step.OPEN_SALES)
    cheaper = done(await catalogue.change_tier(ORGANIZER, first.tier_id, {"price": 1}), Tier)
    second = await world.tier(event)
    await catalogue.change_event(ORGANIZER, event_id, {"title": "Unheard"})
    longer = done(
        await catalogue.change_event(ORGANIZER, event_id, {"end_time": NOON + 3 * HOUR}), Event
    )
    await catalogue.set_gates(ORGANIZER, event_id, ())
    await world.step(event, Step.CLOSE_SALES, Step.OPEN_SALES, Step.CANCEL)
    terms = event_terms(event)
    assert world.sales.asked == [
        c.OpenSale(1, terms, (tier_terms(first),), gates),
        c.ConfigureTier(2, tier_terms(cheaper)),
        c.ConfigureTier(3, tier_terms(second)),
        c.ConfigureEvent(4, event_terms(longer)),
        c.ConfigureGates(5, ()),
        c.CloseSale(6),
        c.OpenSale(7, event_terms(longer), (tier_terms(cheaper), tier_terms(second)), ()),
        c.CancelEvent(8),
    ]
    assert (await world.read(event)).version == 8


async def test_what_changes_nothing_is_not_told(world: World) -> None:
    event, tier = await world.on_sale()
    same = {"total_quantity": tier.total_quantity, "name": tier.name}
    assert await world.catalogue.change_tier(ORGANIZER, tier.tier_id, same) == tier
    unchanged = await world.catalogue.change_event(ORGANIZER, event.event_id, {"start_time": NOON})
    assert unchanged == event
    assert len(world.sales.asked) == 1


async def test_a_quantity_shrinks_only_as_far_as_the_sale_allows(world: World) -> None:
    event, tier = await world.on_sale()
    assert isinstance(await world.sales.order(tier, 7), OrderPlaced)
    change = world.catalogue.change_tier
    refused = await change(ORGANIZER, tier.tier_id, {"total_quantity": 6, "price": 1})
    assert reason(refused) is Reason.BELOW_COMMITTED
    assert await world.read(event) == event
    shrunk = await change(ORGANIZER, tier.tier_id, {"total_quantity": 7})
    assert done(shrunk, Tier).total_quantity == 7


async def test_what_has_been_sold_in_one_currency_keeps_it(world: World) -> None:
    event, _ = await world.on_sale()
    change = {"currency": "CHF"}
    refused = await world.catalogue.change_event(ORGANIZER, event.event_id, change)
    assert reason(refused) is Reason.EVENT_NOT_EDITABLE


Change = Callable[[World, Event, Tier], Awaitable[object]]


async def _move(world: World, event: Event, tier: Tier) -> object:
    changes: dict[str, object] = {"start_time": NOON + HOUR, "end_time": NOON + 4 * HOUR}
    return await world.catalogue.change_event(ORGANIZER, event.event_id, changes)


async def _reprice(world: World, event: Event, tier: Tier) -> object:
    return await world.catalogue.change_tier(ORGANIZER, tier.tier_id, {"price": 1})


async def _add_tier(world: World, event: Event, tier: Tier) -> object:
    added = replace(tier, tier_id=tier.tier_id[:-1] + "x", price=7)
    return await world.catalogue.add_tier(ORGANIZER, added, None)


async def _set_gates(world: World, event: Event, tier: Tier) -> object:
    gates = (c.Gate("North", (tier.tier_id,)),)
    return await world.catalogue.set_gates(ORGANIZER, event.event_id, gates)


def _take(step: Step) -> Change:
    async def change(world: World, event: Event, tier: Tier) -> object:
        return await world.catalogue.take_step(ORGANIZER, event.event_id, step, None)

    return change


CHANGES: dict[str, tuple[list[Step], Change]] = {
    "open": ([Step.CLOSE_SALES], _take(Step.OPEN_SALES)),
    "close": ([], _take(Step.CLOSE_SALES)),
    "cancel": ([], _take(Step.CANCEL)),
    "complete": ([], _take(Step.COMPLETE)),
    "move": ([], _move),
    "reprice": ([], _reprice),
    "add a tier": ([], _add_tier),
    "set gates": ([], _set_gates),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_a_fact_whose_change_was_lost_in_a_crash_heals_the_tables(
    world: World, name: str
) -> None:
    way, change = CHANGES[name]
    event, tier = await world.on_sale()
    await world.step(event, *way)
    before = await world.read(event)
    heard = len(world.sales.entries)
    world.sales.losing = True
    with pytest.raises(OutcomeUnknown):
        await change(world, event, tier)
    world.sales.losing = False
    assert await world.read(event) == before
    await world.heal(*world.sales.entries)
    healed = await world.read(event)
    assert healed != before
    assert healed.version == before.version + 1
    booked = (await world.booking(healed)).slot == healed.slot
    await world.heal(*world.sales.entries)
    assert (await world.read(event), booked) == (healed, True)

    twin, twin_tier = await world.on_sale()
    await world.step(twin, *way)
    await change(world, twin, twin_tier)
    same = await world.read(twin)
    assert _shape(healed) == _shape(same)
    assert (await world.booking(healed)).status is (await world.booking(twin)).status
    assert len(world.sales.entries) == 2 * heard + 2


def _shape(event: Event) -> tuple[object, ...]:
    tiers = [(t.name, t.price, t.total_quantity, t.sale_start, t.sale_end) for t in event.tiers]
    gates = [(gate.name, len(gate.tier_ids)) for gate in event.gates]
    return (
        event.status,
        event.opened,
        event.version,
        event.start_time,
        event.end_time,
        tiers,
        gates,
    )


async def test_until_it_is_healed_no_other_change_of_the_event_gets_through(world: World) -> None:
    event, tier = await world.on_sale()
    world.sales.losing = True
    with pytest.raises(OutcomeUnknown):
        await _reprice(world, event, tier)
    world.sales.losing = False
    for lost in (_take(Step.CANCEL), _move, _add_tier):
        with pytest.raises(SaleUnavailable):
            await lost(world, event, tier)
    assert await world.read(event) == event
    await world.heal(*world.sales.entries)
    assert done(await _take(Step.CANCEL)(world, event, tier), Event).version == 3


async def test_the_same_change_sent_again_before_the_healing_succeeds(world: World) -> None:
    event, tier = await world.on_sale()
    world.sales.losing = True
    with pytest.raises(OutcomeUnknown):
        await _reprice(world, event, tier)
    world.sales.losing = False
    assert done(await _reprice(world, event, tier), Tier).price == 1
    await world.heal(*world.sales.entries)
    assert (await world.read(event)).version == 2


async def test_a_tier_sent_again_under_its_key_after_the_healing_is_the_same_tier(
    world: World,
) -> None:
    event, tier = await world.on_sale()
    world.sales.losing = True
    with pytest.raises(OutcomeUnknown):
        await _add_tier(world, event, tier)
    world.sales.losing = False
    await world.heal(*world.sales.entries)
    added = done(await _add_tier(world, event, tier), Tier)
    assert (await world.read(event)).tiers == (tier, added)


async def test_healing_leaves_the_hall_to_whoever_has_taken_it_since(world: World) -> None:
    event, tier = await world.on_sale()
    world.sales.losing = True
    with pytest.raises(OutcomeUnknown):
        await _move(world, event, tier)
    world.sales.losing = False
    venue = await world.catalogue.venue(event.venue_id)
    times = {"start_time": event.end_time, "end_time": event.end_time + HOUR}
    taken = draft(venue, **times)  # type: ignore[arg-type]
    done(await world.catalogue.add_event(taken, None), Event)
    await world.heal(*world.sales.entries)
    healed = await world.read(event)
    assert (healed.start_time, healed.version) == (NOON + HOUR, 2)
    assert (await world.booking(healed)).start_time == NOON
    assert await world.overlaps(venue) == []  # type: ignore[arg-type]


async def test_facts_of_what_the_catalogue_does_not_know_are_passed_over(world: World) -> None:
    event, tier = await world.on_sale()
    opened = world.sales.entries[0]
    assert isinstance(opened.fact, SaleOpened)
    stray = type(opened)("evt_0000000000000000", 1, 0, opened.fact)
    await world.heal(stray)
    assert await world.read(event) == replace(event, tiers=(tier,))


async def test_one_sale_that_is_away_does_not_keep_others_from_completing(world: World) -> None:
    away, _ = await world.on_sale(end_time=NOON + HOUR)
    other, _ = await world.on_sale()
    ask = world.sales.ask

    async def ask_but_one(sale_id: str, command: c.Command) -> object:
        if sale_id == away.event_id:
            raise SaleUnavailable
        return await ask(sale_id, command)

    world.sales.ask = ask_but_one  # type: ignore[assignment, method-assign]
    assert await world.catalogue.complete_ended(NOON + 9 * HOUR, 10) == 1
    statuses = [(await world.read(event)).status for event in (away, other)]
    assert statuses == [EventStatus.ON_SALE, EventStatus.COMPLETED]


async def test_a_database_that_goes_away_before_the_commit_leaves_the_outcome_unknown(
    world: World, postgres_dsn: str
) -> None:
    event, tier = await world.on_sale()
    ask = world.sales.ask

    async def ask_and_cut(sale_id: str, command: c.Command) -> object:
        reply = await ask(sale_id, command)
        server = await asyncpg.connect(postgres_dsn)
        await server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1",
            world.database,
        )
        await server.close()
        return reply

    world.sales.ask = ask_and_cut  # type: ignore[assignment, method-assign]
    with pytest.raises(OutcomeUnknown):
        await _reprice(world, event, tier)
    world.sales.ask = ask  # type: ignore[method-assign]
    assert await world.read(event) == event
    await world.heal(*world.sales.entries)
    assert (await world.read(event)).tiers[0].price == 1


async def test_a_database_that_is_away_takes_nothing(world: World) -> None:
    event = await world.event(await world.venue())
    await world.pool.close()
    with pytest.raises(JournalUnavailable):
        await world.read(event)
    with pytest.raises(JournalUnavailable):
        await world.step(event, Step.PUBLISH)


async def test_instants_go_to_the_sale_and_come_back_to_the_millisecond(world: World) -> None:
    event, tier = await world.on_sale()
    for odd_ms in (1_790_000_000_123, 1_790_000_000_001, 1_900_000_000_999):
        at = NOON.fromtimestamp(odd_ms // 1000, NOON.tzinfo).replace(
            microsecond=odd_ms % 1000 * 1000
        )
        await world.catalogue.change_tier(ORGANIZER, tier.tier_id, {"sale_start": at})
        told = world.sales.asked[-1]
        assert isinstance(told, c.ConfigureTier)
        assert told.tier.sale_start_ms == to_ms(at) == odd_ms
        assert tier_terms((await world.read(event)).tiers[0]).sale_start_ms == odd_ms
