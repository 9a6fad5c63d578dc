"""Naive stays: where one may come back, all that was told of a ticket is sorted anew each time."""

from dataclasses import dataclass

from tests.engine.model_books import ModelScan, ModelTicket


@dataclass
class ModelStay:
    entries: list[ModelScan]
    ended_by: ModelScan | None = None

    @property
    def admission(self) -> ModelScan | None:
        best = sorted(self.entries, key=lambda scan: not scan.online)
        return best[0] if best else None


def stays(visits: list[ModelScan]) -> list[ModelStay]:
    found = [ModelStay([])]
    for visit in sorted(visits, key=lambda scan: scan.told_at_ms):
        if visit.leaving:
            found[-1].ended_by = visit
            found.append(ModelStay([]))
        else:
            found[-1].entries.append(visit)
    return found


def stay_of(visits: list[ModelScan], scan: ModelScan) -> ModelStay:
    """Where one visit more would stand."""
    every = stays([*visits, scan])
    return next(s for s in every if scan is s.ended_by or scan in s.entries)


def go_through(ticket: ModelTicket, scan: ModelScan) -> None:
    """One more visit, and who is in after it."""
    if not ticket.visits and ticket.in_by is not None:
        ticket.visits.append(ticket.in_by)
    ticket.visits.append(scan)
    settle(ticket)


def settle(ticket: ModelTicket) -> None:
    every = stays(ticket.visits)
    standing = [id(stay.admission) for stay in every]
    for visit in ticket.visits:
        let_in = visit.result == "ADMIT" and id(visit) in standing
        visit.admitted = ticket if let_in else None
    now_in = every[-1].admission
    ticket.in_by = now_in
    ticket.admitted = (now_in.told_at_ms, now_in.gate) if now_in is not None else None
    online = now_in is not None and now_in.online
    ticket.admitted_online_by = now_in.device_id if now_in is not None and online else None
    ticket.told = [now_in] if now_in is not None and not online else []
    ticket.was_in = any(stay.entries for stay in every)


def take_back(ticket: ModelTicket) -> None:
    last = stays(ticket.visits)[-1].entries
    ticket.visits = [visit for visit in ticket.visits if visit not in last]
    ticket.was_in = any(not visit.leaving for visit in ticket.visits)


def ended(ticket: ModelTicket) -> list[tuple[ModelScan, ModelScan]]:
    """Admissions that are over, and the exits that ended them."""
    pairs = [(stay.admission, stay.ended_by) for stay in stays(ticket.visits)]
    return [(let_in, out) for let_in, out in pairs if let_in is not None and out is not None]
