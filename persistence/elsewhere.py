"""Whose token it is that an event does not know, looked for in the tickets of all others.

Whoever shows fakes at a door must not keep the database from the rest: many tokens are asked for
together.
"""

from collections import defaultdict

import asyncpg

from persistence.together import Together
from persistence.transactions import Connection

TOKENS_MAX = 256  # in a question

_ISSUED = "SELECT token_digest, event_id FROM tickets WHERE token_digest = ANY($1)"


class Elsewhere:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._issuers = Together(pool, "tokens elsewhere", _issuers, TOKENS_MAX)

    async def has(self, token_digest: bytes, event_id: str) -> bool:
        """Whether an event other than this has issued the token. Raises JournalUnavailable."""
        issuers = await self._issuers.ask(token_digest, token_digest)
        return bool((issuers or set()) - {event_id})


async def _issuers(connection: Connection, digests: list[bytes]) -> dict[bytes, set[str]]:
    issuers: defaultdict[bytes, set[str]] = defaultdict(set)
    for digest, event_id in await connection.fetch(_ISSUED, digests):
        issuers[digest].add(event_id)
    return issuers
