"""The doors without a network: what devices tell afterwards of the scans they judged alone.

What has happened is never refused: every scan becomes a fact, once a device and nonce. An admission
given online stays. Among the others of a ticket the earliest is the admission, in whatever order
they arrive: one that comes before the standing one takes its place. Instants are the devices' own,
corrected; of two that are the same the first told stays. Where one may come back, all that is so of
each stay, and what was told before is settled anew (`engine.stays`).
"""

from msgspec import Struct

from engine import stays
from engine.commands import SyncScans
from engine.facts import Fact, InvalidReason, TicketScanned
from engine.order import Order
from engine.replies import Decision
from engine.scan import Scan, SyncedScan, SyncView, device_of, scan_key
from engine.state import Phase, State
from engine.telling import Offline, OfflineScan, Outcome, ScanResult, Settled
from engine.ticket import Ticket, TicketStatus


class _Admission(Struct, frozen=True):
    """The one of a ticket that stands."""

    scan_key: str
    at_ms: int
    gate: str | None
    offline: bool


class _Verdict(Struct, frozen=True):
    outcome: Outcome
    result: ScanResult
    reason: InvalidReason | None = None
    standing: _Admission | None = None
    displaced: str | None = None
    contested: bool = False
    settled: Settled | None = None


class _Ahead(Struct):
    """What the facts decided so far will have changed, by ticket: they are applied together."""

    admission_by_ticket: dict[str, _Admission] = {}
    scanned: set[str] = set()  # tickets that this device tells of
    digest_by_key: dict[str, bytes] = {}  # of the scans
    visits_by_ticket: dict[str, tuple[stays.Visit, ...]] = {}


def sync(state: State, command: SyncScans) -> Decision:
    ahead = _Ahead()
    facts: list[Fact] = []
    for scan in command.scans:
        key = _told_as(state, command.device_id, scan)
        if ahead.digest_by_key.get(key, scan.token_digest) != scan.token_digest:
            key = _beside(key, scan.token_digest)
        if key not in state.scan_by_key and key not in ahead.digest_by_key:
            ahead.digest_by_key[key] = scan.token_digest
            facts.append(_decide(state, ahead, command.device_id, key, scan))
    return facts


def _told_as(state: State, device_id: str, scan: OfflineScan) -> str:
    """The key that the scan is kept under, where its nonce stands for another token a new one."""
    key = scan_key(device_id, scan.nonce)
    known = state.scan_by_key.get(key)
    other = known is not None and known.fact.token_digest != scan.token_digest
    return _beside(key, scan.token_digest) if other else key


def _beside(key: str, digest: bytes) -> str:
    """No nonce of a device has a space in it."""
    return f"{key} {digest[:8].hex()}"


def _decide(
    state: State, ahead: _Ahead, device_id: str, key: str, scan: OfflineScan
) -> TicketScanned:
    known = state.ticket(scan.token_digest)
    if known is None:
        unknown = InvalidReason.UNKNOWN_TOKEN
        return _fact(device_id, key, scan, _Verdict(Outcome.UNKNOWN, ScanResult.INVALID, unknown))
    found, ticket = known
    name = ticket_key(found.order_id, ticket.number)
    tier_id = found.item(ticket).tier_id
    of = (found, ticket, tier_id, state.header.tiers[tier_id].terms.name)
    if stays.may_return(state, ticket) or scan.leaving:
        before = ahead.visits_by_ticket.get(name) or stays.visits(state, ticket)
        new = stays.Visit(key, scan.at_ms, scan.gate, scan.leaving, online=False)
        verdict = _judge_visit(state, ticket, before, new, scan)
        if verdict.settled is not None:
            ahead.visits_by_ticket[name] = (*before, new)
        return _fact(device_id, key, scan, verdict, of)
    standing = ahead.admission_by_ticket.get(name) or _standing(state, ticket)
    scanned_before = name in ahead.scanned or device_id in state.told_by_ticket.get(name, ())
    verdict = _judge(state, ticket, scan, device_id, standing, scanned_before)
    if scan.told is ScanResult.ADMIT:
        ahead.scanned.add(name)
    if verdict.result is ScanResult.ADMIT:
        ahead.admission_by_ticket[name] = _Admission(key, scan.at_ms, scan.gate, offline=True)
    return _fact(device_id, key, scan, verdict, of)


def _standing(state: State, ticket: Ticket) -> _Admission | None:
    if ticket.admitted_by is None or ticket.checked_in_at_ms is None:
        return None
    offline = state.scan_by_key[ticket.admitted_by].fact.offline is not None
    return _Admission(ticket.admitted_by, ticket.checked_in_at_ms, ticket.admitted_gate, offline)


