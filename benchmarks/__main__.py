"""`./run bench`: measures and writes `benchmarks/results.md`."""

import asyncio
import os
from collections.abc import Awaitable, Callable

import click
import uvloop
from msgspec.structs import replace
from rich.console import Console

from benchmarks import (
    conferences,
    finding,
    halls,
    hot,
    manifest,
    memory,
    moving,
    restart,
    sale,
    trending,
)
from benchmarks.alone import alone
from benchmarks.hot import Report
from benchmarks.moving import Moved
from benchmarks.results import Figure, Measurement, keep, measured
from benchmarks.split import Side, split

NAMES = (
    *("onsale", "doors", "restart", "memory", "sale"),
    *("takeover", "handover", "split", "engine", "halls", "import"),
    *("search", "trending", "manifest"),
)
IN_FLIGHT_ALONE = [64, 512, 2048]
REAL_SERVER = "REAL_ELASTICSEARCH_URL"


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
    measure: dict[str, Callable[[], Awaitable[list[Measurement]]]] = {
        "onsale": lambda: _alone(_onsale(in_flight, seconds, few)),
        "doors": lambda: _alone(_doors(in_flight, seconds, few)),
        "restart": lambda: _alone(_restart(few)),
        "takeover": lambda: _alone(_takeover(many)),
        "handover": lambda: _alone(_handover(few)),
        "split": lambda: _alone(_split(in_flight, seconds, few)),
        "engine": lambda: _alone(_engine(seconds, few)),
        "memory": lambda: _alone(_memory()),
        "halls": lambda: _alone(_halls()),
        "import": lambda: _alone(_import()),
        "search": lambda: _search(few),
        "trending": lambda: _alone(_trending()),
        "sale": lambda: _alone(_sale(few)),
        "manifest": lambda: _alone(_manifest(few)),
    }
    for name in names or NAMES:
        new_loop = uvloop.new_event_loop
        with console.status(f"measuring {name}"), asyncio.Runner(loop_factory=new_loop) as runner:
            measurements = runner.run(_awaited(measure[name]))
        for one in measurements:
            measurement = replace(one, conditions=f"{one.conditions} {note}".strip())
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


async def _manifest(rounds: int) -> Measurement:
    conditions = (
        f"{manifest.TICKETS:,} tickets of one event, over HTTP, packed. Load average of the shared"
        f" machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores."
    )
    figures = await manifest.figures(rounds)
    return measured("doors without a network", "./run bench manifest", conditions, figures)


if __name__ == "__main__":
    main()
