"""A process ends when it is told to, whatever its background work makes of it."""

import asyncio

from gateway.parts.process import cancel


async def test_work_that_takes_its_end_for_a_failure_is_ended_all_the_same() -> None:
    ends = 0

    async def lives_through_failures() -> None:
        nonlocal ends
        while True:
            try:
                try:
                    await asyncio.sleep(60)
                finally:
                    ends += 1
                    if ends < 3:
                        raise OSError("the server has gone")
            except OSError:
                continue

    task = asyncio.create_task(lives_through_failures())
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await cancel(task)
    assert task.cancelled()
    assert ends == 3
