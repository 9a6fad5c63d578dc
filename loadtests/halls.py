"""What must be true of halls after any crowd has asked for them: checked without the server's help.

Windows are half-open. Instants of asking and answering are seconds of one clock, the client's: what
was asked for was done at some moment between the two.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime

from msgspec import Struct


class Window(Struct, frozen=True, order=True):
    begins: datetime
    ends: datetime

    def meets(self, other: "Window") -> bool:
        return self.begins < other.ends and other.begins < self.ends


class Given(Struct, frozen=True):
    """A booking that was given; `ended_s`: between which moments it was cancelled, if it was."""

    booking_id: str
    hall: str
    window: Window
    asked_s: float
    ended_s: tuple[float, float] | None = None


class Refused(Struct, frozen=True):
    """A conflict: what was wanted, and what the answer said is in the way."""

    hall: str
    wanted: Window
    named_id: str
    named: Window
    asked_s: float
    answered_s: float


def overlaps(live: Iterable[Given]) -> list[tuple[Given, Given]]:
    """Pairs of bookings that share an instant in one hall: each with each, no cleverness."""
    by_hall: dict[str, list[Given]] = defaultdict(list)
    for given in live:
        by_hall[given.hall].append(given)
    return [
        (one, other)
        for hall in by_hall.values()
        for number, one in enumerate(hall)
        for other in hall[number + 1 :]
        if one.window.meets(other.window)
    ]


def unfounded(refused: Iterable[Refused], given_by_id: Mapping[str, Given]) -> list[str]:
    """Refusals that name what can't have been in the way then, and why."""
    wrong = []
    for refusal in refused:
        named = given_by_id.get(refusal.named_id)
        if named is None:
            wrong.append(f"{refusal.named_id} was never given")
        elif (named.hall, named.window) != (refusal.hall, refusal.named):
            wrong.append(f"{refusal.named_id} is elsewhere")
        elif not refusal.wanted.meets(refusal.named):
            wrong.append(f"{refusal.named_id} is not in the way")
        elif named.asked_s > refusal.answered_s:
            wrong.append(f"{refusal.named_id} was asked for later")
        elif named.ended_s is not None and named.ended_s[1] < refusal.asked_s:
            wrong.append(f"{refusal.named_id} had been cancelled")
    return wrong
