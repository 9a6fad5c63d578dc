"""Scans as they are counted anew, and what those of a ticket add up to that may come back."""

from collections.abc import Sequence
from typing import TypeAlias

from msgspec import Struct

from engine import facts as f


class Scan(Struct, gc=False, eq=False):
    seq: int
    at_ms: int
    fact: f.TicketScanned
    undone: tuple[int, str] | None = None  # when and by whom
    displaced: bool = False
    resolved: bool = False

    @property
    def place(self) -> tuple[int, int]:
        """When it was, and which came first of those at one instant."""
        offline = self.fact.offline
        return (offline.at_ms if offline is not None else self.at_ms), self.seq


Stays: TypeAlias = dict[int, Scan]


def stay_of(scan: Scan, visits: Sequence[Scan]) -> int:
    """How many had gone out before."""
    return sum(v.fact.leaving and v.place < scan.place for v in visits)


def admissions(visits: Sequence[Scan]) -> Stays:
    """By stay the one that stands: given online, or else the first."""
    standing: Stays = {}
    for scan in sorted(visits, key=lambda v: (v.fact.offline is not None, v.place)):
        if not scan.fact.leaving:
            standing.setdefault(stay_of(scan, visits), scan)
    return standing


def totals(visits: Sequence[Scan]) -> tuple[int, int]:
    """Admissions, and exits that ended one."""
    standing = admissions(visits)
    exits = sum(v.fact.leaving for v in visits)
    return len(standing), sum(stay < exits for stay in standing)
