"""Tickets to print or to show on a phone: a page each.

Times are the venue's local ones. The code stands in vectors, so it is sharp at any size.
"""

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from fpdf.enums import Align, MethodReturnValue, XPos, YPos
from msgspec import Struct

from engine.catalogue import Event, Venue
from gateway.pages import MARGIN_MM, Page
from gateway.phrases import clean, day
from gateway.qr import qr_rows

_CARD_MM = 122
_PAD_MM = 9
_CODE_MM = 56
_TITLE_LINES_MAX = 3
_ADDRESS_LINES_MAX = 2
_ADVICE = (
    "Show this code at the entrance, printed or on your phone. It lets one person in, once: "
    "whoever shows it first. Do not publish it."
)


class PrintedTicket(Struct, frozen=True):
    """`holder` None: nobody was named."""

    ticket_id: str
    token: str
    tier: str
    holder: str | None


def ticket_pdf(
    tickets: Sequence[PrintedTicket], event: Event, venue: Venue, made: datetime
) -> bytes:
    said = (ticket.tier + (ticket.holder or "") for ticket in tickets)
    letters = "".join((event.title, venue.name, venue.address, venue.city, venue.country, *said))
    page = _TicketPage(f"Ticket: {clean(event.title)}", made, letters)
    for number, ticket in enumerate(tickets):
        if number:
            page.add_page()
        page.card(ticket, event, venue)
    return page.bytes()


def event_hours(event: Event, venue: Venue) -> tuple[str, str]:
    """The day, and from when to when, at the venue."""
    zone = ZoneInfo(venue.timezone)
    begins, ends = event.start_time.astimezone(zone), event.end_time.astimezone(zone)
    until = f"{ends:%H:%M}" if begins.date() == ends.date() else f"{day(ends)}, {ends:%H:%M}"
    return f"{begins:%A}, {day(begins)}", f"{begins:%H:%M} to {until} ({begins.tzname()})"


class _TicketPage(Page):
    """The looks: a card across the page, what it is on its left, the code on its right."""

    def card(self, ticket: PrintedTicket, event: Event, venue: Venue) -> None:
        top, left, width = MARGIN_MM, MARGIN_MM + _PAD_MM, self.epw - 2 * _PAD_MM
        self.set_line_width(0.3)
        self.rect(MARGIN_MM, top, self.epw, _CARD_MM, round_corners=True, corner_radius=4)
        self.set_xy(left, top + _PAD_MM)
        self.type(9, faint=True)
        self._row(event.category.value.capitalize(), width, 5)
        self.ln(1)
        self._title(clean(event.title), left, width)
        self.ln(4)
        rule = self.get_y()
        self.line(left, rule, left + width, rule)
        self._code(ticket.token, MARGIN_MM + self.epw - _PAD_MM - _CODE_MM, rule + 5)
        self.set_xy(left, rule + 5)
        self._facts(ticket, event, venue, left, width - _CODE_MM - _PAD_MM)
        self.set_xy(MARGIN_MM, top + _CARD_MM + 6)
        self.type(9, faint=True)
        self.multi_cell(0, 4.5, _ADVICE, align=Align.L)

    def _title(self, title: str, left: float, width: float) -> None:
        """As large as it fits."""
        for size in (24, 18, 14):
            self.type(size, bold=True)
            height = size * 0.42
            lines = self._broken(title, width, height)
            if len(lines) <= _TITLE_LINES_MAX:
                break
        for line in lines[:_TITLE_LINES_MAX]:
            self.set_x(left)
            self._row(line, width, height)

    def _broken(self, text: str, width: float, height: float) -> list[str]:
        """Into the lines that it takes."""
        lines = self.multi_cell(
            width, height, text, align=Align.L, dry_run=True, output=MethodReturnValue.LINES
        )
        assert isinstance(lines, list)
        return lines

    def _facts(
        self, ticket: PrintedTicket, event: Event, venue: Venue, left: float, width: float
    ) -> None:
        on, hours = event_hours(event, venue)
        address = [line for line in venue.address.splitlines() if line.strip()]
        where = [venue.name, *address[:_ADDRESS_LINES_MAX], _city(venue)]
        rows = [
            ("When", [on, hours]),
            ("Where", [line for line in where if line]),
            ("Admits", [ticket.tier, *([ticket.holder] if ticket.holder else [])]),
        ]
        for label, lines in rows:
            self.set_x(left)
            self.type(8, faint=True)
            self._row(label, width, 4)
            for number, line in enumerate(lines):
                self.type(11, bold=number == 0)
                self.set_x(left)
                self._row(self._cut(clean(line), width), width, 5.2)
            self.ln(3)

    def _cut(self, text: str, width: float) -> str:
        if self.get_string_width(text) <= width:
            return text
        while text and self.get_string_width(text + "...") > width:
            text = text[:-1]
        return text.rstrip() + "..."

    def _row(self, text: str, width: float, height: float) -> None:
        self.cell(width, height, text, align=Align.L, new_x=XPos.LEFT, new_y=YPos.NEXT)

    def _code(self, token: str, left: float, top: float) -> None:
        rows = qr_rows(token)
        size = _CODE_MM / len(rows)
        self.set_fill_color(0, 0, 0)
        for y, row in enumerate(rows):
            for x, length in _runs(row):
                # A hair taller than a module: no white lines between rows on any screen.
                self.rect(left + x * size, top + y * size, length * size, size * 1.02, style="F")
        self.set_xy(left, top + _CODE_MM + 3)
        self.type(7, faint=True)
        self.cell(_CODE_MM, 4, token, align=Align.C)


def _city(venue: Venue) -> str:
    return ", ".join(part for part in (venue.city, venue.country) if part)


def _runs(row: bytes) -> list[tuple[int, int]]:
    """Where dark modules begin, and how many follow each other."""
    found, start = [], None
    for x, dark in enumerate((*row, 0)):
        if dark and start is None:
            start = x
        elif not dark and start is not None:
            found.append((start, x - start))
            start = None
    return found
