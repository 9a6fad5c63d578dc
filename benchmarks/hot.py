"""The on-sale and the doors, ours beside the bare handler, in turns, with the same requests.

Only what is found in the journal afterwards is counted on our side; an answer that is missing there
ends the run.
"""

import itertools
import json
from collections.abc import Callable, Iterator
from uuid import uuid4

from benchmarks import stage
from benchmarks.asked import Asked
from benchmarks.results import Measurement, measured
from benchmarks.servers import Endpoint, baseline, stampede
from benchmarks.turns import Side, Turn, figures, in_turns
from engine.facts import ScanResult, TicketScanned

OURS, BARE = "ours", "bare handler"
EVENTS = 1_000
CROWD = 256
TICKETS_IN = 2_000

Requests = Callable[[], Iterator[bytes]]


async def onsale(asked: Asked) -> list[Measurement]:
    """Durable reservations a second on one hot tier."""
    return await _one_tier(asked, asked.in_flight, "onsale")


async def crowd(asked: Asked) -> list[Measurement]:
    return await _one_tier(asked, CROWD, "crowd")


async def _one_tier(asked: Asked, in_flight: int, name: str) -> list[Measurement]:
    async with stampede() as ours:
        event_id, tier_id = stage.event_on_sale(ours)
        token = ours.token("box_office", "bench")

        def requests() -> Iterator[bytes]:
            return stage.orders(event_id, tier_id, token)

        title = "onsale, one process" if name == "onsale" else f"onsale, {in_flight} in flight"
        return await _reservations(asked, ours, requests, in_flight, title, name)


