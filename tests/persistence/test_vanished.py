"""A machine that vanishes without a word does not keep what it held in the database."""

import subprocess
import sys
from pathlib import Path

import pytest

from loadtests.nemesis.network import way_out

WAY_OUT = way_out()
FREE_S_MAX = 15.0
RUN_S_MAX = 40.0


@pytest.mark.skipif(WAY_OUT is None, reason="no network namespaces: `unshare --net` is refused")
def test_another_takes_over_from_a_machine_that_vanished(tmp_path: Path) -> None:
    assert WAY_OUT is not None
    ended = subprocess.run(
        [*WAY_OUT, sys.executable, "-m", "tests.persistence.vanishing", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=RUN_S_MAX,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert float(ended.stdout) < FREE_S_MAX
