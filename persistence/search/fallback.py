"""Searches that are answered by a second index while the first one is away, and say so."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from msgspec.structs import replace

from engine.finding import Found, Search, Suggestion

ANSWER_S_MAX = 1.0
SPARED_S = 2.0  # after a failure nobody asks the first one for so long

_T = TypeVar("_T")


class SearchUnavailable(Exception):
    """The search server does not answer, or not as it should."""


class Index(Protocol):
    async def search(self, search: Search) -> Found: ...

    async def suggest(self, text: str, limit: int) -> list[Suggestion]: ...


class IndexWithFallback:
    """`failed` hears of each failure of the first."""

    def __init__(self, first: Index, second: Index, failed: Callable[[Exception], None]) -> None:
        self._first = first
        self._second = second
        self._failed = failed
        self._spared_until_s = 0.0

    async def search(self, search: Search) -> Found:
        found = await self._of_first(lambda: self._first.search(search))
        return found or replace(await self._second.search(search), degraded=True)

    async def suggest(self, text: str, limit: int) -> list[Suggestion]:
        found = await self._of_first(lambda: self._first.suggest(text, limit))
        return found if found is not None else await self._second.suggest(text, limit)

    async def _of_first(self, ask: Callable[[], Awaitable[_T]]) -> _T | None:
        if time.monotonic() < self._spared_until_s:
            return None
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                return await ask()
        except (SearchUnavailable, TimeoutError) as error:
            self._spared_until_s = time.monotonic() + SPARED_S
            self._failed(error)
            return None