def _judge(
    state: State,
    ticket: Ticket,
    scan: OfflineScan,
    device_id: str,
    standing: _Admission | None,
    scanned_before: bool,
) -> _Verdict:
    over = _over(state, ticket, scan.token_digest)
    if over is not None and over[0] <= scan.at_ms:
        return _Verdict(Outcome.LATE_INVALID, ScanResult.INVALID, over[1])
    own = standing is not None and device_of(standing.scan_key) == device_id
    if scan.told is not ScanResult.ADMIT:  # nobody was let in
        again = scan.told is ScanResult.ALREADY_ADMITTED and (own or scanned_before)
        outcome = Outcome.DUPLICATE if again else Outcome.RECORDED
        return _Verdict(outcome, scan.told, standing=standing)
    contested = over is not None
    if standing is None:
        return _Verdict(Outcome.RECORDED, ScanResult.ADMIT, contested=contested)
    if standing.offline and scan.at_ms < standing.at_ms:
        displaced = standing.scan_key
        return _Verdict(Outcome.RECORDED, ScanResult.ADMIT, None, None, displaced, contested)
    outcome = Outcome.DUPLICATE if own or scanned_before else Outcome.CONFLICT
    return _Verdict(outcome, ScanResult.ALREADY_ADMITTED, standing=standing, contested=contested)


def _judge_visit(
    state: State,
    ticket: Ticket,
    before: tuple[stays.Visit, ...],
    new: stays.Visit,
    scan: OfflineScan,
) -> _Verdict:
    """Where one may come back."""
    full = len(before) >= stays.VISITS_MAX
    if scan.leaving and (full or not stays.may_return(state, ticket)):
        return _Verdict(Outcome.RECORDED, ScanResult.INVALID, InvalidReason.NO_REENTRY)
    over = _over(state, ticket, scan.token_digest)
    late = over[1] if over is not None and over[0] <= scan.at_ms else None
    if scan.leaving:
        return _judge_exit(before, new, scan, late)
    if late is not None:
        return _Verdict(Outcome.LATE_INVALID, ScanResult.INVALID, late)
    stay = stays.stay_of(new, before)
    others = [entry for entry in stay.entries if entry is not new]
    standing = stays.admission(others)
    again = any(device_of(other.scan_key) == device_of(new.scan_key) for other in others)
    if scan.told is not ScanResult.ADMIT:  # nobody was let in
        twice = again and scan.told is ScanResult.ALREADY_ADMITTED
        outcome = Outcome.DUPLICATE if twice else Outcome.RECORDED
        return _Verdict(outcome, scan.told, standing=_admission(standing))
    contested = over is not None
    settled = None if full and standing is not None else stays.settle(before, new)
    if settled is not None and new.scan_key in settled.stands:
        admit = ScanResult.ADMIT
        return _Verdict(Outcome.RECORDED, admit, contested=contested, settled=settled)
    return _Verdict(
        Outcome.DUPLICATE if again else Outcome.CONFLICT,
        ScanResult.ALREADY_ADMITTED,
        standing=_admission(standing),
        contested=contested,
        settled=settled,
    )


def _judge_exit(
    before: tuple[stays.Visit, ...],
    new: stays.Visit,
    scan: OfflineScan,
    late: InvalidReason | None,
) -> _Verdict:
    """Whoever is in may leave; `late`: why the ticket was worth nothing by then."""
    if scan.told is not ScanResult.EXIT:  # nobody went out
        return _Verdict(Outcome.RECORDED, scan.told)
    ended = stays.stay_of(new, before).admission
    if late is not None and ended is None:
        return _Verdict(Outcome.LATE_INVALID, ScanResult.INVALID, late)
    settled = stays.settle(before, new)
    return _Verdict(Outcome.RECORDED, ScanResult.EXIT, standing=_admission(ended), settled=settled)


def _admission(visit: stays.Visit | None) -> _Admission | None:
    if visit is None:
        return None
    return _Admission(visit.scan_key, visit.at_ms, visit.gate, not visit.online)


