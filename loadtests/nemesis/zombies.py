"""Owners stopped with a batch in flight and woken after the takeover, one after another.

The batch waits in the network while its owner stands still past its lease. Once another node has
the shard and has sold on it, the batch arrives, and the owner wakes: the fence, or ruin.
"""

import asyncio
from collections.abc import Callable

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
    hot: tuple[str, int],
    tell: Callable[[Struck], None],
) -> None:
    """`hot`: the event and its shard. `tell` hears of each when it is over.

    It ends early where nobody takes over any more: without its fence a sale is soon past loading.
    """
    in_vain = 0
    for number in range(1, count + 1):
        began_s = witness.now_s
        plan = Planned(number, Kind.ZOMBIE, began_s, TAKEOVER_S_MAX, number, overlaps=False)
        try:
            name, missed = await _raise_one(world, witness, *hot), None
        except (*MISSED, TimeoutError) as error:
            name, missed = "", repr(error)
        tell(Struck(plan, name, began_s, witness.now_s, missed))
        in_vain = in_vain + 1 if missed else 0
        if in_vain == IN_VAIN_MAX:
            return
        await asyncio.sleep(REST_S)


async def _raise_one(world: World, witness: Witness, event_id: str, shard_id: int) -> str:
    owner, epoch = world.owner_of(shard_id), world.watch.epoch_by_shard[shard_id]
    links = world.postgres.find(pids=frozenset([owner.pid]), hello=JOURNAL)
    held = Disturbance(proxy.Kind.HOLD_REQUESTS, links=links)
    async with world.postgres.disturbed(held):
        await in_flight(links)
        with stopped([owner.pid], TAKEOVER_S_MAX):
            async with asyncio.timeout(TAKEOVER_S_MAX):
                await _until(lambda: world.watch.epoch_by_shard[shard_id] > epoch)
                taken_s = witness.now_s
                await _until(lambda: _sold_since(witness, event_id, taken_s))
    return owner.name


def _sold_since(witness: Witness, event_id: str, since_s: float) -> bool:
    durable = witness.durable_by_event[event_id]
    return bool(durable) and durable[-1].answered_s > since_s


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(LOOK_S)
