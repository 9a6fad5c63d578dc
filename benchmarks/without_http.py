"""The engine with its journal, without HTTP, beside what its journal alone could take, and beside
a row lock an order: in turns, each in this process.
"""

import asyncio
import itertools
import time
from collections.abc import Sequence

import asyncpg
from msgspec import Struct

from benchmarks.alone import Engine, asked_of, running
from benchmarks.asked import Asked
from benchmarks.baselines import rows
from benchmarks.baselines.books import EVENT_ID, TIER_ID, Way, open_books
from benchmarks.baselines.edge import Order, Selection, placed
from benchmarks.results import Figure, Measurement, measured
from benchmarks.servers import fresh_folder
from benchmarks.ways import POOLS, STOCK
from engine.facts import Entry
from engine.runtime.ports import Batch
from persistence.embedded import EmbeddedPostgres
from persistence.journal import NodeName, PostgresJournal, decode

SHARD = 1
BATCHES_MAX = 1_000


class Round(Struct):
    """A second: decisions of the engine, facts of the bare loop, orders behind the row lock by
    the size of its pool. `batch`: facts in a row of the journal, on average.
    """

    engine: float
    bare: float
    locked: dict[int, float]
    batch: float


async def measure(asked: Asked) -> list[Measurement]:
    async with running() as engine:
        rounds = [await _round(engine, asked) for _ in range(asked.rounds_or(5))]
    best = max(POOLS, key=lambda pool: sum(one.locked[pool] for one in rounds))
    ours, bare = [one.engine for one in rounds], [one.bare for one in rounds]
    locked = [one.locked[best] for one in rounds]
    figures = [
        Figure("engine: durable decisions", "a second", ours),
        Figure("the same batches straight through the journal: facts", "a second", bare),
        Figure("facts in a batch", "", [one.batch for one in rounds]),
        Figure("engine / bare group commit", "", _ratios(ours, bare)),
        Figure("FOR UPDATE: orders", "a second", locked),
        Figure("engine / FOR UPDATE", "", _ratios(ours, locked)),
    ]
    conditions = (
        f"{asked.in_flight} in flight, {asked.seconds:g} s each and round, in turns; one hot tier,"
        " everything durable, snapshots on. The bare loop appends the very batches that the engine"
        " had written, encoded anew, one after the other. FOR UPDATE at the best of"
        f" {', '.join(map(str, POOLS))} connections: {best}. Who asks is in the same process."
    )
    return [measured("engine, beside others", "./run bench without-http", conditions, figures)]


def _ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(ours, theirs, strict=True)]


async def _round(engine: Engine, asked: Asked) -> Round:
    before = await engine.pool.fetchval("SELECT last_seq FROM shards WHERE shard_id = 0")
    decided = await asked_of(engine.supervisor, asked.in_flight, asked.seconds)
    batches = await _batches_after(engine.pool, before)
    bare = await _bare(engine, batches, asked.seconds)
    locked = {pool: await _locked(pool, asked) for pool in POOLS}
    batch = sum(map(len, batches)) / len(batches)
    return Round(decided.decisions_per_second, bare, locked, batch)


async def _batches_after(pool: asyncpg.Pool, seq: int) -> list[tuple[Entry, ...]]:
    query = "SELECT batch, crc FROM journal WHERE shard_id = 0 AND seq > $1 ORDER BY seq LIMIT $2"
    return [decode(*row) for row in await pool.fetch(query, seq, BATCHES_MAX)]


async def _bare(engine: Engine, batches: list[tuple[Entry, ...]], seconds: float) -> float:
    """Facts a second, one append after the other."""
    journal = PostgresJournal(engine.dsn, engine.pool, NodeName("bench", "1"))
    (grant,) = await journal.acquire([SHARD])
    seqs, facts = itertools.count(grant.last_seq + 1), 0
    began_s = time.perf_counter()
    for entries in itertools.cycle(batches):
        batch = Batch(SHARD, grant.epoch, next(seqs), entries)
        if await journal.append([batch]) != {SHARD}:
            raise SystemExit("the bare loop was fenced")
        facts += len(entries)
        took_s = time.perf_counter() - began_s
        if took_s > seconds:
            break
    await journal.close()
    return facts / took_s


async def _locked(pool: int, asked: Asked) -> float:
    """Orders a second behind the tier's row lock."""
    async with fresh_folder() as folder:
        postgres = EmbeddedPostgres(folder / "postgres")
        dsn = await postgres.start()
        connection = await asyncpg.connect(dsn)
        await open_books(connection, STOCK, a_row_each=False)
        await connection.close()
        try:
            async with rows.opened("row-lock", dsn, pool) as way:
                return await _placed_by(way, asked)
        finally:
            await postgres.stop()


async def _placed_by(way: Way, asked: Asked) -> float:
    order = Order([Selection(TIER_ID, 2)])
    began_s = time.perf_counter()

    async def buy() -> int:
        bought = 0
        while time.perf_counter() - began_s < asked.seconds:
            bought += await way.place(placed(EVENT_ID, order))
        return bought

    bought = await asyncio.gather(*(buy() for _ in range(asked.in_flight)))
    return sum(bought) / (time.perf_counter() - began_s)
