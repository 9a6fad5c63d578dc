"""One process: what of the house runs in it, and how its parts are joined.

With `gateway/__main__.py` the only file that sees every room.
"""

import asyncio
import gc
import os
import signal
import socket
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack

import aiohttp
import asyncpg
import msgspec
from aiohttp import web
from redis.asyncio import Redis
from redis.exceptions import RedisError

from engine.runtime.mailbox import LocalMailbox
from engine.runtime.supervisor import Limits, Supervisor
from gateway import launcher, telemetry
from gateway.app import build
from gateway.archive import Archive
from gateway.auth import Credentials
from gateway.chores import Chores
from gateway.logs import configure_logging
from gateway.payments.sandbox import Sandbox
from gateway.ports import Ports, Readiness
from gateway.settings import Settings, SettingsError
from persistence.catalogue import Catalogue
from persistence.healing import heal
from persistence.journal import PostgresJournal
from persistence.migrations import prepare
from persistence.projector import Projector
from persistence.reading import Projections
from persistence.sandbox import SandboxBooks
from persistence.snapshots import PostgresSnapshots, RedisSaleViews, RedisSnapshots, Snapshots
from persistence.transactions import AWAY

_STOP_S = 8.0
_PROJECTOR_NICENESS = 5  # selling goes first


class SystemClock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Needs(msgspec.Struct, frozen=True):
    """What a node can't do without."""

    database_url: str
    redis_url: str
    token_secret: str
    webhook_secret: str


async def run(
    settings: Settings,
    role: str,
    listen_fd: int | None,
    ready_fd: int | None,
    life_fd: int | None,
) -> None:
    configure_logging(settings.log == "on")
    needs = _needs(settings)
    stopping = _stop_signal(life_fd)
    if role == "all":
        await prepare(needs.database_url, settings.shards)
    async with AsyncExitStack() as stack:
        work: list[Awaitable[None]] = []
        if role in ("all", "projector"):
            work.append(await _projector(needs.database_url, role, stack))
        if role in ("all", "serve"):
            await _serve(settings, needs, listen_fd, stopping, stack, work)
        if ready_fd is not None:
            os.write(ready_fd, b"!")
            os.close(ready_fd)
        _calm_the_collector()
        await _until(stopping, work)


