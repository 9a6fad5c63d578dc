"""`./run bench`: measures and writes `benchmarks/results.md`."""

import asyncio
import os
from collections.abc import Awaitable, Callable

import click
import uvloop
from rich.console import Console

from benchmarks import finding, hot, restart, trending
from benchmarks.hot import Report
from benchmarks.results import Figure, Measurement, keep, measured

NAMES = ("onsale", "doors", "restart", "search", "trending")
REAL_SERVER = "REAL_ELASTICSEARCH_URL"


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(NAMES))
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=4.0, show_default=True, help="Of each side in each round.")
@click.option("--in-flight", default=64, show_default=True)
def main(names: tuple[str, ...], rounds: int, seconds: float, in_flight: int) -> None:
    """Measure NAMES, or all of them."""
    console = Console()
    measure: dict[str, Callable[[], Awaitable[list[Measurement]]]] = {
        "onsale": lambda: _alone(_onsale(in_flight, seconds, rounds)),
        "doors": lambda: _alone(_doors(in_flight, seconds, rounds)),
        "restart": lambda: _alone(_restart(rounds)),
        "search": lambda: _search(rounds),
        "trending": lambda: _alone(_trending()),
    }
    for name in names or NAMES:
        new_loop = uvloop.new_event_loop
        with console.status(f"measuring {name}"), asyncio.Runner(loop_factory=new_loop) as runner:
            measurements = runner.run(_awaited(measure[name]))
        for measurement in measurements:
            keep(measurement)
            for figure in measurement.figures:
                values = ", ".join(f"{value:.4g}" for value in figure.values)
                console.print(f"{measurement.name}: {figure.what} {values} {figure.unit}")


async def _awaited(measure: Callable[[], Awaitable[list[Measurement]]]) -> list[Measurement]:
    return await measure()


async def _alone(measuring: Awaitable[Measurement]) -> list[Measurement]:
    return [await measuring]


async def _onsale(in_flight: int, seconds: float, rounds: int) -> Measurement:
    report = await hot.onsale(in_flight, seconds, rounds)
    return _beside_the_bare_handler(report, "durable reservations")


async def _doors(in_flight: int, seconds: float, rounds: int) -> Measurement:
    report = await hot.doors(in_flight, seconds, rounds)
    return _beside_the_bare_handler(report, "durable check-ins")


def _beside_the_bare_handler(report: Report, what: str) -> Measurement:
    sides = [(f"ours, {what}", "ours"), ("bare handler", "bare")]
    figures = [
        Figure(name, "a second", [getattr(r, f"{side}_per_second") for r in report.rounds])
        for name, side in sides
    ]
    figures.append(Figure("ratio", "", [r.ratio for r in report.rounds]))
    figures += [
        Figure(f"{side}, {p}", "ms", [getattr(r, f"{side}_ms")[p] for r in report.rounds])
        for _, side in sides
        for p in ("p50", "p99", "p99.9")
    ]
    figures += [
        Figure(
            f"{side}, CPU", "µs a request", [getattr(r, f"{side}_cpu_us") for r in report.rounds]
        )
        for _, side in sides
    ]
    conditions = (
        f"{report.in_flight} in flight, closed loop, {report.seconds:g} s a side and round;"
        f" Postgres fsync {report.fsync}, synchronous_commit {report.synchronous_commit}; logs,"
        f" metrics, snapshots and projector on; {report.in_journal:,} answers, every one found in"
        " the journal."
    )
    command = f"./run bench {report.name}"
    return measured(f"{report.name}, one process", command, conditions, figures)


async def _restart(rounds: int) -> Measurement:
    took = await restart.restarts(rounds)
    figures = [Figure("start of the process to a durable 201", "s", took)]
    conditions = "Everything killed with -9 in mid-sale (64 in flight), then started again."
    return measured("restart after kill -9", "./run bench restart", conditions, figures)


async def _search(rounds: int) -> list[Measurement]:
    """On Postgres, and on a real Elasticsearch where one is named."""
    command = "./run bench search"
    shown = await finding.visible(times=20)
    right, speed = await finding.postgres_figures(rounds)
    speed.append(shown)
    sides = [("Postgres", right, speed)]
    if url := os.environ.get(REAL_SERVER):
        sides.append(("Elasticsearch", *await finding.elastic_figures(url, rounds)))
    asked = "80 judged queries on 4,825 real conferences; half of them held back from tuning."
    load = f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    large = (
        f"{finding.EVENTS:,} events, 50 results a page; each round's p95. Load at the end: {load}."
    )
    return [
        measured(f"search on {side}, {what}", command, conditions, figures)
        for side, right, speed in sides
        for what, conditions, figures in (("relevance", asked, right), ("speed", large, speed))
    ]


async def _trending() -> Measurement:
    conditions = (
        f"{trending.ORDERS:,} confirmed orders of {trending.EVENTS} events projected in pieces, ten"
        " pairs in turns, Postgres' CPU included. The sale's own process does nothing for it: there"
        " a reservation takes what `onsale` says."
    )
    figures = await trending.figures(pairs=10)
    return measured("trending, beside projecting", "./run bench trending", conditions, figures)


if __name__ == "__main__":
    main()
