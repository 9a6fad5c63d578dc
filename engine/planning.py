"""The rules of the catalogue: who may change an event, and what of it must fit together."""

from engine.catalogue import Event, Slot, Tier, Venue
from engine.commands import Caller, Role
from engine.lifecycle import EventStatus
from engine.rejections import Reason, Rejection


def refuse_change(event: Event, caller: Caller) -> Rejection | None:
    """Why this caller may not change this event now, or None."""
    if refused := refuse_caller(event, caller):
        return refused
    if event.status in (EventStatus.CANCELLED, EventStatus.COMPLETED):
        return Rejection(Reason.EVENT_NOT_EDITABLE, {"status": event.status.value})
    return None


def refuse_caller(event: Event, caller: Caller) -> Rejection | None:
    owns = caller.role is Role.ORGANIZER and caller.subject == event.organizer_id
    if owns or caller.role is Role.ADMIN:
        return None
    return Rejection(Reason.NOT_THE_ORGANIZER)


def refuse_capacity(venue: Venue, tiers: tuple[Tier, ...]) -> Rejection | None:
    total = sum(tier.total_quantity for tier in tiers)
    if total > venue.capacity:
        facts: dict[str, object] = {"capacity": venue.capacity, "requested": total}
        return Rejection(Reason.EXCEEDS_CAPACITY, facts)
    return None


def refuse_times(slot: Slot) -> Rejection | None:
    if slot.end_time <= slot.start_time:
        facts: dict[str, object] = {"start_time": slot.start_time, "end_time": slot.end_time}
        return Rejection(Reason.INVALID_TIMES, facts)
    return None


def refuse_currency(event: Event, changed: Event) -> Rejection | None:
    """An event has one currency, so what has been sold in fixes it."""
    if event.opened and changed.currency != event.currency:
        facts: dict[str, object] = {"status": event.status.value, "currency": event.currency}
        return Rejection(Reason.EVENT_NOT_EDITABLE, facts)
    return None


def refuse_window(tier: Tier) -> Rejection | None:
    if tier.sale_end <= tier.sale_start:
        facts: dict[str, object] = {"sale_start": tier.sale_start, "sale_end": tier.sale_end}
        return Rejection(Reason.INVALID_TIMES, facts)
    return None
