"""What the time is, outside the simulation."""

import asyncio
import time


class SystemClock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)  # counts while the machine sleeps, too

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
