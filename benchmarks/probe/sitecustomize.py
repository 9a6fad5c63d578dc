"""Stands first on the PYTHONPATH of a server under measurement, and looks at its loop each
millisecond: how much CPU its thread had since the last look is what the loop did at a stretch.

The most of it, in ms, is in a file of the process in the folder that BENCH_STEPS names, from
BENCH_STEPS_FROM_S after the start on, so that loading and warming up are no part of it.
"""

import os
import time
from asyncio import AbstractEventLoop
from pathlib import Path

import uvloop

_EVERY_S, _WRITTEN_EVERY = 0.001, 500
_made = uvloop.new_event_loop


class _Looks:
    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._file = Path(os.environ["BENCH_STEPS"]) / str(os.getpid())
        self._from_s = time.monotonic() + float(os.environ["BENCH_STEPS_FROM_S"])
        self._count = 0
        self._most_s = 0.0
        self._last_s = time.thread_time()

    def look(self) -> None:
        now_s = time.thread_time()
        if time.monotonic() > self._from_s:
            self._most_s = max(self._most_s, now_s - self._last_s)
            self._count += 1
            if self._count % _WRITTEN_EVERY == 0:
                self._file.write_text(f"{self._most_s * 1000:.3f}")
        self._last_s = time.thread_time()
        self._loop.call_later(_EVERY_S, self.look)


def _new_event_loop() -> uvloop.Loop:
    loop = _made()
    loop.call_soon(_Looks(loop).look)
    return loop


uvloop.new_event_loop = _new_event_loop
