"""The demo's own server: `python -m gateway up` in a private data folder, on a free port.

It ends with us, however we end: the kernel sends it SIGTERM should we be killed. Nothing of our
environment reaches it but what every process needs, so it meets no server of anybody else.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from persistence.data_folder import (
    MARKER_NAME,
    EmbeddedServerError,
    FolderClaim,
    claim_data_folder,
)
from persistence.lifeline import dying_with_us

START_S_MAX = 90.0
STOP_S_MAX = 20.0
GOING_DOWN_S_MAX = 15.0
POLL_S = 0.05
LOG_NAME = "demo.log"
LOG_TAIL_LINES = 5
_READY = "ready on "
_URLS = ("DATABASE_URL", "REDIS_URL", "ELASTICSEARCH_URL", "SMTP_URL")


class ServerError(Exception):
    """No server for the demo: one line for the person who starts it."""


async def fresh_folder(folder: Path) -> Path:
    """An empty data folder at `folder`, in place of what an earlier demo has left there.

    Raises ServerError where something else is in it, or a demo still runs on it.
    """
    folder = folder.absolute()
    if folder.exists() and any(folder.iterdir()):
        if not ((folder / MARKER_NAME).exists() and (folder / LOG_NAME).exists()):
            raise ServerError(f"{folder} is not what an earlier demo left: it stays as it is")
        (await _claim(folder)).release()
        shutil.rmtree(folder)
    (await _claim(folder)).release()
    return folder


async def _claim(folder: Path) -> FolderClaim:
    """Patient: the server of a demo that was killed may still be going down."""
    deadline = time.monotonic() + GOING_DOWN_S_MAX
    while True:
        try:
            return claim_data_folder(folder)
        except EmbeddedServerError as error:
            if time.monotonic() > deadline:
                raise ServerError(str(error)) from None
        await asyncio.sleep(POLL_S)


class Server:
    """One run of the launcher on a fresh folder; `url` is set once it is ready.

    `arguments` go to `up`, of `module` in place of the product's own.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str],
        arguments: Sequence[str] = (),
        module: str = "gateway",
    ) -> None:
        self.folder = folder
        self.log = folder / LOG_NAME
        self.url = ""
        self._settings = settings
        self._command = [sys.executable, "-m", module, "up", "--port", "0", *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        sockets = (self.folder / "postgres.sockets").readlink()
        return f"postgresql://stampede@/stampede?host={sockets}&port=5432"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def start(self) -> None:
        """Raises ServerError with the last lines that it wrote."""
        self._process = self._spawn()
        deadline = time.monotonic() + START_S_MAX
        while (url := self._ready_line()) is None:
            if not self.running or time.monotonic() > deadline:
                lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
                raise ServerError(f"the server did not start: {' | '.join(lines)} ({self.log})")
            await asyncio.sleep(POLL_S)
        self.url = url

    def _spawn(self) -> subprocess.Popen[bytes]:
        # Not asyncio's subprocess: the kernel ties it to the thread that started it, the main one,
        # and it has to be stopped after the loop is gone, too.
        folder = {"STAMPEDE_DATA_DIR": str(self.folder)}
        with self.log.open("wb") as output:
            return subprocess.Popen(
                [*dying_with_us("TERM"), *self._command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**_plain_environment(), **self._settings, **folder},
                # Ctrl-C at the terminal is for us; we then stop it in order.
                start_new_session=True,
            )

    def _ready_line(self) -> str | None:
        for line in self.log.read_text(errors="replace").splitlines():
            if line.startswith(_READY):
                return line.removeprefix(_READY).strip()
        return None

    async def ended(self) -> None:
        """Returns when it has ended by itself."""
        assert self._process is not None
        await asyncio.to_thread(self._process.wait)

    def stop(self) -> None:
        """SIGTERM and wait; SIGKILL to one that does not listen, which ends all it has started."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _plain_environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("STAMPEDE_") and name not in _URLS
    }
