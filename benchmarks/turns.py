"""Sides that are asked in turns, each at rest before the next begins; what each turn showed."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from msgspec import Struct

from benchmarks import generator, wrk
from benchmarks.asked import Asked
from benchmarks.generator import Outcome
from benchmarks.results import Figure
from benchmarks.servers import Endpoint

PERCENTILES = {"p50": 50.0, "p99": 99.0, "p99.9": 99.9}


class Side(Struct, frozen=True):
    """`requests` is called at the start of each turn; every answer has the `status`.

    `per_s_max`: as many are there to be asked.
    """

    name: str
    server: Endpoint
    requests: Callable[[], Iterator[bytes]]
    status: int = 201
    per_s_max: int = 40_000


class Turn(Struct):
    """CPU: µs a request, of the process that answers and of all behind the endpoint.

    `bodies`: of the answers, where the client keeps them.
    """

    answered: int
    per_second: float
    ms: dict[str, float]
    cpu_us: float
    cpu_us_of_all: float
    bodies: list[bytes]


def percentiles(outcome: Outcome) -> dict[str, float]:
    return {
        name: outcome.latencies_us.get_value_at_percentile(p) / 1000
        for name, p in PERCENTILES.items()
    }


def expect(outcome: Outcome, status: int) -> Outcome:
    if set(outcome.statuses) != {status}:
        raise SystemExit(f"expected {status} alone, got {dict(outcome.statuses)}")
    return outcome


async def in_turns(
    sides: Sequence[Side], asked: Asked, rounds: int, in_flight: int | None = None
) -> dict[str, list[Turn]]:
    """A turn a round, by the side's name. `in_flight`: if not as many as asked."""
    turns: dict[str, list[Turn]] = {side.name: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            turns[side.name].append(await turn(side, asked, in_flight))
    return turns


async def turn(side: Side, asked: Asked, in_flight: int | None = None) -> Turn:
    server = side.server
    before = server.cpu_seconds(), server.cpu_seconds_of_all()
    client = partial(wrk.run, per_s_max=side.per_s_max) if asked.by_wrk else generator.run
    outcome = await client(
        server.host,
        server.port,
        side.requests(),
        connections=in_flight or asked.in_flight,
        seconds=asked.seconds,
        keep_status=side.status,
    )
    serving_s = server.cpu_seconds() - before[0]
    await server.until_quiet()  # what is done behind the answers is part of their price
    all_s = server.cpu_seconds_of_all() - before[1]
    count = sum(expect(outcome, side.status).statuses.values())
    return Turn(
        count,
        outcome.per_second,
        percentiles(outcome),
        serving_s * 1e6 / count,
        all_s * 1e6 / count,
        outcome.bodies,
    )


def figures(turns: Mapping[str, Sequence[Turn]], what: str, measured: str) -> list[Figure]:
    """`what` they do; `measured`: the side whose ratios to all others are told."""
    found = [
        Figure(f"{name}: {what}", "a second", [turn.per_second for turn in of_it])
        for name, of_it in turns.items()
    ]
    found += [
        Figure(f"{measured} / {name}", "", _ratios(turns[measured], of_it))
        for name, of_it in turns.items()
        if name != measured
    ]
    found += [
        Figure(f"{name}: {p}", "ms", [turn.ms[p] for turn in of_it])
        for name, of_it in turns.items()
        for p in PERCENTILES
    ]
    for name, of_it in turns.items():
        serving = [turn.cpu_us for turn in of_it]
        found.append(Figure(f"{name}: CPU of the server", "µs a request", serving))
        of_all = [turn.cpu_us_of_all for turn in of_it]
        found.append(Figure(f"{name}: CPU of all processes", "µs a request", of_all))
    return found


def _ratios(ours: Sequence[Turn], theirs: Sequence[Turn]) -> list[float]:
    return [a.per_second / b.per_second for a, b in zip(ours, theirs, strict=True)]


def median_per_second(turns: Sequence[Turn]) -> float:
    return statistics.median(turn.per_second for turn in turns)
