"""A hot tier, and a door: ours beside the bare handler, in turns, with the same requests.

Only what is found in the journal afterwards is counted on our side; an answer that is missing there
ends the run.
"""

import asyncio
import itertools
import json
import statistics
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import asyncpg
from msgspec import Struct

from benchmarks import generator
from benchmarks.generator import Outcome
from benchmarks.servers import Endpoint, baseline, stampede
from engine import ids
from engine.facts import OrderConfirmed, OrderPlaced, ScanResult, TicketScanned
from persistence.journal import decode

PLACES = 10_000_000
SETTLE_S = 1.0
CHECK_INS_PER_S_MAX = 14_000


class Round(Struct):
    ours_per_second: float
    bare_per_second: float
    ours_ms: dict[str, float]
    bare_ms: dict[str, float]
    ours_cpu_us: float
    bare_cpu_us: float

    @property
    def ratio(self) -> float:
        return self.ours_per_second / self.bare_per_second


class Report(Struct):
    """One measurement: what was done, with how many in flight, and each round."""

    name: str
    in_flight: int
    seconds: float
    rounds: list[Round]
    in_journal: int
    fsync: str
    synchronous_commit: str

    @property
    def ratio(self) -> float:
        return statistics.median(r.ratio for r in self.rounds)


def percentiles(outcome: Outcome) -> dict[str, float]:
    percentiles = {"p50": 50.0, "p99": 99.0, "p99.9": 99.9}
    return {
        name: outcome.latencies_us.get_value_at_percentile(p) / 1000
        for name, p in percentiles.items()
    }


def expect(outcome: Outcome, status: int) -> Outcome:
    if set(outcome.statuses) != {status}:
        raise SystemExit(f"expected {status} alone, got {dict(outcome.statuses)}")
    return outcome


def event_on_sale(server: Endpoint, price: int = 2_500) -> tuple[str, str]:
    """A hot event with one tier, on sale; its id and the tier's."""
    token = server.token("organizer", "bench")
    hall = {"name": "Hall", "city": "Berlin", "country": "Germany", "timezone": "Europe/Berlin"}
    venue = server.call("POST", "/v1/venues", {**hall, "capacity": PLACES}, token)
    times = {"start_time": "2031-05-01T09:00:00Z", "end_time": "2031-05-01T18:00:00Z"}
    what = {"title": "Hot", "category": "CONCERT", "venue_id": venue["venue_id"]}
    event = server.call("POST", "/v1/events", {**what, **times}, token)
    path = f"/v1/events/{event['event_id']}"
    tier = {"name": "GENERAL", "price": price, "total_quantity": PLACES, "max_per_order": 10}
    since = {"sale_start": "2020-01-01T00:00:00Z"}
    made = server.call("POST", f"{path}/tiers", {**tier, **since}, token)
    for step in ("publish", "open-sales"):
        server.call("POST", f"{path}/{step}", None, token)
    return event["event_id"], made["tier_id"]


def orders(event_id: str, tier_id: str, token: str) -> Iterator[bytes]:
    run = uuid4().hex[:12]
    body = json.dumps({"selections": [{"tier_id": tier_id, "quantity": 2}]}).encode()
    headers = {"Authorization": f"Bearer {token}"}
    path = f"/v1/events/{event_id}/orders"
    return generator.post(path, headers, lambda number: (f"{run}-{number}", body))


def _scans(event_id: str, token: str, tokens: Iterator[str]) -> Iterator[bytes]:
    run = uuid4().hex[:12]

    def scan(number: int) -> tuple[str, bytes]:
        body = {"token": next(tokens), "nonce": f"{run}-{number}", "gate": "North"}
        return "", json.dumps(body).encode()

    headers = {"Authorization": f"Bearer {token}"}
    return generator.post(f"/v1/events/{event_id}/checkins", headers, scan)


async def onsale(in_flight: int, seconds: float, rounds: int) -> Report:
    """Durable reservations a second on one hot tier."""
    async with stampede() as ours, baseline("bare") as bare:
        event_id, tier_id = event_on_sale(ours)
        token = ours.token("box_office", "bench")

        def asking(_: Endpoint) -> Iterator[bytes]:
            return orders(event_id, tier_id, token)

        pairs = [await _pair(ours, bare, asking, 201, in_flight, seconds) for _ in range(rounds)]
        seen = {json.loads(body)["order_id"] for pair in pairs for body in pair.kept}
        placed = await placed_orders(ours.dsn)
        if not seen <= placed:
            raise SystemExit(f"{len(seen - placed)} answers of 201 are not in the journal")
        return await _report("onsale", ours, in_flight, seconds, pairs, len(seen))


