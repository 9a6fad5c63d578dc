"""A stock asyncio loop whose time jumps to the next timer as soon as nobody has anything to do.

Several processes may share it. Whatever is begun inside a `Life`, directly or by what was begun
there, belongs to that life: callbacks, tasks and timers carry it in their context. The loop runs no
step of a life that is paused: it keeps the steps back while the others and time go on, and hands
them out in order when the life wakes, which is what SIGSTOP and SIGCONT do to a process. A life
that is killed is paused for ever: no `finally` of it runs, as none does after SIGKILL.

One loop for all, and not one each under a scheduler of ours, so that the processes can wait for the
same things in memory, and the order of all that happens is the order of one queue.
"""

import asyncio
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

NOON_MS = 1_900_000_000_000  # where the clock starts
_STANDSTILL_MAX = 50_000

_T = TypeVar("_T")


class Life:
    """One process on the loop."""

    def __init__(self, loop: "VirtualLoop") -> None:
        self.paused = False
        self.killed = False
        self.held: list[asyncio.Handle] = []  # steps that came up while it was paused
        self._loop = loop
        self._context = copy_context()
        self._context.run(_life.set, self)

    def begin(self, work: Callable[..., object], *arguments: Any) -> None:
        """Have this done inside, as soon as the life gets to it."""
        self._loop.call_soon(work, *arguments, context=self._context)

    def pause(self) -> None:
        self.paused = True

    def kill(self) -> None:
        self.paused = self.killed = True

    def wake(self) -> None:
        """Also a killed one, for whoever clears up after the end of the world."""
        self.paused = False
        held, self.held = self.held, []
        self._loop.hand_out(held)


_life: ContextVar[Life | None] = ContextVar("life", default=None)


class _Queue(deque[asyncio.Handle]):
    """The loop's next steps; in the place of one that is held back comes one that does nothing."""

    def __init__(self, nothing: asyncio.Handle) -> None:
        super().__init__()
        self._nothing = nothing

    def popleft(self) -> asyncio.Handle:
        handle = super().popleft()
        life = handle._context.get(_life)  # type: ignore[attr-defined]
        if life is None or not life.paused:
            return handle
        life.held.append(handle)
        return self._nothing


class _Jump(selectors.SelectSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self._standstill = 0  # turns of the loop without a wait

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "all wait for something that will never come"
        self._standstill = 0 if timeout > 0 else self._standstill + 1
        assert self._standstill < _STANDSTILL_MAX, "somebody turns round and round"
        self.now_s += max(timeout, 0.0)
        return []  # there is nobody outside to hear of


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)
        nothing = asyncio.Handle(lambda: None, (), self)
        nothing.cancel()
        self._ready = _Queue(nothing)

    def time(self) -> float:
        return self._jump.now_s

    def hand_out(self, handles: list[asyncio.Handle]) -> None:
        self._ready.extend(handles)


class VirtualClock:
    """`offset_ms` steps the wall clock alone, as an operator or NTP would.

    `stopped_s` is time that passed while the process could not see it.
    """

    def __init__(self, offset_ms: int = NOON_MS) -> None:
        self.offset_ms = offset_ms
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
