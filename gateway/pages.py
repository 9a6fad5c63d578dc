"""What all printed pages share: the type and the ink."""

from datetime import UTC, datetime

from font_roboto import font_files
from fpdf import FPDF

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
