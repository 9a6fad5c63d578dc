"""One sale: orders over tiers, and the doors. The unit of single-writer ownership.

`decide` only reads: it answers a command with facts, a view or a Rejection. `apply` only writes and
has no opinion: what it is given has happened. The rules stand in a file a family.
"""

from typing import assert_never

from engine import archiving, buying, configuring, doors, ids, paying, syncing, tickets, waiting
from engine import commands as c
from engine import facts as f
from engine.order import Order, revived
from engine.order import view as order_view
from engine.purchase import ArchivedOrder
from engine.rejections import Reason, Rejection
from engine.replies import Decision, Reply
from engine.scan import scan_key
from engine.scan import view as doors_view
from engine.state import HEADER, Archived, Header, Phase, State

_UNKNOWN_EVENT = Rejection(Reason.UNKNOWN_EVENT)


def decide(state: State, command: c.Command, now_ms: int) -> Decision:
    match command:
        case c.PlaceOrder():
            return buying.place(state, command, now_ms)
        case c.CheckIn():
            return doors.check_in(state, command, now_ms)
        case c.ReadOrder():
            found = state.order_for(command.order_id, command.caller)
            return order_view(found, now_ms) if isinstance(found, Order) else found
        case c.ConfirmOrder():
            return paying.confirm(state, command, now_ms)
        case c.RequestPayment():
            return paying.request(state, command, now_ms)
        case c.CancelOrder():
            return buying.cancel(state, command, now_ms)
        case c.DeclinePayment():
            return paying.decline(state, command, now_ms)
        case c.RefundOrder():
            return paying.refund(state, command, now_ms)
        case c.SettleRefund():
            return paying.settle(state, command, now_ms)
        case c.RetryRefund():
            return paying.retry(state, command, now_ms)
        case c.ReissueTicket():
            return tickets.reissue(state, command, now_ms)
        case c.NameAttendee():
            return tickets.name_attendee(state, command)
        case c.ReadTicket():
            return tickets.read(state, command, now_ms)
        case c.TransferTicket():
            return tickets.transfer(state, command, now_ms)
        case c.RecallOrder():
            return archiving.recall(state, command, now_ms)
        case c.JoinWaitlist():
            return waiting.join(state, command, now_ms)
        case c.ReadWaitlistEntry():
            return waiting.read(state, command, now_ms)
        case c.LeaveWaitlist():
            return waiting.leave(state, command, now_ms)
        case c.UndoCheckIn():
            return doors.undo(state, command, now_ms)
        case c.SyncScans():
            return syncing.sync(state, command)
        case c.ReadDoors():
            return doors_view(state.header.doors) if state.opened else _UNKNOWN_EVENT
        case c.ReadSale():
            return state.view() if state.opened else _UNKNOWN_EVENT
        case c.Sweep():
            unwound = paying.unwind(state, command.orders_max, command.refund_seed, now_ms)
            ended = unwound or buying.expire(state, command.orders_max, now_ms)
            offers = (
                waiting.sweep(state, command.orders_max, now_ms)
                if state.waitlist.entry_by_id
                else []
            )
            return ended + offers + archiving.tidy(state, command, now_ms)
        case (
            c.OpenSale()
            | c.ConfigureEvent()
            | c.ConfigureTier()
            | c.ConfigureGates()
            | c.ConfigurePromo()
            | c.RemovePromo()
            | c.CloseSale()
            | c.CancelEvent()
            | c.CompleteEvent()
        ):
            return configuring.configure(state, command)
        case _:
            assert_never(command)


def follow(state: State, now_ms: int) -> list[f.Fact]:
    """What a command's facts, once applied, bring about before anything else is decided."""
    return waiting.offers(state, now_ms) if state.waitlist.entry_by_id else []


def next_deadline_ms(state: State, now_ms: int) -> int | None:
    """When the sale must be swept next; what is overdue by nature reads as 0."""
    due_ms = state.next_deadline_ms()
    if not state.waitlist.entry_by_id:
        return due_ms
    offers_ms = waiting.next_deadline_ms(state, now_ms)
    return min((ms for ms in (due_ms, offers_ms) if ms is not None), default=None)


def decide_archived(
    order: ArchivedOrder | None, archived: Archived, command: c.Command, now_ms: int
) -> Decision:
    """What the sale would say of an order that has left its memory: the same as if it had not.

    `order`: as it was read from the tables; None, there is no such order. A sale that holds this
    order alone is asked. Being over, it sells nothing, so an answer is one that the real sale gives
    as well, and where there would be facts, it is for the real sale to tell which.
    """
    terms = c.EventTerms(archived.organizer_id, "", 0, 0)
    sale_id = ids.event_of_order(archived.order_id) or ""
    alone = State(Header(sale_id, phase=Phase.CANCELLED, terms=terms))
    if order is not None:
        alone.order_by_id.add(revived(order, now_ms))
    return decide(alone, command, now_ms)


def decide_again(
    order: ArchivedOrder,
    archived: Archived,
    command: c.PlaceOrder | c.RequestPayment,
    now_ms: int,
) -> Decision:
    """The first answer to the command's key, which was about an order that has left memory."""
    alone = State(Header(ids.event_of_order(order.order_id) or ""))
    found = revived(order, now_ms)
    alone.order_by_id.add(found)
    asked = [payment.payment_id for payment in found.payments]
    payment = asked.index(archived.payment_id) if archived.payment_id is not None else None
    alone.remember(found, command.key, now_ms, payment=payment)
    return decide(alone, command, now_ms)


