"""Some of what is to be said to a provider, or by it, at once."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import TypeVar

from gateway.payments.provider import ProviderRefuses, ProviderUnavailable

AT_ONCE_MAX = 8

_Due = TypeVar("_Due")


async def some_at_once(do: Callable[[_Due], Awaitable[None]], due: Iterable[_Due]) -> None:
    """What a provider does not answer comes up again, later and later."""
    waiting = asyncio.Semaphore(AT_ONCE_MAX)

    async def one(errand: _Due) -> None:
        async with waiting:
            with suppress(ProviderUnavailable, ProviderRefuses):
                await do(errand)

    async with asyncio.TaskGroup() as tasks:
        for errand in due:
            tasks.create_task(one(errand), name="money errand")
