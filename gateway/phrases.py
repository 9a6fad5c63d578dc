"""How places and times are written, in mails, on pages and in wallets."""

from datetime import datetime
from zoneinfo import ZoneInfo

from engine.catalogue import Venue


def clean(text: str) -> str:
    """On one line, without what no page can show."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def place(venue: Venue) -> str:
    return ", ".join(part for part in (venue.name, venue.city, venue.country) if part)


def day(local: datetime) -> str:
    return f"{local.day} {local:%B %Y}"


def minute(local: datetime) -> str:
    return f"{day(local)}, {local:%H:%M} ({local.tzname()})"


def span(start: datetime, end: datetime, zone: ZoneInfo) -> str:
    begins, ends = start.astimezone(zone), end.astimezone(zone)
    if begins.date() == ends.date():
        return f"{day(begins)}, {begins:%H:%M} to {ends:%H:%M} ({ends.tzname()})"
    return f"{day(begins)}, {begins:%H:%M} to {minute(ends)}"
