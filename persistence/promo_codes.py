"""The rows of the promo codes. How often each is used is counted in the projected orders."""

import asyncpg
from msgspec.structs import astuple

from engine.catalogue import PromoCode
from engine.commands import PromoKind
from engine.planning import PROMO_CODES_MAX
from engine.rejections import Reason, Rejection
from persistence.statements import clean, insert
from persistence.transactions import Connection

COLUMNS = tuple(name for name in PromoCode.__struct_fields__ if name != "uses")
_CHANGING = [name for name in COLUMNS if name not in ("promo_code_id", "event_id", "code", "kind")]

_USES = """
    (SELECT count(*) FROM orders
     WHERE promo_id = promo_codes.promo_code_id AND status <> 'CANCELLED') AS uses
"""
_SELECT = f"SELECT {', '.join(COLUMNS)}, {_USES} FROM promo_codes WHERE event_id = $1"
_FIND = _SELECT + " AND promo_code_id = $2"
_OF_EVENT = _SELECT + " ORDER BY promo_code_id"
_NEWEST = f"""
{_SELECT} AND ($3::text IS NULL OR (created_at, promo_code_id) < (
    SELECT created_at, promo_code_id FROM promo_codes WHERE promo_code_id = $3))
ORDER BY created_at DESC, promo_code_id DESC LIMIT $2
"""
_PUT = f"""
{insert("promo_codes", COLUMNS)} ON CONFLICT (promo_code_id) DO UPDATE
SET {", ".join(f"{name} = excluded.{name}" for name in _CHANGING)}
"""
_DELETE = "DELETE FROM promo_codes WHERE event_id = $1 AND promo_code_id = $2 RETURNING 1"
_TAKEN = "SELECT code = $2 FROM promo_codes WHERE event_id = $1"


async def find(connection: Connection, event_id: str, promo_code_id: str) -> PromoCode | None:
    row = await connection.fetchrow(_FIND, event_id, clean(promo_code_id))
    return _promo_code(row) if row is not None else None


async def of_event(connection: Connection, event_id: str) -> list[PromoCode]:
    return [_promo_code(row) for row in await connection.fetch(_OF_EVENT, event_id)]


async def newest(
    connection: Connection, event_id: str, after: str | None, limit: int
) -> list[PromoCode]:
    """From the one after `after`."""
    rows = await connection.fetch(_NEWEST, event_id, limit, clean(after))
    return [_promo_code(row) for row in rows]


async def refuse_one_more(connection: Connection, promo: PromoCode) -> Rejection | None:
    """The event is locked, so nobody else adds one meanwhile."""
    same = [row[0] for row in await connection.fetch(_TAKEN, promo.event_id, promo.code)]
    if any(same):
        return Rejection(Reason.PROMO_CODE_EXISTS, {"promo_code": promo.code})
    if len(same) >= PROMO_CODES_MAX:
        return Rejection(Reason.TOO_MANY_PROMO_CODES, {"max": PROMO_CODES_MAX})
    return None


async def put(connection: Connection, promo: PromoCode) -> None:
    """New, or as it is now."""
    *values, _ = astuple(promo)
    await connection.execute(_PUT, *values)


async def delete(connection: Connection, event_id: str, promo_code_id: str) -> bool:
    """Whether it was there."""
    gone = await connection.fetchval(_DELETE, event_id, clean(promo_code_id))
    return gone is not None


def _promo_code(row: asyncpg.Record) -> PromoCode:
    read = {"kind": PromoKind(row["kind"]), "tier_ids": tuple(row["tier_ids"])}
    return PromoCode(**{**row, **read})
