"""The doors: who may come in.

A device's nonce is looked at before anything else, so a repeated scan gets the same answer for
ever. Of any number of scans of one token one admission stands; where one may come back, one a stay
(`engine.stays`). Every scan is a fact, refused too.
"""

from engine import stays
from engine.commands import CheckIn, Gate, UndoCheckIn
from engine.facts import AdmissionUndone, InvalidReason, ScanResult, TicketScanned
from engine.rejections import Reason, Rejection
from engine.replies import Decision, Replayed
from engine.scan import Scan, ScanView, scan_key
from engine.state import Phase, State
from engine.syncing import apply_displaced, apply_settled, index_told
from engine.ticket import Ticket, TicketStatus

UNDO_WINDOW_MS = 15 * 60 * 1000

_Of = tuple[str, Ticket, str, str]  # order, ticket, tier and its name


def check_in(state: State, command: CheckIn, now_ms: int) -> Decision:
    known = state.scan_by_key.get(scan_key(command.device_id, command.nonce))
    if known is not None:
        fact = known.fact
        if (fact.token_digest, fact.leaving) != (command.token_digest, command.leaving):
            return Rejection(Reason.NONCE_REUSED)
        return Replayed(scan_view(state, known))
    known_ticket = state.ticket(command.token_digest)
    if known_ticket is None:
        if command.elsewhere is None:
            return Rejection(Reason.TOKEN_NOT_HERE, {"opened": state.opened})
        other = InvalidReason.WRONG_EVENT if command.elsewhere else InvalidReason.UNKNOWN_TOKEN
        return [_scanned_elsewhere(command, other)]
    found, ticket = known_ticket
    tier_id = found.items[ticket.line].tier_id
    tier_name = state.header.tiers[tier_id].terms.name
    of = (found.order_id, ticket, tier_id, tier_name)
    if command.leaving:
        return [_scanned_out(state, command, of)]
    invalid = why_invalid(
        ticket,
        tier_id,
        current_token=command.token_digest not in ticket.replaced,
        event_cancelled=state.header.phase is Phase.CANCELLED,
        opens_at_ms=state.header.terms.starts_at_ms - command.doors_open_before_ms,
        gate=state.gate(command.gate),
        now_ms=now_ms,
    )
    overridden = None if command.override else invalid
    return [_scanned_in(state, command, of, overridden, now_ms)]


def why_invalid(
    ticket: Ticket,
    tier_id: str,
    *,
    current_token: bool,
    event_cancelled: bool,
    opens_at_ms: int,
    gate: Gate | None,
    now_ms: int,
) -> InvalidReason | None:
    """Why a token that this sale has issued does not admit; the order is the API's."""
    worthless = why_worthless(ticket, current_token=current_token, event_cancelled=event_cancelled)
    if worthless is not None:
        return worthless
    if now_ms < opens_at_ms:
        return InvalidReason.NOT_OPEN
    if gate is not None and gate.tier_ids and tier_id not in gate.tier_ids:
        return InvalidReason.TIER_NOT_ADMITTED
    return None


def why_worthless(
    ticket: Ticket, *, current_token: bool, event_cancelled: bool
) -> InvalidReason | None:
    if event_cancelled:
        return InvalidReason.EVENT_CANCELLED
    if ticket.status is TicketStatus.CANCELLED:
        return InvalidReason.REFUNDED
    if ticket.status is TicketStatus.TRANSFERRED:
        return InvalidReason.TRANSFERRED
    if not current_token:
        return InvalidReason.REISSUED
    return None


def _scanned_in(
    state: State, command: CheckIn, of: _Of, invalid: InvalidReason | None, now_ms: int
) -> TicketScanned:
    ticket = of[1]
    if invalid:
        return _fact(command, of, ScanResult.INVALID, invalid)
    if ticket.checked_in_at_ms is not None:
        admitted = (ticket.checked_in_at_ms, ticket.admitted_gate)
        return _fact(command, of, ScanResult.ALREADY_ADMITTED, None, admitted)
    visit = stays.may_return(state, ticket)
    return _fact(command, of, ScanResult.ADMIT, None, (now_ms, command.gate), visit=visit)


def _scanned_out(state: State, command: CheckIn, of: _Of) -> TicketScanned:
    """Whoever is in may leave, and whose ticket is good; the admission that ends is told."""
    ticket = of[1]
    if not state.header.terms.reentry or len(ticket.visits) >= stays.VISITS_MAX:
        return _fact(command, of, ScanResult.INVALID, InvalidReason.NO_REENTRY)
    if ticket.checked_in_at_ms is not None:
        admitted = (ticket.checked_in_at_ms, ticket.admitted_gate)
        return _fact(command, of, ScanResult.EXIT, None, admitted, visit=True)
    dead = why_worthless(
        ticket,
        current_token=command.token_digest not in ticket.replaced,
        event_cancelled=state.header.phase is Phase.CANCELLED,
    )
    if dead:
        return _fact(command, of, ScanResult.INVALID, dead)
    return _fact(command, of, ScanResult.EXIT, visit=True)


