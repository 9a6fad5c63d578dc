"""How much of a shared machine what Postgres does for us may take."""

import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg


def share_priority(dsn: str, connection: asyncpg.Connection) -> None:
    """Have the process behind the connection stand back as this one does (`nice`).

    Where it is on this machine and we may ask for it: behind a unix socket. Else all is as it was.
    """
    hosts = parse_qs(urlsplit(dsn).query).get("host", [""])
    pid = connection.get_server_pid()
    with suppress(OSError):  # in another namespace, or somebody else's
        if hosts[0].startswith("/") and _is_postgres(pid):
            os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, 0))


def _is_postgres(pid: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"postgres: ")
