"""The open-loop generator against a server that stands still, breaks off, and refuses."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Literal

from aiohttp import web

from benchmarks.open_loop import Outcome, Plan, Stream, run

PER_SECOND, SECONDS = 100.0, 1.0
STALL_S = 0.5

Handler = Callable[[web.Request], Awaitable[web.Response]]


@asynccontextmanager
async def _serving(handler: Handler) -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_post("/v1/events/{event_id}/orders", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def _plan(port: int, streams: dict[str, Stream]) -> Plan:
    return Plan("127.0.0.1", port, SECONDS, 1, streams)


async def _driven(
    handler: Handler, arrivals: Literal["poisson", "constant"] = "constant"
) -> Outcome:
    async with _serving(handler) as port:
        stream = Stream("orders", PER_SECOND, "token", "evt_1", "tier_1", arrivals=arrivals)
        return (await run(_plan(port, {"orders": stream})))["orders"]


async def test_a_stall_is_felt_by_all_who_were_meant_to_ask_in_it() -> None:
    """A closed loop would show one slow answer for each of its connections."""
    stalled = asyncio.Event()
    done_s = 0.0

    async def stall(_: web.Request) -> web.Response:
        nonlocal done_s
        if not stalled.is_set():
            stalled.set()
            done_s = time.monotonic() + STALL_S
        await asyncio.sleep(max(0.0, done_s - time.monotonic()))
        return web.Response(status=201)

    outcome = await _driven(stall)
    assert outcome.meant == outcome.statuses[201] == PER_SECOND * SECONDS - 1
    assert outcome.failed == 0
    # Half of the second's requests fell into the stall, evenly; so a quarter waited half of it.
    assert outcome.ms(76) >= STALL_S * 1000 / 2 - 20
    assert outcome.ms(99.9) >= STALL_S * 1000 - 20


async def test_what_is_refused_or_never_answered_has_failed() -> None:
    asked = 0

    async def every_other(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        if asked == 10:
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=201 if asked % 2 else 503)

    outcome = await _driven(every_other)
    assert outcome.statuses[503] + 1 == outcome.failed
    assert outcome.statuses[201] + outcome.failed == outcome.meant


async def test_poisson_arrivals_come_at_the_rate_and_not_evenly() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=201)

    outcome = await _driven(answer, "poisson")
    assert 60 < outcome.meant < 140
    assert outcome.statuses[201] == outcome.meant


async def test_streams_at_once_keep_their_own_rates() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=201)

    streams = {
        event_id: Stream("orders", per_second, "token", event_id, "tier_1", arrivals="constant")
        for event_id, per_second in (("evt_1", 200.0), ("evt_2", 50.0))
    }
    async with _serving(answer) as port:
        found = await run(_plan(port, streams))
    assert (found["evt_1"].meant, found["evt_2"].meant) == (199, 49)
