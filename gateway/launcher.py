"""Starts the processes of one machine, restarts those that die, and stops them all together.

The listening socket belongs to the launcher and is inherited: while a node is being restarted its
buyers wait in the backlog instead of being refused. A process that the launcher started ends with
it, however it ends: it watches the other end of a pipe.
"""

import asyncio
import contextlib
import os
import resource
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Protocol

import click
import msgspec
import structlog

BACKLOG = 16_384
RESTARTS_MAX = 10
RESTARTS_WINDOW_S = 60.0
RESTART_PAUSE_S = 0.2
RESTART_PAUSE_S_MAX = 5.0
STOP_S = 10.0


class LaunchError(Exception):
    """A process can't be started or kept alive; the message is for whoever starts the program."""


def listen(host: str, port: int) -> socket.socket:
    """Raises LaunchError where the port is taken or not ours to take."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listening.close()
        raise LaunchError(f"can't listen on {host}:{port}: {error}") from None
    return listening


def allow_many_connections() -> None:
    """As many open files as we may have: a crowd is connections. Processes inherit it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def set_apart(count: int) -> list[int]:
    """So many cores, which neither this process uses from now on nor what it starts.

    Raises LaunchError where no core would be left, or the system knows nothing of such things.
    """
    if not hasattr(os, "sched_setaffinity"):
        raise LaunchError("--own-cores: this system does not let processes choose their cores")
    cores = sorted(os.sched_getaffinity(0))
    own, rest = cores[:count], cores[count:]
    if not rest:
        needed = f"{count} for who sells and one for all else"
        raise LaunchError(f"--own-cores: {count + 1} cores are needed, {needed}; have {len(cores)}")
    os.sched_setaffinity(0, rest)
    return own


class Node:
    """One process, kept alive.

    It is started early and loads its code while the servers start; what it must know of them comes
    down the pipe that it watches afterwards, so that no secret stands in an environment.
    """

    module = "gateway"  # what is run

    def __init__(self, name: str, arguments: Sequence[str], fds: list[int]) -> None:
        self.name = name
        self._arguments = arguments
        self._fds = fds
        self._wiring = b""
        self._process: asyncio.subprocess.Process | None = None
        self._log = structlog.get_logger("launcher")

    async def spawn(self) -> None:
        self._ready, says_ready = os.pipe()
        watched, self._life = os.pipe()
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", self.module, "node", f"--name={self.name}"),
            *self._arguments,
            f"--ready-fd={says_ready}",
            f"--life-fd={watched}",
            pass_fds=[*self._fds, says_ready, watched],
        )
        os.close(says_ready)
        os.close(watched)

    async def start(self, wiring: Mapping[str, str]) -> None:
        """Tell the process where the servers are; returns once it says that it is ready."""
        self._wiring = msgspec.json.encode(wiring) + b"\n"
        await self._start()

    async def _start(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has ended; there will be no answer
            os.write(self._life, self._wiring)
        said = await asyncio.to_thread(os.read, self._ready, 1)
        os.close(self._ready)
        if not said:
            raise LaunchError(f"{self.name} did not start; see the lines above")

    async def keep_alive(self) -> None:
        """Restart the process whenever it ends. Raises LaunchError if that is of no use.

        One that does not even get ready waits for a server, most likely: it is tried again after
        ever longer pauses, and the others go on meanwhile.
        """
        deaths: deque[float] = deque(maxlen=RESTARTS_MAX)
        pause_s = RESTART_PAUSE_S
        while True:
            assert self._process is not None
            code = await self._process.wait()
            os.close(self._life)
            self._log.error("process ended, restarting", process=self.name, code=code)
            if pause_s == RESTART_PAUSE_S:
                deaths.append(time.monotonic())
            if len(deaths) == RESTARTS_MAX and deaths[-1] - deaths[0] < RESTARTS_WINDOW_S:
                raise LaunchError(f"{self.name} keeps ending (code {code}); see the lines above")
            await asyncio.sleep(pause_s)
            ready = await self._start_again()
            pause_s = RESTART_PAUSE_S if ready else min(2 * pause_s, RESTART_PAUSE_S_MAX)

    async def _start_again(self) -> bool:
        await self.spawn()
        try:
            await self._start()
        except LaunchError as error:
            self._log.error("restart failed", process=self.name, error=str(error))
            return False
        return True

    async def stop(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), STOP_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


class Kept(Protocol):
    """What is started again whenever it ends, until that is of no use."""

    name: str

    async def keep_alive(self) -> None: ...


async def run(
    nodes: Sequence[Node], servers: Sequence[Kept], wiring: Mapping[str, str], ready: str
) -> None:
    """Run the nodes until SIGINT or SIGTERM; `ready` is printed once all of them are.

    `servers`: those of ours that the nodes need; they run already.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stopping.set)
    await asyncio.gather(*(node.start(wiring) for node in nodes))
    click.echo(ready)
    await _until(stopping, [*nodes, *servers])


async def _until(stopping: asyncio.Event, kept: Sequence[Kept]) -> None:
    keeping = [asyncio.create_task(each.keep_alive(), name=each.name) for each in kept]
    stop = asyncio.create_task(stopping.wait(), name="stop")
    done, _ = await asyncio.wait([stop, *keeping], return_when=asyncio.FIRST_COMPLETED)
    for task in [stop, *keeping]:
        task.cancel()
    await asyncio.gather(stop, *keeping, return_exceptions=True)
    for task in done:
        task.result()
