"""Keeps the embedded servers alive: one that ends is started again, loudly, and not for ever."""

import time
from collections import deque

import structlog

from persistence.data_folder import EmbeddedServerError
from persistence.embedded import EmbeddedPostgres, EmbeddedRedis

RESTARTS_MAX = 10
RESTARTS_WINDOW_S = 60.0


class Kept:
    """A server that has been started. What it serves is away between its end and its return."""

    def __init__(self, server: EmbeddedPostgres | EmbeddedRedis) -> None:
        self.name = server.name
        self._server = server
        self._ends: deque[float] = deque(maxlen=RESTARTS_MAX)
        self._log = structlog.get_logger("servers")

    async def keep_alive(self) -> None:
        """Start it again whenever it ends. Raises EmbeddedServerError if that is of no use."""
        while True:
            code = await self._server.ended()
            self._log.error("server ended, starting it again", server=self.name, code=code)
            await self._start_again()
            self._log.warning("server serves again", server=self.name)

    async def _start_again(self) -> None:
        while True:
            self._ends.append(time.monotonic())
            often = len(self._ends) == RESTARTS_MAX
            try:
                await self._server.start()
            except EmbeddedServerError as error:
                if often and self._ends[-1] - self._ends[0] < RESTARTS_WINDOW_S:
                    raise
                self._log.error("server did not start", server=self.name, error=str(error))
            else:
                return
