"""How soon everybody was served again: from what was broken when, and every durable answer."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from msgspec import Struct

from loadtests.nemesis.schedule import Planned
from loadtests.nemesis.witness import Durable

SERVES_S_MAX = 10.0
SILENT_S_MAX = 20.0  # however one fault comes on top of another: the longest lasts 8

Durables = Mapping[str, Sequence[Durable]]


class Struck(Struct, frozen=True):
    """A fault as it came about. `missed`: why it did not, where something else stood in its way."""

    plan: Planned
    target: str
    began_s: float
    healed_s: float
    missed: str | None = None


class Recovery(Struct, frozen=True):
    """Seconds until every event had sold again to somebody who asked since then; None: never.

    `gap_s`: the longest that an event sold nothing, until the next fault.
    """

    after_start_s: float | None
    after_healing_s: float | None
    gap_s: float


def recovery(fault: Struck, struck: Sequence[Struck], durable: Durables, ends_s: float) -> Recovery:
    until_s = min(
        [ends_s, fault.healed_s + SERVES_S_MAX]
        + [other.began_s for other in struck if other.began_s > fault.healed_s]
    )
    return Recovery(
        _served(durable, fault.began_s),
        _served(durable, fault.healed_s),
        max((_gap(each, fault.began_s, until_s) for each in durable.values()), default=0.0),
    )


def _served(durable: Durables, since_s: float) -> float | None:
    firsts = [
        next((each.answered_s for each in answers if each.sent_s >= since_s), None)
        for answers in durable.values()
    ]
    times = [first - since_s for first in firsts if first is not None]
    return max(times, default=None) if len(times) == len(firsts) else None


def _gap(answers: Sequence[Durable], began_s: float, until_s: float) -> float:
    times = [each.answered_s for each in answers if began_s <= each.answered_s <= until_s]
    return max(later - earlier for earlier, later in pairwise([began_s, *times, until_s]))


def too_slow(struck: Sequence[Struck], durable: Durables, ends_s: float) -> tuple[int, list[str]]:
    """How many faults say something about it, and those after which it took too long.

    A fault says nothing where another one came, or the run ended, before it was known.
    """
    told, wrong = 0, []
    done = [fault for fault in struck if fault.missed is None]
    for fault in done:
        peace_s = _peace_s(fault, done, ends_s)
        served_s = _served(durable, fault.healed_s)
        if served_s is not None and served_s <= min(peace_s, SERVES_S_MAX):
            told += 1
        elif peace_s > SERVES_S_MAX:
            told += 1
            after = "never" if served_s is None else f"after {served_s:.1f} s"
            wrong.append(f"{fault.plan.number}. {fault.plan.kind} ({fault.target}): served {after}")
    return told, wrong


def _peace_s(fault: Struck, done: Sequence[Struck], ends_s: float) -> float:
    """How long after its healing nothing else was broken."""
    others = [other for other in done if other is not fault and other.healed_s >= fault.healed_s]
    return min([ends_s, *(other.began_s for other in others)]) - fault.healed_s


def longest_silence(durable: Durables, ends_s: float) -> tuple[float, float]:
    """From when until when nobody at all was sold anything for the longest time."""
    times = sorted(each.answered_s for answers in durable.values() for each in answers)
    return max(
        pairwise([0.0, *(time_s for time_s in times if time_s < ends_s), ends_s]),
        key=lambda edges: edges[1] - edges[0],
    )
