"""What all printed pages share: the type, the ink, and how places and times are written."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from font_roboto import font_files
from fpdf import FPDF

from engine.catalogue import Venue

INK = (28, 32, 38)
FAINT = (112, 120, 130)
LINE = (214, 219, 225)
SHADE = (244, 246, 248)
MARGIN_MM = 20


class Page(FPDF):
    """A4, one family of type in two weights.

    `letters`: all that will be written, where it is known. Every reader has type for Latin-1 of its
    own; to bring type for all else along takes sixty milliseconds and ten kilobytes.
    """

    def __init__(self, title: str, made: datetime, letters: str | None = None) -> None:
        super().__init__(format="A4")
        self._family = "Helvetica" if letters is not None and _is_latin(letters) else "Roboto"
        if self._family == "Roboto":
            for style, name in (("", "Roboto"), ("B", "RobotoMedium")):
                self.add_font("Roboto", style, font_files[name])
        self.set_margins(MARGIN_MM, MARGIN_MM)
        self.set_auto_page_break(True, margin=25)
        self.set_title(title)
        self.set_creation_date(made.astimezone(UTC))
        self.set_draw_color(*LINE)
        self.add_page()

    def bytes(self) -> bytes:
        return bytes(self.output())

    def type(self, size: float, *, bold: bool = False, faint: bool = False) -> None:
        self.set_font(self._family, "B" if bold else "", size)
        self.set_text_color(*(FAINT if faint else INK))


def _is_latin(text: str) -> bool:
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True


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
