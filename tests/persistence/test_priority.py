"""Postgres stands back for who sells as the projector does, where it may be told to."""

import os
import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from persistence.priority import share_priority

NICER = 3

_SHARING = """
import asyncio, os, sys, asyncpg
from persistence.priority import share_priority

async def main(dsn, said_dsn):
    connection = await asyncpg.connect(dsn)
    os.nice(%d)
    share_priority(said_dsn, connection)
    print(os.getpriority(os.PRIO_PROCESS, connection.get_server_pid()))
    await connection.close()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("on_this_machine", [True, False])
async def test_the_process_behind_a_unix_socket_is_as_nice_as_ours(
    postgres_dsn: str, on_this_machine: bool
) -> None:
    elsewhere = urlunsplit(urlsplit(postgres_dsn)._replace(netloc="db.example", query=""))
    said_dsn = postgres_dsn if on_this_machine else elsewhere
    process = await create_subprocess_exec(
        *(sys.executable, "-c", _SHARING % NICER, postgres_dsn, said_dsn), stdout=PIPE
    )
    told, _ = await process.communicate()
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert int(told) == ours + NICER * on_this_machine


async def test_nothing_is_done_where_it_may_not(
    postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuse)
    connection = await asyncpg.connect(postgres_dsn)
    share_priority(postgres_dsn, connection)
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()
