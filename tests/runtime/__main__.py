"""`./run sim`: the simulation over many seeds, or the hunt for the planted bugs.

A seed that fails is named with its story, and repeats exactly by itself.
"""

import os
import sys
import time
from collections.abc import Iterator

import click

from tests.runtime.simulation.hunt import Failure, hunted, tried

TOLD_EVERY = 500  # seeds


@click.command()
@click.option("--seeds", default=1_000, show_default=True, help="How many, from --first on.")
@click.option("--first", default=0, show_default=True)
@click.option("--jobs", default=os.cpu_count, type=int, help="Processes; as many as cores.")
@click.option("--planted", is_flag=True, help="Find each planted bug instead.")
def main(seeds: int, first: int, jobs: int, planted: bool) -> None:
    """Several nodes in a hostile world, then the audit of what they left behind."""
    numbers = range(first, first + seeds)
    if planted:
        _hunt(numbers, jobs)
    else:
        _try(numbers, jobs)


def _try(seeds: range, jobs: int) -> None:
    began = time.monotonic()
    told = tried(seeds, jobs) if sys.stdout.isatty() else _told(tried(seeds, jobs))
    with click.progressbar(told, length=len(seeds), label="seeds") as outcomes:
        failed = next((outcome for outcome in outcomes if outcome is not None), None)
    if failed is not None:
        click.echo(f"{failed.story}\n\n{failed.error}")
        raise SystemExit(f"seed {failed.seed} fails; ./run sim --first {failed.seed} --seeds 1")
    per_second = len(seeds) / (time.monotonic() - began)
    click.echo(f"{len(seeds)} seeds, {per_second:.1f} a second: every promise was kept")


def _told(outcomes: Iterator[Failure | None]) -> Iterator[Failure | None]:
    """A line now and then, where no bar can be drawn."""
    for done, outcome in enumerate(outcomes, start=1):
        yield outcome
        if done % TOLD_EVERY == 0:
            click.echo(f"{done} seeds")


def _hunt(seeds: range, jobs: int) -> None:
    missed = 0
    for name, found in hunted(seeds, jobs):
        missed += found is None
        click.echo(f"{'never' if found is None else found:>6}  {name}")
    if missed:
        raise SystemExit(f"{missed} bugs were not found in {len(seeds)} seeds")


if __name__ == "__main__":
    main()
