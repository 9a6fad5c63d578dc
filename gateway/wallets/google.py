"""Google Wallet: a link that holds the whole ticket, signed by the issuer's service account.

https://developers.google.com/wallet/tickets/events/web: the event is its class, the ticket its
object, so nothing has to be sent to Google before somebody follows the link.
"""

from pathlib import Path
from typing import Self

import msgspec
from joserfc import jwt
from joserfc.jwk import RSAKey
from msgspec import Struct

from gateway.phrases import clean, place
from gateway.settings import SettingsError
from gateway.wallets.ticket import WalletTicket

_SAVE = "https://pay.google.com/gp/v/save/"
_LANGUAGE = "en"


class _ServiceAccount(Struct, frozen=True):
    """Of the JSON file that Google hands out, what is needed here."""

    client_email: str
    private_key: str
    private_key_id: str


class GoogleWallet:
    def __init__(self, account: _ServiceAccount, issuer: str) -> None:
        self._key = RSAKey.import_key(account.private_key)
        self._account = account
        self._issuer = issuer

    @classmethod
    def read(cls, path: str, issuer: str) -> Self:
        """Raises SettingsError."""
        try:
            account = msgspec.json.decode(Path(path).read_bytes(), type=_ServiceAccount)
            return cls(account, issuer)
        except (OSError, ValueError) as error:
            raise SettingsError(f"setting STAMPEDE_GOOGLE_WALLET_KEY: {error}") from None

    def link(self, ticket: WalletTicket, now_s: int) -> str:
        claims: dict[str, object] = {
            "iss": self._account.client_email,
            "aud": "google",
            "typ": "savetowallet",
            "iat": now_s,
            "payload": {
                "eventTicketClasses": [self._class(ticket)],
                "eventTicketObjects": [self._object(ticket)],
            },
        }
        header = {"alg": "RS256", "typ": "JWT", "kid": self._account.private_key_id}
        return _SAVE + jwt.encode(header, claims, self._key, algorithms=["RS256"])

    def _class(self, ticket: WalletTicket) -> dict[str, object]:
        event, venue = ticket.event, ticket.venue
        return {
            "id": self._id(event.event_id),
            "issuerName": clean(venue.name),
            "reviewStatus": "UNDER_REVIEW",
            "eventName": _text(event.title),
            "venue": {"name": _text(venue.name), "address": _text(place(venue))},
            "dateTime": {
                "start": event.start_time.isoformat(),
                "end": event.end_time.isoformat(),
            },
        }

    def _object(self, ticket: WalletTicket) -> dict[str, object]:
        described: dict[str, object] = {
            "id": self._id(ticket.ticket_id),
            "classId": self._id(ticket.event.event_id),
            "state": "ACTIVE",
            "ticketNumber": ticket.ticket_id,
            "ticketType": _text(ticket.tier),
            "barcode": {"type": "QR_CODE", "value": ticket.token},
        }
        if ticket.holder is not None:
            described["ticketHolderName"] = clean(ticket.holder)
        return described

    def _id(self, own: str) -> str:
        return f"{self._issuer}.{own}"


def _text(value: str) -> dict[str, object]:
    return {"defaultValue": {"language": _LANGUAGE, "value": clean(value)}}