def apply(state: State, entry: f.Entry) -> None:
    """Bring the state from fact `seq - 1` to fact `seq`. Each case costs those behind it 0.2 us, so
    the frequent ones come first.
    """
    header = state.header
    assert entry.seq == header.seq + 1, (entry.seq, header.seq)
    header.seq = entry.seq
    header.now_ms = entry.at_ms
    state.touched[HEADER] = None
    fact = entry.fact
    match fact:
        case f.OrderPlaced():
            buying.apply_placed(state, fact, entry.at_ms)
            state.touched[fact.order_id] = None
        case f.TicketScanned():
            doors.apply_scanned(state, fact, entry.at_ms)
        case (
            f.OrderConfirmed()
            | f.OrderCancelled()
            | f.PaymentRequested()
            | f.PaymentAskedAgain()
            | f.PaymentDeclined()
            | f.MoneyReturned()
            | f.OrderRefunded()
            | f.RefundSettled()
            | f.RefundRetried()
            | f.TicketReissued()
            | f.AttendeeNamed()
            | f.TicketTransferred()
        ):
            _apply_to_order(state, fact, entry.at_ms)
            state.touched[fact.order_id] = None
        case f.AdmissionUndone():
            doors.apply_undone(state, fact, entry.at_ms)
            state.touched[scan_key(fact.device_id, fact.nonce)] = None
            state.touched[fact.order_id] = None
        case f.OrdersArchived():
            archiving.apply_archived(state, fact)
        case f.OrderRecalled():
            archiving.apply_recalled(state, fact, entry.at_ms)
        case f.KeysForgotten():
            archiving.apply_forgotten(state, fact)
        case f.WaitlistJoined():
            waiting.apply_joined(state, fact, entry.at_ms)
        case f.OfferMade():
            waiting.apply_offered(state, fact)
        case f.OfferLapsed():
            waiting.apply_lapsed(state, fact, entry.at_ms)
        case f.WaitlistLeft():
            waiting.apply_left(state, fact, entry.at_ms)
        case f.EntriesForgotten():
            waiting.apply_forgotten(state, fact)
        case (
            f.SaleOpened()
            | f.EventConfigured()
            | f.TierConfigured()
            | f.GatesConfigured()
            | f.PromoConfigured()
            | f.PromoRemoved()
            | f.SaleClosed()
            | f.EventCancelled()
            | f.EventCompleted()
        ):
            configuring.apply_configured(state, fact)
            if state.waitlist.entry_by_id:
                waiting.apply_windows(state)
        case _:
            assert_never(fact)


def _apply_to_order(
    state: State,
    fact: f.OrderConfirmed
    | f.OrderCancelled
    | f.PaymentRequested
    | f.PaymentAskedAgain
    | f.PaymentDeclined
    | f.MoneyReturned
    | f.OrderRefunded
    | f.RefundSettled
    | f.RefundRetried
    | f.TicketReissued
    | f.AttendeeNamed
    | f.TicketTransferred,
    at_ms: int,
) -> None:
    match fact:
        case f.OrderConfirmed():
            paying.apply_confirmed(state, fact, at_ms)
        case f.OrderCancelled():
            buying.apply_cancelled(state, fact, at_ms)
        case f.PaymentRequested():
            paying.apply_requested(state, fact, at_ms)
        case f.PaymentAskedAgain():
            paying.apply_asked_again(state, fact, at_ms)
        case f.PaymentDeclined():
            paying.apply_declined(state, fact)
        case f.MoneyReturned():
            paying.apply_returned(state, fact, at_ms)
        case f.OrderRefunded():
            paying.apply_refunded(state, fact, at_ms)
        case f.RefundSettled():
            paying.apply_settled(state, fact, at_ms)
        case f.RefundRetried():
            paying.apply_retried(state, fact, at_ms)
        case f.TicketReissued():
            tickets.apply_reissued(state, fact, at_ms)
        case f.AttendeeNamed():
            tickets.apply_named(state, fact)
        case f.TicketTransferred():
            tickets.apply_transferred(state, fact, at_ms)
        case _:
            assert_never(fact)


def reply(state: State, command: c.Command, facts: list[f.Fact]) -> Reply:
    """The answer to a command whose facts have just been applied."""
    match command:
        case c.PlaceOrder():
            placed = facts[0]
            assert isinstance(placed, f.OrderPlaced)
            return placed
        case c.CheckIn() | c.UndoCheckIn():
            key = scan_key(command.device_id, command.nonce)
            return doors.scan_view(state, state.scan_by_key[key])
        case (
            c.ConfirmOrder()
            | c.RequestPayment()
            | c.CancelOrder()
            | c.DeclinePayment()
            | c.RefundOrder()
            | c.SettleRefund()
            | c.RetryRefund()
            | c.ReissueTicket()
            | c.NameAttendee()
            | c.TransferTicket()
        ):
            return order_view(state.order_by_id[command.order_id], state.header.now_ms)
        case c.JoinWaitlist():
            joined = facts[0]
            assert isinstance(joined, f.WaitlistJoined)
            return joined
        case c.LeaveWaitlist():
            entry = state.waitlist.entry_by_id[command.entry_id]
            return waiting.view(state, entry, state.header.now_ms)
        case c.RecallOrder():
            return order_view(state.order_by_id[command.order.order_id], state.header.now_ms)
        case c.SyncScans():
            return syncing.view(state, command)
        case c.Sweep():
            return None
        case _:
            return state.view()
