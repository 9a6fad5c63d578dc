"""The servers under measurement: ours with embedded servers of its own, and a baseline's."""

import asyncio
import json
import os
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

READY = b"ready on "


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
        serving = [pid for pid in _children(self.pid) if "--role=engine" in _command(pid)]
        return _cpu_seconds(serving[0] if serving else self.pid)

    def cpu_seconds_by_process(self) -> dict[str, float]:
        """What each process behind the endpoint has used, by node or server, children included."""
        return {_process_name(pid): _tree_cpu_seconds(pid) for pid in _children(self.pid)}

    @property
    def dsn(self) -> str:
        """The embedded Postgres behind the endpoint."""
        assert self.folder is not None
        sockets = (self.folder / "postgres.sockets").resolve()
        return f"postgresql://stampede@/stampede?host={sockets}&port=5432"


def _children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _command(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")


def _process_name(pid: int) -> str:
    """A node's own, else its program's."""
    command = _command(pid)
    named = [part.removeprefix("--name=") for part in command if part.startswith("--name=")]
    return named[0] if named else Path(command[0].split()[0]).name


def _cpu_seconds(pid: int) -> float:
    stat = Path(f"/proc/{pid}/stat").read_text()
    user, system = stat.rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _tree_cpu_seconds(pid: int) -> float:
    return _cpu_seconds(pid) + sum(_tree_cpu_seconds(child) for child in _children(pid))


@asynccontextmanager
async def stampede(*arguments: str) -> AsyncIterator[Endpoint]:
    with tempfile.TemporaryDirectory(prefix="stampede-bench-") as name:
        folder = Path(name) / "data"
        settings = {
            "STAMPEDE_DATA_DIR": str(folder),
            "STAMPEDE_RATE_LIMITS": "off",
            "STAMPEDE_DOORS_OPEN_HOURS": "1000000",
            "STAMPEDE_ORDER_HOLD_SECONDS": "86400",
        }
        log = Path(name) / "server.log"
        command = ["gateway", "up", "--port=0", *arguments]
        async with _running(command, settings, log) as (url, pid):
            yield Endpoint(url, folder, pid)


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
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _ready(process: asyncio.subprocess.Process, log: Path) -> str:
    while process.returncode is None:
        for line in log.read_bytes().splitlines():
            if line.startswith(READY):
                return line.removeprefix(READY).decode()
        await asyncio.sleep(0.02)
    raise RuntimeError(log.read_text()[-2000:])
