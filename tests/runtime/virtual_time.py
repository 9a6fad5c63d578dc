"""A stock asyncio loop whose time jumps to the next timer as soon as nobody has anything to do."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

NOON_MS = 1_900_000_000_000  # where the clock starts

_T = TypeVar("_T")


class _Jump(selectors.SelectSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "all wait for something that will never come"
        self.now_s += max(timeout, 0.0)
        return []  # there is nobody outside to hear of


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now_s


class VirtualClock:
    """`offset_ms` steps the wall clock alone, as an operator or NTP would.

    `stopped_s` is time that passed while the process could not see it.
    """

    def __init__(self) -> None:
        self.offset_ms = NOON_MS
        self.stopped_s = 0.0

    def now_ms(self) -> int:
        return self.offset_ms + round(asyncio.get_running_loop().time() * 1000)

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time() + self.stopped_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def run(scenario: Coroutine[Any, Any, _T]) -> _T:
    """Run a scenario from its own beginning of time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(scenario)
