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
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path

import asyncpg
import click
import msgspec
import uvloop

from engine.commands import Role
from gateway import launcher, progress
from gateway.launcher import LaunchError, Node
from gateway.logs import configure_logging
from gateway.settings import Settings, SettingsError, read
from persistence.data_folder import EmbeddedServerError, claim_data_folder
from persistence.embedded import EmbeddedPostgres, EmbeddedRedis
from persistence.keeping import Kept
from persistence.migrations import MigrationError, prepare
from persistence.servers import ToolError, servers_of

_TOLD = (SettingsError, EmbeddedServerError, MigrationError, LaunchError, ToolError)

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
@click.option("--own-cores", is_flag=True, help="A core for each of these; what else runs shares.")
def up(
    host: str | None,
    port: int | None,
    gateways: int | None,
    engines: int | None,
    own_cores: bool,
) -> None:
    """Serve until SIGINT or SIGTERM, with embedded servers where no URLs are set.

    One process is gateway and engine both, unless --gateways or --engines sets them apart.
    """
    given = {"STAMPEDE_HTTP_HOST": host, "STAMPEDE_HTTP_PORT": None if port is None else str(port)}
    environment = {**os.environ, **{name: value for name, value in given.items() if value}}
    apart = gateways is not None or engines is not None
    counts = {"gateway": gateways or 1, "engine": engines or 1} if apart else {}
    _or_one_line(partial(_up, counts=counts, own_cores=own_cores), environment)


@main.command()
@click.option("--role", "roles", type=click.Choice([*ROLES, "all"]), multiple=True, default=["all"])
@click.option(
    "--name", help="Its name among the nodes, the host's by default (STAMPEDE_NODE_NAME)."
)
@click.option("--ops-port", help="Port of its health and metrics alone (STAMPEDE_OPS_PORT).")
@click.option("--core", type=int, hidden=True)
@click.option("--listen-fd", type=int, hidden=True)
@click.option("--ready-fd", type=int, hidden=True)
@click.option("--life-fd", type=int, hidden=True)
def node(
    roles: tuple[str, ...],
    name: str | None,
    ops_port: str | None,
    core: int | None,
    listen_fd: int | None,
    ready_fd: int | None,
    life_fd: int | None,
) -> None:
    """Run one process against the servers that DATABASE_URL and REDIS_URL name."""
    if core is not None:
        os.sched_setaffinity(0, [core])

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
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
def shards(as_json: bool) -> None:
    """Show who lives, who owns what, and how far the projector and the streams are behind."""

    async def run(environment: Mapping[str, str]) -> None:
        from persistence.standing import standing

        async with _data(read(environment)) as urls:
            found = await standing(*urls)
        click.echo(msgspec.json.encode(found) if as_json else "\n".join(found.lines()))

    _or_one_line(run, os.environ)


@main.command()
@click.option("--repair", is_flag=True, help="Make again what is derived; never the journal.")
@click.option("--shard", "shards", type=int, multiple=True, help="Only this one; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
def fsck(repair: bool, shards: tuple[int, ...], as_json: bool) -> None:
    """Recount everything from the journal, and compare all that is derived with it.

    Exit code 0: clean, 1: something was found (and mended, if asked), 2: could not run.
    """

    async def run(environment: Mapping[str, str]) -> None:
        from persistence.fsck import fsck as check

        settings = read(environment)
        if wrong := [shard for shard in shards if not 0 <= shard < settings.shards]:
            raise SettingsError(f"there is no shard {wrong[0]}: there are {settings.shards}")
        async with _data(settings) as urls:
            with progress.shown() as show:
                report = await check(
                    *urls,
                    archive=Path(settings.archive_folder),
                    shards=settings.shards,
                    chosen=shards,
                    repair=repair,
                    progress=show,
                )
        click.echo(report.as_json() if as_json else "\n".join(report.lines()))
        if not report.clean:
            raise click.exceptions.Exit(1)

    _or_one_line(run, os.environ, exit_code=2)


@main.command()
@click.option("--date", "day", type=click.DateTime(["%Y-%m-%d"]), help="In UTC; else all days.")
@click.option("--event-id", help="Of this event alone.")
def settlement(day: datetime | None, event_id: str | None) -> None:
    """Print what was taken, given back and kept, by day, provider and currency, as CSV."""

    async def run(environment: Mapping[str, str]) -> None:
        from persistence.settlement import settlement as read_settlement

        async with _data(read(environment)) as (database_url, _):
            connection = await asyncpg.connect(database_url)
            rows = await read_settlement(connection, event_id, day.date() if day else None)
            await connection.close()
        click.echo("date,provider,currency,taken,confirmed,returned,refunded,net,sent_back")
        for row in rows:
            amounts = (row.taken, row.confirmed, row.returned, row.refunded, row.net, row.sent_back)
            click.echo(",".join(map(str, (row.date, row.provider, row.currency, *amounts))))

    _or_one_line(run, os.environ)


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
def backup(file: Path) -> None:
    """Write what can't be made again, as of one instant, to FILE; the system may be running."""

    async def run(environment: Mapping[str, str]) -> None:
        from persistence.backup import backup as write

        settings = read(environment)
        async with _data(settings) as (database_url, _):
            with progress.shown() as show:
                written = await write(database_url, Path(settings.archive_folder), file, show)
        click.echo(f"{file} {written.summary}")

    _or_one_line(run, os.environ)


@main.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True))
def restore(file: Path) -> None:
    """Fill an empty database from FILE; no node may be running."""

    async def run(environment: Mapping[str, str]) -> None:
        from persistence.backup import restore as fill

        async with _data(read(environment), new=True) as urls:
            with progress.shown() as show:
                restored = await fill(*urls, file, show)
        click.echo(f"restored {restored.summary}; look at it with `stampede fsck`, then start")

    _or_one_line(run, os.environ)


