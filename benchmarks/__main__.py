"""`./run bench`: measures and writes `benchmarks/results.md`."""

import asyncio
from collections.abc import Awaitable, Callable

import click
import uvloop
from msgspec.structs import replace
from rich.console import Console

from benchmarks import hot, moving, restart
from benchmarks.alone import alone
from benchmarks.hot import Report
from benchmarks.moving import Moved
from benchmarks.results import Figure, Measurement, keep, measured
from benchmarks.split import Side, split

NAMES = ("onsale", "doors", "restart", "takeover", "handover", "split", "engine")
IN_FLIGHT_ALONE = [64, 512, 2048]


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(NAMES))
@click.option("--rounds", type=int, help="5; 10 takeovers.")
@click.option("--note", default="", help="A sentence on the conditions, kept with the figures.")
@click.option("--seconds", default=4.0, show_default=True, help="Of each side in each round.")
@click.option("--in-flight", default=64, show_default=True)
def main(
    names: tuple[str, ...], rounds: int | None, note: str, seconds: float, in_flight: int
) -> None:
    """Measure NAMES, or all of them."""
    console = Console()
    few, many = rounds or 5, rounds or 10
    measure: dict[str, Callable[[], Awaitable[Measurement]]] = {
        "onsale": lambda: _onsale(in_flight, seconds, few),
        "doors": lambda: _doors(in_flight, seconds, few),
        "restart": lambda: _restart(few),
        "takeover": lambda: _takeover(many),
        "handover": lambda: _handover(few),
        "split": lambda: _split(in_flight, seconds, few),
        "engine": lambda: _engine(seconds, few),
    }
    for name in names or NAMES:
        new_loop = uvloop.new_event_loop
        with console.status(f"measuring {name}"), asyncio.Runner(loop_factory=new_loop) as runner:
            measurement = runner.run(_awaited(measure[name]))
        measurement = replace(measurement, conditions=f"{measurement.conditions} {note}".strip())
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


async def _takeover(rounds: int) -> Measurement:
    figures = [Figure("kill -9 to a durable 201", "s", await moving.takeovers(rounds))]
    conditions = (
        f"Two engines behind a gateway, {moving.BUYERS} buyers; the owner of the hot sale is killed"
        " and stays dead, the other takes over. No 201 is missing in the journal."
    )
    return measured("takeover after kill -9", "./run bench takeover", conditions, figures)


async def _handover(rounds: int) -> Measurement:
    left, joined = await moving.hand_overs(rounds)
    figures = [*_moved("owner leaves", left), *_moved("owner joins again", joined)]
    conditions = (
        f"Two engines behind a gateway, {moving.BUYERS} buyers; the owner of the hot sale is told"
        " to stop (SIGTERM), and started again. Of what was asked for from 0.1 s before it until"
        " 1 s after it; the start of the process is in the window of its joining."
    )
    return measured("planned hand-over", "./run bench handover", conditions, figures)


def _moved(what: str, moves: list[Moved]) -> list[Figure]:
    return [
        Figure(f"{what}: asked", "orders", [float(m.asked) for m in moves]),
        Figure(f"{what}: failed", "orders", [float(m.failed) for m in moves]),
        Figure(f"{what}: p99", "ms", [m.p99_ms for m in moves]),
        Figure(f"{what}: longest", "ms", [m.most_ms for m in moves]),
        Figure(f"{what}: until done", "s", [m.seconds for m in moves]),
    ]


async def _split(in_flight: int, seconds: float, rounds: int) -> Measurement:
    report = await split(in_flight, seconds, rounds)
    apart, whole = "two gateways, one engine", "one process"
    figures = [*_side(apart, report.apart), *_side(whole, report.whole)]
    conditions = (
        f"{in_flight} in flight, closed loop, {seconds:g} s a side and round, in turns; logs,"
        " metrics, snapshots and projector on; every answer found in the journal."
    )
    return measured("gateways and engine apart", "./run bench split", conditions, figures)


def _side(what: str, sides: list[Side]) -> list[Figure]:
    figures = [Figure(f"{what}: durable reservations", "a second", [s.per_second for s in sides])]
    figures += [Figure(f"{what}: {p}", "ms", [s.ms[p] for s in sides]) for p in ("p50", "p99")]
    figures += [
        Figure(f"{what}: CPU of {name}", "µs a reservation", [s.cpu_us[name] for s in sides])
        for name in sorted(sides[0].cpu_us)
    ]
    total = [sum(side.cpu_us.values()) for side in sides]
    return [*figures, Figure(f"{what}: CPU of all", "µs a reservation", total)]


async def _engine(seconds: float, rounds: int) -> Measurement:
    runs = [await alone(IN_FLIGHT_ALONE, seconds) for _ in range(rounds)]
    figures = []
    for place, in_flight in enumerate(IN_FLIGHT_ALONE):
        of_it = [run[place] for run in runs]
        speed = [one.decisions_per_second for one in of_it]
        figures.append(Figure(f"{in_flight} in flight: durable decisions", "a second", speed))
        cpu = [one.cpu_us for one in of_it]
        figures.append(Figure(f"{in_flight} in flight: CPU", "µs a decision", cpu))
    conditions = (
        f"One hot sale, the supervisor and its Postgres journal without HTTP, {seconds:g} s each;"
        " snapshots on. Who asks is in the same process, and its CPU in the figure."
    )
    return measured("engine alone", "./run bench engine", conditions, figures)


if __name__ == "__main__":
    main()
