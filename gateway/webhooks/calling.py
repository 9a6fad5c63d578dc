"""Calls the endpoints: signed, at least once, each endpoint at its own pace.

Whoever does not answer with 2xx in time is called again, for days, ever more seldom. One that has
not taken anything for days is switched off, until its organizer switches it on again.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Collection
from typing import Protocol

import aiohttp
import msgspec
import structlog
from msgspec import Raw, Struct

from engine.outgoing import Call, Delivery
from gateway.signatures import signed
from gateway.webhooks.addresses import Forbidden, PublicResolver, refuse_url

SIGNATURE_HEADER = "Stampede-Signature"
AT_ONCE_MAX = 32
OF_ONE_MAX = 4  # calls under way to an endpoint that gets more
ANSWER_BYTES_MAX = 4_096
TIMEOUT_S = 10.0
IDLE_S = 0.2
BUSY_S = 0.02
TIDY_S = 60.0

_encode = msgspec.json.Encoder().encode


class Deliveries(Protocol):
    async def due(
        self, not_these: Collection[int], full: Collection[str], limit: int
    ) -> list[Call]:
        """Calls to active endpoints; none to those that are `full`."""
        ...

    async def delivered(self, delivery: Delivery, status: int) -> None: ...

    async def failed(
        self, delivery: Delivery, status: int | None, error: str, again_after_s: float | None
    ) -> None: ...

    async def tidy(self) -> None: ...


class Told(Struct, frozen=True):
    """The body of a call; `id` is the same at every try."""

    id: str
    type: str
    created_at: str
    data: Raw


class Persistence(Struct, frozen=True):
    """How long is tried: three times as long after each failure; by default three days in all."""

    attempts_max: int = 20
    first_pause_s: float = 5.0
    pause_s_max: float = 6 * 60 * 60.0

    def pause_s(self, attempts: int) -> float | None:
        """After so many attempts before this one; None: it was the last."""
        if attempts + 1 >= self.attempts_max:
            return None
        return min(self.first_pause_s * 3.0**attempts, self.pause_s_max) * random.uniform(0.8, 1.2)


class Caller:
    """`localhost`: webhooks may go to 127.0.0.1, in plain http."""

    def __init__(
        self,
        deliveries: Deliveries,
        persistence: Persistence,
        *,
        localhost: bool,
        resolver: PublicResolver | None = None,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._deliveries = deliveries
        self._persistence = persistence
        self._localhost = localhost
        self._resolver = resolver or PublicResolver(localhost=localhost)
        self._clock_s = clock_s
        self._endpoint_by_call: dict[int, str] = {}  # that are being made
        self._log = structlog.get_logger("webhooks")

    async def run(self) -> None:
        """For ever. Raises what the database raises when it goes away."""
        connector = aiohttp.TCPConnector(
            resolver=self._resolver, use_dns_cache=False, limit=AT_ONCE_MAX, force_close=True
        )
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with (
            aiohttp.ClientSession(
                connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
            ) as http,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(self._tidy())
            while True:
                due = await self._due()
                for call in due:
                    self._endpoint_by_call[call.delivery.delivery_id] = call.delivery.endpoint_id
                    tasks.create_task(self._make(http, call))
                await asyncio.sleep(BUSY_S if due else IDLE_S)

    async def _due(self) -> list[Call]:
        free = AT_ONCE_MAX - len(self._endpoint_by_call)
        if free <= 0:
            return []
        busy = Counter(self._endpoint_by_call.values())
        full = [endpoint_id for endpoint_id, calls in busy.items() if calls >= OF_ONE_MAX]
        return await self._deliveries.due(self._endpoint_by_call, full, free)

    async def _tidy(self) -> None:
        while True:
            await self._deliveries.tidy()
            await asyncio.sleep(TIDY_S)

    async def _make(self, http: aiohttp.ClientSession, call: Call) -> None:
        delivery = call.delivery
        try:
            status, error = await self._post(http, call)
            if error is None:
                await self._deliveries.delivered(delivery, status or 0)
            else:
                pause_s = self._persistence.pause_s(delivery.attempts)
                await self._deliveries.failed(delivery, status, error, pause_s)
        finally:
            del self._endpoint_by_call[delivery.delivery_id]

    async def _post(self, http: aiohttp.ClientSession, call: Call) -> tuple[int | None, str | None]:
        """The status of the answer if there was one, and what was wrong."""
        body = _body(call.delivery)
        header = signed(call.secret.encode(), int(self._clock_s()), body)
        headers = {"Content-Type": "application/json", SIGNATURE_HEADER: header}
        if refuse_url(call.url, localhost=self._localhost) is not None:
            return None, "forbidden address"
        try:
            # A literal address is not resolved, so it has been looked at just now.
            async with http.post(
                call.url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                await answer.content.read(ANSWER_BYTES_MAX)
                taken = answer.status // 100 == 2
                return answer.status, None if taken else f"answered {answer.status}"
        except aiohttp.ClientConnectorDNSError as error:
            forbidden = isinstance(error.__cause__, Forbidden)
            return None, "forbidden address" if forbidden else "unknown host"
        except TimeoutError:
            return None, "no answer in time"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return None, type(error).__name__


def _body(delivery: Delivery) -> bytes:
    at = delivery.happened_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    data = Raw(delivery.data.encode())
    return _encode(Told(f"whd_{delivery.delivery_id}", delivery.type, at, data))
