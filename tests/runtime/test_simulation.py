"""Everything at once: the seed is the test's id, and goes the same way every time."""

import os

import pytest

from tests.runtime.simulation.planted import first_seed
from tests.runtime.simulation.scenario import Simulation

SEEDS = int(os.environ.get("STAMPEDE_SEEDS", "40"))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_promise_is_kept(seed: int) -> None:
    Simulation(seed).run()


def test_the_same_seed_goes_the_same_way() -> None:
    stories = [Simulation(7), Simulation(7)]
    for simulation in stories:
        simulation.run()
    first, second = stories
    assert first.story.lines == second.story.lines
    assert first.servers.database.all_entries() == second.servers.database.all_entries()


@pytest.mark.parametrize(
    "bug",
    [
        "no fence",
        "answer before commit",
        "expiry is not journaled",
        "snapshot one batch ahead",
        "keys not restored",
        "watermark one too low",
        "a call is read twice",
    ],
)
def test_a_planted_bug_is_found(bug: str) -> None:
    """The control: were this not so, the simulation would not look where it hurts."""
    assert first_seed(bug, range(10)) is not None
