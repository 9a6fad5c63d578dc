"""One process: what of the house runs in it, and how its parts are joined.

With `gateway/__main__.py` the only file that sees every room. A process has one or more roles: the
engine owns shards, the gateway answers HTTP, the projector copies facts into tables. What is pushed
last on the stack ends first: HTTP before the engine behind it, both before their connections.
"""

import asyncio
import contextlib
import gc
import os
import signal
import socket
from collections.abc import Awaitable, Collection, Coroutine
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path

import aiohttp
import asyncpg
import msgspec
from redis.exceptions import RedisError

from engine.runtime.limits import Limits
from engine.runtime.mailbox import NearestMailbox
from engine.runtime.ownership import Lease, Ownership, show_life
from engine.runtime.ports import Mailbox
from engine.runtime.remote import RemoteMailbox
from engine.runtime.supervisor import Supervisor
from gateway import launcher, telemetry
from gateway.app import EDGE, build, build_operations
from gateway.archive import Archive
from gateway.auth import Credentials
from gateway.chores import Chores, every
from gateway.clock import SystemClock
from gateway.devices import Fleet, Secrets
from gateway.express import Lane, serve
from gateway.logs import configure_logging
from gateway.payments.sandbox import Sandbox
from gateway.ports import Finding, Outgoing, Ports, Readiness
from gateway.routes import ROUTES
from gateway.settings import Settings, SettingsError
from persistence.booking_desk import BookingDesk
from persistence.catalogue import Catalogue
from persistence.devices import Devices
from persistence.healing import heal
from persistence.hire import Hire
from persistence.journal import NodeName, PostgresJournal
from persistence.membership import PostgresMembership
from persistence.migrations import prepare
from persistence.outgoing.mails import MailBooks
from persistence.outgoing.webhooks import Webhooks
from persistence.projector import project
from persistence.reading import Projections
from persistence.retention import retain
from persistence.sandbox import SandboxBooks
from persistence.search import assembly
from persistence.search.assembly import Server
from persistence.search.feeder import feed
from persistence.search.postgres import SESSION
from persistence.search.showing import CatalogueShowings
from persistence.search.tastes import AttendedTastes
from persistence.search.trending import RedisTrending, feed_trends
from persistence.snapshots import PostgresSnapshots, RedisSaleViews, RedisSnapshots, Snapshots
from persistence.streams import RedisStreams, connect
from persistence.tokens import Tokens
from persistence.transactions import AWAY

_HAND_OVER_S = 4.0
_STOP_S = 4.0
_CANCEL_AGAIN_S = 0.2
_PROJECTOR_NICENESS = 5  # selling goes first
_CONNECT_S = 5.0
_WAIT_S = 0.5  # before a database that is away is asked again
_LAG_EVERY_S = 1.0


class Needs(msgspec.Struct, frozen=True):
    """What a node can't do without."""

    database_url: str
    redis_url: str
    token_secret: str
    webhook_secret: str


class Fds(msgspec.Struct, frozen=True):
    """What the launcher passes down: where to listen, to say ready, and to see it go."""

    listen: int | None = None
    ready: int | None = None
    life: int | None = None


async def run(settings: Settings, roles: Collection[str], fds: Fds) -> None:
    configure_logging(settings.log == "on")
    needs = _needs(settings)
    stopping = _stop_signal(fds.life)
    if fds.life is None:
        await prepare(needs.database_url, settings.shards)
    else:  # the launcher has done that, before it started us first
        await _answers(needs.database_url, stopping)
    async with AsyncExitStack() as stack:
        node = Node(settings, needs, roles, stopping, stack)
        await node.start(fds.listen)
        if fds.ready is not None:
            os.write(fds.ready, b"!")
            os.close(fds.ready)
        _calm_the_collector()
        await node.until_told_to_stop()


async def _answers(database_url: str, stopping: asyncio.Event) -> None:
    """Wait for a database that is away: to die and be started again would bring it no nearer."""
    while not stopping.is_set():
        try:
            connection = await asyncpg.connect(database_url, timeout=_CONNECT_S)
        except AWAY:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), _WAIT_S)
        else:
            await connection.close()
            return


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


