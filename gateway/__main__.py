"""The command line, and the launcher's half of the composition root.

`up` owns the embedded servers and the processes. `node` is one process of them; on a real cluster
nodes are started by the orchestrator, with the servers' URLs set. What a node needs is imported by
the node alone: it keeps the launcher quick to start, and small.
"""

import asyncio
import os
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import click
import msgspec
import uvloop

from engine.commands import Role
from gateway import launcher
from gateway.launcher import LaunchError, Node
from gateway.logs import configure_logging
from gateway.settings import Settings, SettingsError, read
from persistence.embedded import (
    EmbeddedPostgres,
    EmbeddedRedis,
    EmbeddedServerError,
    claim_data_folder,
)
from persistence.migrations import MigrationError, prepare

ROLES = ("gateway", "engine", "projector")


class Secrets(msgspec.Struct, frozen=True):
    token_secret: str
    webhook_secret: str


@click.group()
def main() -> None:
    """Stampede: a ticketing engine for the on-sale and the doors."""


@main.command()
@click.option("--host", help="Address to listen on (STAMPEDE_HTTP_HOST).")
@click.option("--port", type=int, help="Port; 0 picks a free one (STAMPEDE_HTTP_PORT).")
@click.option("--gateways", type=click.IntRange(1, 64), help="Processes for HTTP alone.")
@click.option("--engines", type=click.IntRange(1, 64), help="Processes that own sales alone.")
def up(host: str | None, port: int | None, gateways: int | None, engines: int | None) -> None:
    """Serve until SIGINT or SIGTERM, with embedded servers where no URLs are set.

    One process is gateway and engine both, unless --gateways or --engines sets them apart.
    """
    given = {"STAMPEDE_HTTP_HOST": host, "STAMPEDE_HTTP_PORT": None if port is None else str(port)}
    environment = {**os.environ, **{name: value for name, value in given.items() if value}}
    apart = gateways is not None or engines is not None
    counts = {"gateway": gateways or 1, "engine": engines or 1} if apart else {}
    _or_one_line(partial(_up, counts=counts), environment)


@main.command()
@click.option("--role", "roles", type=click.Choice([*ROLES, "all"]), multiple=True, default=["all"])
@click.option(
    "--name", help="Its name among the nodes, the host's by default (STAMPEDE_NODE_NAME)."
)
@click.option("--ops-port", help="Port of its health and metrics alone (STAMPEDE_OPS_PORT).")
@click.option("--listen-fd", type=int, hidden=True)
@click.option("--ready-fd", type=int, hidden=True)
@click.option("--life-fd", type=int, hidden=True)
def node(
    roles: tuple[str, ...],
    name: str | None,
    ops_port: str | None,
    listen_fd: int | None,
    ready_fd: int | None,
    life_fd: int | None,
) -> None:
    """Run one process against the servers that DATABASE_URL and REDIS_URL name."""

    async def run(environment: Mapping[str, str]) -> None:
        from gateway.node import Fds  # while the servers start
        from gateway.node import run as run_node

        told = _told(life_fd) if life_fd is not None else {}
        given = {"STAMPEDE_NODE_NAME": name, "STAMPEDE_OPS_PORT": ops_port}
        settings = read({**environment, **told, **{n: v for n, v in given.items() if v}})
        played = set(ROLES) if "all" in roles else set(roles)
        await run_node(settings, played, Fds(listen_fd, ready_fd, life_fd))

    _or_one_line(run, os.environ)


def _told(life_fd: int) -> dict[str, str]:
    """What the launcher says of the servers: one line, before the pipe falls silent."""
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(life_fd, 4096)
        if not part:
            raise LaunchError("the launcher has gone")
        line += part
    return msgspec.json.decode(line, type=dict[str, str])


@main.command()
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True)
@click.option("--subject", required=True, help="Who the credential speaks for.")
@click.option("--event-id", help="The one event of a scanner.")
@click.option("--days", type=int, default=30, show_default=True)
def token(role: str, subject: str, event_id: str | None, days: int) -> None:
    """Print a credential signed with STAMPEDE_TOKEN_SECRET."""

    async def run(environment: Mapping[str, str]) -> None:
        from gateway.auth import Credentials, Principal

        settings = read(environment)
        if settings.token_secret is None:
            raise SettingsError("a credential is signed with STAMPEDE_TOKEN_SECRET: set it")
        expires_at_s = int(time.time()) + days * 24 * 60 * 60
        principal = Principal(Role(role), subject, expires_at_s, event_id)
        click.echo(Credentials(settings.token_secret).issue(principal))

    _or_one_line(run, os.environ)


