"""The servers under measurement: ours with embedded servers of its own, and a baseline's."""

import asyncio
import json
import os
import signal
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from persistence.lifeline import dying_with_us
from tests.waiting import until

READY = b"ready on "
QUIET_S, QUIET_S_MAX = 0.3, 60.0
QUIET_SHARE_MAX = 0.1  # of a core


class Endpoint:
    """Where a server listens, and the calls that prepare it."""

    def __init__(self, url: str, folder: Path | None, pid: int = 0) -> None:
        self.url = url
        self.pid = pid
        self.folder = folder
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self.host, self.port = parts.hostname, parts.port

    def call(
        self, method: str, path: str, body: Any = None, token: str | None = None, key: str = ""
    ) -> Any:
        """A blocking call before the measurement; raises on anything but success."""
        headers = {"Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if key:
            headers["Idempotency-Key"] = key
        request = urllib.request.Request(
            self.url + path,
            method=method,
            headers=headers,
            data=json.dumps(body).encode() if body is not None else None,
        )
        with urllib.request.urlopen(request) as response:
            return json.load(response)

    def token(self, role: str, subject: str, event_id: str | None = None) -> str:
        asked = {"role": role, "subject": subject, "event_id": event_id}
        token: str = self.call("POST", "/v1/dev/token", asked)["token"]
        return token

    def cpu_seconds(self) -> float:
        """What the process that answers has used; of ours, the child that serves."""
        return _cpu_seconds(self.serving_pid)

    @property
    def serving_pid(self) -> int:
        serving = [pid for pid in _children(self.pid) if "--role=engine" in _command(pid)]
        return serving[0] if serving else self.pid

    def cpu_seconds_by_process(self) -> dict[str, float]:
        """What each process behind the endpoint has used, by node or server, children included."""
        return {_process_name(pid): _tree_cpu_seconds(pid) for pid in _children(self.pid)}

    def cpu_seconds_of_all(self) -> float:
        """What every process behind the endpoint has used."""
        return _tree_cpu_seconds(self.pid)

    def resident_bytes_by_process(self) -> dict[str, int]:
        """What each process behind the endpoint has in memory, by node or server."""
        return {_process_name(pid): _tree_resident_bytes(pid) for pid in _children(self.pid)}

    async def until_quiet(self) -> None:
        """Nothing to do any more: what is written behind the answers is written."""
        for _ in range(int(QUIET_S_MAX / QUIET_S)):
            before = self.cpu_seconds_of_all()
            await asyncio.sleep(QUIET_S)
            if self.cpu_seconds_of_all() - before <= QUIET_S * QUIET_SHARE_MAX:
                return
        raise SystemExit(f"{self.url} did not come to rest")

    async def kill(self) -> None:
        """SIGKILL to every process behind it, none of them seeing another one go."""
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in _tree(self.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
        await until(lambda: not Path(f"/proc/{self.pid}").exists())

    @property
    def dsn(self) -> str:
        """The embedded Postgres behind the endpoint."""
        assert self.folder is not None
        sockets = (self.folder / "postgres.sockets").resolve()
        return f"postgresql://stampede@/stampede?host={sockets}&port=5432"


def _tree(pid: int) -> list[int]:
    return [pid, *(below for child in _children(pid) for below in _tree(child))]


def _children(pid: int) -> list[int]:
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):  # it has ended since it was found
        return []


def _command(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")


def _process_name(pid: int) -> str:
    """A node's own, else its program's."""
    command = _command(pid)
    named = [part.removeprefix("--name=") for part in command if part.startswith("--name=")]
    return named[0] if named else Path(command[0].split()[0]).name


def _cpu_seconds(pid: int, *, with_ended_children: bool = False) -> float:
    stat = Path(f"/proc/{pid}/stat").read_text()
    ticks = stat.rsplit(")", 1)[1].split()[11 : 15 if with_ended_children else 13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def _tree_cpu_seconds(pid: int) -> float:
    """A child that ends meanwhile, as those who vacuum do, is among its parent's ended ones."""
    try:
        below = sum(map(_tree_cpu_seconds, _children(pid)))
        return below + _cpu_seconds(pid, with_ended_children=True)
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def _tree_resident_bytes(pid: int) -> int:
    """Memory that processes share is counted once for each, as the kernel shares it out."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        return 0
    line = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
    below = sum(_tree_resident_bytes(child) for child in _children(pid))
    return int(line.split()[1]) * 1024 + below


@asynccontextmanager
async def fresh_folder() -> AsyncIterator[Path]:
    with tempfile.TemporaryDirectory(prefix="stampede-bench-") as name:
        yield Path(name)


@asynccontextmanager
async def stampede(*arguments: str, **settings: str) -> AsyncIterator[Endpoint]:
    """On a folder of its own."""
    async with fresh_folder() as folder, stampede_on(folder, *arguments, **settings) as server:
        yield server


@asynccontextmanager
async def stampede_on_its_own_core() -> AsyncIterator[Endpoint]:
    """Who sells has a core for itself. We keep off it, too, and so does what we start meanwhile: as
    if buyers, Postgres and the projector were on other machines, but for the one core they share.
    """
    before = os.sched_getaffinity(0)
    async with stampede("--own-cores") as server:
        os.sched_setaffinity(0, os.sched_getaffinity(server.pid))
        try:
            yield server
        finally:
            os.sched_setaffinity(0, before)


@asynccontextmanager
async def stampede_on(folder: Path, *arguments: str, **settings: str) -> AsyncIterator[Endpoint]:
    """On what is in the folder; `settings` by their names without the prefix, or in capitals."""
    data = folder / "data"
    fixed = {
        "STAMPEDE_DATA_DIR": str(data),
        "STAMPEDE_RATE_LIMITS": "off",
        "STAMPEDE_DOORS_OPEN_HOURS": "1000000",
        "STAMPEDE_ORDER_HOLD_SECONDS": "86400",
    }
    given = {
        name if name.isupper() else f"STAMPEDE_{name.upper()}": value
        for name, value in settings.items()
    }
    command = ["gateway", "up", "--port=0", *arguments]
    async with _running(command, fixed | given, folder / "server.log") as (url, pid):
        yield Endpoint(url, data, pid)


@asynccontextmanager
async def selling_on(folder: Path, way: str, pool: int, places: int) -> AsyncIterator[Endpoint]:
    """One of the other ways to sell, on what is in the folder."""
    data = folder / "data"
    command = ["benchmarks.baselines", way, str(data), f"--pool={pool}", f"--places={places}"]
    async with _running(command, {}, folder / "server.log") as (url, pid):
        yield Endpoint(url, data, pid)


@asynccontextmanager
async def baseline(module: str) -> AsyncIterator[Endpoint]:
    with tempfile.TemporaryDirectory(prefix="stampede-bench-") as name:
        log = Path(name) / "server.log"
        async with _running([f"benchmarks.baselines.{module}"], {}, log) as (url, pid):
            yield Endpoint(url, None, pid)


@asynccontextmanager
async def _running(
    arguments: list[str], settings: dict[str, str], log: Path
) -> AsyncIterator[tuple[str, int]]:
    """Log lines go to a file, as they would in production."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *dying_with_us("TERM"),
            sys.executable,
            "-m",
            *arguments,
            env={**os.environ, **settings},
            stdout=output,
            stderr=output,
        )
    try:
        yield await asyncio.wait_for(_ready(process, log), 60), process.pid
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _ready(process: asyncio.subprocess.Process, log: Path) -> str:
    while process.returncode is None:
        for line in log.read_bytes().splitlines():
            if line.startswith(READY):
                return line.removeprefix(READY).decode()
        await asyncio.sleep(0.02)
    raise RuntimeError(log.read_text()[-2000:])
