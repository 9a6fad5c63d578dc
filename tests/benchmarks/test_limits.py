"""A load test ends as its limits say: what failed, was too slow, or never happened breaks it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

# In a process of its own: importing Locust patches the one that does.
_RUN = """
import sys
from locust.env import Environment
from loadtests.locust.scenario import broken

environment = Environment()
for took_ms in [10] * 98 + [{slow_ms}] * 2:
    environment.stats.log_request("POST", "order", took_ms, 0)
if {fails}:
    environment.stats.log_error("POST", "order", "503")
sys.exit(bool(broken(environment, {{("POST", "{name}"): 250}})))
"""


@pytest.mark.parametrize(
    ("slow_ms", "fails", "name", "code"),
    [
        (200, False, "order", 0),
        (300, False, "order", 1),
        (200, True, "order", 1),
        (200, False, "never asked", 1),
    ],
)
def test_the_exit_code_tells_whether_the_limits_held(
    slow_ms: int, fails: bool, name: str, code: int
) -> None:
    script = _RUN.format(slow_ms=slow_ms, fails=fails, name=name)
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
    assert ended.returncode == code
