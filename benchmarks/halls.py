"""Ten thousand event creations over HTTP, two hundred at once, for random windows in halls."""

import asyncio
import itertools
import os
import random
import time
from datetime import UTC, datetime, timedelta

import aiohttp
from msgspec import Struct

from benchmarks.asked import Asked
from benchmarks.results import Figure, Measurement, measured
from benchmarks.servers import Endpoint, stampede
from loadtests.halls import Given, Refused, Window, overlaps, unfounded

REQUESTS = 10_000
AT_ONCE = 200
HALLS = 20

_FROM = datetime(2032, 3, 1, tzinfo=UTC)
_HOUR = timedelta(hours=1)


class Crowd(Struct):
    """What was asked for and what was answered; the rest is counted from that."""

    requests: int
    at_once: int
    halls: int
    given: list[Given] = []
    refused: list[Refused] = []
    took_s: list[float] = []
    seconds: float = 0.0

    @property
    def overlaps(self) -> list[tuple[Given, Given]]:
        return overlaps(self.given)

    @property
    def unfounded(self) -> list[str]:
        return unfounded(self.refused, {given.booking_id: given for given in self.given})

    def percentile_ms(self, percent: int) -> float:
        return 1000 * sorted(self.took_s)[len(self.took_s) * percent // 100]


async def crowd() -> Crowd:
    async with stampede() as server:
        token = server.token("organizer", "bench")
        venue = {"city": "Berlin", "country": "Germany", "capacity": 100, "timezone": "UTC"}
        hall_ids = [
            server.call("POST", "/v1/venues", {**venue, "name": f"Hall {n}"}, token)["venue_id"]
            for n in range(HALLS)
        ]
        found = Crowd(REQUESTS, AT_ONCE, HALLS)
        headers = {"Authorization": f"Bearer {token}"}
        connector = aiohttp.TCPConnector(limit=AT_ONCE)
        async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
            await _ask(found, server, session, hall_ids)
    return found


async def _ask(
    found: Crowd, server: Endpoint, session: aiohttp.ClientSession, hall_ids: list[str]
) -> None:
    chance = random.Random(REQUESTS)
    numbers = itertools.repeat(None, found.requests)

    async def one_after_another() -> None:
        for _ in numbers:
            await _request(found, server, session, chance, hall_ids)

    began = time.monotonic()
    await asyncio.gather(*(one_after_another() for _ in range(found.at_once)))
    found.seconds = time.monotonic() - began


async def _request(
    found: Crowd,
    server: Endpoint,
    session: aiohttp.ClientSession,
    chance: random.Random,
    hall_ids: list[str],
) -> None:
    hall, start = chance.choice(hall_ids), _FROM + chance.randrange(60 * 24) * _HOUR
    end = start + chance.randint(1, 6) * _HOUR
    setup, teardown = chance.choice((0, 0.5, 2)), chance.choice((0, 0.25, 1))
    wanted = Window(start - setup * _HOUR, end + teardown * _HOUR)
    body = {
        "venue_id": hall,
        "title": "Gig",
        "category": "CONCERT",
        "start_time": start.isoformat(),
        "end_time": end.isoformat(),
        "setup_hours_before": setup,
        "teardown_hours_after": teardown,
    }
    asked_s = time.monotonic()
    async with session.post(f"{server.url}/v1/events", json=body) as response:
        told = await response.json(content_type=None)
    answered_s = time.monotonic()
    found.took_s.append(answered_s - asked_s)
    if response.status == 201:
        found.given.append(Given(told["booking_id"], hall, wanted, asked_s))
        return
    assert (response.status, told["code"]) == (409, "venue_conflict"), told
    named = Window(datetime.fromisoformat(told["from"]), datetime.fromisoformat(told["to"]))
    refusal = Refused(hall, wanted, told["booking_id"], named, asked_s, answered_s)
    found.refused.append(refusal)


async def measure(_: Asked) -> list[Measurement]:
    found = await crowd()
    figures = [
        Figure("bookings given", "of the requests", [len(found.given)]),
        Figure("refused: venue_conflict", "of the requests", [len(found.refused)]),
        Figure("bookings that overlap", "", [len(found.overlaps)]),
        Figure("refusals that name nobody who was there", "", [len(found.unfounded)]),
        Figure("event creations", "a second", [found.requests / found.seconds]),
        Figure("p50", "ms", [found.percentile_ms(50)]),
        Figure("p99", "ms", [found.percentile_ms(99)]),
    ]
    conditions = (
        f"Load average of the shared machine meanwhile: {os.getloadavg()[0]:.1f}."
        f" {found.requests:,} random windows in {found.halls} halls over HTTP, {found.at_once} at"
        " once; checked from what was asked and answered alone. The check's negative control, lock"
        " and constraint both off, is `tests/persistence/test_booking_race.py`."
    )
    return [measured("halls, ten thousand requests", "./run bench halls", conditions, figures)]
