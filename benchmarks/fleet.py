"""A fleet of scanners at one event: tickets, copies of them at other doors, and tokens made up.

Whatever the copies do, every ticket that was shown is in once, by the journal as by the answers.
"""

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from random import Random
from uuid import UUID

from benchmarks import stage
from benchmarks.asked import Asked
from benchmarks.results import Measurement, measured
from benchmarks.servers import baseline, stampede
from benchmarks.turns import Side, figures, in_turns
from engine.facts import ScanResult, TicketScanned
from engine.ticket import token_digest

DEVICES = 200
COPIES, FAKES = 0.05, 0.01
CHECK_INS_PER_S_MAX = 12_000  # tickets are sold for as many
OURS, BARE = "ours", "bare handler"


class Crowd:
    """Who comes to the doors, in what order; endless after the last ticket, with copies alone."""

    def __init__(self, tokens: list[str], random: Random) -> None:
        self._tokens = iter(tokens)
        self._random = random
        self.shown: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        chance = self._random.random()
        if chance < FAKES:
            return str(UUID(int=self._random.getrandbits(128), version=4))
        if chance < FAKES + COPIES and self.shown:
            return self._random.choice(self.shown)
        token = next(self._tokens, None) or self._random.choice(self.shown)
        self.shown.append(token)
        return token


async def fleet(asked: Asked) -> list[Measurement]:
    """Two hundred devices, each with a credential and a connection of its own."""
    async with stampede() as ours, baseline("bare") as bare:
        rounds = asked.rounds_or(5)
        event_id, tier_id = stage.event_on_sale(ours, price=0)
        tickets = int(rounds * asked.seconds * CHECK_INS_PER_S_MAX)
        await stage.sell(ours, event_id, tier_id, tickets)
        crowd = Crowd(await stage.sold_tokens(ours.dsn), Random(1))
        devices = [ours.token("scanner", f"device-{n}", event_id) for n in range(DEVICES)]

        def scans(tokens: Iterator[str]) -> Iterator[bytes]:
            each = [stage.scans(event_id, device, tokens) for device in devices]
            return (next(of_it) for of_it in itertools.cycle(each))

        sides = [
            Side(OURS, ours, lambda: scans(crowd), 200),
            Side(BARE, bare, lambda: scans(itertools.cycle(crowd.shown)), 200),
        ]
        turns = await in_turns(sides, asked.by_ourselves(), rounds, in_flight=DEVICES)
        answers = [json.loads(body) for turn in turns[OURS] for body in turn.bodies]
        told = Counter((answer["result"], answer.get("reason")) for answer in answers)
        let_in = await _let_in_once(ours.dsn, crowd, told["ADMIT", None])
        conditions = (
            f"{DEVICES} devices, each with a connection, closed loop, {asked.seconds:g} s a side"
            f" and round, in turns; {COPIES:.0%} copies, {FAKES:.0%} fakes;"
            f" {await stage.durability(ours.dsn)}; logs, metrics, snapshots and projector on."
            f" {let_in:,} tickets let in once by the journal; {_in_words(told)}."
        )
        found = figures(turns, "durable answers at the doors", OURS)
        return [measured("doors, a fleet", "./run bench fleet", conditions, found)]


async def _let_in_once(dsn: str, crowd: Crowd, admitted: int) -> int:
    """How many tickets are in; SystemExit where one is twice, or none should be."""
    scans = [f for f in await stage.facts(dsn) if isinstance(f, TicketScanned)]
    facts = [f for f in scans if f.result is ScanResult.ADMIT]
    tickets = {(fact.order_id, fact.number) for fact in facts}
    shown = {token_digest(UUID(token).bytes) for token in crowd.shown}
    strangers = {fact.token_digest for fact in facts} - shown
    # What was under way when the time was over is in the journal, and no answer was waited for.
    unheard = len(facts) - admitted
    if len(tickets) != len(facts) or strangers or not 0 <= unheard <= DEVICES * 10:
        raise SystemExit(
            f"{len(facts)} admissions of {len(tickets)} tickets, {admitted} seen admitted"
        )
    return len(tickets)


def _in_words(told: Counter[tuple[str, str | None]]) -> str:
    return ", ".join(f"{count:,} {reason or result}" for (result, reason), count in told.items())
