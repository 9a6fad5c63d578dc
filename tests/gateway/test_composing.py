"""Who is written to, about which tickets; and nobody once the key has been erased."""

from collections.abc import Sequence
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

from msgspec.structs import replace

from engine import ids
from engine.catalogue import Event, Venue
from engine.commands import Command, ReadOrder, Role
from engine.order import OrderStatus, OrderView
from engine.outgoing import MailDetail, MailKind
from engine.projection import EntryRow
from engine.purchase import Item
from engine.replies import Reply
from engine.ticket import TicketStatus, TicketView, Transfer
from gateway.clock import SystemClock
from gateway.mail.composing import Composer
from gateway.mail.transport import Letter
from gateway.personal import Attendee, Buyer, seal
from tests.gateway.test_letters import EVENT, ORDER, VENUE, mail_about

ENTRY = ids.entry_id(EVENT.event_id, b"e" * ids.ORDER_RANDOM_BYTES)
PEOPLE = (Attendee("Ann", "ann@x.org"), Attendee("Bo", "bo@x.org"), Attendee("Ann", "ann@x.org"))


class House:
    """One order of three tickets, and the keys of its personal data."""

    def __init__(self, buyer: Buyer, *, status: TicketStatus = TicketStatus.VALID) -> None:
        self.entry: EntryRow | None = None
        sealed, key = seal(buyer, ORDER)
        self.keys = {sealed[:8]: key}
        tickets = tuple(
            TicketView(n, "tier", bytes([n]) * 16, 0, status, None, None) for n in range(3)
        )
        self.view = OrderView(
            order_id=ORDER,
            buyer_id="ann",
            status=OrderStatus.CONFIRMED,
            cancel_reason=None,
            items=(Item("tier", 3, 100),),
            currency="EUR",
            placed_at_ms=0,
            expires_at_ms=1,
            confirmed_at_ms=1,
            payment_id=None,
            refunded_minor=0,
            refund=None,
            tickets=tickets,
            sealed=sealed,
        )

    async def ask(self, sale_id: str, command: Command) -> Reply:
        assert isinstance(command, ReadOrder) and command.caller.role is Role.ADMIN
        return self.view

    async def personal_keys(self, order_ids: Sequence[str]) -> dict[bytes, bytes]:
        return self.keys if {ORDER, ENTRY} & {*order_ids} else {}

    async def waitlist_entry(self, entry_id: str) -> EntryRow | None:
        return self.entry if entry_id == ENTRY else None

    async def among(self, event_ids: Sequence[str]) -> dict[str, tuple[Event, Venue]]:
        return {EVENT.event_id: (EVENT, VENUE)}

    async def letters(self, kind: MailKind, *numbers: int) -> list[Letter]:
        composer = Composer(self, self, self, SystemClock(), "Tickets <tickets@example.org>")
        about = mail_about(kind, MailDetail(numbers=numbers))
        offer = kind in (MailKind.OFFER_MADE, MailKind.OFFER_ENDING)
        return await composer.compose(replace(about, subject=ENTRY) if offer else about)


def _codes(letter: Letter) -> int:
    message = message_from_bytes(letter.content, policy=default)
    assert isinstance(message, EmailMessage)
    return sum(part.get_content_type() == "image/png" for part in message.walk())


def _tickets_to(letters: list[Letter]) -> dict[str, int]:
    return {letter.recipient: _codes(letter) for letter in letters}


async def test_the_buyer_gets_all_tickets_also_where_attendees_are_known() -> None:
    house = House(Buyer("buyer@x.org", PEOPLE))
    assert _tickets_to(await house.letters(MailKind.ORDER_CONFIRMED)) == {"buyer@x.org": 3}


async def test_without_a_buyer_each_attendee_gets_the_tickets_in_his_name() -> None:
    house = House(Buyer(None, PEOPLE))
    letters = await house.letters(MailKind.ORDER_CONFIRMED)
    assert _tickets_to(letters) == {"ann@x.org": 2, "bo@x.org": 1}
    assert len({letter.message_id for letter in letters}) == 2


async def test_a_refund_concerns_whose_tickets_it_takes() -> None:
    house = House(Buyer(None, PEOPLE))
    assert list(_tickets_to(await house.letters(MailKind.ORDER_REFUNDED, 1))) == ["bo@x.org"]


async def test_a_transferred_ticket_s_code_goes_to_its_new_holder_alone() -> None:
    house = House(Buyer("buyer@x.org", PEOPLE))
    sealed, key = seal(Attendee("Cy", "cy@x.org"), ORDER)
    house.keys[sealed[:8]] = key
    first, *others = house.view.tickets
    gone = replace(first, status=TicketStatus.TRANSFERRED)
    given = Transfer(0, None, 1)
    new = replace(first, number=3, token=b"n" * 16, sealed=sealed, transfer=given)
    house.view = replace(house.view, tickets=(gone, *others, new))
    assert _tickets_to(await house.letters(MailKind.TICKET_RECEIVED, 3)) == {"cy@x.org": 1}
    assert _tickets_to(await house.letters(MailKind.TICKET_GIVEN, 0)) == {"buyer@x.org": 0}
    assert _tickets_to(await house.letters(MailKind.TICKET_REISSUED, 3)) == {"cy@x.org": 1}
    late = await house.letters(MailKind.ORDER_CONFIRMED)
    assert _tickets_to(late) == {"buyer@x.org": 2}
    assert ids.token_text(b"n" * 16).encode() not in late[0].content
    told = await house.letters(MailKind.EVENT_CANCELLED)
    assert _tickets_to(told) == {"buyer@x.org": 0, "cy@x.org": 0}


async def test_who_waits_is_told_of_an_offer_as_long_as_it_stands() -> None:
    house = House(Buyer(None))
    sealed, key = seal(Buyer("dee@x.org"), ENTRY)
    house.keys[sealed[:8]] = key
    now = datetime.now(UTC)
    house.entry = EntryRow(
        *(ENTRY, EVENT.event_id, "tier", "dee", 2, "OFFERED", now, now),
        *(None, None, None, None, ENTRY, sealed),
    )
    (letter,) = await house.letters(MailKind.OFFER_MADE)
    assert letter.recipient == "dee@x.org"
    house.entry = replace(house.entry, status="FULFILLED")
    assert await house.letters(MailKind.OFFER_ENDING) == []


async def test_nobody_is_written_to_once_the_key_is_erased() -> None:
    house = House(Buyer("buyer@x.org", PEOPLE))
    house.keys.clear()
    for kind in (MailKind.ORDER_CONFIRMED, MailKind.EVENT_CANCELLED, MailKind.ORDER_REFUNDED):
        assert await house.letters(kind) == []


async def test_tickets_that_are_worth_nothing_are_not_sent() -> None:
    house = House(Buyer("buyer@x.org"), status=TicketStatus.CANCELLED)
    assert await house.letters(MailKind.ORDER_CONFIRMED) == []
    assert await house.letters(MailKind.EVENT_CHANGED) == []
    assert len(await house.letters(MailKind.EVENT_CANCELLED)) == 1


async def test_what_is_no_address_is_not_written_to() -> None:
    for address in ("ann@x.org\n", "ann@x.org\r\nRCPT TO:<eve@x.org>", "a@x.org,eve@x.org"):
        assert await House(Buyer(address)).letters(MailKind.ORDER_CONFIRMED) == []
