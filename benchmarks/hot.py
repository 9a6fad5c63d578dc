"""A hot tier, and a door: ours beside the bare handler, in turns, with the same requests.

Only what is found in the journal afterwards is counted on our side; an answer that is missing there
ends the run.
"""

import asyncio
import itertools
import json
import statistics
from collections.abc import Iterator
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


class Round(Struct):
    ours_per_second: float
    bare_per_second: float
    ours_ms: dict[str, float]
    bare_ms: dict[str, float]

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


def _percentiles(outcome: Outcome) -> dict[str, float]:
    percentiles = {"p50": 50.0, "p99": 99.0, "p99.9": 99.9}
    return {
        name: outcome.latencies_us.get_value_at_percentile(p) / 1000
        for name, p in percentiles.items()
    }


def _expect(outcome: Outcome, status: int) -> Outcome:
    if set(outcome.statuses) != {status}:
        raise SystemExit(f"expected {status} alone, got {dict(outcome.statuses)}")
    return outcome


def _event_on_sale(server: Endpoint) -> tuple[str, str]:
    """A hot event with one tier, on sale; its id and the tier's."""
    token = server.token("organizer", "bench")
    hall = {"name": "Hall", "city": "Berlin", "country": "Germany", "timezone": "Europe/Berlin"}
    venue = server.call("POST", "/v1/venues", {**hall, "capacity": PLACES}, token)
    times = {"start_time": "2031-05-01T09:00:00Z", "end_time": "2031-05-01T18:00:00Z"}
    what = {"title": "Hot", "category": "CONCERT", "venue_id": venue["venue_id"]}
    event = server.call("POST", "/v1/events", {**what, **times}, token)
    path = f"/v1/events/{event['event_id']}"
    tier = {"name": "GENERAL", "price": 2_500, "total_quantity": PLACES, "max_per_order": 10}
    since = {"sale_start": "2020-01-01T00:00:00Z"}
    made = server.call("POST", f"{path}/tiers", {**tier, **since}, token)
    for step in ("publish", "open-sales"):
        server.call("POST", f"{path}/{step}", None, token)
    return event["event_id"], made["tier_id"]


def _orders(server: Endpoint, event_id: str, tier_id: str, token: str) -> Iterator[bytes]:
    run = uuid4().hex[:12]
    body = json.dumps({"selections": [{"tier_id": tier_id, "quantity": 2}]}).encode()
    headers = {"Authorization": f"Bearer {token}"}
    path = f"/v1/events/{event_id}/orders"
    return generator.post(path, headers, lambda number: (f"{run}-{number}", body))


def _scans(event_id: str, token: str, tokens: Iterator[str]) -> Iterator[bytes]:
    run = uuid4().hex[:12]

    def scan(number: int) -> tuple[str, bytes]:
        ticket = next(tokens, None) or str(uuid4())
        body = {"token": ticket, "nonce": f"{run}-{number}", "gate": "North"}
        return "", json.dumps(body).encode()

    headers = {"Authorization": f"Bearer {token}"}
    return generator.post(f"/v1/events/{event_id}/checkins", headers, scan)


async def onsale(in_flight: int, seconds: float, rounds: int) -> Report:
    """Durable reservations a second on one hot tier."""
    async with stampede() as ours, baseline("bare") as bare:
        event_id, tier_id = _event_on_sale(ours)
        token = ours.token("box_office", "bench")
        measured: list[Round] = []
        seen: set[bytes] = set()
        for _ in range(rounds):
            pair = []
            for server in (ours, bare):
                outcome = await generator.run(
                    server.host,
                    server.port,
                    _orders(server, event_id, tier_id, token),
                    connections=in_flight,
                    seconds=seconds,
                    keep_status=201,
                )
                pair.append(_expect(outcome, 201))
                await asyncio.sleep(SETTLE_S)
            measured.append(_round(*pair))
            seen |= {json.loads(body)["order_id"].encode() for body in pair[0].bodies}
        placed = {
            fact.order_id.encode()
            for fact in await _facts(ours.dsn)
            if isinstance(fact, OrderPlaced)
        }
        if not seen <= placed:
            raise SystemExit(f"{len(seen - placed)} answers of 201 are not in the journal")
        return await _report("onsale", ours, in_flight, seconds, measured, len(seen))


