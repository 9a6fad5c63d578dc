"""`python -m benchmarks.baselines WAY FOLDER`: serves a way to sell, its servers in FOLDER."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import click
import uvloop

from benchmarks.baselines import edge, lua, rows
from benchmarks.baselines.books import Way, open_books
from persistence.embedded import EmbeddedPostgres, EmbeddedRedis


@asynccontextmanager
async def opened(way: str, folder: Path, places: int, pool: int) -> AsyncIterator[Way]:
    """What is in the folder from before stays."""
    async with AsyncExitStack() as undo:
        postgres = EmbeddedPostgres(folder / "postgres")
        dsn = await postgres.start()
        undo.push_async_callback(postgres.stop)
        connection = await asyncpg.connect(dsn)
        await open_books(connection, places, a_row_each=way in rows.A_ROW_A_PLACE)
        await connection.close()
        if way in rows.WAYS:
            yield await undo.enter_async_context(rows.opened(way, dsn, pool))
            return
        redis = EmbeddedRedis(folder / "redis")
        socket = (await redis.start()).removeprefix("unix://")
        undo.push_async_callback(redis.stop)
        yield await undo.enter_async_context(lua.opened(way, dsn, socket, places))


@click.command()
@click.argument("way", type=click.Choice([*rows.WAYS, *lua.WAYS]))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--places", default=1_000_000)
@click.option("--pool", default=8, help="Connections, of the ways that need them.")
def main(way: str, folder: Path, places: int, pool: int) -> None:
    """Until SIGTERM."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(way, folder, places, pool))


async def _serve(way: str, folder: Path, places: int, pool: int) -> None:
    async with opened(way, folder, places, pool) as selling:
        serving = asyncio.create_task(edge.serve(edge.selling(selling.place)))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
        with suppress(asyncio.CancelledError):
            await serving


if __name__ == "__main__":
    main()
