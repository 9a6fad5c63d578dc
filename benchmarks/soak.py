"""A steady load for as long as one likes, which nothing but what it keeps may grow by.

Once at STEADY of the most, where all orders are kept, so that memory grows by what they
take. Once, hours in minutes, where orders end, leave memory, and the journal is moved to files:
memory and the journal's tables must stop growing. An order is three facts there instead of one,
so less is asked of it. fsck recounts it all each time.
"""

import asyncio
import os
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import asyncpg
from msgspec import Struct

from benchmarks import stage
from benchmarks.asked import Asked
from benchmarks.open_loop import Outcome, drive, together
from benchmarks.results import Figure, Measurement, measured
from benchmarks.servers import Endpoint, stampede
from benchmarks.steady import STEADY, most_reservations, ordering

SAMPLES = 60
SALES = 4  # that share the load: fsck takes in a whole one at a time
RETAINED = 0.4  # of the most, where orders end
HOLD_S = 6 * 60 * 60  # where they do not
ENDS_AFTER_S = 20  # their hold where they do, and then their time in memory
KEPT_S = 60  # of the journal, where it is moved; a look each minute
# What a sale may grow by: for an order of two places that it holds, 854 by `memory`; and for one
# that has left, its key, for a day, 436 by `memory`.
ORDER_BYTES_MAX = 1_200
KEY_BYTES_MAX = 600
MB = 1 << 20

_LAG = "stampede_projection_lag_batches "
_RESTS_MAX = 40
_REST_S = ENDS_AFTER_S + 5.0  # before its first orders end, a sale may be still for as long


class Sample(Struct):
    """`at_s` from the start; `journal`, `database`: bytes on Postgres' disk."""

    at_s: float
    lag: float
    resident: dict[str, int]
    journal: int
    database: int


async def soak(asked: Asked) -> list[Measurement]:
    return [await _soaked(asked, retained=False), await _soaked(asked, retained=True)]


async def _soaked(asked: Asked, *, retained: bool) -> Measurement:
    settings = {"order_hold_seconds": str(HOLD_S)}
    if retained:
        settings = {
            "order_hold_seconds": str(ENDS_AFTER_S),
            "finished_order_kept_seconds": str(ENDS_AFTER_S),
            "journal_kept_hours": str(KEPT_S / 3600),
        }
    share = RETAINED if retained else STEADY
    async with stampede(**settings) as ours:
        sales = [stage.event_on_sale(ours) for _ in range(SALES)]
        most = await most_reservations(ours, sales[0], asked)
        await ours.until_quiet()
        before = await _orders(ours)
        seconds = asked.minutes * 60
        streams = {sale[0]: ordering(ours, sale, share * most / SALES) for sale in sales}
        load = asyncio.create_task(drive(ours, streams, seconds))
        samples = await _watched(ours, load, seconds / SAMPLES)
        outcome = together((await load).values())
        if outcome.failed:
            raise SystemExit(f"{outcome.failed} of {outcome.meant} failed: {outcome.statuses}")
        found = await _recounted(ours)
        if (added := await _orders(ours) - before) != outcome.meant:
            raise SystemExit(f"{outcome.meant} answers of 201, but {added} orders")
        durability = await stage.durability(ours.dsn)
    name = "soak, journal moved to files" if retained else "soak, all orders kept"
    life = (
        f"Orders end after {ENDS_AFTER_S} s and leave memory {ENDS_AFTER_S} s later; keys stay for"
        f" a day, the journal for {KEPT_S} s."
        if retained
        else "Nobody pays, and no hold ends."
    )
    conditions = (
        f"{share:.0%} of the most ({most:,.0f} a second) for {asked.minutes:g} minutes, open loop,"
        f" Poisson arrivals, {SALES} sales; {durability}. {life} Failed: 0 of {outcome.meant:,}."
        f" {found} Values over time, in order."
    )
    command = f"./run bench soak --minutes {asked.minutes:g}"
    return measured(name, command, conditions, _figures(samples, outcome, retained=retained))


async def _watched(
    ours: Endpoint, load: asyncio.Task[dict[str, Outcome]], every_s: float
) -> list[Sample]:
    samples: list[Sample] = []
    began_s = time.monotonic()
    connection = await asyncpg.connect(ours.dsn)
    while not load.done():
        lag = await asyncio.to_thread(_lag, ours.url)
        journal = await connection.fetchval("SELECT pg_total_relation_size('journal')")
        database = await connection.fetchval("SELECT pg_database_size(current_database())")
        resident = ours.resident_bytes_by_process()
        samples.append(Sample(time.monotonic() - began_s, lag, resident, journal, database))
        await asyncio.wait([load], timeout=every_s)
    await connection.close()
    return samples


def _lag(url: str) -> float:
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.removeprefix(_LAG)) for line in lines if line.startswith(_LAG))


async def _until_the_journal_rests(dsn: str) -> None:
    """Orders end, and leave memory, by facts: until long after the last was placed."""
    connection = await asyncpg.connect(dsn)
    before = -1
    for _ in range(_RESTS_MAX):
        written = await connection.fetchval("SELECT sum(last_seq) FROM shards")
        if written == before:
            await connection.close()
            return
        before = written
        await asyncio.sleep(_REST_S)
    raise SystemExit("the journal does not come to rest")


async def _orders(ours: Endpoint) -> int:
    connection = await asyncpg.connect(ours.dsn)
    count: int = await connection.fetchval("SELECT count(*) FROM orders")
    await connection.close()
    return count


async def _recounted(ours: Endpoint) -> str:
    """In words; SystemExit where a promise is broken."""
    await _until_the_journal_rests(ours.dsn)
    assert ours.folder is not None
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "fsck"),
        env={**os.environ, "STAMPEDE_DATA_DIR": str(ours.folder)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await process.communicate()
    if process.returncode:
        raise SystemExit(told.decode())
    files = sum(path.stat().st_size for path in Path(ours.folder / "archive").rglob("*.gz"))
    return (
        f"fsck recounted all of it (files of the journal: {files / MB:,.0f} MB) and found no fault;"
        " every 201 is an order."
    )


def _figures(samples: Sequence[Sample], outcome: Outcome, *, retained: bool) -> list[Figure]:
    names = sorted(samples[0].resident)
    figures = [
        Figure("time", "s", [sample.at_s for sample in samples]),
        Figure("projection lag", "batches", [sample.lag for sample in samples]),
        *(
            Figure(f"memory of {name}", "MB", [s.resident.get(name, 0) / MB for s in samples])
            for name in names
        ),
        Figure("journal in Postgres", "MB", [sample.journal / MB for sample in samples]),
        Figure("all of Postgres' tables", "MB", [sample.database / MB for sample in samples]),
        *(Figure(f"p{p:g}", "ms", [outcome.ms(p)]) for p in (50.0, 99.0, 99.9)),
    ]
    half = samples[len(samples) // 2 :]
    span_s = half[-1].at_s - half[0].at_s
    if span_s:
        placed = outcome.meant * span_s / samples[-1].at_s
        server = next(name for name in names if name.startswith("node"))
        grown = half[-1].resident[server] - half[0].resident[server]
        bound = KEY_BYTES_MAX if retained else ORDER_BYTES_MAX
        what = f"memory grown an order, second half (bound: {bound:,})"
        figures.append(Figure(what, "bytes", [grown / placed]))
        if retained:
            grown = half[-1].journal - half[0].journal
            figures.append(Figure("journal grown an order, second half", "bytes", [grown / placed]))
    return figures
