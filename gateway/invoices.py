"""An invoice as a page to send: what a hall costs, what was ordered beside it, what is left to pay.

Times are the venue's local ones. Amounts come in minor units and are shown as their currency has
them (ISO 4217): most have two decimals, some none, some three.
"""

from datetime import datetime
from zoneinfo import ZoneInfo

from fpdf import FontFace
from fpdf.enums import Align, TableBordersLayout, XPos, YPos

from engine.catalogue import Booking, BookingStatus, Event, Venue, from_ms
from engine.hiring import Invoice
from gateway.pages import INK, MARGIN_MM, SHADE, Page
from gateway.phrases import clean, day, minute, place, span

_NO_DECIMALS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE_DECIMALS = "BHD IQD JOD KWD LYD OMR TND"

_MINUS = "\N{MINUS SIGN}"
_ROW_MM = 7


def money(minor: int, currency: str) -> str:
    """As in `EUR 1,234.50`."""
    places = 0 if currency in _NO_DECIMALS else 3 if currency in _THREE_DECIMALS else 2
    whole, part = divmod(abs(minor), 10**places)
    decimals = f".{part:0{places}d}" if places else ""
    return f"{_MINUS if minor < 0 else ''}{currency} {whole:,}{decimals}"


def invoice_pdf(
    invoice: Invoice, booking: Booking, event: Event, venue: Venue, now_ms: int
) -> bytes:
    zone = ZoneInfo(venue.timezone)
    page = _InvoicePage(_number(booking), from_ms(now_ms))
    page.head(venue, day(from_ms(now_ms).astimezone(zone)))
    page.details(
        [
            ("Billed to", event.organizer_id),
            ("Event", event.title),
            ("Hall", place(venue)),
            ("Event time", span(booking.start_time, booking.end_time, zone)),
            ("Hall reserved", span(*booking.slot.window, zone)),
            ("Booking", f"{booking.booking_id}, {booking.status.lower()}"),
        ]
    )
    page.lines(_lines(invoice, booking))
    page.totals(_totals(invoice, booking))
    page.note(_note(invoice, booking, zone))
    return page.bytes()


def _number(booking: Booking) -> str:
    return f"INV-{booking.booking_id.partition('_')[2][:12].upper()}"


def _lines(invoice: Invoice, booking: Booking) -> list[tuple[str, str]]:
    hire = "Hire of the hall"
    if booking.status is BookingStatus.CANCELLED:
        hire = "Booking cancelled: deposit kept" if invoice.hire else "Booking cancelled"
    lines = [(hire, money(invoice.hire, invoice.currency))]
    for addon in invoice.addons:
        kind = addon.type.replace("_", " ")
        kind = kind if len(kind) <= 3 else kind.capitalize()
        what = f"{kind}: {clean(addon.description)}" if addon.description else kind
        lines.append((what, money(addon.cost, invoice.currency)))
    return lines


def _totals(invoice: Invoice, booking: Booking) -> list[tuple[str, str]]:
    total = invoice.hire + sum(addon.cost for addon in invoice.addons)
    rows = [("Total", money(total, invoice.currency))]
    if booking.deposit_amount or invoice.deposit_paid:
        rows.append(("Deposit paid", money(-invoice.deposit_paid, invoice.currency)))
    label = "Balance due" if invoice.balance >= 0 else "In your favour"
    return [*rows, (label, money(abs(invoice.balance), invoice.currency))]


def _note(invoice: Invoice, booking: Booking, zone: ZoneInfo) -> str:
    deposit = money(booking.deposit_amount, booking.currency)
    if booking.status is BookingStatus.REQUESTED and booking.expires_at is not None:
        until = booking.expires_at.astimezone(zone)
        return f"The deposit of {deposit} confirms the booking if paid by {minute(until)}."
    if booking.status is BookingStatus.CANCELLED and booking.deposit_refunded:
        returned = money(booking.deposit_refunded, booking.currency)
        return f"Of the deposit paid, {returned} goes back to you."
    if booking.status is BookingStatus.CONFIRMED and booking.deposit_paid:
        days = booking.deposit_refundable_days
        least = f"at least {days} day{'s' if days > 1 else ''} " if days else ""
        return f"The deposit goes back to you if you cancel {least}before the start."
    return ""


class _InvoicePage(Page):
    """The looks: one column of amounts."""

    def __init__(self, number: str, made: datetime) -> None:
        self._number = number
        super().__init__(f"Invoice {number}", made)

    def head(self, venue: Venue, today: str) -> None:
        self.type(18, bold=True)
        middle = self.epw * 0.62
        self.multi_cell(
            middle, 8, clean(venue.name), align=Align.L, new_x=XPos.LMARGIN, new_y=YPos.NEXT
        )
        self.type(10, faint=True)
        address = [clean(line) for line in venue.address.splitlines()]
        for line in filter(None, [*address, f"{venue.city}, {venue.country}"]):
            self.multi_cell(
                middle, 5, clean(line), align=Align.L, new_x=XPos.LMARGIN, new_y=YPos.NEXT
            )
        below = self.get_y()
        self.set_xy(MARGIN_MM, MARGIN_MM)
        self.type(18, bold=True)
        self.cell(0, 8, "Invoice", align=Align.R, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.type(10, faint=True)
        for line in (self._number, today):
            self.cell(0, 5, line, align=Align.R, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.set_y(max(below, self.get_y()) + 8)
        self.line(MARGIN_MM, self.get_y(), self.w - MARGIN_MM, self.get_y())
        self.ln(6)

    def details(self, rows: list[tuple[str, str]]) -> None:
        for label, text in rows:
            self.type(10, faint=True)
            self.cell(36, 6, label)
            self.type(10)
            self.multi_cell(0, 6, clean(text), align=Align.L, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.ln(8)

    def lines(self, rows: list[tuple[str, str]]) -> None:
        self.type(10)
        looks = FontFace(emphasis="BOLD", color=INK, fill_color=SHADE)
        with self.table(
            col_widths=(74, 26),
            text_align=(Align.L, Align.R),
            borders_layout=TableBordersLayout.HORIZONTAL_LINES,
            headings_style=looks,
            line_height=5.5,
            padding=(1.5, 2),
        ) as table:
            for row in (("Description", "Amount"), *rows):
                table.row(row)
        self.ln(3)

    def totals(self, rows: list[tuple[str, str]]) -> None:
        """On one page, all of them."""
        if self.will_page_break(_ROW_MM * (len(rows) + 1)):
            self.add_page()
        for number, (label, amount) in enumerate(rows):
            last = number == len(rows) - 1
            self.type(12 if last else 10, bold=last)
            if last:
                self.line(self.w / 2, self.get_y() + 1, self.w - MARGIN_MM, self.get_y() + 1)
                self.ln(2)
            self.set_x(self.w / 2)
            self.cell(self.epw / 4 + 2, _ROW_MM, label)
            self.cell(self.w - MARGIN_MM - 1 - self.get_x(), _ROW_MM, amount, align=Align.R)
            self.ln(_ROW_MM)

    def note(self, text: str) -> None:
        self.ln(8)
        self.type(10, faint=True)
        self.multi_cell(0, 5, text, align=Align.L)

    def footer(self) -> None:
        self.set_y(-18)
        self.type(8, faint=True)
        self.cell(0, 5, f"Invoice {self._number}")
        self.set_x(MARGIN_MM)
        self.cell(0, 5, f"Page {self.page_no()}", align=Align.R)
