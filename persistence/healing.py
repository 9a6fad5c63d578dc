"""Brings the catalogue forward where a sale is ahead of it.

A catalogue change is told to its sale, and committed after the sale's fact. A crash between the
two leaves the fact as the truth; the projector meets it and hands it to `heal`. What the sale is
not told (titles, hours around an event) is lost with the change.
"""

from typing import assert_never

from msgspec.structs import replace

from engine import facts as f
from engine.catalogue import CancelReason, Event, Tier, from_ms, promo_code
from engine.commands import EventTerms, TierTerms
from engine.configuring import Configured
from engine.lifecycle import EventStatus
from persistence import bookings, events, promo_codes
from persistence.hire import give_up
from persistence.transactions import Connection

# Waits for a change that is about to commit; an event that is not behind is not even locked.
_LOCK_BEHIND = """
SELECT event_id FROM events WHERE event_id = $1 AND version < $2 FOR NO KEY UPDATE
"""


async def heal(connection: Connection, event_id: str, fact: Configured) -> None:
    """Do what a fact says, unless the event has its version already."""
    if not await connection.fetchval(_LOCK_BEHIND, event_id, fact.version):
        return
    event = await events.find(connection, event_id)
    assert event is not None
    healed = replace(_healed(event, fact), version=fact.version)
    await events.save(connection, healed)
    match fact:
        case f.SaleOpened():
            for terms in fact.tiers:
                await _heal_tier(connection, event, terms)
        case f.TierConfigured():
            await _heal_tier(connection, event, fact.tier)
        case f.PromoConfigured():
            await promo_codes.put(connection, promo_code(event_id, fact.promo))
        case f.PromoRemoved():
            await promo_codes.delete(connection, event_id, fact.promo_id)
        case f.EventConfigured():
            await _move_booking(connection, healed)
        case f.EventCancelled():
            await _give_booking_up(connection, event)
        case _:
            pass


def _healed(event: Event, fact: Configured) -> Event:
    match fact:
        case f.SaleOpened():
            status = EventStatus.ON_SALE
            return replace(_with(event, fact.terms), status=status, opened=True, gates=fact.gates)
        case f.EventConfigured():
            return _with(event, fact.terms)
        case f.TierConfigured() | f.PromoConfigured() | f.PromoRemoved():
            return event
        case f.GatesConfigured():
            return replace(event, gates=fact.gates)
        case f.SaleClosed():
            return replace(event, status=EventStatus.PUBLISHED)
        case f.EventCancelled():
            return replace(event, status=EventStatus.CANCELLED)
        case f.EventCompleted():
            return replace(event, status=EventStatus.COMPLETED)
        case _:
            assert_never(fact)


def _with(event: Event, terms: EventTerms) -> Event:
    return replace(
        event,
        currency=terms.currency,
        start_time=from_ms(terms.starts_at_ms),
        end_time=from_ms(terms.ends_at_ms),
        reentry=terms.reentry,
    )


async def _heal_tier(connection: Connection, event: Event, terms: TierTerms) -> None:
    tier = Tier(
        terms.tier_id,
        event.event_id,
        terms.name,
        terms.price_minor,
        terms.quantity,
        from_ms(terms.sale_start_ms),
        from_ms(terms.sale_end_ms),
        terms.per_order_max,
        terms.per_buyer_max,
        terms.hidden,
    )
    if any(known.tier_id == tier.tier_id for known in event.tiers):
        await events.save_tier(connection, tier)
    else:
        await events.insert_tier(connection, tier)


async def _move_booking(connection: Connection, event: Event) -> None:
    """The hall goes with the event, unless somebody has taken it since the crash.

    Then the two are marked as apart, and brought together again where the sale can be told
    (`BookingDesk.bring_back_astray`): here it can't.
    """
    booking = await bookings.live(connection, event.booking_id)
    if booking is None:
        return
    slot = replace(event.slot, venue_id=booking.venue_id)
    taken = await bookings.move(connection, booking, slot)
    if taken is not None:
        await bookings.set_astray(connection, booking.booking_id, True)


async def _give_booking_up(connection: Connection, event: Event) -> None:
    booking = await bookings.live(connection, event.booking_id)
    if booking is not None:
        now = await connection.fetchval("SELECT now()")
        await give_up(connection, booking, CancelReason.EVENT_CANCELLED, now)
