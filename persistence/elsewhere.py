"""Whose token it is that an event does not know, looked for in the tickets of all others.

Whoever shows fakes at a door must not keep the database from the rest: while one question is under
way the next gathers, and so many tokens are asked for together.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping

import asyncpg

from persistence.transactions import reading

TOKENS_MAX = 256  # in a question

_ISSUED = "SELECT token_digest, event_id FROM tickets WHERE token_digest = ANY($1)"

_Issuers = Mapping[bytes, set[str]]


class _Question:
    def __init__(self) -> None:
        self.digests: set[bytes] = set()
        self.asking: asyncio.Task[_Issuers] | None = None


class Elsewhere:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._one_at_a_time = asyncio.Lock()
        self._gathering: _Question | None = None

    async def has(self, token_digest: bytes, event_id: str) -> bool:
        """Whether an event other than this has issued the token. Raises JournalUnavailable."""
        question = self._gathering
        if question is None or len(question.digests) >= TOKENS_MAX:
            question = self._gathering = _Question()
            question.asking = asyncio.create_task(self._ask(question), name="tokens elsewhere")
        question.digests.add(token_digest)
        assert question.asking is not None
        issuers = await asyncio.shield(question.asking)
        return bool(issuers.get(token_digest, set()) - {event_id})

    async def _ask(self, question: _Question) -> _Issuers:
        async with self._one_at_a_time:
            if self._gathering is question:
                self._gathering = None
            async with reading(self._pool) as connection:
                rows = await connection.fetch(_ISSUED, list(question.digests))
        issuers: defaultdict[bytes, set[str]] = defaultdict(set)
        for digest, event_id in rows:
            issuers[digest].add(event_id)
        return issuers
