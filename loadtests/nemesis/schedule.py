"""What is broken when, drawn from a seed: the same seed breaks the same things at the same times.

Between two faults the system has time to come back, except where the second comes on top of the
first. Every kind comes up before one comes up again.
"""

from collections.abc import Iterator
from enum import StrEnum
from random import Random

from msgspec import Struct

FIRST_S, LAST_S = 2.0, 6.0  # what a run begins and ends with: nothing broken
OVERLAPS = 1 / 3
OVERLAP_S = (0.1, 1.5)  # after the fault before has begun
PAUSE_S = (5.0, 8.0)  # after it has ended


class Kind(StrEnum):
    KILL = "kill -9 of a node"
    KILL_OWNER = "kill -9 of the hot sale's owner"
    KILL_PROJECTOR = "kill -9 of the projector"
    ZOMBIE = "an owner stopped past its lease, then woken"
    HANDOVER = "a node told to leave"
    POSTGRES_CUT = "all backends of Postgres terminated"
    POSTGRES_CRASH = "Postgres crashed"
    POSTGRES_FREEZE = "Postgres frozen"
    VALKEY_CUT = "all connections of Valkey killed"
    VALKEY_FLUSH = "Valkey flushed"
    VALKEY_CRASH = "Valkey killed, back empty"
    VALKEY_FREEZE = "Valkey frozen"
    PARTITION = "a node cut off from Postgres and Valkey"
    PARTITION_POSTGRES = "a node cut off from Postgres"
    PARTITION_VALKEY = "a node cut off from Valkey"
    SLOW = "a slow network"
    CUT_BEFORE = "requests to Postgres cut before they arrive"
    CUT_DURING = "requests to Postgres cut in half"
    CUT_AFTER = "answers of Postgres cut"
    LATE = "a batch that arrives after everybody has given it up"
    SPLIT_POSTGRES = "all packets between a node and Postgres lost"
    SPLIT_VALKEY = "all packets between a node and Valkey lost"
    SPLIT_SERVERS = "all packets between a node and both lost"
    SPLIT_ALL = "all packets of a node lost, its clients' too"
    MUTE = "all packets from a node to both lost"
    DEAF = "all packets from both to a node lost"


# What needs network namespaces, and what does not.
LOSSES = (
    Kind.SPLIT_POSTGRES,
    Kind.SPLIT_VALKEY,
    Kind.SPLIT_SERVERS,
    Kind.SPLIT_ALL,
    Kind.MUTE,
    Kind.DEAF,
)
ANYWHERE = tuple(kind for kind in Kind if kind not in LOSSES)

# How long each lasts, from and to; what is over at once is not listed.
LASTS_S: dict[Kind, tuple[float, float]] = {
    Kind.ZOMBIE: (4.0, 6.0),
    Kind.POSTGRES_FREEZE: (1.0, 3.0),
    Kind.VALKEY_FREEZE: (2.0, 2.0),
    Kind.PARTITION: (1.0, 6.0),
    Kind.PARTITION_POSTGRES: (1.0, 6.0),
    Kind.PARTITION_VALKEY: (1.0, 6.0),
    Kind.SLOW: (2.0, 5.0),
    Kind.CUT_BEFORE: (0.3, 1.0),
    Kind.CUT_DURING: (0.3, 1.0),
    Kind.CUT_AFTER: (0.3, 1.0),
    Kind.LATE: (1.0, 8.0),
    **dict.fromkeys(LOSSES, (1.0, 6.0)),
}


class Planned(Struct, frozen=True):
    """`starts_s`: from the run's beginning. `chance`: what chooses among targets, any number."""

    number: int
    kind: Kind
    starts_s: float
    lasts_s: float
    chance: int
    overlaps: bool


def schedule(seed: int, seconds: float, kinds: tuple[Kind, ...] = tuple(Kind)) -> list[Planned]:
    """In the order of their starts."""
    random = Random(seed)
    deck = _decks(random, kinds)
    planned: list[Planned] = []
    starts_s, overlaps = FIRST_S, False
    while True:
        kind = next(deck)
        lasts_s = random.uniform(*LASTS_S.get(kind, (0.0, 0.0)))
        if starts_s + lasts_s > seconds - LAST_S:
            return planned
        fault = Planned(len(planned) + 1, kind, starts_s, lasts_s, random.getrandbits(32), overlaps)
        planned.append(fault)
        overlaps = not overlaps and random.random() < OVERLAPS / (1 - OVERLAPS)
        if overlaps:
            starts_s += random.uniform(*OVERLAP_S)
        else:
            ends_s = max(each.starts_s + each.lasts_s for each in planned)
            starts_s = ends_s + random.uniform(*PAUSE_S)


def _decks(random: Random, kinds: tuple[Kind, ...]) -> Iterator[Kind]:
    while True:
        yield from random.sample(kinds, len(kinds))
