"""What goes wrong: how often, when, and the story of it.

Each seed draws its own swarm: which troubles there are at all, and how often each. A world with all
troubles at once hides what only shows where one of them is missing (Groce and others, "Swarm
testing", 2012).
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from enum import StrEnum
from random import Random
from typing import Any

from msgspec import Struct


class Trouble(StrEnum):
    """The upper ones befall a message, the lower ones the world in a step."""

    SLOW = "slow"
    APPEND_REFUSED = "append refused"
    APPEND_LOST = "append lost"
    APPEND_UNANSWERED = "append landed, its answer lost"
    APPEND_LATE = "append lands late"
    STATEMENT_LOST = "statement lost"
    STATEMENT_UNANSWERED = "statement done, its answer lost"
    RELEASE_LATE = "release lands late"
    READ_BROKEN = "journal read broken off"
    CALL_LOST = "call lost"
    CALL_UNANSWERED = "call sent, nobody knows"
    CALL_DOUBLED = "call doubled"
    CALL_LATE = "call late"
    CALLS_BROKEN = "read of calls broken off"
    ANSWER_LOST = "answer lost"
    ANSWER_DOUBLED = "answer doubled"
    ANSWER_LATE = "answer late"
    FETCH_LOST = "answers fetched and lost"
    SNAPSHOT_UNANSWERED = "snapshot saved, its answer lost"

    CRASH = "crash"
    PAUSE = "pause"
    REPLACED = "paused and replaced by its name"
    CLOCK = "clock stepped"
    DATABASE_AWAY = "database away"
    DATABASE_CUT = "database cut off from one"
    REDIS_AWAY = "redis away"
    REDIS_EMPTIED = "redis emptied"
    REDIS_OLDER = "redis came back older"
    SNAPSHOTS_AWAY = "snapshots away"
    SNAPSHOTS_EMPTIED = "snapshots emptied"
    PROJECTOR_AWAY = "projector stands still"
    BUG = "a command kills its sale"
    STOP = "planned stop"
    JOIN = "join"


_MESSAGES = tuple(Trouble)[: tuple(Trouble).index(Trouble.CRASH)]
_STEPS = tuple(Trouble)[len(_MESSAGES) :]
_PLANNED = (Trouble.STOP, Trouble.JOIN)
_MESSAGE_RATE_MAX = 0.12
_STEP_RATE_MAX = 0.15
_FAVOURITE_RATE = 0.3  # of the one trouble that a seed has most of
_CALM = 0.12  # of the seeds know planned troubles only


class Swarm(Struct, frozen=True):
    """`rates`: how likely each trouble is. `calm`: nothing but what operators plan."""

    calm: bool
    nodes: int
    letter_ttl_s: float
    quantity: int
    rates: dict[Trouble, float]


def draw(random: Random) -> Swarm:
    calm = random.random() < _CALM
    rates = {trouble: _rate(trouble, random, calm=calm) for trouble in Trouble}
    favourite = random.choice(_STEPS)
    if not calm:
        rates[favourite] = _FAVOURITE_RATE
    return Swarm(
        calm=calm,
        nodes=random.randint(2, 4),
        letter_ttl_s=random.choice((2.0, 6.0)),
        quantity=random.choice((6, 12, 40)),
        rates=rates,
    )


def _rate(trouble: Trouble, random: Random, *, calm: bool) -> float:
    rate_max = _MESSAGE_RATE_MAX if trouble in _MESSAGES else _STEP_RATE_MAX
    drawn = random.choice((0.0, random.uniform(0, rate_max)))
    if calm:
        return rate_max if trouble in _PLANNED else 0.0
    return drawn


class Story:
    """What happened, in order; told only where somebody asks."""

    def __init__(self) -> None:
        self.lines: list[tuple[float, str, str]] = []

    def tell(self, who: str, what: str) -> None:
        self.lines.append((asyncio.get_running_loop().time(), who, what))

    def text(self) -> str:
        return "\n".join(f"{at_s:9.4f}  {who:<8}  {what}" for at_s, who, what in self.lines)


class Weather:
    """The world's own context: what it does later is done whoever is paused or dead by then."""

    def __init__(self, swarm: Swarm, random: Random, story: Story) -> None:
        self.swarm = swarm
        self.random = random
        self.story = story
        self.healed = False
        self.struck: Counter[Trouble] = Counter()
        self._context = copy_context()
        self._later: set[asyncio.Task[None]] = set()

    def strikes(self, trouble: Trouble, who: str) -> bool:
        rate = self.swarm.rates[trouble]
        if self.healed or not rate or self.random.random() >= rate:
            return False
        self.note(trouble, who)
        return True

    def note(self, trouble: Trouble, who: str) -> None:
        self.struck[trouble] += 1
        self.story.tell(who, f"! {trouble}")

    def delay_s(self, who: str) -> float:
        """How long a message is under way."""
        if self.strikes(Trouble.SLOW, who):
            return self.random.uniform(0.01, 1.5)
        return self.random.uniform(0.0001, 0.003)

    def later(self, seconds: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = asyncio.get_running_loop().create_task(_after(seconds, work), context=self._context)
        self._later.add(task)
        task.add_done_callback(self._later.discard)


async def _after(seconds: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    await asyncio.sleep(seconds)
    await work()
