"""Idempotency keys of the catalogue: written in the transaction of the change they stand for.

A change that is refused or fails takes its key with it. Keys count for 24 hours and are deleted
in passing.
"""

from engine.catalogue import Once, Stored
from engine.rejections import Reason, Rejection
from persistence.transactions import Connection

DELETED_MAX = 100

# Waits for a change under the same key that has not ended yet. No row: the key has been used.
_CLAIM = """
INSERT INTO idempotency_keys AS k (digest, fingerprint, status, body) VALUES ($1, $2, 0, '')
ON CONFLICT (digest) DO UPDATE
SET fingerprint = excluded.fingerprint, status = 0, body = '', created_at = now()
WHERE k.created_at <= now() - interval '24 hours'
RETURNING digest
"""

_SELECT = "SELECT fingerprint, status, body FROM idempotency_keys WHERE digest = $1"
_KEEP = "UPDATE idempotency_keys SET status = $2, body = $3 WHERE digest = $1"

_DELETE = """
DELETE FROM idempotency_keys WHERE digest IN (
    SELECT digest FROM idempotency_keys WHERE created_at <= now() - interval '24 hours'
    ORDER BY created_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
"""


async def claim(connection: Connection, once: Once) -> Stored | Rejection | None:
    """What the key was used for before, or None: it is this transaction's now."""
    key = once.key
    if await connection.fetchval(_CLAIM, key.digest, key.fingerprint):
        await connection.execute(_DELETE, DELETED_MAX)
        return None
    row = await connection.fetchrow(_SELECT, key.digest)
    if row is None:  # its 24 hours have just ended
        return await claim(connection, once)
    if row["fingerprint"] != key.fingerprint:
        return Rejection(Reason.IDEMPOTENCY_KEY_REUSED)
    return Stored(row["status"], row["body"])


async def keep(connection: Connection, once: Once, outcome: object) -> None:
    await connection.execute(_KEEP, once.key.digest, once.status, once.render(outcome))