@main.command()
def reindex() -> None:
    """Make the search index anew, while searches and changes go on.

    On Elasticsearch where ELASTICSEARCH_URL names one, else on Postgres.
    """

    async def run(environment: Mapping[str, str]) -> None:
        from persistence.search import assembly

        settings = read(environment)
        url, plain = settings.elasticsearch_url, settings.search_server == "opensearch"
        server = assembly.Server(url, plain) if url is not None else None
        async with _data(settings) as (database_url, _):
            with progress.shown() as show:
                done = await assembly.reindex(database_url, server, partial(show, "documents"))
        click.echo(f"{done:,} documents indexed anew")

    _or_one_line(run, os.environ)


@main.group(name="import")
def import_() -> None:
    """Bring in what is kept elsewhere."""


@import_.command(name="events")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--organizer", required=True, help="Whose events they become.")
@click.option("--atomic", is_flag=True, help="All rows, or none.")
@click.option("--dry-run", is_flag=True, help="Tell what would be refused, and write nothing.")
@click.option("--report", type=click.Path(path_type=Path), help="CSV of the refused rows.")
def import_events(
    file: Path, organizer: str, atomic: bool, dry_run: bool, report: Path | None
) -> None:
    """Add the events of FILE (.jsonl or .csv), a booking each; again changes nothing.

    Fields are those of `POST /v1/events`, and `import_key` by which a row is known again.
    Exit code 1: some rows were refused.
    """

    async def run(environment: Mapping[str, str]) -> None:
        from gateway.bulk import import_file
        from gateway.clock import SystemClock
        from persistence.hire import Hire
        from persistence.importing import EventImports

        settings = read(environment)
        async with (
            _data(settings) as (database_url, _),
            asyncpg.create_pool(database_url) as pool,
        ):
            hire = Hire(SystemClock(), timedelta(days=settings.booking_request_days))
            imports = EventImports(pool, hire)
            await import_file(imports, file, organizer, atomic, dry_run, report)

    _or_one_line(run, os.environ)


def _or_one_line(
    run: Callable[[Mapping[str, str]], Coroutine[None, None, None]],
    environment: Mapping[str, str],
    exit_code: int = 1,
) -> None:
    """What a person can mend is told in one line, with this exit code."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(environment))
    except _TOLD as error:
        click.echo(f"stampede: {error}", err=True)
        sys.exit(exit_code)


async def _up(environment: Mapping[str, str], counts: Mapping[str, int], own_cores: bool) -> None:
    settings = read(environment)
    cores = launcher.set_apart(sum(counts.values()) or 1) if own_cores else []
    configure_logging(settings.log == "on")
    launcher.allow_many_connections()
    listening = launcher.listen(settings.http_host, settings.http_port)
    # On a database that others share, a node's name says on which machine it lives.
    prefix = f"{socket.gethostname()}/" if settings.database_url is not None else ""
    nodes = _nodes(counts, prefix, listening.fileno(), iter(cores))
    async with _servers(settings) as (starting, servers), AsyncExitStack() as stack:
        for node in nodes:
            stack.push_async_callback(node.stop)
            await node.spawn()
        wiring = await starting
        await prepare(wiring["DATABASE_URL"], settings.shards)
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        given = {"STAMPEDE_HTTP_HOST": host, "STAMPEDE_HTTP_PORT": str(port)}
        ready = f"ready on http://{shown}:{port}"
        await launcher.run(nodes, servers, {**wiring, **given}, ready)


def _nodes(
    counts: Mapping[str, int], prefix: str, listen_fd: int, cores: Iterator[int]
) -> list[Node]:
    """`counts` by role; empty: one process for HTTP and sales. `cores`: one for each of them."""
    nodes = [Node("projector", ["--role=projector"], [])]
    if not counts:
        arguments = ["--role=gateway", "--role=engine", f"--listen-fd={listen_fd}", *_own(cores)]
        return [Node(f"{prefix}node-1", arguments, [listen_fd]), *nodes]
    for role, count in counts.items():
        shared = {"gateway": [listen_fd]}.get(role, [])
        listening = [f"--listen-fd={fd}" for fd in shared]
        for number in range(1, count + 1):
            arguments = [f"--role={role}", "--ops-port=0", *listening, *_own(cores)]
            nodes.append(Node(f"{prefix}{role}-{number}", arguments, shared))
    return nodes


def _own(cores: Iterator[int]) -> list[str]:
    return [f"--core={core}" for core in islice(cores, 1)]


@asynccontextmanager
async def _servers(
    settings: Settings,
) -> AsyncIterator[tuple[Awaitable[dict[str, str]], list[Kept]]]:
    """Postgres and Redis, embedded where no URL is set.

    What a node must know, once they serve; and those that are ours, to be kept alive from then on.
    """
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
    given = ((postgres, settings.database_url), (redis, settings.redis_url))
    try:
        yield starting, [Kept(server) for server, url in given if url is None]
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await asyncio.gather(redis.stop(), postgres.stop())


def _data(settings: Settings, *, new: bool = False) -> AbstractAsyncContextManager[tuple[str, str]]:
    folder = Path(settings.data_dir)
    return servers_of(folder, settings.database_url, settings.redis_url, new=new)


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