async def doors(in_flight: int, seconds: float, rounds: int, tickets: int) -> Report:
    """Durable check-ins a second at one event; every ticket is scanned once."""
    async with stampede() as ours, baseline("bare") as bare:
        event_id, tier_id = _event_on_sale(ours)
        tokens = await _sell(ours, event_id, tier_id, tickets)
        scanner = ours.token("scanner", "bench", event_id)
        measured, admitted = [], 0
        for number in range(rounds):
            pair = []
            share = iter(tokens[number * len(tokens) // rounds : (number + 1) * len(tokens) // rounds])
            for server in (ours, bare):
                outcome = await generator.run(
                    server.host,
                    server.port,
                    _limited(_scans(event_id, scanner, share), len(tokens) // rounds)
                    if server is ours
                    else _scans(event_id, scanner, iter(())),
                    connections=in_flight,
                    seconds=seconds,
                    keep_status=200,
                )
                pair.append(_expect(outcome, 200))
                await asyncio.sleep(SETTLE_S)
            measured.append(_round(*pair))
            results = [json.loads(body)["result"] for body in pair[0].bodies]
            if set(results) != {"ADMIT"}:
                raise SystemExit("a ticket was not admitted")
            admitted += len(results)
        standing = [
            fact
            for fact in await _facts(ours.dsn)
            if isinstance(fact, TicketScanned) and fact.result is ScanResult.ADMIT
        ]
        if len(standing) != admitted:
            raise SystemExit(f"{admitted} seen admitted, {len(standing)} in the journal")
        return await _report("doors", ours, in_flight, seconds, measured, admitted)


def _limited(requests: Iterator[bytes], most: int) -> Iterator[bytes]:
    return itertools.islice(requests, most)


async def _sell(server: Endpoint, event_id: str, tier_id: str, tickets: int) -> list[str]:
    """Orders paid through the sandbox, ten tickets each; the tokens, from the journal."""
    token = server.token("box_office", "bench")
    headers = {"Authorization": f"Bearer {token}"}
    body = json.dumps({"selections": [{"tier_id": tier_id, "quantity": 10}]}).encode()
    path = f"/v1/events/{event_id}/orders"
    orders = -(-tickets // 10)
    placing = _limited(generator.post(path, headers, lambda n: (f"sell-{n}", body)), orders)
    placed = await _all(server, placing, 201)
    order_ids = [json.loads(answer)["order_id"] for answer in placed]
    asking = (
        next(generator.post(f"/v1/orders/{o}/payment", headers, lambda _: (f"pay-{o}", _CARD)))
        for o in order_ids
    )
    payments = [json.loads(answer)["payment_id"] for answer in await _all(server, asking, 202)]
    paying = (
        next(generator.post(f"/v1/sandbox/payments/{p}", {}, lambda _: ("", _SUCCEED)))
        for p in payments
    )
    await _all(server, paying, 200)
    confirmed = [f for f in await _facts(server.dsn) if isinstance(f, OrderConfirmed)]
    return [ids.token_text(t) for fact in confirmed for t in fact.tokens]


_CARD = b'{"method":"card"}'
_SUCCEED = b'{"outcome":"succeed"}'


async def _all(server: Endpoint, requests: Iterator[bytes], status: int) -> list[bytes]:
    outcome = await generator.run(
        server.host, server.port, requests, connections=32, seconds=600, keep_status=status
    )
    return _expect(outcome, status).bodies


async def _facts(dsn: str) -> list[Any]:
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch("SELECT batch, crc FROM journal")
    await connection.close()
    return [entry.fact for row in rows for entry in decode(row["batch"], row["crc"])]


def _round(ours: Outcome, bare: Outcome) -> Round:
    return Round(ours.per_second, bare.per_second, _percentiles(ours), _percentiles(bare))


async def _report(
    name: str,
    server: Endpoint,
    in_flight: int,
    seconds: float,
    rounds: list[Round],
    in_journal: int,
) -> Report:
    connection = await asyncpg.connect(server.dsn)
    fsync = await connection.fetchval("SHOW fsync")
    synchronous = await connection.fetchval("SHOW synchronous_commit")
    await connection.close()
    return Report(name, in_flight, seconds, rounds, in_journal, fsync, synchronous)
