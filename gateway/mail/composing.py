"""From a row of the outbox to letters: who is written to, and about which tickets.

Personal data is unsealed here, for as long as the letter is made. Where its key has been erased
there is nobody to write to.
"""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from engine import ids
from engine.catalogue import Event, Venue, from_ms
from engine.commands import Caller, Command, ReadOrder, Role
from engine.order import OrderView
from engine.outgoing import Mail, MailKind
from engine.projection import EntryRow
from engine.replies import Reply
from engine.runtime.ports import Clock
from engine.ticket import TicketStatus, TicketView
from engine.waiter import EntryStatus
from gateway.mail.letters import letter, sendable
from gateway.mail.transport import Letter
from gateway.mail.words import words
from gateway.personal import Attendee, Buyer, unseal
from gateway.rendering import attendee_of
from gateway.ticket_pages import PrintedTicket

_OURSELVES = Caller(Role.ADMIN, "mail")
_GOOD = (TicketStatus.VALID, TicketStatus.USED)
_ABOUT_GOOD_TICKETS = (
    MailKind.ORDER_CONFIRMED,
    MailKind.TICKET_REISSUED,
    MailKind.EVENT_CHANGED,
    MailKind.EVENT_COMPLETED,
)
_ABOUT_OFFERS = (MailKind.OFFER_MADE, MailKind.OFFER_ENDING)


class Orders(Protocol):
    def ask(self, sale_id: str, command: Command) -> Awaitable[Reply]: ...


class Files(Protocol):
    async def personal_keys(self, order_ids: Sequence[str]) -> dict[bytes, bytes]: ...

    async def waitlist_entry(self, entry_id: str) -> EntryRow | None: ...


class Occasions(Protocol):
    async def among(self, event_ids: Sequence[str]) -> dict[str, tuple[Event, Venue]]: ...


class Addressee(Struct, frozen=True):
    """`tickets`: those of the order that are this person's business."""

    address: str
    tickets: list[TicketView]


class Composer:
    """`sender`: what stands in From."""

    def __init__(
        self, orders: Orders, files: Files, occasions: Occasions, clock: Clock, sender: str
    ) -> None:
        self._orders = orders
        self._files = files
        self._occasions = occasions
        self._clock = clock
        self._sender = sender

    async def compose(self, mail: Mail) -> list[Letter]:
        """A letter for each addressee, always in the same order. Raises a Fault."""
        found = await self._occasions.among([mail.event_id])
        if mail.event_id not in found:
            return []
        event, venue = found[mail.event_id]
        if mail.kind in _ABOUT_OFFERS:
            address = await self._who_waits(mail)
            return [await self._letter(mail, 0, address, [], event, venue)] if address else []
        assert mail.order_id is not None
        keys = await self._files.personal_keys([mail.order_id])
        view = await self._orders.ask(mail.event_id, ReadOrder(mail.order_id, _OURSELVES))
        if not isinstance(view, OrderView):
            return []
        buyer = unseal(view.sealed, keys, view.order_id, Buyer) or Buyer(None)
        letters = []
        for part, addressee in enumerate(_addressees(mail, view, keys, buyer)):
            printed = [_printed(view, ticket, keys, buyer, event) for ticket in addressee.tickets]
            letters.append(await self._letter(mail, part, addressee.address, printed, event, venue))
        return letters

    async def _who_waits(self, mail: Mail) -> str | None:
        """None where the offer has been taken meanwhile, or is over."""
        entry = await self._files.waitlist_entry(mail.subject)
        if entry is None or entry.status != EntryStatus.OFFERED:
            return None
        keys = await self._files.personal_keys([entry.origin_id])
        buyer = unseal(entry.sealed, keys, entry.origin_id, Buyer) or Buyer(None)
        return sendable(buyer.email) if buyer.email is not None else None

    async def _letter(
        self,
        mail: Mail,
        part: int,
        address: str,
        printed: list[PrintedTicket],
        event: Event,
        venue: Venue,
    ) -> Letter:
        told = words(mail, len(printed), event, venue)
        made = from_ms(self._clock.now_ms())
        return await asyncio.to_thread(
            letter, mail, part, self._sender, address, told, printed, event, venue, made
        )


def _addressees(
    mail: Mail, view: OrderView, keys: Mapping[bytes, bytes], buyer: Buyer
) -> list[Addressee]:
    """The buyer, for all tickets but those that were given to others; where only the attendees are
    known, each for their own. Whoever was given a ticket hears of it alone, and nobody else of its
    code.
    """
    chosen = mail.detail.numbers
    tickets = [t for t in view.tickets if not chosen or t.number in chosen]
    if mail.kind in _ABOUT_GOOD_TICKETS:
        tickets = [ticket for ticket in tickets if ticket.status in _GOOD]
        if not tickets:
            return []
    given = [ticket for ticket in tickets if ticket.transfer is not None]
    kept = [ticket for ticket in tickets if ticket.transfer is None]
    others = _by_address(view, given, keys, Buyer(None))
    if mail.kind is MailKind.ORDER_CONFIRMED:  # they have a mail of their own
        others = []
    if given and not kept:
        return others
    if buyer.email is None:
        return _by_address(view, kept, keys, buyer) + others
    address = sendable(buyer.email)
    return ([Addressee(address, kept)] if address is not None else []) + others


def _by_address(
    view: OrderView, tickets: list[TicketView], keys: Mapping[bytes, bytes], buyer: Buyer
) -> list[Addressee]:
    found: dict[str, Addressee] = {}
    for ticket in tickets:
        person = _attendee(view, ticket, keys, buyer)
        address = sendable(person.email) if person.email is not None else None
        if address is not None:
            found.setdefault(address, Addressee(address, [])).tickets.append(ticket)
    return list(found.values())


def _attendee(
    view: OrderView, ticket: TicketView, keys: Mapping[bytes, bytes], buyer: Buyer
) -> Attendee:
    return attendee_of(view.order_id, ticket.number, ticket.sealed, keys, buyer)


def _printed(
    view: OrderView,
    ticket: TicketView,
    keys: Mapping[bytes, bytes],
    buyer: Buyer,
    event: Event,
) -> PrintedTicket:
    tier = next((tier.name for tier in event.tiers if tier.tier_id == ticket.tier_id), "")
    return PrintedTicket(
        ids.ticket_id(view.order_id, ticket.number),
        ids.token_text(ticket.token),
        tier,
        _attendee(view, ticket, keys, buyer).name,
    )