async def two_tiers(asked: Asked) -> list[Measurement]:
    async with stampede() as ours:
        event_id, tier_ids = stage.event_with_tiers(ours, [stage.PLACES // 2] * 2)
        token = ours.token("box_office", "bench")
        selections = [(tier_id, 1) for tier_id in tier_ids]

        def requests() -> Iterator[bytes]:
            return stage.orders_of(event_id, selections, token)

        title = "onsale, orders over two tiers"
        return await _reservations(asked, ours, requests, asked.in_flight, title, "two-tiers")


async def many_events(asked: Asked) -> list[Measurement]:
    async with stampede() as ours:
        organizer = ours.token("organizer", "bench")
        sales = [stage.event_with_tiers(ours, [10_000], token=organizer) for _ in range(EVENTS)]
        token = ours.token("box_office", "bench")

        def requests() -> Iterator[bytes]:
            each = [stage.orders(event_id, tier_ids[0], token) for event_id, tier_ids in sales]
            return (next(of_it) for of_it in itertools.cycle(each))

        title = f"onsale, {EVENTS:,} events at once"
        return await _reservations(asked, ours, requests, asked.in_flight, title, "many-events")


async def _reservations(
    asked: Asked, ours: Endpoint, requests: Requests, in_flight: int, title: str, name: str
) -> list[Measurement]:
    async with baseline("bare") as bare:
        sides = [Side(OURS, ours, requests), Side(BARE, bare, requests)]
        turns = await in_turns(sides, asked, asked.rounds_or(5), in_flight)
        kept = await stage.expect_in_the_journal(ours.dsn, turns[OURS])
        conditions = await _conditions(ours, asked, in_flight)
        found = figures(turns, "durable reservations", OURS)
        conditions += f" {kept:,} answers, every one found in the journal."
        return [measured(asked.titled(title), asked.command(name), conditions, found)]


async def sold_out(asked: Asked) -> list[Measurement]:
    """Refusals beside reservations: a storm on what is gone must cost less than selling it."""
    async with stampede() as ours:
        on_sale = stage.event_on_sale(ours)
        gone = stage.event_on_sale(ours, places=stage.SOLD_A_TIME, price=0)
        await stage.sell(ours, *gone, stage.SOLD_A_TIME)
        token = ours.token("box_office", "bench")
        sides = [
            Side("refusals", ours, lambda: stage.orders(*gone, token), status=409),
            Side("reservations", ours, lambda: stage.orders(*on_sale, token)),
        ]
        turns = await in_turns(sides, asked, asked.rounds_or(5))
        await stage.expect_in_the_journal(ours.dsn, turns["reservations"])
        if {json.loads(body)["code"] for body in _bodies(turns["refusals"])} - {"sold_out"}:
            raise SystemExit("a refusal was not sold_out")
        conditions = await _conditions(ours, asked, asked.in_flight)
        found = figures(turns, "answers", "refusals")
        return [
            measured(asked.titled("onsale, sold out"), asked.command("sold-out"), conditions, found)
        ]


async def doors(asked: Asked) -> list[Measurement]:
    """Durable check-ins a second at one event; every ticket is scanned once."""
    async with stampede() as ours:
        event_id, tier_id = stage.event_on_sale(ours, price=0)
        tickets = int(asked.rounds_or(5) * asked.seconds * stage.CHECK_INS_PER_S_MAX)
        await stage.sell(ours, event_id, tier_id, tickets)
        tokens = iter(await stage.sold_tokens(ours.dsn))
        turns = await _scanned(asked, ours, event_id, lambda: tokens)
        admitted = _results(turns[OURS], "ADMIT", None)
        scans = [f for f in await stage.facts(ours.dsn) if isinstance(f, TicketScanned)]
        standing = {(f.order_id, f.number) for f in scans if f.result is ScanResult.ADMIT}
        if len(standing) < admitted:
            raise SystemExit(f"{admitted} seen admitted, {len(standing)} in the journal")
        conditions = await _conditions(ours, asked, asked.in_flight)
        conditions += f" {admitted:,} answers, every one found in the journal."
        found = figures(turns, "durable check-ins", OURS)
        return [
            measured(asked.titled("doors, one process"), asked.command("doors"), conditions, found)
        ]


async def doors_again(asked: Asked) -> list[Measurement]:
    """The same tickets over and over: ALREADY_ADMITTED, each answer a fact of its own."""
    async with stampede() as ours:
        event_id, tier_id = stage.event_on_sale(ours, price=0)
        await stage.sell(ours, event_id, tier_id, TICKETS_IN)
        tokens = await stage.sold_tokens(ours.dsn)
        scanner = ours.token("scanner", "bench", event_id)
        await stage.every(ours, stage.scans(event_id, scanner, iter(tokens)), len(tokens), 200)
        turns = await _scanned(asked, ours, event_id, lambda: itertools.cycle(tokens))
        _results(turns[OURS], "ALREADY_ADMITTED", None)
        conditions = await _conditions(ours, asked, asked.in_flight)
        found = figures(turns, "durable answers", OURS)
        return [measured("doors, admitted already", "./run bench doors-again", conditions, found)]


async def doors_fakes(asked: Asked) -> list[Measurement]:
    """Tokens that nobody has sold: looked for in the tables as well, for `wrong_event`."""
    async with stampede() as ours:
        event_id, tier_id = stage.event_on_sale(ours, price=0)
        await stage.sell(ours, event_id, tier_id, TICKETS_IN)
        turns = await _scanned(asked, ours, event_id, _invented)
        _results(turns[OURS], "INVALID", "unknown_token")
        conditions = await _conditions(ours, asked, asked.in_flight)
        found = figures(turns, "durable answers", OURS)
        return [measured("doors, fakes", "./run bench doors-fakes", conditions, found)]


async def _scanned(
    asked: Asked, ours: Endpoint, event_id: str, tokens: Callable[[], Iterator[str]]
) -> dict[str, list[Turn]]:
    scanner = ours.token("scanner", "bench", event_id)
    async with baseline("bare") as bare:
        sides = [
            Side(
                OURS,
                ours,
                lambda: stage.scans(event_id, scanner, tokens()),
                200,
                stage.CHECK_INS_PER_S_MAX,
            ),
            Side(BARE, bare, lambda: stage.scans(event_id, scanner, _invented()), 200),
        ]
        return await in_turns(sides, asked, asked.rounds_or(5))


def _invented() -> Iterator[str]:
    return iter(lambda: str(uuid4()), None)


def _results(turns: list[Turn], result: str, reason: str | None) -> int:
    answers = [json.loads(body) for body in _bodies(turns)]
    found = {(answer["result"], answer.get("reason")) for answer in answers}
    if found - {(result, reason)}:
        raise SystemExit(f"expected {result} {reason} alone, got {found}")
    return sum(turn.answered for turn in turns)


def _bodies(turns: list[Turn]) -> list[bytes]:
    return [body for turn in turns for body in turn.bodies]


async def _conditions(ours: Endpoint, asked: Asked, in_flight: int) -> str:
    return (
        f"{in_flight} in flight, closed loop{' by wrk' if asked.by_wrk else ''},"
        f" {asked.seconds:g} s a side and round, in turns;"
        f" {await stage.durability(ours.dsn)}; logs, metrics, snapshots and projector on."
    )