@main.command()
def reindex() -> None:
    """Make the search index anew, while searches and changes go on.

    On Elasticsearch where ELASTICSEARCH_URL names one, else on Postgres.
    """

    async def run(environment: Mapping[str, str]) -> None:
        from rich.progress import Progress

        from persistence.search import assembly

        settings = read(environment)
        url, plain = settings.elasticsearch_url, settings.search_server == "opensearch"
        server = assembly.Server(url, plain) if url is not None else None
        with Progress() as progress:
            task = progress.add_task("documents", total=None)
            done = await assembly.reindex(
                _database_url(settings),
                server,
                lambda done, total: progress.update(task, completed=done, total=total),
            )
        click.echo(f"{done:,} documents indexed anew")

    _or_one_line(run, os.environ)


def _database_url(settings: Settings) -> str:
    """The one that is set, or the embedded one of the server that runs on the data folder."""
    sockets = (Path(settings.data_dir) / "postgres.sockets").resolve()
    if settings.database_url is None and not sockets.is_dir():
        raise SettingsError("set DATABASE_URL, or start the server that uses this data folder")
    return settings.database_url or f"postgresql://stampede@/stampede?host={sockets}&port=5432"


def _or_one_line(
    run: Callable[[Mapping[str, str]], Coroutine[None, None, None]], environment: Mapping[str, str]
) -> None:
    """What a person can mend is told in one line, with exit code 1."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(environment))
    except (SettingsError, EmbeddedServerError, MigrationError, LaunchError) as error:
        click.echo(f"stampede: {error}", err=True)
        sys.exit(1)


async def _up(environment: Mapping[str, str], counts: Mapping[str, int]) -> None:
    settings = read(environment)
    configure_logging(settings.log == "on")
    launcher.allow_many_connections()
    listening = launcher.listen(settings.http_host, settings.http_port)
    # On a database that others share, a node's name says on which machine it lives.
    prefix = f"{socket.gethostname()}/" if settings.database_url is not None else ""
    nodes = _nodes(counts, prefix, listening.fileno())
    async with _servers(settings) as starting, AsyncExitStack() as stack:
        for node in nodes:
            stack.push_async_callback(node.stop)
            await node.spawn()
        wiring = await starting
        await prepare(wiring["DATABASE_URL"], settings.shards)
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        given = {"STAMPEDE_HTTP_HOST": host, "STAMPEDE_HTTP_PORT": str(port)}
        ready = f"ready on http://{shown}:{port}"
        await launcher.run(nodes, {**wiring, **given}, ready)


def _nodes(counts: Mapping[str, int], prefix: str, listen_fd: int) -> list[Node]:
    """`counts` by role; empty: one process for HTTP and sales."""
    nodes = [Node("projector", ["--role=projector"], [])]
    if not counts:
        arguments = ["--role=gateway", "--role=engine", f"--listen-fd={listen_fd}"]
        return [Node(f"{prefix}node-1", arguments, [listen_fd]), *nodes]
    for role, count in counts.items():
        shared = {"gateway": [listen_fd]}.get(role, [])
        listening = [f"--listen-fd={fd}" for fd in shared]
        for number in range(1, count + 1):
            arguments = [f"--role={role}", "--ops-port=0", *listening]
            nodes.append(Node(f"{prefix}{role}-{number}", arguments, shared))
    return nodes


@asynccontextmanager
async def _servers(settings: Settings) -> AsyncIterator[Awaitable[dict[str, str]]]:
    """Postgres and Redis, embedded where no URL is set; what a node must know, once they serve."""
    folder = Path(settings.data_dir)
    claim_data_folder(folder)
    postgres, redis = EmbeddedPostgres(folder / "postgres"), EmbeddedRedis(folder / "redis")

    async def start() -> dict[str, str]:
        database_url, redis_url = await asyncio.gather(
            _given(settings.database_url) or postgres.start(),
            _given(settings.redis_url) or redis.start(),
        )
        made = _secrets(folder / "secrets.json")
        return {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "STAMPEDE_TOKEN_SECRET": settings.token_secret or made.token_secret,
            "STAMPEDE_WEBHOOK_SECRET": settings.webhook_secret or made.webhook_secret,
        }

    starting = asyncio.create_task(start(), name="servers")
    try:
        yield starting
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await asyncio.gather(redis.stop(), postgres.stop())


def _given(url: str | None) -> Coroutine[None, None, str] | None:
    async def known(found: str) -> str:
        return found

    return known(url) if url is not None else None


def _secrets(path: Path) -> Secrets:
    """Made at the first start; only for development, where nobody has set any."""
    if not path.exists():
        made = Secrets(secrets.token_hex(32), secrets.token_hex(32))
        draft = path.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_bytes(msgspec.json.encode(made))
        draft.rename(path)
    return msgspec.json.decode(path.read_bytes(), type=Secrets)


if __name__ == "__main__":
    main()
