"""What each kind of mail says: subject, heading and paragraphs, as plain text.

The template sets them; what comes from organizers and buyers is escaped there.
"""

from typing import assert_never
from zoneinfo import ZoneInfo

from msgspec import Struct

from engine.catalogue import Event, Venue, from_ms
from engine.outgoing import Mail, MailKind
from gateway.invoices import money
from gateway.phrases import clean, minute

_CODE = (
    "Show the code at the entrance, on your phone or printed. It lets one person in, once: "
    "whoever shows it first. Please keep it to yourself."
)


class Words(Struct, frozen=True):
    """`with_codes`: the tickets' codes go with it."""

    subject: str
    heading: str
    paragraphs: list[str]
    with_codes: bool = False


def words(mail: Mail, tickets: int, event: Event, venue: Venue) -> Words:
    """`tickets`: how many it is about."""
    title = clean(event.title)
    many = f"{tickets} ticket{'s' if tickets != 1 else ''}"
    match mail.kind:
        case MailKind.ORDER_CONFIRMED:
            yours = f"Your order {mail.order_id} is confirmed: {many}."
            return Words(f"Your {_noun(tickets)} for {title}", title, [yours, _CODE], True)
        case MailKind.TICKET_REISSUED:
            yours = "Your ticket has a new code. The former one is worth nothing now."
            return Words(f"A new code for {title}", title, [yours, _CODE], True)
        case MailKind.TICKET_RECEIVED:
            yours = "A ticket has been transferred to you. Its former code is worth nothing now."
            return Words(f"Your ticket for {title}", title, [yours, _CODE], True)
        case MailKind.TICKET_GIVEN:
            gone = "Your ticket has been transferred as you asked. The code that you have for it "
            said = [gone + "is worth nothing any more."]
            return Words(f"Your ticket for {title} has a new holder", title, said)
        case MailKind.OFFER_MADE | MailKind.OFFER_ENDING:
            return _offer(mail, title, venue)
        case MailKind.ORDER_REFUNDED:
            said = [f"{many} of your order {mail.order_id} {_have(tickets)} been cancelled."]
            said += _back(mail, event)
            return Words(f"Refund for {title}", "Refund", said)
        case MailKind.MONEY_RETURNED:
            late = f"Your payment for order {mail.order_id} came when its places could not be "
            said = [late + "given to you any more.", *_back(mail, event)]
            return Words(f"Your payment for {title} goes back", "Your payment goes back", said)
        case MailKind.EVENT_CANCELLED:
            off = f"We are sorry: {title} will not take place. "
            said = [f"{off}Your {_noun(tickets)} {_have(tickets)} been cancelled."]
            return Words(f"Cancelled: {title}", "Cancelled", said + _back(mail, event))
        case MailKind.EVENT_CHANGED:
            said = ["Time or place have changed, see below. Your tickets stay valid."]
            return Words(f"New time or place: {title}", "New time or place", said)
        case MailKind.EVENT_COMPLETED:
            said = [f"Thank you for having been part of {title}. We hope to see you again."]
            return Words(f"Thank you: {title}", "Thank you", said)
        case _:
            assert_never(mail.kind)


def _offer(mail: Mail, title: str, venue: Venue) -> Words:
    places = f"{mail.detail.quantity} place{'s' if mail.detail.quantity != 1 else ''}"
    until = minute(from_ms(mail.detail.until_ms).astimezone(ZoneInfo(venue.timezone)))
    ask = f"Order before {until}; after that the next in line will be asked."
    if mail.kind is MailKind.OFFER_MADE:
        said = [f"You waited for tickets, and {places} came back. They are held for you.", ask]
        return Words(f"Your turn: {title}", "Your turn", said)
    said = [f"{places} are still held for you, not much longer.", ask]
    return Words(f"Your offer ends soon: {title}", "Your offer ends soon", said)


def _back(mail: Mail, event: Event) -> list[str]:
    if not mail.detail.amount_minor:
        return []
    amount = money(mail.detail.amount_minor, event.currency)
    return [f"{amount} goes back the way it came. Banks may take some days to show it."]


def _noun(tickets: int) -> str:
    return "tickets" if tickets != 1 else "ticket"


def _have(tickets: int) -> str:
    return "have" if tickets != 1 else "has"
