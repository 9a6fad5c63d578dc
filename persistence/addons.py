"""The rows of what is ordered beside a hall: catering, equipment, whatever a venue has to offer."""

import msgspec

from engine.hiring import Addon
from persistence import statements
from persistence.statements import clean
from persistence.transactions import Connection

COLUMNS = Addon.__struct_fields__

_INSERT = statements.insert("booking_addons", COLUMNS)
_OF_BOOKING = f"""
SELECT {", ".join(COLUMNS)} FROM booking_addons WHERE booking_id = $1
ORDER BY created_at, addon_id
"""
_DELETE = """
DELETE FROM booking_addons WHERE addon_id = $1 AND booking_id = $2 RETURNING addon_id
"""


async def of_booking(connection: Connection, booking_id: str) -> tuple[Addon, ...]:
    return tuple(Addon(*row) for row in await connection.fetch(_OF_BOOKING, booking_id))


async def insert(connection: Connection, addon: Addon) -> None:
    await connection.execute(_INSERT, *msgspec.structs.astuple(addon))


async def delete(connection: Connection, booking_id: str, addon_id: str) -> bool:
    """Whether it was there."""
    return await connection.fetchval(_DELETE, clean(addon_id), booking_id) is not None
