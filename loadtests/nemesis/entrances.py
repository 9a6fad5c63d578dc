"""Several gateways, each at an address of its own, and the crowd at all of them.

As a balancer does, it knocks at each from time to time, and sends nobody to one that does not
answer; who is there already waits until he has had enough, and goes to another.
"""

import asyncio
from collections.abc import Sequence
from random import Random
from types import TracebackType

from loadtests.client import Answer, Client, NoAnswer

KNOCK_S, KNOCK_S_MAX = 0.5, 1.0


class Entrances(Client):
    """Where none answers, all are tried."""

    def __init__(self, urls: Sequence[str], connections_max: int, random: Random) -> None:
        super().__init__(urls[0], connections_max)
        self._gateways = [Client(url, connections_max) for url in urls]
        self._open = set(self._gateways)
        self._random = random
        self._knocking: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Entrances":
        for gateway in self._gateways:
            knocking = asyncio.create_task(self._knock(gateway), name=f"knock {gateway.base_url}")
            self._knocking.append(knocking)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for knocking in self._knocking:
            knocking.cancel()
        await asyncio.gather(*self._knocking, return_exceptions=True)
        for gateway in self._gateways:
            await gateway.__aexit__(kind, error, trace)

    async def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: bytes = b"",
        *,
        kind: str = "",
    ) -> Answer:
        usable = [each for each in self._gateways if each in self._open] or self._gateways
        chosen = self._random.choice(usable)
        return await chosen.request(method, path, body, headers, kind=kind)

    async def _knock(self, gateway: Client) -> None:
        while True:
            async with Client(gateway.base_url, 1) as fresh:
                try:
                    async with asyncio.timeout(KNOCK_S_MAX):
                        await fresh.request("GET", "/healthz")
                except (NoAnswer, TimeoutError):
                    self._open.discard(gateway)
                else:
                    self._open.add(gateway)
            await asyncio.sleep(KNOCK_S)
