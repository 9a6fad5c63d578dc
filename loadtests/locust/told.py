"""What a run of Locust is told by whoever starts it; apart, as importing Locust changes the process
that does.
"""

import os
from functools import cache
from pathlib import Path

import msgspec
from msgspec import Struct

VARIABLE = "STAMPEDE_LOAD"


class Scenario(Struct, frozen=True):
    """`tokens`: of tickets that nobody has used. `users`: at the peak."""

    event_id: str
    tier_id: str
    users: int
    seconds: float
    tokens: tuple[str, ...] = ()


@cache
def told() -> Scenario:
    """By the file that the environment names."""
    return msgspec.json.decode(Path(os.environ[VARIABLE]).read_bytes(), type=Scenario)
