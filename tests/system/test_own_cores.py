"""`up --own-cores`: who sells has a core that nothing else of ours uses."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cluster import children
from tests.server import Server
from tests.waiting import until

CORES = os.sched_getaffinity(0)


@pytest.mark.skipif(len(CORES) < 2, reason="nothing can be set apart on a single core")
async def test_who_sells_has_a_core_of_its_own_also_after_a_crash(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", arguments=["--own-cores"])
    await server.start()
    node = await server.node_pid()
    own = os.sched_getaffinity(node)
    assert len(own) == 1
    others = [pid for pid in [server.pid, *children(server.pid)] if pid != node]
    assert len(others) >= 4  # the launcher, Postgres, Valkey and the projector
    assert all(os.sched_getaffinity(pid) == CORES - own for pid in others)

    async def another_has_it() -> bool:
        with suppress(LookupError):  # between the two
            another = await server.node_pid()
            return another != node and os.sched_getaffinity(another) == own
        return False

    os.kill(node, signal.SIGKILL)
    await until(another_has_it)
    assert await server.stop() == 0
