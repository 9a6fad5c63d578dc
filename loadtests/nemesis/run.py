"""One run: the world set up, broken and healed while the crowd comes and goes, then judged."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from msgspec import Struct

from engine.ids import shard_of
from loadtests.api import Caller, sign_in
from loadtests.audit import JOURNAL_IS_WHOLE, QUIET_S_MAX, Check, audit
from loadtests.catalogue import HOT, Builder, OnSale
from loadtests.client import Client
from loadtests.conferences import Conference, upcoming
from loadtests.demo import DOORS_OPEN_HOURS
from loadtests.nemesis.crowd import ARRIVALS_PER_S, HOT_SHARE, WEIGHTS, Crowd
from loadtests.nemesis.entrances import Entrances
from loadtests.nemesis.faults import MISSED, STRIKES, Target
from loadtests.nemesis.liveness import (
    SERVES_S_MAX,
    SILENT_S_MAX,
    Durables,
    Struck,
    longest_silence,
    too_slow,
)
from loadtests.nemesis.schedule import ANYWHERE, Kind, Planned, schedule
from loadtests.nemesis.witness import Came, Witness
from loadtests.nemesis.world import World, world
from loadtests.nemesis.zombies import raise_zombies

HOLD_S = 8
SHARDS = 16
LATE_S_MAX = 1.0
RUIN_S_MAX = 2.0  # what the control waits for quiet that will not come
PLENTY = 1_000_000
OTHERS = 7
CONNECTIONS_MAX = 600
SELLS_OUT_AT = 0.6  # of the run
PLACES_AN_ORDER = 0.9  # that stay sold, on average


class Plan(Struct, frozen=True):
    """What a run is asked to do. `zombies`: so many of them one by one, in place of a schedule."""

    folder: Path
    seconds: float
    seed: int
    gateways: int
    engines: int
    zombies: int
    fenced: bool
    apart: bool = False  # each node in a network of its own

    @property
    def arguments(self) -> list[str]:
        """One process for all where nothing else is asked for."""
        if self.gateways == self.engines == 1:
            return []
        return [f"--gateways={self.gateways}", f"--engines={self.engines}"]

    @property
    def nodes(self) -> list[str]:
        if not self.arguments:
            return ["node-1", "projector"]
        gateways = (f"gateway-{number}" for number in range(1, self.gateways + 1))
        engines = (f"engine-{number}" for number in range(1, self.engines + 1))
        return [*gateways, *engines, "projector"]


class Outcome(Struct, frozen=True):
    plan: Plan
    struck: list[Struck]
    witness: Witness
    steady: list[str]  # the events that never sold out
    checks: list[Check]
    facts: dict[str, int]
    took_s: float  # until everything was healed

    @property
    def holds(self) -> bool:
        return all(check.ok for check in self.checks)

    @property
    def as_it_must(self) -> bool:
        """Every promise held; with the fence off, what it keeps out was found in the journal."""
        if self.plan.fenced:
            return self.holds
        return any(check.name == JOURNAL_IS_WHOLE and not check.ok for check in self.checks)


class _Places(Builder):
    """All events have plenty of places but one, the first that is not the catalogue's hot one."""

    def __init__(self, client: Client, organizer: Caller, scarce: int, random: Random) -> None:
        super().__init__(client, organizer, PLENTY, random)
        self._left = iter([scarce])

    def _some_places(self) -> int:
        return next(self._left, PLENTY)