class Node:
    """The parts of one process, by its roles."""

    def __init__(
        self,
        settings: Settings,
        needs: Needs,
        roles: Collection[str],
        stopping: asyncio.Event,
        stack: AsyncExitStack,
    ) -> None:
        self._settings = settings
        self._needs = needs
        self._roles = sorted(roles)
        self._stopping = stopping
        self._stack = stack
        self._clock = SystemClock()
        self._observer = telemetry.RuntimeObserver()
        self._name = NodeName.of_this_process(settings.node_name or socket.gethostname())
        self._work: list[asyncio.Task[None]] = []
        self._supervisor: Supervisor | None = None
        self._ownership: Ownership | None = None
        self._remote: RemoteMailbox | None = None

    async def start(self, listen_fd: int | None) -> None:
        if "projector" in self._roles:
            self._start_projector()
        if self._roles == ["projector"]:
            return
        self._redis = connect(self._needs.redis_url)
        self._stack.push_async_callback(self._redis.aclose)
        self._streams = RedisStreams(self._redis)
        self._edge_pool = await self._pool("edge")
        operations = await self._listen_for_operations()
        if "engine" in self._roles:
            await self._start_engine(operations)
        else:
            lease = Lease()
            membership = self._membership(operations, lease)
            self._do_until_the_end("membership", show_life(membership, lease))
        if "gateway" in self._roles:
            await self._start_gateway(listen_fd)

    async def until_told_to_stop(self) -> None:
        """Background work that ends by itself is a bug and ends the process."""
        stop = asyncio.create_task(self._stopping.wait(), name="stop")
        done, _ = await asyncio.wait([stop, *self._work], return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        for ended in done - {stop}:
            ended.result()
            raise RuntimeError(f"{ended.get_name()} ended")
        if self._ownership is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ownership.resign(), _HAND_OVER_S)

    def _do(self, name: str, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._work.append(task)
        return task

    def _do_until_the_end(self, name: str, work: Coroutine[None, None, None]) -> None:
        self._stack.push_async_callback(_cancel, self._do(name, work))

    # -- roles -----------------------------------------------------------------------------

    def _start_projector(self) -> None:
        if self._roles == ["projector"]:
            os.nice(_PROJECTOR_NICENESS)
        database_url = self._needs.database_url
        self._do_until_the_end("projector", project(database_url, heal))
        self._start_feeding()
        self._do_until_the_end("departures", self._depart())
        if (hours := self._settings.journal_kept_hours) is not None:
            folder = Path(self._settings.archive_folder)
            archiving = retain(database_url, folder, timedelta(hours=hours))
            self._do_until_the_end("retention", archiving)

    async def _depart(self) -> None:
        from gateway.departures import depart  # half a second that no start should wait for

        await depart(self._settings, self._name.incarnation, self._observer)

    def _start_feeding(self) -> None:
        """What is found is fed behind the projector."""
        url = self._needs.database_url
        self._do_until_the_end("search feeder", feed(url, telemetry.INDEXED.inc))
        if server := self._search_server():
            following = assembly.follow(url, server, telemetry.search_failed)
            self._do_until_the_end("search follower", following)
        redis = connect(self._needs.redis_url)
        self._stack.push_async_callback(redis.aclose)
        self._do_until_the_end("trending feeder", feed_trends(url, redis))

    async def _start_engine(self, address: str) -> None:
        # Loading sales and the journal's reads have a pool of their own: an organizer's transaction
        # that waits for its sale must never hold the connection that the sale needs.
        pool = await self._pool("engine")
        journal = PostgresJournal(self._needs.database_url, pool, self._name)
        self._stack.push_async_callback(journal.close)
        lease = Lease()
        membership = self._membership(address, lease)
        supervisor = self._supervisor = Supervisor(
            journal=journal,
            snapshots=Snapshots(RedisSnapshots(self._redis), PostgresSnapshots(pool)),
            clock=self._clock,
            observer=self._observer,
            shards=self._settings.shards,
            limits=Limits(finished_order_kept_ms=self._settings.finished_order_kept_seconds * 1000),
        )
        telemetry.DEPTH.set_function(lambda: supervisor.depth)
        telemetry.SALES.set_function(lambda: supervisor.sales_loaded)
        telemetry.SHARDS.set_function(lambda: len(supervisor.shards_owned))
        # Measured here: a projector that is dead would not say how far it is behind.
        projections = Projections(self._edge_pool)
        self._do_until_the_end(
            "lag", every(_LAG_EVERY_S, "measure the lag", partial(_lag, projections))
        )
        ownership = self._ownership = Ownership(
            node=self._name.name,
            membership=membership,
            journal=journal,
            streams=self._streams,
            supervisor=supervisor,
            clock=self._clock,
            observer=self._observer,
            shards=self._settings.shards,
            lease=lease,
        )
        self._stack.push_async_callback(ownership.leave)
        self._do_until_the_end("ownership", ownership.run())
        deciding = self._do("supervisor", supervisor.run())
        self._stack.push_async_callback(_stop_deciding, supervisor, deciding)
        await ownership.begun.wait()

    def _membership(self, address: str, lease: Lease) -> PostgresMembership:
        membership = PostgresMembership(
            self._needs.database_url,
            self._name,
            roles=self._roles,
            address=address,
            ttl_s=lease.ttl_s,
        )
        self._stack.push_async_callback(membership.close)
        return membership

    async def _start_gateway(self, listen_fd: int | None) -> None:
        settings, needs = self._settings, self._needs
        remote = self._remote = RemoteMailbox(
            streams=self._streams,
            clock=self._clock,
            observer=self._observer,
            gateway=self._name.incarnation,
            shards=settings.shards,
        )
        telemetry.REMOTE.set_function(lambda: remote.depth)
        self._do_until_the_end("remote mailbox", remote.run())
        mailbox: Mailbox = remote
        if self._supervisor is not None:
            mailbox = NearestMailbox(self._supervisor, remote)
        listening = (
            launcher.listen(settings.http_host, settings.http_port)
            if listen_fd is None
            else socket.socket(fileno=listen_fd)
        )
        http = await self._stack.enter_async_context(aiohttp.ClientSession())
        pool = self._edge_pool
        projections = Projections(pool)
        hire = Hire(self._clock, timedelta(days=settings.booking_request_days))
        ports = Ports(
            settings=settings,
            clock=self._clock,
            credentials=Credentials(needs.token_secret),
            mailbox=Archive(mailbox, projections, self._clock),
            catalogue=Catalogue(pool, mailbox, hire),
            bookings=BookingDesk(pool, mailbox, hire),
            sale_views=RedisSaleViews(self._redis, settings.shards),
            projections=projections,
            payments=_payments(settings.production, needs.webhook_secret, pool, http, listening),
            finding=await self._finding(),
            outgoing=Outgoing(MailBooks(pool), Webhooks(pool)),
            tokens=Tokens(pool),
            fleet=Fleet(Devices(pool), Secrets(needs.token_secret), self._clock),
        )
        app = build(ports, self._readiness)
        await serve(self._stack, app, listening, Lane(app[EDGE], mailbox, ROUTES))
        for chore in Chores(ports).all():
            self._do_until_the_end("chore", chore)

    async def _finding(self) -> Finding:
        """On connections of its own: a slow search never holds one that a sale needs."""
        pool = await self._pool("search", **SESSION, statement_timeout="3s")
        server = self._search_server()
        return Finding(
            index=assembly.index(pool, server, telemetry.search_failed, self._stack),
            showings=CatalogueShowings(pool),
            tastes=AttendedTastes(pool),
            trending=RedisTrending(pool, self._redis),
        )

    def _search_server(self) -> Server | None:
        url, kind = self._settings.elasticsearch_url, self._settings.search_server
        return Server(url, plain_json=kind == "opensearch") if url is not None else None

    async def _listen_for_operations(self) -> str:
        """Where health and metrics of this process are read: a port of their own, if asked for."""
        settings = self._settings
        if settings.ops_port is None:
            return f"http://{settings.http_host}:{settings.http_port}"
        listening = launcher.listen(settings.http_host, settings.ops_port)
        await serve(self._stack, build_operations(self._readiness), listening)
        host, port = listening.getsockname()[:2]
        return f"http://{host}:{port}"

    async def _pool(self, name: str, **settings: str) -> asyncpg.Pool:
        return await self._stack.enter_async_context(
            asyncpg.create_pool(
                self._needs.database_url,
                min_size=1,
                max_size=8,
                timeout=_CONNECT_S,
                command_timeout=10,
                server_settings={"application_name": f"stampede {name}", **settings},
            )
        )

    async def _readiness(self) -> Readiness:
        reasons = []
        if self._stopping.is_set():
            reasons.append("draining")
        if self._ownership is not None and self._ownership.trouble is not None:
            reasons.append(self._ownership.trouble)
        if self._supervisor is not None and self._supervisor.recovering:
            reasons.append("the journal does not answer")
        owns_nothing = self._supervisor is None or not self._supervisor.shards_owned
        if self._remote is not None and self._remote.away and owns_nothing:
            reasons.append("the streams to the owners do not answer")
        parts = {
            "postgres": await _state(self._edge_pool.fetchval("SELECT 1")),
            "redis": await _state(self._redis.ping()),
        }
        return Readiness(not reasons, reasons, parts)


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


async def _lag(projections: Projections) -> None:
    telemetry.LAG.set(await projections.lag())


async def _state(asked: Awaitable[object]) -> str:
    try:
        await asyncio.wait_for(asked, timeout=1)
    except (*AWAY, RedisError):
        return "away"
    return "up"


async def _cancel(task: asyncio.Task[None]) -> None:
    """As often as it takes: on its way out a server that has gone may fail the task, and what lives
    through that takes the cancellation for one more failure."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_CANCEL_AGAIN_S)


async def _stop_deciding(supervisor: Supervisor, deciding: asyncio.Task[None]) -> None:
    supervisor.stop()
    await asyncio.wait([deciding], timeout=_STOP_S)
    deciding.cancel()