def _over(state: State, ticket: Ticket, digest: bytes) -> tuple[int, InvalidReason] | None:
    """Since when this token has been worth nothing, and why; the first that happened."""
    ends = []
    if state.header.phase is Phase.CANCELLED:
        ends.append((state.header.cancelled_at_ms, InvalidReason.EVENT_CANCELLED))
    if ticket.ended_at_ms is not None:
        transferred = ticket.status is TicketStatus.TRANSFERRED
        reason = InvalidReason.TRANSFERRED if transferred else InvalidReason.REFUNDED
        ends.append((ticket.ended_at_ms, reason))
    if digest in ticket.replaced:
        at_ms = ticket.replaced_at_ms[ticket.replaced.index(digest)]
        ends.append((at_ms, InvalidReason.REISSUED))
    return min(ends, key=lambda end: end[0], default=None)


def _fact(
    device_id: str,
    key: str,
    scan: OfflineScan,
    verdict: _Verdict,
    of: tuple[Order, Ticket, str, str] | None = None,
) -> TicketScanned:
    found, ticket, tier_id, tier_name = of or (None, None, None, None)
    standing = verdict.standing
    checked_in_at_ms, gate = (standing.at_ms, standing.gate) if standing else (None, None)
    if verdict.result is ScanResult.ADMIT:
        checked_in_at_ms, gate = scan.at_ms, scan.gate
    return TicketScanned(
        device_id,
        key.partition("\n")[2],
        scan.token_digest,
        scan.gate,
        scan.scanned_at_ms,
        verdict.result,
        verdict.reason,
        found.order_id if found else None,
        ticket.number if ticket else None,
        tier_id,
        checked_in_at_ms,
        gate,
        tier_name=tier_name,
        ticket_sealed=ticket.sealed if ticket else None,
        offline=Offline(
            verdict.outcome,
            scan.told,
            scan.at_ms,
            verdict.contested,
            verdict.displaced,
            verdict.settled,
        ),
        leaving=scan.leaving,
        visit=verdict.settled is not None,
    )


def view(state: State, command: SyncScans) -> SyncView:
    """Of each scan what was first decided, by now perhaps long ago."""
    keys = [_told_as(state, command.device_id, scan) for scan in command.scans]
    return SyncView(tuple([_synced(state.scan_by_key[key]) for key in keys]))


def _synced(scan: Scan) -> SyncedScan:
    fact = scan.fact
    return SyncedScan(
        fact.offline.outcome if fact.offline else Outcome.RECORDED,
        fact.reason,
        fact.order_id,
        fact.number,
        fact.checked_in_at_ms,
        fact.admitted_gate,
        scan.displaced,
        scan.undone_at_ms,
        scan.resolved,
    )


def index_told(state: State, fact: TicketScanned) -> None:
    """Which devices tell of having let the ticket's holder in."""
    if fact.offline is None or fact.offline.told is not ScanResult.ADMIT or fact.order_id is None:
        return
    assert fact.number is not None
    name = ticket_key(fact.order_id, fact.number)
    before = state.told_by_ticket.get(name, ())
    if fact.device_id not in before:
        state.told_by_ticket[name] = (*before, fact.device_id)


def apply_displaced(state: State, ticket: Ticket, tier_id: str, displaced: str) -> None:
    """An earlier scan has been told of: this one is not the admission any more."""
    scan = state.scan_by_key[displaced]
    assert scan.fact.offline is not None and ticket.admitted_by == displaced
    assert ticket.checked_in_at_ms is not None
    scan.displaced = True
    state.touched[displaced] = None
    state.header.doors.count(tier_id, ticket.admitted_gate, ticket.checked_in_at_ms, -1)
    ticket.checked_in_at_ms = None


def apply_settled(state: State, ticket: Ticket, tier_id: str, settled: Settled) -> None:
    for key in settled.falls:
        _count(state, tier_id, key, -1)
    for key in settled.stands:
        _count(state, tier_id, key, +1)
    in_by = settled.admitted_by
    ticket.admitted_by = in_by
    ticket.admitted_gate = state.scan_by_key[in_by].fact.gate if in_by is not None else None
    ticket.checked_in_at_ms = settled.admitted_at_ms
    if settled.used and ticket.status is TicketStatus.VALID:
        ticket.status = TicketStatus.USED


def _count(state: State, tier_id: str, key: str, change: int) -> None:
    """A scan is counted from now on, or no more."""
    scan = state.scan_by_key[key]
    visit = stays.visit(key, scan)
    doors = state.header.doors
    (doors.count_exit if visit.leaving else doors.count)(tier_id, visit.gate, visit.at_ms, change)
    scan.displaced = change < 0 and scan.fact.result is ScanResult.ADMIT
    scan.resolved = change > 0 and scan.fact.result is ScanResult.ALREADY_ADMITTED
    state.touched[key] = None


def ticket_key(order_id: str, number: int) -> str:
    return f"{order_id}-{number}"
