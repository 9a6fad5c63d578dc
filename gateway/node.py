"""One process: which parts of the house run in it, and how it begins and ends.

A process has one or more roles: the engine owns shards, the gateway answers HTTP, the projector
copies facts into tables. What is pushed last on the stack ends first: HTTP before the engine behind
it, both before their connections.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Collection
from contextlib import AsyncExitStack

import asyncpg
import msgspec
from redis.exceptions import RedisError

from engine.runtime.ownership import Lease, show_life
from engine.runtime.remote import RemoteMailbox
from gateway import collector, launcher
from gateway.app import build_operations
from gateway.express import serve
from gateway.logs import configure_logging
from gateway.parts.engine import Engine, start_engine
from gateway.parts.gateway import reach_owners, start_gateway
from gateway.parts.process import CONNECT_S, Process
from gateway.parts.projector import start_projector
from gateway.ports import Readiness
from gateway.settings import Settings
from persistence.migrations import prepare
from persistence.transactions import AWAY

_HAND_OVER_S = 4.0
_WAIT_S = 0.5  # before a database that is away is asked again


class Fds(msgspec.Struct, frozen=True):
    """What the launcher passes down: where to listen, to say ready, and to see it go."""

    listen: int | None = None
    ready: int | None = None
    life: int | None = None


async def run(settings: Settings, roles: Collection[str], fds: Fds) -> None:
    configure_logging(settings.log == "on")
    async with AsyncExitStack() as stack:
        process = Process(settings, roles, stack)
        stopping = _stop_signal(fds.life)
        if fds.life is None:
            await prepare(process.needs.database_url, settings.shards)
        else:  # the launcher has done that, before it started us first
            await _answers(process.needs.database_url, stopping)
        node = Node(process, stopping)
        await node.start(fds.listen)
        if fds.ready is not None:
            os.write(fds.ready, b"!")
            os.close(fds.ready)
        collector.calm()
        await node.until_told_to_stop()


async def _answers(database_url: str, stopping: asyncio.Event) -> None:
    """Wait for a database that is away: to die and be started again would bring it no nearer."""
    while not stopping.is_set():
        try:
            connection = await asyncpg.connect(database_url, timeout=CONNECT_S)
        except AWAY:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), _WAIT_S)
        else:
            await connection.close()
            return


def _stop_signal(life_fd: int | None) -> asyncio.Event:
    """Set by SIGINT, SIGTERM, and when the launcher at the other end of the pipe is gone."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stopping.set)
    if life_fd is not None:
        loop.add_reader(life_fd, _launcher_gone, loop, life_fd, stopping)
    return stopping


def _launcher_gone(loop: asyncio.AbstractEventLoop, life_fd: int, stopping: asyncio.Event) -> None:
    loop.remove_reader(life_fd)
    stopping.set()


class Node:
    """The parts of one process, by its roles."""

    def __init__(self, process: Process, stopping: asyncio.Event) -> None:
        self._process = process
        self._stopping = stopping
        self._engine: Engine | None = None
        self._remote: RemoteMailbox | None = None

    async def start(self, listen_fd: int | None) -> None:
        process = self._process
        if "projector" in process.roles:
            start_projector(process)
        if process.roles == ["projector"]:
            return
        await process.connect()
        operations = await self._listen_for_operations()
        if "engine" in process.roles:
            self._engine = await start_engine(process, operations)
            await self._engine.ownership.begun.wait()
        else:
            lease = Lease()
            life = show_life(process.membership(operations, lease), lease)
            process.do_until_the_end("membership", life)
        if "gateway" in process.roles:
            self._remote = reach_owners(process)
            supervisor = self._engine.supervisor if self._engine is not None else None
            await start_gateway(process, listen_fd, self._remote, supervisor, self._readiness)

    async def until_told_to_stop(self) -> None:
        """Background work that ends by itself is a bug and ends the process."""
        stop = asyncio.create_task(self._stopping.wait(), name="stop")
        done, _ = await asyncio.wait(
            [stop, *self._process.work], return_when=asyncio.FIRST_COMPLETED
        )
        stop.cancel()
        for ended in done - {stop}:
            ended.result()
            raise RuntimeError(f"{ended.get_name()} ended")
        if self._engine is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._engine.ownership.resign(), _HAND_OVER_S)

    async def _listen_for_operations(self) -> str:
        """Where health and metrics of this process are read: a port of their own, if asked for."""
        settings = self._process.settings
        if settings.ops_port is None:
            return f"http://{settings.http_host}:{settings.http_port}"
        listening = launcher.listen(settings.http_host, settings.ops_port)
        await serve(self._process.stack, build_operations(self._readiness), listening)
        host, port = listening.getsockname()[:2]
        return f"http://{host}:{port}"

    async def _readiness(self) -> Readiness:
        engine = self._engine
        reasons = []
        if self._stopping.is_set():
            reasons.append("draining")
        if engine is not None and engine.ownership.trouble is not None:
            reasons.append(engine.ownership.trouble)
        if engine is not None and engine.supervisor.recovering:
            reasons.append("the journal does not answer")
        owns_nothing = engine is None or not engine.supervisor.epoch_by_shard
        if self._remote is not None and self._remote.away and owns_nothing:
            reasons.append("the streams to the owners do not answer")
        parts = {
            "postgres": await _state(self._process.edge_pool.fetchval("SELECT 1")),
            "redis": await _state(self._process.redis.ping()),
        }
        if engine is None and parts["postgres"] == "away":  # an engine notices by its lease
            reasons.append("the database does not answer")
        return Readiness(not reasons, reasons, parts)


async def _state(asked: Awaitable[object]) -> str:
    try:
        await asyncio.wait_for(asked, timeout=1)
    except (*AWAY, RedisError):
        return "away"
    return "up"
