"""What may be done to a ticket between its sale and the doors: a new token, another name, another
holder.

A ticket is transferred once at most: the old one is worth nothing from that moment, a new one of
the same order is in its place. The buyer of the order goes on seeing both; what is done to the new
one is its holder's affair.
"""

from engine.commands import Caller, NameAttendee, ReadTicket, ReissueTicket, Role, TransferTicket
from engine.facts import AttendeeNamed, TicketReissued, TicketTransferred
from engine.keys import refuse_keys
from engine.order import Order, may_use, view
from engine.rejections import Reason, Rejection
from engine.replies import Decision, Replayed
from engine.state import Archived, Phase, State
from engine.ticket import (
    Ticket,
    TicketStatus,
    Transfer,
    mint_tokens,
    refuse_change,
    token_digest,
)

_UNKNOWN = Rejection(Reason.UNKNOWN_TICKET)


def read(state: State, command: ReadTicket, now_ms: int) -> Decision:
    ticket = _ticket_for(state, command.order_id, command.number, command.caller)
    if not isinstance(ticket, Ticket):
        return ticket
    return view(state.order_by_id[command.order_id], now_ms)


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
    refused = (
        _refuse_former_holder(ticket, command.caller)
        or refuse_change(ticket)
        or refuse_keys(state.order_by_id[command.order_id])
    )
    if refused is not None:
        return refused
    token = mint_tokens(command.token_seed, 1)[0]
    return [TicketReissued(command.order_id, command.number, token, command.key)]


def name_attendee(state: State, command: NameAttendee) -> Decision:
    ticket = _ticket_for(state, command.order_id, command.number, command.caller)
    if not isinstance(ticket, Ticket):
        return ticket
    named = AttendeeNamed(command.order_id, command.number, command.sealed)
    return _refuse_former_holder(ticket, command.caller) or refuse_change(ticket) or [named]


def transfer(state: State, command: TransferTicket, now_ms: int) -> Decision:
    used = state.used(command.key, now_ms)
    if isinstance(used, Rejection):
        return used
    if used is not None:
        assert used.view is not None
        return Replayed(used.view)
    ticket = _ticket_for(state, command.order_id, command.number, command.caller)
    if not isinstance(ticket, Ticket):
        return ticket
    found = state.order_by_id[command.order_id]
    refused = _refuse_transfer(state, ticket, command, now_ms) or refuse_keys(found)
    if refused is not None:
        return refused
    return [
        TicketTransferred(
            command.order_id,
            command.number,
            len(found.tickets),
            found.item(ticket).tier_id,
            mint_tokens(command.token_seed, 1)[0],
            command.holder_id,
            command.sealed,
            command.key,
        )
    ]


def _refuse_transfer(
    state: State, ticket: Ticket, command: TransferTicket, now_ms: int
) -> Rejection | None:
    if ticket.transfer is not None:
        return Rejection(Reason.TRANSFER_LIMIT)
    refused = refuse_change(ticket)
    if refused is not None:
        return refused
    closes_at_ms = state.header.terms.starts_at_ms - command.closes_before_ms
    over = state.header.phase in (Phase.CANCELLED, Phase.COMPLETED)
    if over or now_ms >= closes_at_ms:
        return Rejection(Reason.TRANSFER_CLOSED, {"closed_at_ms": closes_at_ms})
    return None


def _refuse_former_holder(ticket: Ticket, caller: Caller) -> Rejection | None:
    """Whoever has given a ticket away sees what became of it, and no more."""
    given = ticket.transfer
    if given is None or caller.role is not Role.BUYER or caller.subject == given.holder_id:
        return None
    return Rejection(Reason.NOT_THE_HOLDER)


def _ticket_for(
    state: State, order_id: str, number: int, caller: Caller
) -> Ticket | Archived | Rejection:
    found = state.order_by_id.get(order_id)
    if found is None:
        return state.missing(order_id, Reason.UNKNOWN_TICKET)
    if number >= len(found.tickets):
        return _UNKNOWN
    ticket = found.tickets[number]
    seen = _may_see(found, ticket, caller, state.header.terms.organizer_id)
    return ticket if seen else _UNKNOWN


def _may_see(found: Order, ticket: Ticket, caller: Caller, organizer_id: str) -> bool:
    given = ticket.transfer
    holds = given is not None and caller.role is Role.BUYER and caller.subject == given.holder_id
    return holds or may_use(found, caller, organizer_id)


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


def apply_transferred(state: State, fact: TicketTransferred, at_ms: int) -> None:
    found = state.order_by_id.change(fact.order_id)
    old = found.tickets[fact.number]
    old.status = TicketStatus.TRANSFERRED
    old.ended_at_ms = at_ms
    given = Transfer(fact.number, fact.holder_id, at_ms)
    new = Ticket(fact.token, (), fact.new_number, old.line, sealed=fact.sealed, transfer=given)
    assert fact.new_number == len(found.tickets), fact
    found.tickets += (new,)
    state.index_token(found, new)
    state.remember(found, fact.key, at_ms, view=view(found, at_ms))
