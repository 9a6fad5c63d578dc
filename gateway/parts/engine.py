"""The part that owns shards and decides."""

import asyncio
from functools import partial

from msgspec import Struct

from engine.runtime.limits import Limits
from engine.runtime.ownership import Lease, Ownership
from engine.runtime.supervisor import Supervisor
from gateway import telemetry
from gateway.chores import every
from gateway.parts.process import Process
from persistence.durable_snapshots import PostgresSnapshots
from persistence.journal import PostgresJournal
from persistence.reading import Projections
from persistence.snapshots import RedisSnapshots, Snapshots

_STOP_S = 4.0
_LAG_EVERY_S = 1.0


class Engine(Struct, frozen=True):
    """It serves once its ownership has begun."""

    supervisor: Supervisor
    ownership: Ownership


async def start_engine(process: Process, address: str) -> Engine:
    """`address`: where the health of this process is read."""
    # Loading sales and the journal's reads have a pool of their own: an organizer's transaction
    # that waits for its sale must never hold the connection that the sale needs.
    pool = await process.pool("engine")
    settings = process.settings
    journal = PostgresJournal(process.needs.database_url, pool, process.name)
    process.stack.push_async_callback(journal.close)
    lease = Lease()
    membership = process.membership(address, lease)
    supervisor = Supervisor(
        journal=journal,
        snapshots=Snapshots(RedisSnapshots(process.redis), PostgresSnapshots(pool)),
        clock=process.clock,
        observer=process.observer,
        shards=settings.shards,
        limits=Limits(finished_order_kept_ms=settings.finished_order_kept_seconds * 1000),
    )
    _measure(process, supervisor)
    ownership = Ownership(
        node=process.name.name,
        membership=membership,
        journal=journal,
        streams=process.streams,
        supervisor=supervisor,
        clock=process.clock,
        observer=process.observer,
        shards=settings.shards,
        lease=lease,
    )
    process.stack.push_async_callback(ownership.leave)
    process.do_until_the_end("ownership", ownership.run())
    deciding = process.do("supervisor", supervisor.run())
    process.stack.push_async_callback(_stop_deciding, supervisor, deciding)
    return Engine(supervisor, ownership)


def _measure(process: Process, supervisor: Supervisor) -> None:
    telemetry.DEPTH.set_function(lambda: supervisor.depth)
    telemetry.SALES.set_function(lambda: supervisor.sales_loaded)
    telemetry.SHARDS.set_function(lambda: len(supervisor.epoch_by_shard))
    # The lag too: a projector that is dead would not say how far it is behind.
    projections = Projections(process.edge_pool)
    lag = every(_LAG_EVERY_S, "measure the lag", partial(_lag, projections))
    process.do_until_the_end("lag", lag)


async def _lag(projections: Projections) -> None:
    telemetry.LAG.set(await projections.lag())


async def _stop_deciding(supervisor: Supervisor, deciding: asyncio.Task[None]) -> None:
    supervisor.stop()
    await asyncio.wait([deciding], timeout=_STOP_S)
    deciding.cancel()
