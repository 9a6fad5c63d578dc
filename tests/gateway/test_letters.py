"""A letter says what it should, and nothing that somebody else put into its headers."""

import io
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

import pytest
import zxingcpp
from msgspec import Raw
from msgspec.structs import replace
from PIL import Image

from engine.catalogue import Category, Event, Venue, VenueType
from engine.lifecycle import EventStatus
from engine.outgoing import Mail, MailDetail, MailKind
from gateway.mail.letters import letter, sendable
from gateway.mail.transport import Letter
from gateway.mail.words import words
from gateway.ticket_pages import PrintedTicket

NOW = datetime(2031, 3, 1, 12, tzinfo=UTC)
TOKENS = ("5b6d0d3e-2f11-4c25-9c1a-7f6d0e4a1b22", "0b6d0d3e-2f11-4c25-9c1a-7f6d0e4a1b23")
ORDER = "ord_" + "1" * 36
VENUE = Venue(
    venue_id="ven_1",
    name="Hall",
    address="Street 1\nBackyard",
    city="Berlin",
    country="Germany",
    latitude=52.5,
    longitude=13.4,
    capacity=100,
    type=VenueType.ARENA,
    facilities=Raw(b"{}"),
    timezone="Europe/Berlin",
    is_active=True,
    hire_amount=0,
    deposit_amount=0,
    currency="EUR",
)
EVENT = Event(
    event_id="evt_1",
    venue_id="ven_1",
    organizer_id="orga",
    booking_id="bkg_1",
    title="Rock & Roll",
    description="",
    category=Category.CONCERT,
    start_time=datetime(2031, 5, 1, 18, tzinfo=UTC),
    end_time=datetime(2031, 5, 1, 21, tzinfo=UTC),
    cover_image_url=None,
    age_restriction=None,
    currency="EUR",
    setup_hours_before=0.0,
    teardown_hours_after=0.0,
    status=EventStatus.ON_SALE,
)


def mail_about(kind: MailKind, detail: MailDetail | None = None) -> Mail:
    return Mail(1, kind, ORDER, 0, "evt_1", ORDER, detail or MailDetail(), 0, 0, NOW)


def _letter(mail: Mail, event: Event = EVENT, holder: str | None = "Ann", part: int = 0) -> Letter:
    tickets = [PrintedTicket(f"tkt_{n}", token, "VIP", holder) for n, token in enumerate(TOKENS)]
    told = words(mail, len(tickets), event, VENUE)
    sender = "Tickets <tickets@example.org>"
    return letter(mail, part, sender, "ann@example.org", told, tickets, event, VENUE, NOW)


def _parsed(made: Letter) -> EmailMessage:
    message = message_from_bytes(made.content, policy=default)
    assert isinstance(message, EmailMessage)
    return message


def _parts(message: EmailMessage, media: str) -> list[EmailMessage]:
    found = [part for part in message.walk() if part.get_content_type() == media]
    return [part for part in found if isinstance(part, EmailMessage)]


def test_the_codes_stand_in_the_mail_and_the_tickets_are_attached() -> None:
    message = _parsed(_letter(mail_about(MailKind.ORDER_CONFIRMED)))
    pictures = _parts(message, "image/png")
    shown = [Image.open(io.BytesIO(part.get_content())) for part in pictures]
    assert [found.text for i in shown for found in zxingcpp.read_barcodes(i)] == list(TOKENS)
    (page,) = _parts(message, "text/html")
    for picture in pictures:
        assert f'src="cid:{picture["Content-ID"][1:-1]}"' in page.get_content()
    (pdf,) = _parts(message, "application/pdf")
    assert pdf.get_content().count(b"/Type /Page\n") == 2
    assert pdf.get_filename() == "tickets.pdf"
    assert _parts(message, "text/calendar")
    (text,) = _parts(message, "text/plain")
    assert all(token in text.get_content() for token in TOKENS)
    assert "20:00 to 23:00 (CEST)" in text.get_content()


def test_html_of_others_is_text() -> None:
    event = replace(EVENT, title="<script>alert(1)</script>")
    message = _parsed(
        _letter(mail_about(MailKind.ORDER_CONFIRMED), event, '<img src=x onerror="x">')
    )
    (page,) = _parts(message, "text/html")
    assert "<script>" not in page.get_content()
    assert "<img src=x" not in page.get_content()
    assert "&lt;script&gt;" in page.get_content()


@pytest.mark.parametrize(
    "title", ["Gig\r\nBcc: eve@example.org", "Gig\nX: y\n\nbody", "a\x00\x0bb"]
)
def test_a_title_stays_on_its_line_in_the_headers(title: str) -> None:
    made = _letter(
        mail_about(MailKind.ORDER_CONFIRMED), replace(EVENT, title=title), "Eve\r\nCc: e@x.org"
    )
    message = _parsed(made)
    assert {name.lower() for name in message} == {
        *("from", "to", "subject", "date", "message-id", "auto-submitted"),
        *("mime-version", "content-type"),
    }
    assert message["To"] == "ann@example.org"
    assert "Gig" in message["Subject"] or "b" in message["Subject"]


@pytest.mark.parametrize(
    ("address", "sent_to"),
    [
        ("ann@example.org", "ann@example.org"),
        ("ann+tickets@bücher.example", "ann+tickets@xn--bcher-kva.example"),
        ("ann@example.org\n", None),
        ("ann@example.org\r\nRCPT TO:<eve@example.org>", None),
        ("ann@example.org,eve@example.org", None),
        ("<eve@example.org>", None),
        ('"ann eve"@example.org', None),
        ("ann@", None),
        ("@example.org", None),
        ("ann@example..org", None),
        ("a" * 65 + "@example.org", None),
        ("ann@" + "a" * 64 + ".org", None),
    ],
)
def test_what_is_not_one_address_is_not_written_to(address: str, sent_to: str | None) -> None:
    assert sendable(address) == sent_to


def test_the_same_mail_has_the_same_id_and_another_one_has_not() -> None:
    mail = mail_about(MailKind.ORDER_CONFIRMED)
    first = _letter(mail).message_id
    assert first == _letter(replace(mail, mail_id=7, attempts=3)).message_id
    others = {
        _letter(mail, part=1).message_id,
        _letter(replace(mail, version=1)).message_id,
        _letter(replace(mail, kind=MailKind.EVENT_CHANGED)).message_id,
        _letter(replace(mail, subject="ord_" + "2" * 36)).message_id,
    }
    assert len(others | {first}) == 5


@pytest.mark.parametrize("kind", MailKind)
def test_every_kind_has_its_words_and_only_three_have_codes(kind: MailKind) -> None:
    detail = MailDetail(amount_minor=123_450, quantity=2, until_ms=1_930_000_000_000)
    message = _parsed(_letter(mail_about(kind, detail)))
    assert "Rock & Roll" in message["Subject"]
    with_codes = kind in (
        MailKind.ORDER_CONFIRMED,
        MailKind.TICKET_RECEIVED,
        MailKind.TICKET_REISSUED,
    )
    assert bool(_parts(message, "image/png")) is with_codes
    assert (TOKENS[0].encode() in _letter(mail_about(kind, detail)).content) is with_codes
    (text,) = _parts(message, "text/plain")
    money_back = kind in (
        MailKind.ORDER_REFUNDED,
        MailKind.MONEY_RETURNED,
        MailKind.EVENT_CANCELLED,
    )
    assert ("EUR 1,234.50" in text.get_content()) is money_back
