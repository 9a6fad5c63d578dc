"""`./run sim`: the simulation over many seeds, or the hunt for the planted bugs.

A seed that fails is named with its story, and repeats exactly by itself.
"""

import time
import traceback
from collections.abc import Iterator
from multiprocessing import get_context

import click
from msgspec import Struct

from tests.runtime.simulation.planted import PLANTED, first_seed
from tests.runtime.simulation.scenario import Simulation

AT_ONCE = 8  # seeds that a process takes at a time


class Failure(Struct, frozen=True):
    seed: int
    error: str
    story: str


@click.command()
@click.option("--seeds", default=1_000, show_default=True, help="How many, from --first on.")
@click.option("--first", default=0, show_default=True)
@click.option("--jobs", default=2, show_default=True, help="Processes that share the seeds.")
@click.option("--planted", is_flag=True, help="Find each planted bug instead.")
def main(seeds: int, first: int, jobs: int, planted: bool) -> None:
    """Several nodes in a hostile world, then the audit of what they left behind."""
    if planted:
        _hunt(range(first, first + seeds), jobs)
        return
    began = time.monotonic()
    failed = None
    with click.progressbar(length=seeds, label="seeds") as progress:
        for failure in _tried(range(first, first + seeds), jobs):
            progress.update(1)
            if failure is not None:
                failed = failure
                break
    if failed is not None:
        click.echo(f"{failed.story}\n\n{failed.error}")
        raise SystemExit(f"seed {failed.seed} fails; ./run sim --first {failed.seed} --seeds 1")
    per_second = seeds / (time.monotonic() - began)
    click.echo(f"{seeds} seeds, {per_second:.1f} a second: every promise was kept")


def _tried(seeds: range, jobs: int) -> Iterator[Failure | None]:
    """In the order of the seeds, so that the first failure is the lowest."""
    if jobs == 1 or len(seeds) == 1:
        yield from map(_try, seeds)
        return
    with get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap(_try, seeds, chunksize=AT_ONCE)


def _try(seed: int) -> Failure | None:
    simulation = Simulation(seed)
    try:
        simulation.run()
    except Exception:  # whatever broke: it is told with its story
        return Failure(seed, traceback.format_exc(), simulation.story.text())
    return None


def _hunt(seeds: range, jobs: int) -> None:
    missed = 0
    with get_context("spawn").Pool(jobs) as pool:
        hunts = [(bug.name, pool.apply_async(first_seed, (bug.name, seeds))) for bug in PLANTED]
        for name, hunt in hunts:
            found = hunt.get()
            missed += found is None
            click.echo(f"{'never' if found is None else found:>6}  {name}")
    if missed:
        raise SystemExit(f"{missed} bugs were not found in {len(seeds)} seeds")


if __name__ == "__main__":
    main()
