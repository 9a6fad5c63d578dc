"""A mail as it goes over the wire: text, HTML, codes inside it, tickets attached.

Nothing that somebody else wrote gets into a header but on one line, and an address is one address:
what is not, is not written to. The Message-ID follows from the outbox's key alone, so a mail that
is sent twice is the same mail.
"""

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from msgspec import Struct

from engine.catalogue import Event, Venue
from engine.outgoing import Mail
from gateway.calendars import ticket_ics
from gateway.mail.transport import Letter
from gateway.mail.words import Words
from gateway.phrases import clean, place
from gateway.qr import qr_image
from gateway.ticket_pages import PrintedTicket, event_hours, ticket_pdf

CODES_MAX = 20  # shown in the mail itself; the page attached has all
_SUBJECT_MAX = 200
_LABEL = "[A-Za-z0-9-]{1,63}"
_ADDRESS = re.compile(
    rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(\.{_LABEL}){{0,7}}", re.ASCII
)

_templates = Environment(
    loader=PackageLoader("gateway.mail"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class ShownTicket(Struct, frozen=True):
    """`picture`: the content id of its code, where that is shown."""

    tier: str
    holder: str | None
    token: str
    picture: str | None


def sendable(address: str) -> str | None:
    """The address with its domain in ASCII, or None where nothing can be sent to it."""
    local, _, domain = address.rpartition("@")
    try:
        ascii_address = f"{local}@{domain.encode('idna').decode()}"
    except UnicodeError:
        return None
    return ascii_address if _ADDRESS.fullmatch(ascii_address) else None


def message_id(mail: Mail, part: int, sender: str) -> str:
    key = f"{mail.kind}\0{mail.subject}\0{mail.version}\0{part}".encode()
    domain = parseaddr(sender)[1].rpartition("@")[2]
    return f"<{hashlib.sha256(key).hexdigest()[:40]}@{domain}>"


def letter(
    mail: Mail,
    part: int,
    sender: str,
    recipient: str,
    told: Words,
    tickets: Sequence[PrintedTicket],
    event: Event,
    venue: Venue,
    made: datetime,
) -> Letter:
    """`part`: which of the mail's addressees it is for. Takes some 10 ms a ticket."""
    identity = message_id(mail, part, sender)
    message = EmailMessage(policy=SMTP)
    message["From"] = _sender(sender)
    message["To"] = Address(addr_spec=recipient)
    message["Subject"] = clean(told.subject)[:_SUBJECT_MAX]
    message["Date"] = format_datetime(mail.created_at)
    message["Message-ID"] = identity
    message["Auto-Submitted"] = "auto-generated"
    pictured = tickets[:CODES_MAX] if told.with_codes else []
    shown = [_shown(ticket, told, pictured) for ticket in tickets]
    context = _context(told, shown, event, venue)
    message.set_content(_templates.get_template("letter.txt").render(context))
    message.add_alternative(_templates.get_template("letter.html").render(context), subtype="html")
    _put_codes_in(message, pictured)
    if told.with_codes and tickets:
        _attach_files(message, tickets, event, venue, made)
    return Letter(identity, recipient, message.as_bytes())


def _sender(text: str) -> Address:
    name, address = parseaddr(text)
    return Address(display_name=clean(name), addr_spec=address)


def _shown(ticket: PrintedTicket, told: Words, pictured: Sequence[PrintedTicket]) -> ShownTicket:
    holder = clean(ticket.holder) if ticket.holder else None
    picture = _content_id(ticket) if ticket in pictured else None
    token = ticket.token if told.with_codes else ""
    return ShownTicket(clean(ticket.tier), holder, token, picture)


def _context(
    told: Words, shown: Sequence[ShownTicket], event: Event, venue: Venue
) -> dict[str, object]:
    on, hours = event_hours(event, venue)
    address = ", ".join(clean(line) for line in venue.address.splitlines() if line.strip())
    return {
        "words": told,
        "title": clean(event.title),
        "day": on,
        "hours": hours,
        "place": place(venue),
        "address": address,
        "tickets": shown,
    }


def _content_id(ticket: PrintedTicket) -> str:
    return f"{ticket.ticket_id}@stampede"


def _put_codes_in(message: EmailMessage, tickets: Sequence[PrintedTicket]) -> None:
    html = message.get_body(("html",))
    assert isinstance(html, EmailMessage)
    for ticket in tickets:
        html.add_related(
            qr_image(ticket.token, "png"),
            "image",
            "png",
            cid=f"<{_content_id(ticket)}>",
            disposition="inline",
            filename=f"{ticket.ticket_id}.png",
        )


def _attach_files(
    message: EmailMessage,
    tickets: Sequence[PrintedTicket],
    event: Event,
    venue: Venue,
    made: datetime,
) -> None:
    pages = ticket_pdf(tickets, event, venue, made)
    message.add_attachment(pages, "application", "pdf", filename="tickets.pdf")
    first = tickets[0]
    calendar = ticket_ics(first.ticket_id, first.tier, event, venue, made)
    message.add_attachment(calendar, "text", "calendar", filename="event.ics")
