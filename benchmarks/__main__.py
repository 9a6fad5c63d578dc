"""`./run bench`: measures and writes `benchmarks/results.md`."""

import asyncio
import os
from collections.abc import Awaitable, Callable

import click
import uvloop
from rich.console import Console

from benchmarks import conferences, halls, hot, restart
from benchmarks.hot import Report
from benchmarks.results import Figure, Measurement, keep, measured

NAMES = ("onsale", "doors", "restart", "halls", "import")


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(NAMES))
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=4.0, show_default=True, help="Of each side in each round.")
@click.option("--in-flight", default=64, show_default=True)
def main(names: tuple[str, ...], rounds: int, seconds: float, in_flight: int) -> None:
    """Measure NAMES, or all of them."""
    console = Console()
    measure: dict[str, Callable[[], Awaitable[Measurement]]] = {
        "onsale": lambda: _onsale(in_flight, seconds, rounds),
        "doors": lambda: _doors(in_flight, seconds, rounds),
        "restart": lambda: _restart(rounds),
        "halls": _halls,
        "import": _import,
    }
    for name in names or NAMES:
        new_loop = uvloop.new_event_loop
        with console.status(f"measuring {name}"), asyncio.Runner(loop_factory=new_loop) as runner:
            measurement = runner.run(_awaited(measure[name]))
        keep(measurement)
        for figure in measurement.figures:
            values = ", ".join(f"{value:.4g}" for value in figure.values)
            console.print(f"{measurement.name}: {figure.what} {values} {figure.unit}")


async def _awaited(measure: Callable[[], Awaitable[Measurement]]) -> Measurement:
    return await measure()


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


async def _halls() -> Measurement:
    crowd = await halls.crowd()
    figures = [
        Figure("bookings given", "of the requests", [len(crowd.given)]),
        Figure("refused: venue_conflict", "of the requests", [len(crowd.refused)]),
        Figure("bookings that overlap", "", [len(crowd.overlaps)]),
        Figure("refusals that name nobody who was there", "", [len(crowd.unfounded)]),
        Figure("event creations", "a second", [crowd.requests / crowd.seconds]),
        Figure("p50", "ms", [crowd.percentile_ms(50)]),
        Figure("p99", "ms", [crowd.percentile_ms(99)]),
    ]
    conditions = (
        f"Load average of the shared machine meanwhile: {os.getloadavg()[0]:.1f}."
        f" {crowd.requests:,} random windows in {crowd.halls} halls over HTTP, {crowd.at_once} at"
        " once; checked from what was asked and answered alone. The check's negative control, lock"
        " and constraint both off, is `tests/persistence/test_booking_race.py`."
    )
    return measured("halls, ten thousand requests", "./run bench halls", conditions, figures)


async def _import() -> Measurement:
    run = await conferences.run()
    assert run.agrees
    figures = [
        Figure("first import", "s", [run.first.seconds]),
        Figure("the same again", "s", [run.again.seconds]),
        Figure("venue conflicts, by the import", "rows", [run.first.conflicts]),
        Figure("venue conflicts, by the count beside it", "rows", [len(run.conflicts)]),
        Figure("refused: no such midnight", "rows", [len(run.without_midnight)]),
    ]
    conditions = (
        f"{run.rows:,} real conferences in {run.halls} halls, whole days, moved by"
        f" {conferences.YEARS} years; start of the command included. Refused are the same lines as"
        f" in the count beside it, in both runs. First: {run.first.output}. Again:"
        f" {run.again.output}; the tables were the same to the byte. Load average of the shared"
        f" machine meanwhile: {os.getloadavg()[0]:.1f}."
    )
    return measured("import of 4,825 conferences", "./run bench import", conditions, figures)


if __name__ == "__main__":
    main()
