"""The private servers: they start, keep their data, stay private, and never outlive us."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
from redis.asyncio import Redis

from persistence.data_folder import EmbeddedServerError, claim_data_folder
from persistence.embedded import EmbeddedPostgres, EmbeddedRedis

REPOSITORY = Path(__file__).parents[2]

# Starts both, makes something durable in each, says so, and waits to be killed.
LAUNCHER = """
import asyncio, sys
from pathlib import Path
import asyncpg
from redis.asyncio import Redis
from persistence.data_folder import claim_data_folder
from persistence.embedded import EmbeddedPostgres, EmbeddedRedis

async def main(folder):
    claim_data_folder(folder)
    dsn = await EmbeddedPostgres(folder / "postgres").start()
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE TABLE t AS SELECT 42 AS answer")
    url = await EmbeddedRedis(folder / "redis").start()
    await Redis.from_url(url).set("answer", "42")
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Too long for a unix socket, and with a space."""
    path = tmp_path / ("deep " * 30)
    path.mkdir()
    return path


@asynccontextmanager
async def running_postgres(folder: Path) -> AsyncIterator[asyncpg.Connection]:
    postgres = EmbeddedPostgres(folder)
    connection = await asyncpg.connect(await postgres.start())
    try:
        yield connection
    finally:
        await connection.close()
        await postgres.stop()


@asynccontextmanager
async def running_redis(folder: Path) -> AsyncIterator[Redis]:
    server = EmbeddedRedis(folder)
    client: Redis = Redis.from_url(await server.start(), decode_responses=True)
    try:
        yield client
    finally:
        await client.aclose()
        await server.stop()


async def test_postgres_keeps_its_data_over_a_restart(folder: Path) -> None:
    async with running_postgres(folder / "postgres") as connection:
        await connection.execute("CREATE TABLE t AS SELECT 42 AS answer")
    async with running_postgres(folder / "postgres") as connection:
        assert await connection.fetchval("SELECT answer FROM t") == 42


async def test_redis_keeps_its_data_over_a_restart(folder: Path) -> None:
    async with running_redis(folder / "redis") as client:
        await client.set("answer", "42")
    async with running_redis(folder / "redis") as client:
        assert await client.get("answer") == "42"


async def test_postgres_is_durable_and_knows_unicode(postgres_dsn: str) -> None:
    connection = await asyncpg.connect(postgres_dsn)
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        assert await connection.fetchval("SELECT current_setting($1)", setting) == "on"
    assert await connection.fetchval("SELECT lower('ÀÉÎ')") == "àéî"
    await connection.close()


async def test_servers_listen_on_no_tcp_port(postgres_dsn: str, redis_url: str) -> None:
    connection = await asyncpg.connect(postgres_dsn)
    assert await connection.fetchval("SHOW listen_addresses") == ""
    await connection.close()
    client: Redis = Redis.from_url(redis_url, decode_responses=True)
    assert await client.config_get("port") == {"port": "0"}
    await client.aclose()


def test_nobody_else_may_reach_the_sockets(postgres_dsn: str, redis_url: str) -> None:
    postgres_sockets = parse_qs(urlsplit(postgres_dsn).query)["host"][0]
    redis_sockets = Path(urlsplit(redis_url).path).parent
    for sockets in (Path(postgres_sockets), redis_sockets):
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700


async def test_killed_launcher_takes_its_servers_down_and_the_next_finds_the_data(
    folder: Path,
) -> None:
    launcher = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LAUNCHER, str(folder)), cwd=REPOSITORY, stdout=subprocess.PIPE
    )
    assert launcher.stdout is not None
    assert await launcher.stdout.readline() == b"ready\n"
    launcher.kill()
    assert await launcher.wait() == -signal.SIGKILL
    claim = claim_data_folder(folder)
    # Each start waits for the lock that the earlier server holds until its last process is gone.
    async with running_postgres(folder / "postgres") as connection:
        assert await connection.fetchval("SELECT answer FROM t") == 42
    async with running_redis(folder / "redis") as client:
        assert await client.get("answer") == "42"
    claim.release()


async def test_first_start_that_was_interrupted_is_made_again(folder: Path) -> None:
    partial = folder / "postgres.partial"
    partial.mkdir()
    (partial / "PG_VERSION").write_text("18\n")
    async with running_postgres(folder / "postgres") as connection:
        assert await connection.fetchval("SELECT current_database()") == "stampede"
    assert not partial.exists()


async def test_pid_file_with_the_number_of_another_process_does_not_stop_a_start(
    folder: Path,
) -> None:
    async with running_postgres(folder / "postgres"):
        pid_file = (folder / "postgres" / "postmaster.pid").read_text().splitlines()[1:]
    other = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE)
    (folder / "postgres" / "postmaster.pid").write_text("\n".join([str(other.pid), *pid_file]))
    async with running_postgres(folder / "postgres") as connection:
        assert await connection.fetchval("SELECT 1") == 1
    other.terminate()
    await other.wait()


async def test_server_that_cannot_start_says_why_in_one_line(folder: Path) -> None:
    (folder / "postgres").mkdir(mode=0o700)
    with pytest.raises(EmbeddedServerError, match=r"Postgres did not start: .+postgres\.log") as e:
        await EmbeddedPostgres(folder / "postgres").start()
    assert "\n" not in str(e.value)


async def test_stopped_servers_leave_nothing_in_tmp(folder: Path) -> None:
    server = EmbeddedRedis(folder / "redis")
    sockets = Path(urlsplit(await server.start()).path).parent
    await server.stop()
    assert not sockets.exists()


def test_new_data_folder_is_for_us_alone(folder: Path) -> None:
    claim = claim_data_folder(folder / "new" / "data")
    assert stat.S_IMODE(claim.path.stat().st_mode) == 0o700
    claim.release()


def test_data_folder_in_use_is_refused_until_it_is_released(folder: Path) -> None:
    claim = claim_data_folder(folder)
    with pytest.raises(EmbeddedServerError, match=f"in use by process {os.getpid()}$"):
        claim_data_folder(folder)
    claim.release()
    claim_data_folder(folder).release()


def test_folder_with_something_else_in_it_is_refused_and_left_alone(folder: Path) -> None:
    (folder / "thesis.tex").touch()
    with pytest.raises(EmbeddedServerError, match="not one of ours"):
        claim_data_folder(folder)
    assert [entry.name for entry in folder.iterdir()] == ["thesis.tex"]


def test_data_folder_of_another_format_is_refused(folder: Path) -> None:
    (folder / "stampede.json").write_text('{"format": 2}')
    with pytest.raises(EmbeddedServerError, match="has format 2"):
        claim_data_folder(folder)


def test_file_in_place_of_a_data_folder_is_refused(folder: Path) -> None:
    (folder / "file").touch()
    with pytest.raises(EmbeddedServerError, match="cannot be used"):
        claim_data_folder(folder / "file")
