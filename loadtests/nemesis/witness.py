"""What is seen from outside while everything breaks: answers, how many a second, and how late.

Orders and scans are kept by `Seen`; this adds what only a run with faults asks for: that what was
read once does not turn back, when each sale last gave its word, and what came each second.
"""

import time
from collections import Counter, defaultdict
from enum import StrEnum

from msgspec import Struct, field

from loadtests.client import Answer
from loadtests.seen import Seen, Tickets

SURPRISES_MAX = 20


class Came(StrEnum):
    """What became of a request, as the timeline counts it."""

    DONE = "2xx"
    REFUSED = "4xx"
    FAULT = "503"
    ERROR = "5xx"
    NOTHING = "no answer"


class Second(Struct):
    """`late_s`: how far we ourselves were behind, at worst: then the machine has too much to do."""

    offered: int = 0
    late_s: float = 0.0
    came: Counter[Came] = field(default_factory=Counter)
    unanswered: Counter[str] = field(default_factory=Counter)  # by what was asked for


class Durable(Struct, frozen=True, gc=False):
    """A 201 that was not a replay, in seconds of the run."""

    sent_s: float
    answered_s: float


class _Read(Struct, frozen=True, gc=False):
    answered_s: float
    status: str
    reason: str | None


class Witness:
    """Times are seconds of the run, from `begin` on. `unknown`: requests given up undecided."""

    def __init__(self) -> None:
        self.seen = Seen()
        self.seconds: list[Second] = []
        self.durable_by_event: dict[str, list[Durable]] = defaultdict(list)
        self.surprises: Counter[str] = Counter()
        self.unknown = 0
        self._began_s = time.monotonic()
        self._read_by_order: dict[str, _Read] = {}

    def begin(self) -> None:
        self._began_s = time.monotonic()
        self.seconds = []

    @property
    def now_s(self) -> float:
        return time.monotonic() - self._began_s

    # -- the timeline ----------------------------------------------------------------------

    def offers(self) -> None:
        self._second().offered += 1

    def is_late(self, seconds: float) -> None:
        second = self._second()
        second.late_s = max(second.late_s, seconds)

    def hears(self, status: int) -> None:
        self._second().came[_came(status)] += 1

    def hears_nothing(self, kind: str) -> None:
        self._second().came[Came.NOTHING] += 1
        self._second().unanswered[kind] += 1

    def _second(self) -> Second:
        number = int(self.now_s)
        while len(self.seconds) <= number:
            self.seconds.append(Second())
        return self.seconds[number]

    # -- what was said ---------------------------------------------------------------------

    def placed(self, event_id: str, sent_s: float) -> None:
        self.durable_by_event[event_id].append(Durable(sent_s, self.now_s))

    def read(self, order_id: str, answer: Answer, sent_s: float) -> Tickets | None:
        """An order that was placed, read again; None where it was not told."""
        if answer.status != 200:
            self.surprised(f"{answer.status} to reading an order that was placed")
            if answer.status == 404:
                self.seen.contradictions.append(f"{order_id} was placed and is not there")
            return None
        found = self.seen.read_order(answer)
        before = self._read_by_order.get(order_id)
        if before is not None and before.answered_s < sent_s and not _may_follow(before, found):
            self.seen.contradictions.append(
                f"{order_id} was {before.status} and then {found.status} {found.cancel_reason}"
            )
        self._read_by_order[order_id] = _Read(self.now_s, found.status, found.cancel_reason)
        return found

    def surprised(self, what: str) -> None:
        if len(self.surprises) < SURPRISES_MAX or what in self.surprises:
            self.surprises[what] += 1


def _may_follow(before: _Read, found: Tickets) -> bool:
    """What an order that was read as `before` may be later."""
    match before.status, before.reason:
        case "PENDING", _:
            return True
        case "CANCELLED", "expired":  # who pays late gets the places if they are still free
            return found.status == "CONFIRMED" or found.cancel_reason == "expired"
        case _:
            return (found.status, found.cancel_reason) == (before.status, before.reason)


def _came(status: int) -> Came:
    if status == 503:
        return Came.FAULT
    return {2: Came.DONE, 4: Came.REFUSED}.get(status // 100, Came.ERROR)