def _fact(
    command: CheckIn,
    of: _Of,
    result: ScanResult,
    invalid: InvalidReason | None = None,
    admitted: tuple[int, str | None] | None = None,
    *,
    visit: bool = False,
) -> TicketScanned:
    order_id, ticket, tier_id, tier_name = of
    checked_in_at_ms, gate = admitted or (None, None)
    return TicketScanned(
        command.device_id,
        command.nonce,
        command.token_digest,
        command.gate,
        command.scanned_at_ms,
        result,
        invalid,
        order_id,
        ticket.number,
        tier_id,
        checked_in_at_ms,
        gate,
        command.override_reason if command.override else None,
        tier_name,
        ticket.sealed,
        leaving=command.leaving,
        visit=visit,
        corrected_at_ms=command.corrected_at_ms,
    )


def _scanned_elsewhere(command: CheckIn, reason: InvalidReason) -> TicketScanned:
    return TicketScanned(
        command.device_id,
        command.nonce,
        command.token_digest,
        command.gate,
        command.scanned_at_ms,
        ScanResult.INVALID,
        reason,
        order_id=None,
        number=None,
        tier_id=None,
        checked_in_at_ms=None,
        admitted_gate=None,
        override_reason=command.override_reason if command.override else None,
        leaving=command.leaving,
        corrected_at_ms=command.corrected_at_ms,
    )


def undo(state: State, command: UndoCheckIn, now_ms: int) -> Decision:
    scan = state.scan_by_key.get(scan_key(command.device_id, command.nonce))
    if scan is None:
        return Rejection(Reason.UNKNOWN_CHECKIN)
    if scan.undone_at_ms is not None:
        return scan_view(state, scan)
    fact = scan.fact
    if fact.result is not ScanResult.ADMIT or scan.displaced:
        return Rejection(Reason.NOT_ADMITTED, {"result": fact.result.value})
    assert fact.order_id is not None and fact.number is not None
    ticket = state.order_by_id[fact.order_id].tickets[fact.number]
    if ticket.admitted_by != scan_key(command.device_id, command.nonce):
        return Rejection(Reason.NOT_ADMITTED, {"result": ScanResult.EXIT.value})
    if now_ms >= scan.at_ms + UNDO_WINDOW_MS:
        return Rejection(Reason.UNDO_WINDOW_PASSED, {"window_seconds": UNDO_WINDOW_MS // 1000})
    return [
        AdmissionUndone(
            command.device_id,
            command.nonce,
            command.undone_by,
            fact.order_id,
            fact.number,
            any(stay.entries for stay in stays.stays(stays.visits(state, ticket))[:-1]),
        )
    ]


def scan_view(state: State, scan: Scan) -> ScanView:
    fact = scan.fact
    sealed = state.order_by_id[fact.order_id].sealed if fact.order_id else None
    return ScanView(fact, fact.tier_name, sealed, fact.ticket_sealed, scan.undone_at_ms)


def apply_scanned(state: State, fact: TicketScanned, at_ms: int) -> None:
    key = scan_key(fact.device_id, fact.nonce)
    state.scan_by_key[key] = Scan(fact, at_ms)
    state.touched[key] = None
    index_told(state, fact)
    if fact.result is not ScanResult.ADMIT and not fact.visit:
        return
    assert fact.order_id is not None and fact.number is not None
    found = state.order_by_id.change(fact.order_id)
    ticket = found.tickets[fact.number]
    tier_id = found.items[ticket.line].tier_id
    state.touched[fact.order_id] = None
    if fact.visit:
        ticket.visits = (*stays.visit_keys(ticket), key)
    if fact.offline is not None and fact.offline.settled is not None:
        apply_settled(state, ticket, tier_id, fact.offline.settled)
        return
    if fact.result is ScanResult.EXIT:
        _apply_left(state, fact, ticket, tier_id, at_ms)
        return
    assert fact.checked_in_at_ms is not None
    if fact.offline is not None and fact.offline.displaced is not None:
        apply_displaced(state, ticket, tier_id, fact.offline.displaced)
    assert ticket.checked_in_at_ms is None, "one admission a token"
    if ticket.status is TicketStatus.VALID:  # a supervisor may let a dead one in: it stays dead
        ticket.status = TicketStatus.USED
    ticket.checked_in_at_ms = fact.checked_in_at_ms
    ticket.admitted_gate = fact.gate
    ticket.admitted_by = key
    state.header.doors.count(tier_id, fact.gate, fact.checked_in_at_ms, +1)


def _apply_left(
    state: State, fact: TicketScanned, ticket: Ticket, tier_id: str, at_ms: int
) -> None:
    if fact.checked_in_at_ms is not None:
        state.header.doors.count_exit(tier_id, fact.gate, at_ms, +1)
    ticket.checked_in_at_ms = None
    ticket.admitted_gate = None
    ticket.admitted_by = None


def apply_undone(state: State, fact: AdmissionUndone, at_ms: int) -> None:
    scan = state.scan_by_key[scan_key(fact.device_id, fact.nonce)]
    scan.undone_at_ms = at_ms
    found = state.order_by_id.change(fact.order_id)
    ticket = found.tickets[fact.number]
    assert ticket.checked_in_at_ms is not None
    tier_id = found.item(ticket).tier_id
    state.header.doors.count(tier_id, scan.fact.gate, ticket.checked_in_at_ms, -1)
    if ticket.visits:
        ticket.visits = stays.without_the_last(stays.visits(state, ticket))
    ticket.checked_in_at_ms = None
    ticket.admitted_gate = None
    ticket.admitted_by = None
    if ticket.status is TicketStatus.USED and not fact.used:
        ticket.status = TicketStatus.VALID
