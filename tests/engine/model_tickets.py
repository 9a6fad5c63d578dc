"""Naive tickets: who may do what with them, and who may come in."""

from engine import commands as c
from tests.engine.model_books import ModelOrder, ModelScan, ModelTicket
from tests.engine.model_stays import go_through, take_back
from tests.engine.model_syncing import ModelSyncing
from tests.engine.model_waiting import ModelWaitlist, Verdict

UNDO_WINDOW_MS = 15 * 60 * 1000
REPLAYED = "replayed"
UNCHANGED = "unchanged"


class ModelTickets(ModelSyncing, ModelWaitlist):
    def _order(self, order_id: str, caller: c.Caller) -> ModelOrder | None:
        order = self.orders.get(order_id)
        may = {
            "admin": True,
            "box_office": True,
            "organizer": caller.subject == self.terms.organizer_id,
            "buyer": order is not None and caller.subject == order.buyer_id,
            "scanner": False,
        }
        return order if may[caller.role] else None

    def _ticket(self, order_id: str, number: int, caller: c.Caller) -> ModelTicket | None:
        order = self.orders.get(order_id)
        if order is None or number >= len(order.tickets):
            return None
        ticket = order.tickets[number]
        holds = caller.role == "buyer" and caller.subject == ticket.holder_id
        return ticket if holds or self._order(order_id, caller) else None

    def _refuse_ticket(self, command: c.ReissueTicket | c.NameAttendee) -> Verdict | None:
        caller = command.caller
        ticket = self._ticket(command.order_id, command.number, caller)
        if ticket is None:
            return "unknown_ticket", {}
        if ticket.received and caller.role == "buyer" and caller.subject != ticket.holder_id:
            return "not_the_holder", {}
        return self._refuse_unless_valid(ticket)

    def _refuse_unless_valid(self, ticket: ModelTicket) -> Verdict | None:
        status = ticket.status
        if status == "VALID":
            return None
        return ("ticket_used" if status == "USED" else "ticket_not_valid"), {"status": status}

    def _transfer(self, command: c.TransferTicket, now_ms: int) -> Verdict:
        ticket = self._ticket(command.order_id, command.number, command.caller)
        if ticket is None:
            return "unknown_ticket", {}
        if ticket.received:
            return "transfer_limit", {}
        refused = self._refuse_unless_valid(ticket)
        if refused is not None:
            return refused
        closes_at_ms = self.terms.starts_at_ms - command.closes_before_ms
        if self.stage not in ("open", "closed") or now_ms >= closes_at_ms:
            return "transfer_closed", {}
        ticket.transferred = True
        ticket.ended_at_ms = now_ms
        order = self.orders[command.order_id]
        order.tickets.append(
            ModelTicket(
                ticket.tier_id,
                ticket.price_minor,
                [],
                received=True,
                holder_id=command.holder_id,
            )
        )
        new_number = len(order.tickets) - 1
        return "TicketTransferred", {"new_number": new_number, "number": command.number}

    def _check_in(self, command: c.CheckIn, now_ms: int) -> Verdict:
        name = (command.device_id, command.nonce)
        if name in self.scans:
            first = self.scans[name]
            same = (first.digest, first.leaving) == (command.token_digest, command.leaving)
            return (REPLAYED if same else "nonce_reused"), {}
        known = [t for t in self.tickets() if command.token_digest in t.digests]
        if not known and command.elsewhere is None:
            return "token_not_here", {}
        self.scans[name] = scan = ModelScan(
            command.token_digest,
            now_ms,
            None,
            device_id=command.device_id,
            gate=command.gate,
            told_at_ms=now_ms,
            leaving=command.leaving,
            online=True,
        )
        if not known:
            reason = "wrong_event" if command.elsewhere else "unknown_token"
            return "TicketScanned", {"result": "INVALID", "reason": reason}
        ticket = known[0]
        if command.leaving:
            return self._check_out(ticket, scan, command, now_ms)
        invalid = None if command.override else self._why_invalid(ticket, command, now_ms)
        if invalid:
            return "TicketScanned", {"result": "INVALID", "reason": invalid}
        result = "ALREADY_ADMITTED"
        if ticket.admitted is None:
            result = "ADMIT"
            ticket.admitted = (now_ms, command.gate)
            ticket.admitted_online_by = command.device_id
            scan.admitted = ticket
            scan.result = "ADMIT"
            if self.may_return(ticket):
                go_through(ticket, scan)
            ticket.in_by = scan
        at_ms, gate = ticket.admitted
        case = {"result": result, "checked_in_at_ms": at_ms, "admitted_gate": gate}
        return "TicketScanned", {**case, "reason": None}

    def _check_out(
        self, ticket: ModelTicket, scan: ModelScan, command: c.CheckIn, now_ms: int
    ) -> Verdict:
        if not self.terms.reentry:
            return "TicketScanned", {"result": "INVALID", "reason": "no_reentry"}
        at_ms, gate = ticket.admitted or (None, None)
        dead = self._why_dead(ticket, command)
        if at_ms is None and dead:
            return "TicketScanned", {"result": "INVALID", "reason": dead}
        go_through(ticket, scan)
        case = {"result": "EXIT", "checked_in_at_ms": at_ms, "admitted_gate": gate}
        return "TicketScanned", {**case, "reason": None}

    def _why_invalid(self, ticket: ModelTicket, command: c.CheckIn, now_ms: int) -> str | None:
        dead = self._why_dead(ticket, command)
        if dead:
            return dead
        if now_ms < self.terms.starts_at_ms - command.doors_open_before_ms:
            return "not_open"
        admits = self.gates.get(command.gate or "", ())
        if admits and ticket.tier_id not in admits:
            return "tier_not_admitted"
        return None

    def _why_dead(self, ticket: ModelTicket, command: c.CheckIn) -> str | None:
        if self.stage == "cancelled":
            return "event_cancelled"
        if ticket.refunded:
            return "refunded"
        if ticket.transferred:
            return "transferred"
        return "reissued" if command.token_digest != ticket.digests[-1] else None

    def _undo(self, command: c.UndoCheckIn, now_ms: int) -> Verdict:
        scan = self.scans.get((command.device_id, command.nonce))
        if scan is None:
            return "unknown_checkin", {}
        if scan.undone:
            return UNCHANGED, {}
        if scan.admitted is None or scan.admitted.in_by is not scan:
            return "not_admitted", {}
        if now_ms >= scan.at_ms + UNDO_WINDOW_MS:
            return "undo_window_passed", {}
        scan.undone = True
        take_back(scan.admitted)
        scan.admitted.in_by = None
        scan.admitted.admitted = scan.admitted.admitted_online_by = None
        scan.admitted.told = []
        return "AdmissionUndone", {"undone_by": command.undone_by}