async def doors(in_flight: int, seconds: float, rounds: int) -> Report:
    """Durable check-ins a second at one event; every ticket is scanned once."""
    async with stampede() as ours, baseline("bare") as bare:
        event_id, tier_id = event_on_sale(ours, price=0)
        tickets = int(rounds * seconds * CHECK_INS_PER_S_MAX)
        tokens = iter(await _sell(ours, event_id, tier_id, tickets))
        scanner = ours.token("scanner", "bench", event_id)

        def scanning(server: Endpoint) -> Iterator[bytes]:
            known = tokens if server is ours else iter(lambda: str(uuid4()), None)
            return _scans(event_id, scanner, known)

        pairs = [await _pair(ours, bare, scanning, 200, in_flight, seconds) for _ in range(rounds)]
        admitted = [json.loads(body) for pair in pairs for body in pair.kept]
        if {answer["result"] for answer in admitted} != {"ADMIT"}:
            raise SystemExit("a ticket was not admitted")
        facts = [f for f in await _facts(ours.dsn) if isinstance(f, TicketScanned)]
        standing = {(f.order_id, f.number) for f in facts if f.result is ScanResult.ADMIT}
        if len(standing) != len(admitted):
            raise SystemExit(f"{len(admitted)} seen admitted, {len(standing)} in the journal")
        return await _report("doors", ours, in_flight, seconds, pairs, len(admitted))


class _Pair(Struct):
    round: Round
    kept: list[bytes]


async def _pair(
    ours: Endpoint,
    bare: Endpoint,
    requests: Callable[[Endpoint], Iterator[bytes]],
    status: int,
    in_flight: int,
    seconds: float,
) -> _Pair:
    """One round: ours, then the bare handler."""
    outcomes, cpu_us = [], []
    for server in (ours, bare):
        before = server.cpu_seconds()
        outcome = await generator.run(
            server.host,
            server.port,
            requests(server),
            connections=in_flight,
            seconds=seconds,
            keep_status=status,
        )
        spent = server.cpu_seconds() - before
        cpu_us.append(spent * 1e6 / sum(outcome.statuses.values()))
        outcomes.append(expect(outcome, status))
        await asyncio.sleep(SETTLE_S)
    first, second = outcomes
    measured = Round(
        first.per_second,
        second.per_second,
        percentiles(first),
        percentiles(second),
        *cpu_us,
    )
    return _Pair(measured, first.bodies)


async def _sell(server: Endpoint, event_id: str, tier_id: str, tickets: int) -> list[str]:
    """Orders of ten tickets that cost nothing, so confirmed at once; the tokens, by the journal."""
    headers = {"Authorization": f"Bearer {server.token('box_office', 'bench')}"}
    body = json.dumps({"selections": [{"tier_id": tier_id, "quantity": 10}]}).encode()
    path = f"/v1/events/{event_id}/orders"
    placing = generator.post(path, headers, lambda number: (f"sell-{number}", body))
    placed = await _all(server, itertools.islice(placing, -(-tickets // 10)), 201)
    order_ids = [json.loads(answer)["order_id"] for answer in placed]
    card = b'{"method":"card"}'
    asking = (
        generator.request(f"/v1/orders/{order_id}/payment", headers, order_id, card)
        for order_id in order_ids
    )
    await _all(server, asking, 200)
    confirmed = [f for f in await _facts(server.dsn) if isinstance(f, OrderConfirmed)]
    return [ids.token_text(token) for fact in confirmed for token in fact.tokens]


async def _all(server: Endpoint, requests: Iterator[bytes], status: int) -> list[bytes]:
    outcome = await generator.run(
        server.host, server.port, requests, connections=32, seconds=600, keep_status=status
    )
    return expect(outcome, status).bodies


async def placed_orders(dsn: str) -> set[str]:
    """All that the journal has."""
    return {f.order_id for f in await _facts(dsn) if isinstance(f, OrderPlaced)}


async def _facts(dsn: str) -> list[Any]:
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch("SELECT batch, crc FROM journal")
    await connection.close()
    return [entry.fact for row in rows for entry in decode(row["batch"], row["crc"])]


async def _report(
    name: str,
    server: Endpoint,
    in_flight: int,
    seconds: float,
    pairs: list[_Pair],
    in_journal: int,
) -> Report:
    connection = await asyncpg.connect(server.dsn)
    fsync = await connection.fetchval("SHOW fsync")
    synchronous = await connection.fetchval("SHOW synchronous_commit")
    await connection.close()
    rounds = [pair.round for pair in pairs]
    return Report(name, in_flight, seconds, rounds, in_journal, fsync, synchronous)
