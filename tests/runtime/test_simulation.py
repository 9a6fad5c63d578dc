"""Everything at once: the seed is the test's id, and goes the same way every time."""

import os
from contextlib import suppress

import pytest

from tests.runtime.simulation import Simulation
from tests.runtime.virtual_time import run

SEEDS = int(os.environ.get("STAMPEDE_SEEDS", "200"))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_promise_is_kept(seed: int) -> None:
    simulation = Simulation(seed)
    run(simulation.run())
    simulation.audit()


def test_the_same_seed_goes_the_same_way() -> None:
    first, second = Simulation(7), Simulation(7)
    run(first.run())
    run(second.run())
    assert first.world.journal.all_entries() == second.world.journal.all_entries()


def test_without_the_fence_a_promise_is_broken() -> None:
    """The control: were this not so, the simulation would not look where it hurts."""
    assert any(_breaks(seed) for seed in range(10))


def _breaks(seed: int) -> bool:
    simulation = Simulation(seed, fence=False)
    with suppress(AssertionError, ExceptionGroup, TimeoutError):
        run(simulation.run())
    try:
        simulation.audit_journal()
    except AssertionError:
        return True
    return False
