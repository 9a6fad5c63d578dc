"""The command line, and the composition root: the only file that sees every room.

`up` is the launcher: it owns the embedded servers and the processes. `node` is one process of
them; on a real cluster nodes are started by the orchestrator, with the servers' URLs set.
"""

import asyncio
import gc
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import asyncpg
import click
import msgspec
import uvloop
from aiohttp import web
from redis.asyncio import Redis
from redis.exceptions import RedisError

from engine.commands import Role
from engine.runtime.mailbox import LocalMailbox
from engine.runtime.supervisor import Limits, Supervisor
from gateway import launcher, telemetry
from gateway.app import build
from gateway.auth import Credentials, Principal
from gateway.chores import Chores
from gateway.launcher import LaunchError, Node
from gateway.payments.sandbox import Sandbox
from gateway.ports import Ports, Readiness
from gateway.settings import Settings, SettingsError, read
from persistence.catalogue import Catalogue
from persistence.embedded import (
    EmbeddedPostgres,
    EmbeddedRedis,
    EmbeddedServerError,
    claim_data_folder,
)
from persistence.healing import heal
from persistence.journal import PostgresJournal, assert_shards
from persistence.migrations import MigrationError, migrate
from persistence.projector import Projector
from persistence.reading import Projections
from persistence.sandbox import SandboxBooks
from persistence.snapshots import PostgresSnapshots, RedisSaleViews, RedisSnapshots, Snapshots

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


class Secrets(msgspec.Struct, frozen=True):
    token_secret: str
    webhook_secret: str


@click.group()
def main() -> None:
    """Stampede: a ticketing engine for the on-sale and the doors."""


@main.command()
@click.option("--host", help="Address to listen on (STAMPEDE_HTTP_HOST).")
@click.option("--port", type=int, help="Port; 0 picks a free one (STAMPEDE_HTTP_PORT).")
def up(host: str | None, port: int | None) -> None:
    """Serve until SIGINT or SIGTERM, with embedded servers where no URLs are set."""
    given = {"STAMPEDE_HTTP_HOST": host, "STAMPEDE_HTTP_PORT": None if port is None else str(port)}
    environment = {**os.environ, **{name: value for name, value in given.items() if value}}
    _or_one_line(_up, environment)


@main.command()
@click.option("--role", type=click.Choice(["all", "serve", "projector"]), default="all")
@click.option("--listen-fd", type=int, hidden=True)
@click.option("--ready-fd", type=int, hidden=True)
@click.option("--life-fd", type=int, hidden=True)
def node(role: str, listen_fd: int | None, ready_fd: int | None, life_fd: int | None) -> None:
    """Run one process against the servers that DATABASE_URL and REDIS_URL name."""

    async def run(environment: Mapping[str, str]) -> None:
        told = _told(life_fd) if life_fd is not None else {}
        await _node(read({**environment, **told}), role, listen_fd, ready_fd, life_fd)

    _or_one_line(run, os.environ)


def _told(life_fd: int) -> dict[str, str]:
    """What the launcher says of the servers: one line, before the pipe falls silent."""
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(life_fd, 4096)
        if not part:
            raise LaunchError("the launcher has gone")
        line += part
    return msgspec.json.decode(line, type=dict[str, str])


@main.command()
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True)
@click.option("--subject", required=True, help="Who the credential speaks for.")
@click.option("--event-id", help="The one event of a scanner.")
@click.option("--days", type=int, default=30, show_default=True)
def token(role: str, subject: str, event_id: str | None, days: int) -> None:
    """Print a credential signed with STAMPEDE_TOKEN_SECRET."""

    async def run(environment: Mapping[str, str]) -> None:
        settings = read(environment)
        if settings.token_secret is None:
            raise SettingsError("a credential is signed with STAMPEDE_TOKEN_SECRET: set it")
        expires_at_s = int(time.time()) + days * 24 * 60 * 60
        principal = Principal(Role(role), subject, expires_at_s, event_id)
        click.echo(Credentials(settings.token_secret).issue(principal))

    _or_one_line(run, os.environ)


def _or_one_line(run: object, environment: Mapping[str, str]) -> None:
    """What a person can mend is told in one line, with exit code 1."""
    assert callable(run)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(environment))
    except (SettingsError, EmbeddedServerError, MigrationError, LaunchError) as error:
        click.echo(f"stampede: {error}", err=True)
        sys.exit(1)


# -- the launcher ----------------------------------------------------------------------------


