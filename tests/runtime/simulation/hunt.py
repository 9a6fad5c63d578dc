"""Many seeds over several processes; the first that fails comes with its story."""

import traceback
from collections.abc import Iterator
from multiprocessing import get_context

from msgspec import Struct

from tests.runtime.simulation.planted import PLANTED, first_seed
from tests.runtime.simulation.scenario import Simulation

AT_ONCE = 8  # seeds that a process takes at a time
# A dead node's letters are never freed: the collector does not look into them (`gc=False`).
CHUNKS_MAX = 25  # of a process


class Failure(Struct, frozen=True):
    seed: int
    error: str
    story: str


def tried(seeds: range, jobs: int) -> Iterator[Failure | None]:
    """In the order of the seeds, so that the first failure is the lowest."""
    with get_context("spawn").Pool(jobs, maxtasksperchild=CHUNKS_MAX) as pool:
        yield from pool.imap(_try, seeds, chunksize=AT_ONCE)


def _try(seed: int) -> Failure | None:
    simulation = Simulation(seed)
    try:
        simulation.run()
    except Exception:  # whatever broke: it is told with its story
        return Failure(seed, traceback.format_exc(), simulation.story.text())
    return None


def hunted(seeds: range, jobs: int) -> Iterator[tuple[str, int | None]]:
    """Each planted bug with the first seed that finds it."""
    with get_context("spawn").Pool(jobs, maxtasksperchild=1) as pool:
        hunts = [(bug.name, pool.apply_async(first_seed, (bug.name, seeds))) for bug in PLANTED]
        for name, hunt in hunts:
            yield name, hunt.get()
