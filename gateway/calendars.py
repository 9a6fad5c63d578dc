"""A ticket's event as an iCalendar file (RFC 5545): in UTC, so it needs no time zone of its own.

The UID is the ticket's, so a file that is opened again replaces what the first one entered.
"""

from datetime import UTC, datetime

from engine.catalogue import Event, Venue
from engine.lifecycle import EventStatus
from gateway.phrases import clean, place


def ticket_ics(ticket_id: str, tier: str, event: Event, venue: Venue, made: datetime) -> bytes:
    from icalendar import Calendar  # takes as long to load as all the rest, and is seldom needed
    from icalendar import Event as Entry

    entry = Entry()
    entry.add("uid", f"{ticket_id}@stampede")
    entry.add("dtstamp", made.astimezone(UTC).replace(microsecond=0))
    entry.add("sequence", event.version)
    entry.add("dtstart", event.start_time.astimezone(UTC))
    entry.add("dtend", event.end_time.astimezone(UTC))
    entry.add("summary", clean(event.title))
    entry.add("description", f"Ticket: {clean(tier)}")
    address = ", ".join(clean(line) for line in venue.address.splitlines() if line.strip())
    entry.add("location", ", ".join(part for part in (place(venue), address) if part))
    if venue.latitude is not None and venue.longitude is not None:
        entry.add("geo", (venue.latitude, venue.longitude))
    cancelled = event.status is EventStatus.CANCELLED
    entry.add("status", "CANCELLED" if cancelled else "CONFIRMED")
    calendar = Calendar()
    calendar.add("prodid", "-//Stampede//Tickets//EN")
    calendar.add("version", "2.0")
    calendar.add("method", "PUBLISH")
    calendar.add_component(entry)
    return bytes(calendar.to_ical())