async def _up(environment: Mapping[str, str]) -> None:
    settings = read(environment)
    telemetry.configure_logging(settings.log == "on")
    launcher.allow_many_connections()
    listening = launcher.listen(settings.http_host, settings.http_port)
    fd = listening.fileno()
    serve = Node("serve", ["--role=serve", f"--listen-fd={fd}"], [fd])
    projector = Node("projector", ["--role=projector"], [])
    async with _servers(settings) as starting, AsyncExitStack() as stack:
        for node in (serve, projector):
            stack.push_async_callback(node.stop)
            await node.spawn()
        wiring = await starting
        await _migrate(wiring["DATABASE_URL"], settings.shards)
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        given = {"STAMPEDE_HTTP_HOST": host, "STAMPEDE_HTTP_PORT": str(port)}
        ready = f"ready on http://{shown}:{port}"
        await launcher.run([serve, projector], {**wiring, **given}, ready)


@asynccontextmanager
async def _servers(settings: Settings) -> AsyncIterator[Awaitable[dict[str, str]]]:
    """Postgres and Redis, embedded where no URL is set; what a node must know, once they serve."""
    folder = Path(settings.data_dir)
    claim_data_folder(folder)
    postgres, redis = EmbeddedPostgres(folder / "postgres"), EmbeddedRedis(folder / "redis")

    async def start() -> dict[str, str]:
        database_url, redis_url = await asyncio.gather(
            _given(settings.database_url) or postgres.start(),
            _given(settings.redis_url) or redis.start(),
        )
        made = _secrets(folder / "secrets.json")
        return {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "STAMPEDE_TOKEN_SECRET": settings.token_secret or made.token_secret,
            "STAMPEDE_WEBHOOK_SECRET": settings.webhook_secret or made.webhook_secret,
        }

    starting = asyncio.create_task(start(), name="servers")
    try:
        yield starting
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await asyncio.gather(redis.stop(), postgres.stop())


def _given(url: str | None) -> Coroutine[None, None, str] | None:
    async def known(found: str) -> str:
        return found

    return known(url) if url is not None else None


def _secrets(path: Path) -> Secrets:
    """Made at the first start; only for development, where nobody has set any."""
    if not path.exists():
        made = Secrets(secrets.token_hex(32), secrets.token_hex(32))
        draft = path.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_bytes(msgspec.json.encode(made))
        draft.rename(path)
    return msgspec.json.decode(path.read_bytes(), type=Secrets)


async def _migrate(database_url: str, shards: int) -> None:
    try:
        connection = await asyncpg.connect(database_url, timeout=10)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise LaunchError(f"can't reach the database at DATABASE_URL: {error}") from None
    try:
        await migrate(connection)
        await assert_shards(connection, shards)
    except ValueError as error:
        raise LaunchError(str(error)) from None
    finally:
        await connection.close()


# -- a node ----------------------------------------------------------------------------------


async def _node(
    settings: Settings,
    role: str,
    listen_fd: int | None,
    ready_fd: int | None,
    life_fd: int | None,
) -> None:
    telemetry.configure_logging(settings.log == "on")
    needs = _needs(settings)
    stopping = _stop_signal(life_fd)
    if role == "all":
        await _migrate(needs.database_url, settings.shards)
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
    connection = await asyncpg.connect(database_url, timeout=10)
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
        limits=Limits(),
    )
    telemetry.DEPTH.set_function(lambda: supervisor.depth)
    telemetry.SALES.set_function(lambda: supervisor.sales_loaded)
    await supervisor.start()
    deciding = asyncio.create_task(supervisor.run(), name="supervisor")
    stack.push_async_callback(_stop_deciding, supervisor, deciding)

    http = await stack.enter_async_context(aiohttp.ClientSession())
    mailbox = LocalMailbox(supervisor)

    async def readiness() -> Readiness:
        return await _readiness(supervisor, edge_pool, redis, stopping)

    ports = Ports(
        settings=settings,
        clock=clock,
        credentials=Credentials(needs.token_secret),
        mailbox=mailbox,
        catalogue=Catalogue(edge_pool, mailbox),
        sale_views=RedisSaleViews(redis, settings.shards),
        projections=Projections(edge_pool),
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
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, RedisError):
        return "away"
    return "up"


async def _stop_deciding(supervisor: Supervisor, deciding: asyncio.Task[None]) -> None:
    supervisor.stop()
    await asyncio.wait([deciding], timeout=_STOP_S)
    deciding.cancel()


if __name__ == "__main__":
    main()
