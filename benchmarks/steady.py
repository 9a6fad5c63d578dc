"""Below the most: what reservations and check-ins take at a steady rate, from their intended start.

First the most that a closed loop gets; then an open loop at shares of it, each load level once a
round. Projector and snapshots run, as always. Who sells has a core of its own, as `up --own-cores`
gives it, or shares all cores with all else, who asks included.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from msgspec import Struct

from benchmarks import stage
from benchmarks.asked import Asked
from benchmarks.open_loop import CONNECTIONS, LATE_S, PROCESSES, Outcome, Stream, drive
from benchmarks.results import Figure, Measurement, measured
from benchmarks.servers import Endpoint, stampede, stampede_on_its_own_core
from benchmarks.turns import Side, in_turns, median_per_second

STEADY = 0.7
CURVE = (0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95)
TRIALS = 3
PERCENTILES = (50.0, 99.0, 99.9)


class Level(Struct):
    """One round at one rate."""

    meant_per_second: float
    outcome: Outcome


async def steady(asked: Asked) -> list[Measurement]:
    """At STEADY of the most, reservations and check-ins in turns."""
    own_core = stampede_on_its_own_core()
    return [
        await _steady(asked, own_core, "steady, at 70 % of the most, on a core of its own"),
        await _steady(asked, stampede(), "steady, at 70 % of the most, all cores shared"),
    ]


async def _steady(
    asked: Asked, serving: AbstractAsyncContextManager[Endpoint], name: str
) -> Measurement:
    rounds = asked.rounds_or(5)
    async with serving as ours:
        sale, door = stage.event_on_sale(ours), stage.event_on_sale(ours, price=0)
        await ours.until_quiet()
        most_orders = await most_reservations(ours, sale, asked)
        scanned_s = asked.seconds * (TRIALS + 2 * STEADY * rounds + 1)
        await stage.sell(ours, *door, int(stage.CHECK_INS_PER_S_MAX * scanned_s))
        tickets = iter(await stage.sold_tokens(ours.dsn))
        scanner = ours.token("scanner", "bench", door[0])
        at_the_door = Side("", ours, lambda: stage.scans(door[0], scanner, tickets), 200)
        most_scans = median_per_second(
            (await in_turns([at_the_door], asked.by_ourselves(), TRIALS))[""]
        )
        orders, scans = STEADY * most_orders, STEADY * most_scans
        levels: dict[str, list[Level]] = {"reservations": [], "check-ins": []}
        buying = ordering(ours, sale, orders)
        for _ in range(rounds):
            levels["reservations"].append(await _level(ours, buying, asked.seconds))
            some = [next(tickets) for _ in range(int(scans * asked.seconds * 1.2) + 100)]
            scanning = Stream("scans", scans, scanner, door[0], tickets=some)
            levels["check-ins"].append(await _level(ours, scanning, asked.seconds))
        figures = [
            Figure("reservations: the most", "a second", [most_orders]),
            Figure("check-ins: the most", "a second", [most_scans]),
        ]
        for what, of_it in levels.items():
            figures += _figures(what, of_it)
        conditions = (
            f"At {STEADY:.0%} of the most with {asked.in_flight} in flight (median of {TRIALS}),"
            f" open loop, Poisson arrivals, {asked.seconds:g} s a round, in turns. {_generator()}"
            f" {await stage.durability(ours.dsn)};"
            " logs, metrics, snapshots and projector on."
        )
        return measured(name, "./run bench steady", conditions, figures)


async def curve(asked: Asked) -> list[Measurement]:
    """Throughput against latency, as the load of reservations rises."""
    async with stampede_on_its_own_core() as ours:
        sale = stage.event_on_sale(ours)
        await ours.until_quiet()
        most = await most_reservations(ours, sale, asked)
        levels: dict[float, list[Level]] = {share: [] for share in CURVE}
        for _ in range(asked.rounds_or(3)):
            for share, of_it in levels.items():
                buying = ordering(ours, sale, share * most)
                of_it.append(await _level(ours, buying, asked.seconds))
        figures = [Figure("the most", "a second", [most])]
        for share, of_it in levels.items():
            figures += _figures(f"at {share:.0%}", of_it)
        conditions = (
            "Who sells has a core of its own. Reservations at shares of the most that"
            f" {asked.in_flight} in flight got (median of {TRIALS}), open loop, Poisson arrivals,"
            f" {asked.seconds:g} s each. {_generator()}"
            f" {await stage.durability(ours.dsn)};"
            " logs, metrics, snapshots and projector on."
        )
        return [measured("steady, as the load rises", "./run bench curve", conditions, figures)]


async def most_reservations(ours: Endpoint, sale: tuple[str, str], asked: Asked) -> float:
    """A second, in a closed loop."""
    token = ours.token("box_office", "bench")
    side = Side("", ours, lambda: stage.orders(*sale, token))
    turns = await in_turns([side], asked.by_ourselves(), TRIALS)
    return median_per_second(turns[""])


def ordering(ours: Endpoint, sale: tuple[str, str], per_second: float) -> Stream:
    event_id, tier_id = sale
    return Stream("orders", per_second, ours.token("box_office", "bench"), event_id, tier_id)


async def _level(ours: Endpoint, stream: Stream, seconds: float) -> Level:
    outcome = (await drive(ours, {"it": stream}, seconds))["it"]
    await ours.until_quiet()
    return Level(outcome.meant / seconds, outcome)


def _figures(what: str, levels: Sequence[Level]) -> list[Figure]:
    figures = [Figure(f"{what}: asked", "a second", [one.meant_per_second for one in levels])]
    figures += [
        Figure(f"{what}: p{p:g}", "ms", [one.outcome.ms(p) for one in levels]) for p in PERCENTILES
    ]
    late = [100 * one.outcome.late / one.outcome.meant for one in levels]
    figures.append(Figure(f"{what}: left late", "% of the requests", late))
    figures.append(Figure(f"{what}: failed", "requests", [one.outcome.failed for one in levels]))
    return figures


def _generator() -> str:
    return (
        f"Latencies from the intended start; {PROCESSES} generating processes of {CONNECTIONS}"
        " connections on the same machine, which send what is due once a millisecond; `late`:"
        f" sent more than {LATE_S * 1000:g} ms after it."
    )
