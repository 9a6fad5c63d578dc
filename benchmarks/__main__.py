"""`./run bench`: measures and writes `benchmarks/results.md`."""

import asyncio
from collections.abc import Awaitable, Callable

import click
import uvloop
from msgspec.structs import replace
from rich.console import Console

from benchmarks import (
    alone,
    cancelling,
    conferences,
    finding,
    fleet,
    growth,
    halls,
    hot,
    journey,
    manifest,
    memory,
    moving,
    plots,
    restart,
    sale,
    soak,
    split,
    steady,
    steps,
    storm,
    trending,
    ways,
    without_http,
    wrk,
)
from benchmarks.asked import Asked
from benchmarks.results import Measurement, keep, kept, told

MEASURE: dict[str, Callable[[Asked], Awaitable[list[Measurement]]]] = {
    "onsale": hot.onsale,
    "crowd": hot.crowd,
    "two-tiers": hot.two_tiers,
    "many-events": hot.many_events,
    "sold-out": hot.sold_out,
    "journey": journey.journey,
    "doors": hot.doors,
    "doors-again": hot.doors_again,
    "doors-fakes": hot.doors_fakes,
    "fleet": fleet.fleet,
    "ways": ways.ways,
    "without-http": without_http.measure,
    "steady": steady.steady,
    "curve": steady.curve,
    "longest-step": steps.longest_step,
    "growth": growth.growth,
    "soak": soak.soak,
    "restart": restart.measure,
    "takeover": moving.measure_takeovers,
    "handover": moving.measure_hand_overs,
    "split": split.measure,
    "engine": alone.measure,
    "memory": memory.measure,
    "halls": halls.measure,
    "import": conferences.measure,
    "cancel": cancelling.measure,
    "search": finding.measure,
    "trending": trending.measure,
    "sale": sale.measure,
    "manifest": manifest.measure,
    "storm": storm.measure,
}
PLOTS = "plots"


@click.command()
@click.argument("names", nargs=-1, type=click.Choice([*MEASURE, PLOTS]))
@click.option("--rounds", type=int, help="Where unset, what the measurement thinks right.")
@click.option("--note", default="", help="A sentence on the conditions, kept with the figures.")
@click.option("--seconds", default=4.0, show_default=True, help="Of each side in each round.")
@click.option("--in-flight", default=64, show_default=True)
@click.option("--minutes", default=10.0, show_default=True, help="Of a soak.")
@click.option(
    "--client",
    default="own",
    show_default=True,
    type=click.Choice(["own", "wrk"]),
    help="Who asks in a closed loop: `onsale`, `doors`, `ways` and their like.",
)
@click.option("--dry", is_flag=True, help="Tell the figures, keep none of them.")
def main(
    names: tuple[str, ...],
    rounds: int | None,
    note: str,
    seconds: float,
    in_flight: int,
    minutes: float,
    client: str,
    dry: bool,
) -> None:
    """Measure NAMES, or all of them but the soak, and draw; `plots` draws what was measured.

    All take an hour; `--rounds 1 --seconds 1` looks whether they work.
    """
    console = Console()
    if client == "wrk" and not wrk.is_there():
        raise click.UsageError(wrk.MISSING)
    asked = Asked(rounds, seconds, in_flight, minutes, client == "wrk")
    wanted = names or [name for name in MEASURE if name != "soak"]
    for name in (name for name in wanted if name != PLOTS):
        new_loop = uvloop.new_event_loop
        with console.status(f"measuring {name}"), asyncio.Runner(loop_factory=new_loop) as runner:
            measurements = runner.run(_awaited(MEASURE[name](asked)))
        for one in measurements:
            measurement = replace(one, conditions=f"{one.conditions} {note}".strip())
            if not dry:
                keep(measurement)
            for figure in measurement.figures:
                console.print(f"{measurement.name}: {told(figure)}", soft_wrap=True)
    if not dry:
        for path in plots.draw(kept()):
            console.print(f"drawn: {path}")


async def _awaited(measuring: Awaitable[list[Measurement]]) -> list[Measurement]:
    return await measuring


if __name__ == "__main__":
    main()
