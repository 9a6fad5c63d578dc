"""Several nodes against one Postgres and one Redis: processes that a test may stop, freeze or kill.

Nobody restarts them: what is dead stays so until the test, or the next one, starts it again.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import asyncpg
from redis.asyncio import Redis

from engine.facts import Entry
from engine.ids import shard_of
from persistence.embedded import EmbeddedPostgres, EmbeddedRedis
from persistence.journal import decode
from persistence.lifeline import dying_with_us

SHARDS = 16
SECRETS = {"STAMPEDE_TOKEN_SECRET": "t" * 32, "STAMPEDE_WEBHOOK_SECRET": "w" * 32}


class NodeProcess:
    """`python -m gateway node`; a gateway has a `url`, an engine its `ops_url`."""

    def __init__(self, name: str, roles: str, environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self._roles = roles.split("+")
        self._environment = environment
        self.log = log
        self._process: asyncio.subprocess.Process | None = None
        # Ours, so that it stands through the restarts of who answers there.
        self._http = _listening() if "gateway" in self._roles else None
        self._ops = _reserved()
        self.url = f"http://127.0.0.1:{_port(self._http)}" if self._http is not None else ""
        self.ops_url = f"http://127.0.0.1:{_port(self._ops)}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Returns once it says that it is ready."""
        ready, says_ready = os.pipe()
        arguments = [f"--role={role}" for role in self._roles]
        arguments += [f"--name={self.name}", f"--ready-fd={says_ready}"]
        arguments.append(f"--ops-port={_port(self._ops)}")
        fds = [says_ready]
        if self._http is not None:
            arguments.append(f"--listen-fd={self._http.fileno()}")
            fds.append(self._http.fileno())
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(*dying_with_us("KILL"), sys.executable, "-m", "gateway", "node", *arguments),
                env=self._environment,
                pass_fds=fds,
                stdout=log,
                stderr=log,
            )
        os.close(says_ready)
        said = await asyncio.wait_for(asyncio.to_thread(os.read, ready, 1), 30)
        os.close(ready)
        if not said:
            raise RuntimeError(f"{self.name} did not start: {self.log.read_text()[-2000:]}")

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        return await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    async def _end(self, how: signal.Signals) -> int:
        assert self._process is not None
        if self.runs:
            self._process.send_signal(how)
        return await asyncio.wait_for(self._process.wait(), 30)

    def close(self) -> None:
        self._ops.close()
        if self._http is not None:
            self._http.close()


def _listening() -> socket.socket:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(1024)
    return listening


def _port(listening: socket.socket) -> int:
    port: int = listening.getsockname()[1]
    return port


def _reserved() -> socket.socket:
    """Nobody else is given its port; who asks for that very port gets it."""
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind(("127.0.0.1", 0))
    return found


class Cluster:
    """`nodes` by name: those that were once started, whether they run or not."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.postgres = EmbeddedPostgres(folder / "postgres")
        self.redis = EmbeddedRedis(folder / "redis")
        self.nodes: dict[str, NodeProcess] = {}
        # Through the links, which stay where they are when a server starts again.
        self.dsn = f"postgresql://stampede@/stampede?host={folder}/postgres.sockets&port=5432"
        self.redis_url = f"unix://{folder}/redis.sockets/redis.sock"
        clean = {n: v for n, v in os.environ.items() if not n.startswith("STAMPEDE_")}
        self._environment = {
            **clean,
            **SECRETS,
            "DATABASE_URL": self.dsn,
            "REDIS_URL": self.redis_url,
            "STAMPEDE_RATE_LIMITS": "off",
            "STAMPEDE_SHARDS": str(SHARDS),
            **(settings or {}),
        }

    async def start(self) -> None:
        await asyncio.gather(self.postgres.start(), self.redis.start())

    async def stop(self) -> None:
        await asyncio.gather(*(node.kill() for node in self.nodes.values() if node.runs))
        for node in self.nodes.values():
            node.close()
        await asyncio.gather(self.redis.stop(), self.postgres.stop())

    async def have(self, **roles_by_name: str) -> list[NodeProcess]:
        """These nodes, `gateway_1="gateway"`, running: those that do already, as they are."""
        names = {name.replace("_", "-"): roles for name, roles in roles_by_name.items()}
        for name, roles in names.items():
            if name not in self.nodes:
                log = self.folder / f"{name}.log"
                self.nodes[name] = NodeProcess(name, roles, self._environment, log)
        wanted = [self.nodes[name] for name in names]
        await asyncio.gather(*(node.start() for node in wanted if not node.runs))
        return wanted

    async def query(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.dsn)
        rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
        await connection.close()
        return rows

    async def owners(self) -> dict[int, str | None]:
        rows = await self.query("SELECT shard_id, owner FROM shards")
        return {row["shard_id"]: row["owner"] for row in rows}

    async def owner(self, event_id: str) -> NodeProcess:
        name = (await self.owners())[shard_of(event_id, SHARDS)]
        assert name is not None
        return self.nodes[name]

    async def journal(self) -> list[tuple[int, int, int, tuple[Entry, ...]]]:
        """(shard, seq, epoch, entries) of all rows, in order."""
        rows = await self.query("SELECT * FROM journal ORDER BY shard_id, seq")
        return [
            (row["shard_id"], row["seq"], row["epoch"], decode(row["batch"], row["crc"]))
            for row in rows
        ]

    async def postgres_pids(self) -> list[int]:
        """The server's own processes and everybody's sessions."""
        postmaster = int((self.folder / "postgres" / "postmaster.pid").read_text().split()[0])
        return [postmaster, *children(postmaster)]

    async def redis_pid(self) -> int:
        async with Redis.from_url(self.redis_url) as client:
            pid: int = (await client.info("server"))["process_id"]
            return pid


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def metric(session: aiohttp.ClientSession, url: str, name: str) -> float:
    """The sum of a metric's samples, as Prometheus would read them."""
    async with session.get(f"{url}/metrics") as response:
        lines = (await response.text()).splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


@contextmanager
def frozen(*pids: int) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