class Nemesis:
    """`tell(words)` hears of what goes on."""

    def __init__(self, plan: Plan, tell: Callable[[str], None]) -> None:
        self.plan = plan
        self.phase = "starting"
        self.witness = Witness()
        self.struck: list[Struck] = []
        self.under_way: dict[int, Planned] = {}
        self._tell = tell

    async def run(self) -> Outcome:
        """Raises ServerError, NoAnswer, UnexpectedAnswer where there is nothing to judge."""
        plan = self.plan
        settings = {
            "STAMPEDE_ORDER_HOLD_SECONDS": str(HOLD_S),
            "STAMPEDE_DOORS_OPEN_HOURS": str(DOORS_OPEN_HOURS),
            "STAMPEDE_RATE_LIMITS": "off",
            "STAMPEDE_SHARDS": str(SHARDS),
            "STAMPEDE_LOG": "off",
        }
        module = "loadtests.nemesis.apart" if plan.apart else "gateway"
        if not plan.fenced:
            module = "loadtests.nemesis.unfenced"
        apart = plan.nodes if plan.apart else []
        async with world(plan.folder, settings, plan.arguments, module, apart) as made:
            self._tell(f"serving on {', '.join(made.urls)}, log in {made.server.log}")
            async with Entrances(made.urls, CONNECTIONS_MAX, Random(plan.seed)) as client:
                return await self._run(made, client)

    async def _run(self, made: World, client: Client) -> Outcome:
        self.phase = "catalogue"
        hot, others = await self._events(client)
        crowd = Crowd(client, hot, others, self.witness, self.plan.seed)
        await crowd.sign_in()
        self.phase = "under fire"
        self.witness.begin()
        coming = asyncio.create_task(crowd.comes(), name="crowd")
        hot_shard = shard_of(hot.event_id, SHARDS)
        if self.plan.zombies:
            shard_by_event = {
                event.event_id: shard_of(event.event_id, SHARDS) for event in (hot, *others)
            }
            await raise_zombies(
                made, self.witness, self.plan.zombies, hot_shard, shard_by_event, self._over
            )
        else:
            await self._break(made, hot_shard)
        took_s = self.witness.now_s
        await self._send_home(crowd, coming)
        self.phase = "audit"
        quiet_s_max = QUIET_S_MAX if self.plan.fenced else RUIN_S_MAX
        report = await audit(made.server.dsn, self.witness.seen, made.urls[0], quiet_s_max)
        steady = [event.event_id for event in others]
        more = list(self._more_checks(made, steady, took_s))
        return Outcome(
            plan=self.plan,
            struck=self.struck,
            witness=self.witness,
            steady=steady,
            checks=[*report.checks, *more],
            facts=report.facts,
            took_s=took_s,
        )

    async def _send_home(self, crowd: Crowd, coming: asyncio.Task[None]) -> None:
        """Until everybody has an answer; in the ruins of the control nobody waits for one."""
        if not self.plan.fenced:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
            return
        self.phase = "going home"
        crowd.closes()
        await coming
        self.phase = "resolving"
        await crowd.resolve()

    async def _events(self, client: Client) -> tuple[OnSale, list[OnSale]]:
        """The scarce one, which most people want, and the others."""
        organizer = await sign_in(client, "organizer", "nemesis-organizer")
        builder = _Places(client, organizer, self._scarce_places(), Random(self.plan.seed))
        catalogue = await builder.build(_in_different_halls(OTHERS + 1))
        return catalogue.others[0], [catalogue.hot, *catalogue.others[1:]]

    def _scarce_places(self) -> int:
        if self.plan.zombies:
            return PLENTY
        orders_per_s = ARRIVALS_PER_S * WEIGHTS["buy"] / sum(WEIGHTS.values()) * HOT_SHARE
        return int(orders_per_s * PLACES_AN_ORDER * self.plan.seconds * SELLS_OUT_AT)

    async def _break(self, made: World, hot_shard: int) -> None:
        async with asyncio.TaskGroup() as group:
            kinds = tuple(Kind) if self.plan.apart else ANYWHERE
            for planned in schedule(self.plan.seed, self.plan.seconds, kinds):
                await asyncio.sleep(max(0.0, planned.starts_s - self.witness.now_s))
                group.create_task(self._strike(Target(made, planned, hot_shard)))
            await asyncio.sleep(max(0.0, self.plan.seconds - self.witness.now_s))

    async def _strike(self, target: Target) -> None:
        plan, began_s, name, missed = target.plan, self.witness.now_s, "", None
        self.under_way[plan.number] = plan
        try:
            async with AsyncExitStack() as stack:
                name = await stack.enter_async_context(STRIKES[plan.kind](target))
                began_s = self.witness.now_s
                await asyncio.sleep(plan.lasts_s)
        except MISSED as error:
            missed = repr(error)
        del self.under_way[plan.number]
        self._over(Struck(plan, name, began_s, self.witness.now_s, missed))

    def _over(self, fault: Struck) -> None:
        self.struck.append(fault)
        how = f"missed: {fault.missed}" if fault.missed else fault.target
        lasted_s = fault.healed_s - fault.began_s
        lasted = f", {lasted_s:.1f} s" if lasted_s > 0.05 else ""
        self._tell(f"{fault.began_s:6.1f} s  {fault.plan.kind} ({how}{lasted})")

    def _more_checks(self, made: World, steady: Sequence[str], took_s: float) -> Iterator[Check]:
        witness = self.witness
        took = f"{made.watch.takeovers} takeovers seen"
        yield Check("epochs grow, and who gives up is silent", took, tuple(made.watch.wrong))
        errors = sum(second.came[Came.ERROR] for second in witness.seconds)
        bugs = tuple(f"{n} times {what}" for what, n in witness.surprises.items() if what[0] == "5")
        yield Check("no answer was a bug's", f"{errors} answers of 500 and above but 503", bugs)
        unknown = (*witness.seen.orders_in_doubt(), *witness.seen.scans_in_doubt())
        wrong = tuple(f"{key[0]} by {key[2]}" for key in unknown)
        yield Check("whoever asks long enough is answered", f"{len(unknown)} in doubt", wrong)
        done = sum(fault.missed is None for fault in self.struck)
        words = f"{done} of {len(self.struck)}"
        few = () if 2 * done > len(self.struck) else ("too few to say anything",)
        yield Check("what was to be broken was broken", words, few)
        if not self.plan.zombies:
            durable = {event_id: witness.durable_by_event[event_id] for event_id in steady}
            told, slow = too_slow(self.struck, durable, took_s)
            words = f"{told} of {len(self.struck)} faults tell"
            yield Check(f"healed, it serves within {SERVES_S_MAX:.0f} s", words, tuple(slow))
            yield _silence(witness, durable, took_s)


def _silence(witness: Witness, durable: Durables, ends_s: float) -> Check:
    """A machine that lets our own visitors wait says nothing of the product."""
    began_s, until_s = longest_silence(durable, ends_s)
    late_s = max(second.late_s for second in witness.seconds[int(began_s) : int(until_s) + 1])
    words = f"{until_s - began_s:.1f} s from {began_s:.1f} s on, visitors {late_s:.1f} s late then"
    silent = until_s - began_s > SILENT_S_MAX and late_s < LATE_S_MAX
    return Check("it was never silent for long", words, ("too long",) if silent else ())


def _in_different_halls(count: int) -> list[Conference]:
    """The hot one of the catalogue first, each in a city of its own."""
    conferences = upcoming(datetime.now(UTC).date())
    first = next(each for each in conferences if each.name == HOT)
    by_city = {first.city: first}
    for each in conferences:
        by_city.setdefault(each.city, each)
    return list(by_city.values())[:count]
