"""Where one may come back: the conflicts in the tables are those that a naive count finds."""

import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
import pytest_asyncio
from msgspec import Struct

from engine import ids
from engine.scan import ScanView
from engine.telling import ScanResult
from tests.engine.stage import EVENT, FLOOR, MINUTE_MS, Stage, a, terms
from tests.persistence.databases import fresh_database
from tests.persistence.test_order_on_file import Books

TICKETS = 8
SCANS = 120
DEVICES = 5
EXITS, ONLINE = 0.25, 0.15


class Told(Struct, frozen=True):
    at_ms: int
    device_id: str
    nonce: str
    leaving: bool
    online: bool


def busy(chance: random.Random) -> tuple[Stage, dict[str, list[Told]]]:
    """Scans of every ticket, told in any order, some of them while others are made online."""
    stage = Stage(terms(quantity=TICKETS, per_order_max=TICKETS), reentry=True)
    order = stage.sell((FLOOR, TICKETS))
    began_ms = stage.now_ms
    stage.pass_ms(MINUTE_MS)
    instants = chance.sample(range(MINUTE_MS), SCANS)
    every: dict[str, list[Told]] = defaultdict(list)
    for number, instant in enumerate(instants):
        place = chance.randrange(TICKETS)
        token, name = order.tickets[place].token, ids.ticket_id(order.order_id, place)
        device_id, nonce = f"device-{chance.randrange(DEVICES)}", f"n{number}"
        leaving, online = chance.random() < EXITS, chance.random() < ONLINE
        told = ScanResult.EXIT if leaving else ScanResult.ADMIT
        if online:
            stage.pass_ms(1)
            at_ms = stage.now_ms
            scan = stage.check_in(token, nonce, device_id=device_id, leaving=leaving)
            if a(ScanView, stage.ask(scan)).fact.result is not told:
                continue
        else:
            at_ms = began_ms + instant
            stage.sync(device_id, stage.told(token, at_ms, nonce, told=told))
        every[name].append(Told(at_ms, device_id, nonce, leaving, online))
    return stage, every


def disagreeing(visits: list[Told]) -> Iterator[tuple[str, str]]:
    """The first of a device and stay, with the admission that it disagrees with."""
    stays: list[list[Told]] = [[]]
    for visit in sorted(visits, key=lambda visit: visit.at_ms):
        if visit.leaving:
            stays.append([])
        else:
            stays[-1].append(visit)
    for stay in filter(None, stays):
        admission = next((visit for visit in stay if visit.online), stay[0])
        heard = {admission.device_id}
        for visit in stay:
            if visit.device_id not in heard:
                heard.add(visit.device_id)
                yield visit.nonce, admission.nonce


@pytest_asyncio.fixture
async def books(postgres_dsn: str) -> AsyncIterator[Books]:
    async with fresh_database(postgres_dsn) as dsn, asyncpg.create_pool(dsn, min_size=1) as pool:
        connection = await asyncpg.connect(dsn)
        made = Books(dsn, pool, connection)
        yield made
        await made.close()
        await connection.close()


@pytest.mark.parametrize("seed", range(3))
async def test_the_conflicts_are_those_of_a_naive_count(books: Books, seed: int) -> None:
    stage, every = busy(random.Random(seed))
    for entry in stage.entries:  # a turn each, so that every row is written to again
        await books.write(entry)
    await books.project()
    found = await books.projections.conflicts(EVENT, 0, 1_000)
    expected = {pair for visits in every.values() for pair in disagreeing(visits)}
    assert len(expected) > TICKETS
    assert {(row.nonce, row.admitted_nonce) for row in found} == expected
    assert len(found) == len(expected)
