"""The rows of deposits, and of what goes back of them: once at most for each payment."""

import msgspec

from engine import ids
from engine.catalogue import RefundStatus
from engine.hiring import Deposit, DepositStatus
from persistence import statements
from persistence.statements import clean
from persistence.transactions import Connection

COLUMNS = Deposit.__struct_fields__

_SELECT = f"SELECT {', '.join(COLUMNS)} FROM deposits WHERE payment_id = $1"
_INSERT = statements.insert("deposits", COLUMNS)
_STATUS = "UPDATE deposits SET status = $2 WHERE payment_id = $1"
_SEND_BACK = """
INSERT INTO deposit_refunds (refund_id, payment_id, booking_id, amount_minor)
VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
"""
_SETTLE = "UPDATE deposit_refunds SET status = $2 WHERE refund_id = $1 AND status = 'pending'"
_BOOKING_OF = "SELECT booking_id FROM deposit_refunds WHERE refund_id = $1"
_RETRY = """
UPDATE deposit_refunds SET status = 'pending', attempt = attempt + 1
WHERE refund_id = $1 AND status = 'failed'
"""


async def find(connection: Connection, payment_id: str) -> Deposit | None:
    row = await connection.fetchrow(_SELECT, clean(payment_id))
    return Deposit(**{**row, "status": DepositStatus(row["status"])}) if row else None


async def insert(connection: Connection, deposit: Deposit) -> None:
    await connection.execute(_INSERT, *msgspec.structs.astuple(deposit))


async def set_status(connection: Connection, payment_id: str, status: DepositStatus) -> None:
    await connection.execute(_STATUS, payment_id, status)


async def send_back(
    connection: Connection, payment_id: str, booking_id: str, amount_minor: int
) -> None:
    if amount_minor <= 0:  # a provider's odd word: there is nothing to send
        return
    refund_id = ids.deposit_refund_id(payment_id)
    await connection.execute(_SEND_BACK, refund_id, payment_id, booking_id, amount_minor)


async def settle_refund(connection: Connection, refund_id: str, done: bool) -> None:
    status = RefundStatus.DONE if done else RefundStatus.FAILED
    await connection.execute(_SETTLE, refund_id, status)


async def booking_of_refund(connection: Connection, refund_id: str) -> str | None:
    booking_id: str | None = await connection.fetchval(_BOOKING_OF, clean(refund_id))
    return booking_id


async def retry_refund(connection: Connection, refund_id: str) -> None:
    """Send one that failed anew."""
    await connection.execute(_RETRY, refund_id)
