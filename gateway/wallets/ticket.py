"""What a wallet shows of a ticket."""

from msgspec import Struct

from engine.catalogue import Event, Venue


class WalletTicket(Struct, frozen=True):
    ticket_id: str
    token: str
    tier: str
    holder: str | None
    event: Event
    venue: Venue
