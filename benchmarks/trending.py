"""What counting confirmed tickets for the trends costs, beside the projection that it is part of.

A sale's own process does nothing for the trends: the projector counts, and copies to Redis. So both
sides project the same confirmed orders, one of them without the trends, in turns.
"""

import time
from pathlib import Path

from benchmarks.asked import Asked
from benchmarks.finding import on_postgres
from benchmarks.results import Figure, Measurement, measured
from engine import facts as f
from engine.commands import Key
from persistence.projector import Fold
from persistence.transactions import Connection

ORDERS = 5_000  # what a second may bring
EVENTS = 50
PIECE = 500
_EMPTY = "TRUNCATE orders, order_items, tickets, tier_counters, trending_hours"


async def figures(pairs: int) -> list[Figure]:
    async with on_postgres() as pool, pool.acquire() as connection:
        await connection.execute("SET synchronous_commit = off")
        sides: dict[bool, list[float]] = {True: [], False: []}
        for number in range(2 * pairs + 2):
            trends = number % 2 == 0
            took = await _projected(connection, trends)
            if number > 1:  # the first pair warms up
                sides[trends].append(took)
        rows = await connection.fetchval("SELECT count(*) FROM trending_hours")
        assert rows in (0, EVENTS)
    added = [a - b for a, b in zip(sides[True], sides[False], strict=True)]
    return [
        Figure("projecting, with trends", "µs of CPU a confirmed order", sides[True]),
        Figure("projecting, without", "µs of CPU a confirmed order", sides[False]),
        Figure("trends alone, by pairs", "µs of CPU a confirmed order", added),
    ]


async def _projected(connection: Connection, trends: bool) -> float:
    await connection.execute(_EMPTY)
    backend = await connection.fetchval("SELECT pg_backend_pid()")
    entries = _entries()
    began = _cpu_us(backend) + time.process_time() * 1e6
    for first in range(0, len(entries), PIECE):
        async with connection.transaction():
            fold = Fold({}, {}, {})
            for entry in entries[first : first + PIECE]:
                fold.take(entry)
            if not trends:
                fold.confirmed_in.clear()
            await fold.write(connection)
    return (_cpu_us(backend) + time.process_time() * 1e6 - began) / ORDERS


def _cpu_us(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1_000


def _entries() -> list[f.Entry]:
    """Orders placed and confirmed, one ticket each."""
    found = []
    now_ms = 1_790_000_000_000
    for number in range(ORDERS):
        event_id = f"evt_{number % EVENTS:016x}"
        order_id = f"ord_{number:036x}"
        items = (f.Item(f"tier_{number % EVENTS}", 1, 2_500),)
        placed = f.OrderPlaced(
            order_id=order_id,
            buyer_id="buyer",
            items=items,
            currency="EUR",
            placed_at_ms=now_ms,
            expires_at_ms=now_ms + 900_000,
            key=Key(bytes(16), bytes(16)),
            sealed=None,
        )
        confirmed = f.OrderConfirmed(order_id, None, (number.to_bytes(16, "big"),), late=False)
        found += [f.Entry(event_id, 2 * number + 1, now_ms, placed)]
        found += [f.Entry(event_id, 2 * number + 2, now_ms, confirmed)]
    return found


async def measure(_: Asked) -> list[Measurement]:
    conditions = (
        f"{ORDERS:,} confirmed orders of {EVENTS} events projected in pieces, ten"
        " pairs in turns, Postgres' CPU included. The sale's own process does nothing for it: there"
        " a reservation takes what `onsale` says."
    )
    found = await figures(pairs=10)
    return [measured("trending, beside projecting", "./run bench trending", conditions, found)]
