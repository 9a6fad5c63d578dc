"""What every part of one process stands on: its settings, name, connections, and its work."""

import asyncio
import socket
from collections.abc import Collection, Coroutine
from contextlib import AsyncExitStack

import asyncpg
import msgspec

from engine.runtime.ownership import Lease
from gateway import telemetry
from gateway.clock import SystemClock
from gateway.settings import Settings, SettingsError
from persistence.journal import NodeName
from persistence.membership import PostgresMembership
from persistence.search.assembly import Server
from persistence.streams import RedisStreams, connect
from persistence.transactions import session

CONNECT_S = 5.0
_CANCEL_AGAIN_S = 0.2


class Needs(msgspec.Struct, frozen=True):
    """What a node can't do without."""

    database_url: str
    redis_url: str
    token_secret: str
    webhook_secret: str


def needs_of(settings: Settings) -> Needs:
    """Raises SettingsError."""
    try:
        return msgspec.convert(settings, Needs, from_attributes=True)
    except msgspec.ValidationError as error:
        name = str(error).partition("$.")[2].rstrip("`").upper()
        raise SettingsError(f"a node needs {name}; `up` starts one with all it needs") from None


class Process:
    """What is pushed last on the stack ends first."""

    def __init__(self, settings: Settings, roles: Collection[str], stack: AsyncExitStack) -> None:
        self.settings = settings
        self.needs = needs_of(settings)
        self.roles = sorted(roles)
        self.stack = stack
        self.clock = SystemClock()
        self.observer = telemetry.RuntimeObserver()
        self.name = NodeName.of_this_process(settings.node_name or socket.gethostname())
        self.work: list[asyncio.Task[None]] = []

    async def connect(self) -> None:
        self.redis = connect(self.needs.redis_url)
        self.stack.push_async_callback(self.redis.aclose)
        self.streams = RedisStreams(self.redis)
        self.edge_pool = await self.pool("edge")

    async def pool(self, name: str, **settings: str) -> asyncpg.Pool:
        return await self.stack.enter_async_context(
            asyncpg.create_pool(
                self.needs.database_url,
                min_size=1,
                max_size=8,
                timeout=CONNECT_S,
                command_timeout=10,
                server_settings=session(name, **settings),
            )
        )

    def do(self, name: str, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self.work.append(task)
        return task

    def do_until_the_end(self, name: str, work: Coroutine[None, None, None]) -> None:
        self.stack.push_async_callback(cancel, self.do(name, work))

    def membership(self, address: str, lease: Lease) -> PostgresMembership:
        membership = PostgresMembership(
            self.needs.database_url,
            self.name,
            roles=self.roles,
            address=address,
            ttl_s=lease.ttl_s,
        )
        self.stack.push_async_callback(membership.close)
        return membership

    def search_server(self) -> Server | None:
        url, kind = self.settings.elasticsearch_url, self.settings.search_server
        return Server(url, plain_json=kind == "opensearch") if url is not None else None


async def cancel(task: asyncio.Task[None]) -> None:
    """As often as it takes: on its way out a server that has gone may fail the task, and what lives
    through that takes the cancellation for one more failure."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_CANCEL_AGAIN_S)
