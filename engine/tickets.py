"""What may be done to a ticket between its sale and the doors: a new token, another name."""

from engine.commands import Caller, NameAttendee, ReissueTicket
from engine.facts import AttendeeNamed, TicketReissued
from engine.keys import refuse_keys
from engine.order import view
from engine.rejections import Reason, Rejection
from engine.replies import Decision, Replayed
from engine.state import Archived, State
from engine.ticket import Ticket, mint_tokens, refuse_change, token_digest


def reissue(state: State, command: ReissueTicket, now_ms: int) -> Decision:
    used = state.used(command.key, now_ms)
    if isinstance(used, Rejection):
        return used
    if used is not None:
        assert used.view is not None
        return Replayed(used.view)
    ticket = _ticket_for(state, command.order_id, command.number, command.caller)
    if not isinstance(ticket, Ticket):
        return ticket
    refused = refuse_change(ticket) or refuse_keys(state.order_by_id[command.order_id])
    if refused is not None:
        return refused
    token = mint_tokens(command.token_seed, 1)[0]
    return [TicketReissued(command.order_id, command.number, token, command.key)]


def name_attendee(state: State, command: NameAttendee) -> Decision:
    ticket = _ticket_for(state, command.order_id, command.number, command.caller)
    if not isinstance(ticket, Ticket):
        return ticket
    named = AttendeeNamed(command.order_id, command.number, command.sealed)
    return refuse_change(ticket) or [named]


def _ticket_for(
    state: State, order_id: str, number: int, caller: Caller
) -> Ticket | Archived | Rejection:
    found = state.order_for(order_id, caller)
    if isinstance(found, Archived):
        return found
    if isinstance(found, Rejection) or number >= len(found.tickets):
        return Rejection(Reason.UNKNOWN_TICKET)
    return found.tickets[number]


def apply_reissued(state: State, fact: TicketReissued, at_ms: int) -> None:
    found = state.order_by_id.change(fact.order_id)
    ticket = found.tickets[fact.number]
    ticket.replaced += (token_digest(ticket.token),)
    ticket.replaced_at_ms += (at_ms,)
    ticket.token = fact.token
    state.index_token(found, ticket)
    state.remember(found, fact.key, at_ms, view=view(found, at_ms))


def apply_named(state: State, fact: AttendeeNamed) -> None:
    state.order_by_id.change(fact.order_id).tickets[fact.number].sealed = fact.sealed
