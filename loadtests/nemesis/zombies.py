"""Owners stopped with a batch in flight and woken after the takeover, one after another.

The batch waits in the network while its owner stands still past its lease. Once another node has
its shards and has sold on each, the batch arrives, and the owner wakes: the fence, or ruin.
"""

import asyncio
from collections.abc import Callable, Mapping

from loadtests.nemesis import proxy
from loadtests.nemesis.faults import JOURNAL, MISSED, in_flight, stopped
from loadtests.nemesis.liveness import Struck
from loadtests.nemesis.proxy import Disturbance
from loadtests.nemesis.schedule import Kind, Planned
from loadtests.nemesis.witness import Witness
from loadtests.nemesis.world import World

TAKEOVER_S_MAX = 12.0
REST_S = 2.0
IN_VAIN_MAX = 3  # one after another
LOOK_S = 0.02


async def raise_zombies(
    world: World,
    witness: Witness,
    count: int,
    hot_shard: int,
    shard_by_event: Mapping[str, int],
    tell: Callable[[Struck], None],
) -> None:
    """The owner of the hot shard, each time. `tell` hears of each when it is over.

    It ends early where nobody takes over any more: without its fence a sale is soon past loading.
    """
    in_vain = 0
    for number in range(1, count + 1):
        began_s = witness.now_s
        plan = Planned(number, Kind.ZOMBIE, began_s, TAKEOVER_S_MAX, number, overlaps=False)
        try:
            name = await _raise_one(world, witness, hot_shard, shard_by_event)
            missed = None
        except (*MISSED, TimeoutError) as error:
            name, missed = "", repr(error)
        tell(Struck(plan, name, began_s, witness.now_s, missed))
        in_vain = in_vain + 1 if missed else 0
        if in_vain == IN_VAIN_MAX:
            return
        await asyncio.sleep(REST_S)


async def _raise_one(
    world: World, witness: Witness, hot_shard: int, shard_by_event: Mapping[str, int]
) -> str:
    """The batch may be of any of its owner's sales, so the next one has to have sold on each.

    While nothing was sold all that comes is an order, so the first one's batch has a row.
    """
    owner, epochs = world.owner_of(hot_shard), dict(world.watch.epoch_by_shard)
    owned = {hot_shard} | world.watch.shards_of(owner.name)
    events = [event_id for event_id, shard_id in shard_by_event.items() if shard_id in owned]
    links = world.postgres.find(pids=frozenset([owner.pid]), hello=JOURNAL)
    held = Disturbance(proxy.Kind.HOLD_REQUESTS, links=links)
    async with world.postgres.disturbed(held):
        await in_flight(links)
        with stopped([owner.pid], TAKEOVER_S_MAX):
            async with asyncio.timeout(TAKEOVER_S_MAX):
                await _until(lambda: world.watch.grown_since(epochs, owned))
                taken_s = witness.now_s
                await _until(lambda: all(_sold_since(witness, each, taken_s) for each in events))
    return owner.name


def _sold_since(witness: Witness, event_id: str, since_s: float) -> bool:
    durable = witness.durable_by_event[event_id]
    return bool(durable) and durable[-1].sent_s > since_s


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(LOOK_S)
