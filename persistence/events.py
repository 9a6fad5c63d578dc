"""The rows of the events and their tiers.

An event on sale whose tiers are all sold reads SOLD_OUT and is kept as ON_SALE.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from engine.catalogue import Category, Event, Tier
from engine.commands import Caller, Gate, Role
from engine.lifecycle import EventStatus
from persistence import statements
from persistence.statements import clean
from persistence.transactions import Connection

COLUMNS = tuple(name for name in Event.__struct_fields__ if name != "tiers")
TIER_COLUMNS = Tier.__struct_fields__

_SELECT = f"SELECT {', '.join(COLUMNS)} FROM events WHERE event_id = $1"
_AMONG = f"SELECT {', '.join(COLUMNS)} FROM events WHERE event_id = ANY($1)"
# Not FOR UPDATE: rows that only refer to the event need not wait.
_LOCKED = _SELECT + " FOR NO KEY UPDATE"
_INSERT = statements.insert("events", COLUMNS)
_UPDATE = statements.update("events", COLUMNS)
_NEWEST = statements.newest("events", COLUMNS, "(status <> 'DRAFT' OR $3 OR organizer_id = $4)")
_NEWEST_OF = statements.newest("events", COLUMNS, "($3::text IS NULL OR organizer_id = $3)")
_OF_SERIES = f"""
SELECT {", ".join(COLUMNS)} FROM events WHERE series_id = $1 ORDER BY start_time, event_id
"""

_ENDED = """
SELECT event_id FROM events WHERE status IN ('PUBLISHED', 'ON_SALE') AND end_time <= $1
ORDER BY end_time LIMIT $2
"""

_TIERS = f"""
SELECT {", ".join("t." + name for name in TIER_COLUMNS)}, coalesce(c.sold, 0) AS sold
FROM tiers t LEFT JOIN tier_counters c USING (tier_id)
WHERE t.event_id = ANY($1) ORDER BY t.created_at, t.tier_id
"""
_EVENT_OF_TIER = "SELECT event_id FROM tiers WHERE tier_id = $1"
_INSERT_TIER = statements.insert("tiers", TIER_COLUMNS)
_UPDATE_TIER = statements.update("tiers", TIER_COLUMNS)


async def find(connection: Connection, event_id: str) -> Event | None:
    return await _first(connection, await connection.fetch(_SELECT, clean(event_id)))


async def among(connection: Connection, event_ids: Sequence[str]) -> list[Event]:
    """Those of the events that there are, in no order."""
    return await _events(connection, await connection.fetch(_AMONG, list(event_ids)))


async def lock(connection: Connection, event_id: str) -> Event | None:
    """The event as it stays until the transaction ends: who would change it waits."""
    return await _first(connection, await connection.fetch(_LOCKED, clean(event_id)))


async def newest(
    connection: Connection, viewer: Caller | None, after: str | None, limit: int
) -> list[Event]:
    """Newest first; drafts only for those who may see them."""
    everything = viewer is not None and viewer.role is Role.ADMIN
    organizer = viewer.subject if viewer is not None and viewer.role is Role.ORGANIZER else None
    rows = await connection.fetch(_NEWEST, limit, clean(after), everything, organizer)
    return await _events(connection, rows)


async def newest_of(
    connection: Connection, organizer: str | None, after: str | None, limit: int
) -> list[Event]:
    """Newest first, drafts too: of one organizer, or of all of them."""
    rows = await connection.fetch(_NEWEST_OF, limit, clean(after), organizer)
    return await _events(connection, rows)


async def of_series(connection: Connection, series_id: str) -> list[Event]:
    return await _events(connection, await connection.fetch(_OF_SERIES, clean(series_id)))


async def ended(connection: Connection, now: datetime, limit: int) -> list[str]:
    return [row["event_id"] for row in await connection.fetch(_ENDED, now, limit)]


async def event_of_tier(connection: Connection, tier_id: str) -> str | None:
    event_id: str | None = await connection.fetchval(_EVENT_OF_TIER, clean(tier_id))
    return event_id


async def insert(connection: Connection, event: Event) -> None:
    await connection.execute(_INSERT, *_values(event))


async def save(connection: Connection, event: Event) -> None:
    await connection.execute(_UPDATE, *_values(event))


async def insert_tier(connection: Connection, tier: Tier) -> None:
    await connection.execute(_INSERT_TIER, *msgspec.structs.astuple(tier))


async def save_tier(connection: Connection, tier: Tier) -> None:
    await connection.execute(_UPDATE_TIER, *msgspec.structs.astuple(tier))


def encode_gates(gates: tuple[Gate, ...]) -> str:
    return msgspec.json.encode(gates).decode()


async def _first(connection: Connection, rows: Sequence[asyncpg.Record]) -> Event | None:
    events = await _events(connection, rows)
    return events[0] if events else None


async def _events(connection: Connection, rows: Sequence[asyncpg.Record]) -> list[Event]:
    tiers_by_event: dict[str, list[asyncpg.Record]] = {row["event_id"]: [] for row in rows}
    for tier in await connection.fetch(_TIERS, list(tiers_by_event)):
        tiers_by_event[tier["event_id"]].append(tier)
    return [_event(row, tiers_by_event[row["event_id"]]) for row in rows]


def _event(row: asyncpg.Record, tiers: list[asyncpg.Record]) -> Event:
    status = EventStatus(row["status"])
    sold_out = bool(tiers) and all(tier["sold"] >= tier["total_quantity"] for tier in tiers)
    if status is EventStatus.ON_SALE and sold_out:
        status = EventStatus.SOLD_OUT
    read = {
        "category": Category(row["category"]),
        "status": status,
        "gates": msgspec.json.decode(row["gates"], type=tuple[Gate, ...]),
        "tiers": tuple(Tier(*(tier[name] for name in TIER_COLUMNS)) for tier in tiers),
    }
    return Event(**{**row, **read})


def _values(event: Event) -> list[Any]:
    values = {name: getattr(event, name) for name in COLUMNS}
    if event.status is EventStatus.SOLD_OUT:
        values["status"] = EventStatus.ON_SALE
    return list((values | {"gates": encode_gates(event.gates)}).values())
