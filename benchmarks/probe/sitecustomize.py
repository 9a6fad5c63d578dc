"""Stands first on the PYTHONPATH of a server under measurement, and looks at its loop each
millisecond: how much CPU its thread had since the last look is what the loop did at a stretch. That
may be many callbacks: all that has come is read before anything else. So they are timed, too.

The most of both, in ms, is in a file of the process in the folder that BENCH_STEPS names, from
BENCH_STEPS_FROM_S after the start on, so that loading and warming up are no part of it.
"""

import gc
import os
import sys
import time
from asyncio import AbstractEventLoop
from pathlib import Path
from typing import Any

import uvloop

_EVERY_S, _WRITTEN_EVERY = 0.001, 500
_CALLBACKS = (
    ("engine.runtime.supervisor", "Supervisor", "_sweep"),
    ("engine.runtime.supervisor", "Supervisor", "_decide_step"),
    ("engine.runtime.turn", "Part", "deliver"),
    ("engine.runtime.actor", "Actor", "delta"),
    ("engine.runtime.actor", "Actor", "piece"),
    ("gateway.express", "Connection", "data_received"),
    ("gateway.express", "Lane", "_tell"),
)
_made = uvloop.new_event_loop


class _Looks:
    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._file = Path(os.environ["BENCH_STEPS"]) / str(os.getpid())
        self._from_s = time.monotonic() + float(os.environ["BENCH_STEPS_FROM_S"])
        self._count = 0
        self._most_s = 0.0
        self._callbacks: _Callbacks | None = None
        self._last_s = time.thread_time()

    def look(self) -> None:
        now_s = time.thread_time()
        if time.monotonic() > self._from_s:
            callbacks = self._callbacks = self._callbacks or _Callbacks()
            self._most_s = max(self._most_s, now_s - self._last_s)
            self._count += 1
            if self._count % _WRITTEN_EVERY == 0:
                self._file.write_text(f"{self._most_s * 1000:.3f} {callbacks.most_s * 1000:.3f}")
        self._last_s = time.thread_time()
        self._loop.call_later(_EVERY_S, self.look)


class _Callbacks:
    """Those that do the most: turns, answers, snapshots, requests, and the collector."""

    def __init__(self) -> None:
        self.most_s = 0.0
        self._collects_s = 0.0
        for module, owner, name in _CALLBACKS:
            if module in sys.modules:
                self._time(getattr(sys.modules[module], owner), name)
        gc.callbacks.append(self._collecting)

    def _time(self, owner: Any, name: str) -> None:
        plain = getattr(owner, name)

        def timed(*arguments: Any) -> Any:
            began_s = time.thread_time()
            try:
                return plain(*arguments)
            finally:
                self.most_s = max(self.most_s, time.thread_time() - began_s)

        setattr(owner, name, timed)

    def _collecting(self, phase: str, _: Any) -> None:
        if phase == "start":
            self._collects_s = time.thread_time()
        else:
            self.most_s = max(self.most_s, time.thread_time() - self._collects_s)


def _new_event_loop() -> uvloop.Loop:
    loop = _made()
    loop.call_soon(_Looks(loop).look)
    return loop


uvloop.new_event_loop = _new_event_loop
