"""Calls that go to the database together: while one statement is under way, the next gathers.

Group commit without a timer. Who comes alone waits for nobody; many at once cost little more than
one, and hold one connection of the pool.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeAlias, TypeVar

import asyncpg

from persistence.transactions import Connection, reading

_Key = TypeVar("_Key", str, int, bytes)
_Asked = TypeVar("_Asked")
_Told = TypeVar("_Told")

Asking: TypeAlias = Callable[[Connection, list[_Asked]], Awaitable[Mapping[_Key, _Told]]]


class _Question(Generic[_Key, _Asked, _Told]):
    def __init__(self) -> None:
        self.asked: dict[_Key, _Asked] = {}
        self.asking: asyncio.Task[Mapping[_Key, _Told]] | None = None


class Together(Generic[_Key, _Asked, _Told]):
    """`ask` makes one autocommitted statement of what was asked, at most `most` at once, each under
    a key of its own, in the order of the keys: so two processes lock no rows crosswise."""

    def __init__(
        self, pool: asyncpg.Pool, name: str, ask: Asking[_Asked, _Key, _Told], most: int = 256
    ) -> None:
        self._pool = pool
        self._name = name
        self._answers: Asking[_Asked, _Key, _Told] = ask
        self._most = most
        self._one_at_a_time = asyncio.Lock()
        self._gathering: _Question[_Key, _Asked, _Told] | None = None

    async def ask(self, key: _Key, asked: _Asked) -> _Told | None:
        """What the statement has said of the key. Who asks the same shares the answer.

        Raises JournalUnavailable.
        """
        question = self._gathering
        if question is None or not self._fits(question, key, asked):
            question = self._gathering = _Question()
            question.asking = asyncio.create_task(self._ask(question), name=self._name)
        question.asked[key] = asked
        assert question.asking is not None
        return (await asyncio.shield(question.asking)).get(key)

    def _fits(self, question: _Question[_Key, _Asked, _Told], key: _Key, asked: _Asked) -> bool:
        if key in question.asked:
            return question.asked[key] == asked
        return len(question.asked) < self._most

    async def _ask(self, question: _Question[_Key, _Asked, _Told]) -> Mapping[_Key, _Told]:
        async with self._one_at_a_time:
            if self._gathering is question:
                self._gathering = None
            async with reading(self._pool) as connection:
                return await self._answers(
                    connection, [question.asked[key] for key in sorted(question.asked)]
                )
