"""The world that is broken: Postgres and Valkey of our own, a network to them, and `up` behind it.

The servers belong to this process, so that every node reaches them through a proxy that can fail,
while we look at them directly. They are kept alive as the launcher keeps its own. Where the machine
allows it, each node lives in a network namespace of its own, and meets the proxies over TCP.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from msgspec import Struct
from redis.asyncio import Redis

from loadtests.nemesis.network import HOMES, HTTP_PORT, POSTGRES, VALKEY, Network, short
from loadtests.nemesis.proxy import Place, Proxy, peer_pid
from loadtests.nemesis.watch import Watch
from loadtests.server import Server, fresh_folder
from persistence.embedded import EmbeddedPostgres, EmbeddedRedis
from persistence.keeping import Kept

POSTGRES_SOCKET, REDIS_SOCKET = ".s.PGSQL.5432", "redis.sock"
POSTGRES_PORT, REDIS_PORT = 5432, 6379
ENGINE, GATEWAY, PROJECTOR = "engine", "gateway", "projector"


class Process(Struct, frozen=True):
    name: str
    pid: int
    roles: frozenset[str]


class World:
    """`network`: None where all share one."""

    def __init__(
        self, server: Server, postgres: Proxy, redis: Proxy, redis_url: str, network: Network | None
    ) -> None:
        self.server = server
        self.postgres = postgres
        self.redis = redis
        self.network = network
        self.watch = Watch(server.dsn)
        self._redis_url = redis_url

    # -- who there is ----------------------------------------------------------------------

    @property
    def urls(self) -> list[str]:
        """Where it is asked: every gateway, or all of them at once."""
        if self.network is None:
            return [self.server.url]
        homes = self.network.home_by_name.items()
        listening = [home for name, home in homes if name.startswith(("gateway", "node"))]
        return [f"http://{home.address}:{HTTP_PORT}" for home in listening]

    def processes(self) -> list[Process]:
        return processes(self.server)

    def with_role(self, role: str) -> list[Process]:
        """Raises LookupError where there is none at the moment."""
        found = [process for process in self.processes() if role in process.roles]
        if not found:
            raise LookupError(f"no {role} lives")
        return found

    def owner_of(self, shard_id: int) -> Process:
        """Who owns it by the database; the first engine where that does not say."""
        name = self.watch.owner_by_shard.get(shard_id)
        engines = self.with_role(ENGINE)
        return next((engine for engine in engines if engine.name == name), engines[0])

    # -- the servers -----------------------------------------------------------------------

    def postgres_pids(self) -> list[int]:
        """The postmaster first, then its backends. Raises OSError, IndexError while it is down."""
        pid_file = self.server.folder / "postgres" / "postmaster.pid"
        postmaster = int(pid_file.read_text().split()[0])
        return [postmaster, *children(postmaster)]

    @asynccontextmanager
    async def valkey(self) -> AsyncIterator[Redis]:
        """Around the proxy."""
        client: Redis = Redis.from_url(self._redis_url, socket_timeout=2)
        try:
            yield client
        finally:
            await client.aclose()

    async def valkey_pid(self) -> int:
        async with self.valkey() as client:
            found = await client.info("server")
        return int(found["process_id"])


@asynccontextmanager
async def world(
    folder: Path,
    settings: Mapping[str, str],
    arguments: Sequence[str],
    module: str,
    apart: Sequence[str] = (),
) -> AsyncIterator[World]:
    """Everything runs and serves; `arguments` go to `python -m MODULE up`. Raises ServerError.

    `apart`: the names of the nodes, where each is to have a network of its own.
    """
    folder = await fresh_folder(folder)
    async with AsyncExitStack() as stack:
        postgres, redis = EmbeddedPostgres(folder / "postgres"), EmbeddedRedis(folder / "redis")
        stack.push_async_callback(postgres.stop)
        stack.push_async_callback(redis.stop)
        dsn, redis_url = await asyncio.gather(postgres.start(), redis.start())
        for server in (postgres, redis):
            keeping = asyncio.create_task(Kept(server).keep_alive(), name=server.name)
            stack.push_async_callback(_ended, keeping)
        sockets = Path(stack.enter_context(TemporaryDirectory(prefix="stampede-")))
        postgres_sockets = (folder / "postgres.sockets").readlink()
        redis_sockets = (folder / "redis.sockets").readlink()
        places: tuple[Place, Place] = sockets / POSTGRES_SOCKET, sockets / REDIS_SOCKET
        proxied = {
            "DATABASE_URL": dsn.replace(str(postgres_sockets), str(sockets)),
            "REDIS_URL": redis_url.replace(str(redis_sockets), str(sockets)),
        }
        network, pid_of = None, peer_pid
        if apart:
            network = Network()
            stack.enter_context(network.laid(apart))
            places = (POSTGRES, POSTGRES_PORT), (VALKEY, REDIS_PORT)
            proxied = {
                "DATABASE_URL": f"postgresql://stampede@{POSTGRES}/stampede?sslmode=disable",
                "REDIS_URL": f"redis://{VALKEY}:{REDIS_PORT}",
                HOMES: msgspec.json.encode(network.home_by_name).decode(),
            }
        up = Server(folder, {**settings, **proxied}, arguments, module)
        if network is not None:
            pid_of = partial(_pid_at_home, up, network)
        postgres_proxy = Proxy(places[0], postgres_sockets / POSTGRES_SOCKET, pid_of)
        redis_proxy = Proxy(places[1], redis_sockets / REDIS_SOCKET, pid_of)
        await stack.enter_async_context(postgres_proxy.listening())
        await stack.enter_async_context(redis_proxy.listening())
        stack.push_async_callback(asyncio.to_thread, up.stop)
        await up.start()
        made = World(up, postgres_proxy, redis_proxy, redis_url, network)
        stack.push_async_callback(_ended, asyncio.create_task(made.watch.run(), name="watch"))
        yield made


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def processes(server: Server) -> list[Process]:
    """The launcher's children, by name."""
    found = (_as_called(pid) for pid in children(server.pid))
    return sorted((p for p in found if p.roles), key=lambda process: process.name)


def _pid_at_home(server: Server, network: Network, writer: asyncio.StreamWriter) -> int:
    """Of the node that lives where a link comes from; 0: nobody's."""
    name = network.name_at(writer.get_extra_info("peername")[0])
    if name is None:
        return 0
    with suppress(OSError):
        return next((p.pid for p in processes(server) if short(p.name) == name), 0)
    return 0


def children(pid: int) -> list[int]:
    """Raises OSError where there is no such process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _as_called(pid: int) -> Process:
    """By the `--name` and the `--role`s of its command line."""
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    options = [word.removeprefix("--").partition("=") for word in words if word.startswith("--")]
    roles = frozenset(value for option, _, value in options if option == "role")
    name = next((value for option, _, value in options if option == "name"), str(pid))
    return Process(name, pid, roles)
