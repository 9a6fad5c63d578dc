"""`./run bench`: measures and writes `benchmarks/results.md`."""

import asyncio
from collections.abc import Awaitable, Callable

import click
import uvloop
from rich.console import Console

from benchmarks import hot, memory, restart, sale
from benchmarks.hot import Report
from benchmarks.results import Figure, Measurement, keep, measured

NAMES = ("onsale", "doors", "restart", "memory", "sale")


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
        "memory": _memory,
        "sale": lambda: _sale(rounds),
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


async def _memory() -> Measurement:
    costs = await asyncio.to_thread(memory.costs)
    figures = [
        Figure("pending order", "bytes", [costs.pending_order]),
        Figure("cancelled order, until it leaves", "bytes", [costs.finished_order]),
        Figure("archived order, until its key is forgotten", "bytes", [costs.archived_order]),
        Figure("the same after that: room in emptied tables", "bytes", [costs.forgotten_order]),
        Figure("confirmed order of one ticket, first 24 h", "bytes", [costs.confirmed_order]),
        Figure("the same after that", "bytes", [costs.confirmed_order_without_keys]),
        Figure("each further ticket", "bytes", [costs.further_ticket]),
    ]
    figures += [
        Figure(f"whole sale, abandoned orders only, after day {day}", "bytes", [size])
        for day, size in enumerate(costs.days, start=1)
    ]
    conditions = (
        f"The pure sale alone, by tracemalloc, {memory.ITEMS:,} of each kind; the days with"
        f" {memory.ORDERS_AN_HOUR} orders an hour, finished ones archived after an hour."
    )
    return measured("memory of a sale", "./run bench memory", conditions, figures)


async def _sale(rounds: int) -> Measurement:
    figures = []
    for quantity in sale.TICKETS_AN_ORDER:
        traced = await asyncio.to_thread(sale.traced_bytes, quantity)
        resident = await asyncio.to_thread(sale.resident_bytes, quantity)
        of = f"a live ticket, {quantity} an order"
        figures.append(Figure(f"{of}, by tracemalloc", "bytes", [traced]))
        figures.append(Figure(f"{of}, by what the process grows", "bytes", [resident]))
    for quantity in sale.LOADED_WITH:
        loads = await sale.loads(quantity, rounds)
        for way, of_way in (("snapshot", loads.by_snapshot), ("replay", loads.by_replay)):
            what = f"load by {way}, {quantity} an order"
            figures.append(Figure(what, "s", [load.seconds for load in of_way]))
            figures.append(Figure(f"{what}: CPU", "s", [load.cpu_s for load in of_way]))
            still = [load.still_ms for load in of_way]
            figures.append(Figure(f"{what}: longest step on the loop", "ms of CPU", still))
    conditions = (
        f"{sale.TICKETS:,} tickets in confirmed orders, each with one payment and two idempotency"
        " keys of the last 24 hours, no personal data. Loads through the real Loader: the snapshot"
        " out of Redis, the replay (three facts an order) out of the journal in Postgres."
    )
    return measured("a large sale", "./run bench sale", conditions, figures)


if __name__ == "__main__":
    main()