def _calm_the_collector() -> None:
    """What is loaded stays; what a request makes is freed by its references, not by searching."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _needs(settings: Settings) -> Needs:
    try:
        return msgspec.convert(settings, Needs, from_attributes=True)
    except msgspec.ValidationError as error:
        name = str(error).partition("$.")[2].rstrip("`").upper()
        raise SettingsError(f"a node needs {name}; `up` starts one with all it needs") from None


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


async def _until(stopping: asyncio.Event, work: list[Awaitable[None]]) -> None:
    """Run until told to stop; background work that ends by itself is a bug and ends the process."""
    stop = asyncio.ensure_future(stopping.wait())
    tasks = [asyncio.ensure_future(each) for each in work]
    done, _ = await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in (stop, *tasks):
        task.cancel()
    await asyncio.gather(stop, *tasks, return_exceptions=True)
    for ended in done - {stop}:
        ended.result()
        raise RuntimeError("background work ended")


async def _projector(database_url: str, role: str, stack: AsyncExitStack) -> Awaitable[None]:
    if role == "projector":
        os.nice(_PROJECTOR_NICENESS)
    # What it writes can be made again, and its offset goes with it: it need not wait for the disk,
    # nor have the journal wait for it there.
    connection = await asyncpg.connect(
        database_url,
        timeout=10,
        server_settings={"application_name": "stampede projector", "synchronous_commit": "off"},
    )
    stack.push_async_callback(connection.close)
    return Projector(connection, heal).run(telemetry.LAG.set)


async def _serve(
    settings: Settings,
    needs: Needs,
    listen_fd: int | None,
    stopping: asyncio.Event,
    stack: AsyncExitStack,
    work: list[Awaitable[None]],
) -> None:
    listening = (
        launcher.listen(settings.http_host, settings.http_port)
        if listen_fd is None
        else socket.socket(fileno=listen_fd)
    )
    # Loading sales and the journal's reads have a pool of their own: an organizer's transaction
    # that waits for its sale must never hold the connection that the sale needs.
    engine_pool = await stack.enter_async_context(_pool(needs.database_url, "engine"))
    edge_pool = await stack.enter_async_context(_pool(needs.database_url, "edge"))
    redis = Redis.from_url(needs.redis_url)
    stack.push_async_callback(redis.aclose)
    journal = PostgresJournal(needs.database_url, engine_pool)
    stack.push_async_callback(journal.close)
    clock = SystemClock()
    supervisor = Supervisor(
        journal=journal,
        snapshots=Snapshots(RedisSnapshots(redis), PostgresSnapshots(engine_pool)),
        clock=clock,
        observer=telemetry.RuntimeObserver(),
        shards=settings.shards,
        limits=Limits(finished_order_kept_ms=settings.finished_order_kept_seconds * 1000),
    )
    telemetry.DEPTH.set_function(lambda: supervisor.depth)
    telemetry.SALES.set_function(lambda: supervisor.sales_loaded)
    await supervisor.start()
    deciding = asyncio.create_task(supervisor.run(), name="supervisor")
    stack.push_async_callback(_stop_deciding, supervisor, deciding)

    http = await stack.enter_async_context(aiohttp.ClientSession())
    mailbox = LocalMailbox(supervisor)
    projections = Projections(edge_pool)

    async def readiness() -> Readiness:
        return await _readiness(supervisor, edge_pool, redis, stopping)

    ports = Ports(
        settings=settings,
        clock=clock,
        credentials=Credentials(needs.token_secret),
        mailbox=Archive(mailbox, projections, clock),
        catalogue=Catalogue(edge_pool, mailbox),
        sale_views=RedisSaleViews(redis, settings.shards),
        projections=projections,
        payments=_payments(settings.production, needs.webhook_secret, edge_pool, http, listening),
        readiness=readiness,
    )
    runner = web.AppRunner(build(ports), access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.SockSite(runner, listening, backlog=launcher.BACKLOG).start()
    work += [asyncio.shield(deciding), *Chores(ports).all()]


def _pool(database_url: str, name: str) -> asyncpg.Pool:
    return asyncpg.create_pool(
        database_url,
        min_size=1,
        max_size=8,
        command_timeout=10,
        server_settings={"application_name": f"stampede {name}"},
    )


def _payments(
    production: bool,
    webhook_secret: str,
    pool: asyncpg.Pool,
    http: aiohttp.ClientSession,
    listening: socket.socket,
) -> Sandbox | None:
    """The sandbox takes no real money, so production has no use for it."""
    if production:
        return None
    host, port = listening.getsockname()[:2]
    reachable = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    shown = f"[{reachable}]" if ":" in reachable else reachable
    url = f"http://{shown}:{port}/v1/webhooks/payments/sandbox"

    async def deliver(body: bytes, headers: dict[str, str]) -> bool:
        try:
            async with http.post(url, data=body, headers=headers) as response:
                return response.status // 100 == 2
        except (aiohttp.ClientError, TimeoutError):
            return False

    return Sandbox(SandboxBooks(pool), webhook_secret, deliver)


async def _readiness(
    supervisor: Supervisor, pool: asyncpg.Pool, redis: Redis, stopping: asyncio.Event
) -> Readiness:
    lost = supervisor.lost_shards()
    reasons = []
    if stopping.is_set():
        reasons.append("draining")
    if lost:
        reasons.append(f"another node owns the shards {lost}")
    if supervisor.recovering:
        reasons.append("the journal does not answer")
    parts = {
        "postgres": await _state(pool.fetchval("SELECT 1")),
        "redis": await _state(redis.ping()),
    }
    return Readiness(not reasons, reasons, parts)


async def _state(asked: Awaitable[object]) -> str:
    try:
        await asyncio.wait_for(asked, timeout=1)
    except (*AWAY, RedisError):
        return "away"
    return "up"


async def _stop_deciding(supervisor: Supervisor, deciding: asyncio.Task[None]) -> None:
    supervisor.stop()
    await asyncio.wait([deciding], timeout=_STOP_S)
    deciding.cancel()
