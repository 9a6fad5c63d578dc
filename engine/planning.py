"""The rules of the catalogue: who may change an event, and what of it must fit together."""

from datetime import datetime, timedelta

from engine.catalogue import Booking, BookingStatus, Event, PromoCode, Slot, Tier, Venue
from engine.commands import Caller, PromoKind, Role
from engine.lifecycle import EventStatus
from engine.rejections import Reason, Rejection

PROMO_CODES_MAX = 1_000  # of an event; each is an entity of its sale
TIERS_MAX = 100  # all of them are in the sale's public view, which is written after every commit


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


def refuse_one_more_tier(event: Event) -> Rejection | None:
    if len(event.tiers) >= TIERS_MAX:
        return Rejection(Reason.TOO_MANY_TIERS, {"max": TIERS_MAX})
    return None


def refuse_promo_code(event: Event, promo: PromoCode) -> Rejection | None:
    known = {tier.tier_id for tier in event.tiers}
    for tier_id in promo.tier_ids:
        if tier_id not in known:
            return Rejection(Reason.UNKNOWN_TIER, {"tier_id": tier_id})
    if promo.kind is PromoKind.PERCENT and promo.value > 100:
        return Rejection(Reason.INVALID_DISCOUNT, {"kind": promo.kind.value, "value": promo.value})
    begins, ends = promo.starts_at, promo.ends_at
    if begins is not None and ends is not None and ends <= begins:
        return Rejection(Reason.INVALID_TIMES, {"starts_at": begins, "ends_at": ends})
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


# -- bookings ----------------------------------------------------------------------------------

_ON_SALE = (EventStatus.ON_SALE, EventStatus.SOLD_OUT)


def refuse_giving_up(event: Event, booking: Booking) -> Rejection | None:
    """Why this booking can't be cancelled now, or None.

    What is being sold must have its hall: sales are closed first, or the event is cancelled. A
    published event may change halls, and is not sold again before its new booking is confirmed.
    """
    if booking.status is BookingStatus.CANCELLED:
        return _no_way(booking.status, BookingStatus.CANCELLED)
    if event.status in _ON_SALE:
        return Rejection(Reason.EVENT_ON_SALE, {"status": event.status.value})
    if event.status is EventStatus.COMPLETED:
        return Rejection(Reason.EVENT_NOT_EDITABLE, {"status": event.status.value})
    return None


def refuse_deposit(booking: Booking, now: datetime) -> Rejection | None:
    """Why nobody may pay this booking's deposit now, or None: late is late, swept or not."""
    if booking.status is not BookingStatus.REQUESTED:
        return _no_way(booking.status, BookingStatus.CONFIRMED)
    if booking.expires_at is not None and booking.expires_at <= now:
        return _no_way(BookingStatus.CANCELLED, BookingStatus.CONFIRMED)
    return None


def refundable(booking: Booking, now: datetime) -> int:
    """What of a deposit goes back to who gives the booking up now."""
    until = booking.start_time - timedelta(days=booking.deposit_refundable_days)
    return booking.deposit_paid - booking.deposit_refunded if now <= until else 0


def _no_way(source: BookingStatus, target: BookingStatus) -> Rejection:
    return Rejection(Reason.ILLEGAL_TRANSITION, {"from": source.value, "to": target.value})
