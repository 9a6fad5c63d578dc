"""A real server for the tests: `python -m gateway up` in a data folder of its own."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from persistence.lifeline import dying_with_us

READY = "ready on "


class Server:
    """One run of the launcher; `url` once it is ready. Its output goes to a file by its folder."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        *,
        arguments: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.log = folder.parent / f"{folder.name}.log"
        self._settings = dict(settings or {})
        self._arguments = arguments
        self._process: asyncio.subprocess.Process | None = None
        self.url = ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self, port: int = 0) -> None:
        environment = {
            **{n: v for n, v in os.environ.items() if not n.startswith("STAMPEDE_")},
            "STAMPEDE_DATA_DIR": str(self.folder),
            "STAMPEDE_RATE_LIMITS": "off",
            "STAMPEDE_SCAN_WAIT_SECONDS": "5",  # a machine that is busy with tests is not silent
            **self._settings,
        }
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *dying_with_us("TERM"),
                sys.executable,
                "-m",
                "gateway",
                "up",
                f"--port={port}",
                *self._arguments,
                env=environment,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        self.url = await asyncio.wait_for(self._ready(), 60)
        self._reading = asyncio.create_task(self._drain(), name="server output")

    async def _ready(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            text = line.decode()
            if text.startswith(READY):
                return text.removeprefix(READY).strip()
        raise RuntimeError(f"no server: {self.log.read_text()[-2000:]}")

    async def _drain(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        with self.log.open("ab") as log:
            async for line in self._process.stdout:
                log.write(line)

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        return await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """SIGKILL to the launcher; everything that it started goes with it."""
        await self._end(signal.SIGKILL)

    async def _end(self, how: signal.Signals) -> int:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(how)
        code = await asyncio.wait_for(self._process.wait(), 30)
        await self._reading
        return code

    async def node_pid(self, name: str = "node-1") -> int:
        """The process of that name, as /proc shows it among the launcher's children."""
        for child in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split():
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                if f"--name={name}" in Path(f"/proc/{child}/cmdline").read_bytes().decode():
                    return int(child)
        raise LookupError(name)


@asynccontextmanager
async def running(folder: Path, settings: Mapping[str, str] | None = None) -> AsyncIterator[Server]:
    server = Server(folder, settings)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
