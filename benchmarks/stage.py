"""What measurements prepare on a server of ours, ask of it, and find in its journal afterwards."""

import itertools
import json
from collections.abc import Iterator, Sequence, Set
from typing import Any
from uuid import uuid4

import asyncpg

from benchmarks import generator
from benchmarks.servers import Endpoint
from benchmarks.turns import Turn, expect
from engine import ids
from engine.facts import OrderConfirmed, OrderPlaced
from persistence.journal import decode

PLACES = 10_000_000
SOLD_A_TIME = 10
CHECK_INS_PER_S_MAX = 25_000  # tickets are sold for as many


def event_on_sale(server: Endpoint, price: int = 2_500, places: int = PLACES) -> tuple[str, str]:
    """A hot event with one tier, on sale; its id and the tier's."""
    event_id, (tier_id,) = event_with_tiers(server, [places], price)
    return event_id, tier_id


def event_with_tiers(
    server: Endpoint, places: Sequence[int], price: int = 2_500, token: str | None = None
) -> tuple[str, list[str]]:
    """The same with a tier for each number of places."""
    token = token or server.token("organizer", "bench")
    hall = {"name": "Hall", "city": "Berlin", "country": "Germany", "timezone": "Europe/Berlin"}
    venue = server.call("POST", "/v1/venues", {**hall, "capacity": sum(places)}, token)
    times = {"start_time": "2031-05-01T09:00:00Z", "end_time": "2031-05-01T18:00:00Z"}
    what = {"title": "Hot", "category": "CONCERT", "venue_id": venue["venue_id"]}
    event = server.call("POST", "/v1/events", {**what, **times}, token)
    path = f"/v1/events/{event['event_id']}"
    terms = {"price": price, "max_per_order": 10, "sale_start": "2020-01-01T00:00:00Z"}
    tiers = [
        server.call(
            "POST", f"{path}/tiers", {"name": f"T{n}", "total_quantity": of_it, **terms}, token
        )
        for n, of_it in enumerate(places)
    ]
    for step in ("publish", "open-sales"):
        server.call("POST", f"{path}/{step}", None, token)
    return event["event_id"], [tier["tier_id"] for tier in tiers]


def orders(event_id: str, tier_id: str, token: str) -> Iterator[bytes]:
    """Endless, of two places each."""
    return orders_of(event_id, [(tier_id, 2)], token)


def orders_of(event_id: str, selections: list[tuple[str, int]], token: str) -> Iterator[bytes]:
    run = uuid4().hex[:12]
    selected = [{"tier_id": tier_id, "quantity": quantity} for tier_id, quantity in selections]
    body = json.dumps({"selections": selected}).encode()
    headers = {"Authorization": f"Bearer {token}"}
    path = f"/v1/events/{event_id}/orders"
    return generator.post(path, headers, lambda number: (f"{run}-{number:09}", body))


def scans(event_id: str, token: str, tokens: Iterator[str]) -> Iterator[bytes]:
    """A scan for each token, with a nonce of its own; there must be enough of them."""
    run = uuid4().hex[:12]

    def scan(number: int) -> tuple[str, bytes]:
        body = {"token": next(tokens), "nonce": f"{run}-{number:09}", "gate": "North"}
        return "", json.dumps(body).encode()

    headers = {"Authorization": f"Bearer {token}"}
    return generator.post(f"/v1/events/{event_id}/checkins", headers, scan)


async def sell(server: Endpoint, event_id: str, tier_id: str, tickets: int) -> None:
    """Orders of ten tickets that cost nothing, so confirmed at once."""
    await _bought(server, event_id, tier_id, tickets, server.token("box_office", "bench"))


async def bought_tokens(server: Endpoint, event_id: str, tier_id: str, tickets: int) -> list[str]:
    """The same, bought by one buyer, who is shown the tickets' tokens."""
    token = server.token("buyer", "bench")
    order_ids = await _bought(server, event_id, tier_id, tickets, token)
    headers = {"Authorization": f"Bearer {token}"}
    asking = (generator.get(f"/v1/orders/{order_id}", headers) for order_id in order_ids)
    answers = await every(server, asking, len(order_ids), 200)
    return [ticket["token"] for body in answers for ticket in json.loads(body)["tickets"]]


async def _bought(
    server: Endpoint, event_id: str, tier_id: str, tickets: int, token: str
) -> list[str]:
    """The orders' ids."""
    count = -(-tickets // SOLD_A_TIME)
    placing = orders_of(event_id, [(tier_id, SOLD_A_TIME)], token)
    order_ids = [json.loads(body)["order_id"] for body in await every(server, placing, count, 201)]
    headers = {"Authorization": f"Bearer {token}"}
    card = b'{"method":"card"}'
    asking = (
        generator.request(f"/v1/orders/{order_id}/payment", headers, order_id, card)
        for order_id in order_ids
    )
    await every(server, asking, count, 200)
    return order_ids


async def every(
    server: Endpoint, requests: Iterator[bytes], count: int, status: int
) -> list[bytes]:
    """The answers to so many of the requests, all with that status."""
    asking = itertools.islice(requests, count)
    outcome = await generator.run(
        server.host, server.port, asking, connections=32, seconds=600, keep_status=status
    )
    return expect(outcome, status).bodies


async def sold_tokens(dsn: str) -> list[str]:
    """The tickets' of all confirmed orders, by the journal."""
    confirmed = [f for f in await facts(dsn) if isinstance(f, OrderConfirmed)]
    return [ids.token_text(token) for fact in confirmed for token in fact.tokens]


async def placed_orders(dsn: str) -> set[str]:
    """All that the journal has."""
    return {f.order_id for f in await facts(dsn) if isinstance(f, OrderPlaced)}


async def expect_in_the_journal(dsn: str, turns: Sequence[Turn]) -> int:
    """How many orders were answered; SystemExit where one is missing."""
    return expect_among(turns, await placed_orders(dsn))


def expect_among(turns: Sequence[Turn], kept: Set[str]) -> int:
    """By their ids, or by number, where the client keeps no bodies."""
    answered = sum(turn.answered for turn in turns)
    seen = {json.loads(body)["order_id"] for turn in turns for body in turn.bodies}
    missing = len(seen - kept) or max(0, answered - len(kept))
    if missing:
        raise SystemExit(f"{missing} answers of 201 are not in the books")
    return answered


async def facts(dsn: str) -> list[Any]:
    """The journal's, a shard after the other."""
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch("SELECT batch, crc FROM journal")
    await connection.close()
    return [entry.fact for row in rows for entry in decode(row["batch"], row["crc"])]


async def durability(dsn: str) -> str:
    """How Postgres writes, in words."""
    connection = await asyncpg.connect(dsn)
    version = await connection.fetchval("SHOW server_version")
    fsync = await connection.fetchval("SHOW fsync")
    synchronous = await connection.fetchval("SHOW synchronous_commit")
    await connection.close()
    return f"Postgres {version}, fsync {fsync}, synchronous_commit {synchronous}"
