"""Some of what is to be said to a provider, or by it, at once."""

import asyncio
from collections.abc import Awaitable, Iterable
from contextlib import suppress

from gateway.payments.provider import ProviderRefuses, ProviderUnavailable

AT_ONCE_MAX = 8


async def some_at_once(errands: Iterable[Awaitable[None]]) -> None:
    """What a provider does not answer comes up again, later and later."""
    waiting = asyncio.Semaphore(AT_ONCE_MAX)

    async def one(errand: Awaitable[None]) -> None:
        async with waiting:
            with suppress(ProviderUnavailable, ProviderRefuses):
                await errand

    async with asyncio.TaskGroup() as tasks:
        for errand in errands:
            tasks.create_task(one(errand), name="money errand")
