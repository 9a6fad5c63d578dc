"""Stays: where one may come back after leaving, each stay has one admission.

A ticket's visits, the scans by which its holder came in or went out, stand in the order of their
instants, of those that are the same in the order in which they were told. They fall apart at the
exits. Of the entries of a stay an admission given online stands; else the earliest does. So an
exit that is told of later may end a stay that went on, and make of an entry that seemed to be the
second of one the first of the next.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from engine.scan import Scan
from engine.state import State
from engine.telling import Settled
from engine.ticket import Ticket

VISITS_MAX = 200  # of a ticket; no exit is taken beyond


class Visit(Struct, frozen=True, gc=False):
    scan_key: str
    at_ms: int
    gate: str | None
    leaving: bool
    online: bool


class Stay(Struct, frozen=True):
    entries: tuple[Visit, ...]
    exit: Visit | None

    @property
    def admission(self) -> Visit | None:
        return admission(self.entries)


def may_return(state: State, ticket: Ticket) -> bool:
    """A ticket that has left once may come back, though its event allows no more exits."""
    return state.header.terms.reentry or bool(ticket.visits)


def visit_keys(ticket: Ticket) -> tuple[str, ...]:
    """Of the scans; it may have come in before anybody was allowed to leave."""
    return ticket.visits or ((ticket.admitted_by,) if ticket.admitted_by is not None else ())


def visits(state: State, ticket: Ticket) -> tuple[Visit, ...]:
    return tuple([visit(key, state.scan_by_key[key]) for key in visit_keys(ticket)])


def visit(key: str, scan: Scan) -> Visit:
    offline = scan.fact.offline
    at_ms = offline.at_ms if offline is not None else scan.at_ms
    return Visit(key, at_ms, scan.fact.gate, scan.fact.leaving, offline is None)


def admission(entries: Sequence[Visit]) -> Visit | None:
    """The one of a stay's entries that stands."""
    online = (entry for entry in entries if entry.online)
    return next(online, None) or next(iter(entries), None)


def stays(visits: Iterable[Visit]) -> list[Stay]:
    found: list[Stay] = []
    entries: list[Visit] = []
    for one in sorted(visits, key=lambda visit: visit.at_ms):
        if one.leaving:
            found.append(Stay(tuple(entries), one))
            entries = []
        else:
            entries.append(one)
    return [*found, Stay(tuple(entries), None)]


def stay_of(new: Visit, before: Sequence[Visit]) -> Stay:
    """The one that a visit more is part of, or ends."""
    every = stays([*before, new])
    return next(stay for stay in every if stay.exit is new or new in stay.entries)


def settle(before: Sequence[Visit], new: Visit) -> Settled:
    """What becomes of a ticket's visits by one more."""
    after = stays([*before, new])
    counted, counts = _counting(stays(before)), _counting(after)
    now_in = after[-1].admission
    return Settled(
        tuple([key for key in counts if key not in counted]),
        tuple([key for key in counted if key not in counts]),
        now_in.scan_key if now_in is not None else None,
        now_in.at_ms if now_in is not None else None,
        any(stay.entries for stay in after),
    )


def _counting(stays: Iterable[Stay]) -> dict[str, None]:
    """The scans that are counted: admissions that stand, and exits that end a stay."""
    counted: dict[str, None] = {}
    for stay in stays:
        if stay.admission is not None:
            counted[stay.admission.scan_key] = None
            if stay.exit is not None:
                counted[stay.exit.scan_key] = None
    return counted


def without_the_last(visits: Iterable[Visit]) -> tuple[str, ...]:
    """An admission that is taken back promotes nobody: the entries of its stay are none."""
    gone = {entry.scan_key for entry in stays(visits)[-1].entries}
    return tuple([one.scan_key for one in visits if one.scan_key not in gone])
