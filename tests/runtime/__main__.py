"""`./run sim`: the simulation over many seeds; a seed that fails is named and repeats exactly."""

import time

import click

from tests.runtime.simulation import Simulation
from tests.runtime.virtual_time import run


@click.command()
@click.option("--seeds", default=1_000, show_default=True, help="How many, from --first on.")
@click.option("--first", default=0, show_default=True)
def main(seeds: int, first: int) -> None:
    """Random commands under random faults, then the audit of the journal."""
    began = time.monotonic()
    with click.progressbar(range(first, first + seeds), label="seeds") as numbers:
        for seed in numbers:
            try:
                _try(seed)
            except BaseException:
                click.echo(f"\nseed {seed} fails; ./run sim --first {seed} --seeds 1 repeats it")
                raise
    per_second = seeds / (time.monotonic() - began)
    click.echo(f"{seeds} seeds, {per_second:.0f} a second: every promise was kept")


def _try(seed: int) -> None:
    simulation = Simulation(seed)
    run(simulation.run())
    simulation.audit()


if __name__ == "__main__":
    main()
