"""The digests of an order's tokens, former ones too, and whose each is. All of it as rows of bytes.

Kept with the order, since making a digest again costs more than all else in bringing a sale back.
"""

import struct
from collections.abc import Iterator

from engine.digests import DIGEST_BYTES
from engine.order import Order
from engine.ticket import Ticket, token_digest

_ROW = struct.Struct(f">{DIGEST_BYTES}sH")  # digest, the ticket's number
_NUMBER = struct.Struct(f">{DIGEST_BYTES}xH")
_INDEXED = struct.Struct(f">B{DIGEST_BYTES - 1}s2x")


def remember(order: Order, ticket: Ticket) -> bytes:
    """The ticket's token has just become its own; its digest."""
    digest = token_digest(ticket.token)
    order.tokens += _ROW.pack(digest[:DIGEST_BYTES], ticket.number)
    return digest


def find(order: Order, digest: bytes) -> Ticket | None:
    """Whose token has this digest, or had."""
    rows, known = order.tokens, digest[:DIGEST_BYTES]
    begin = rows.find(known)
    while begin > 0 and begin % _ROW.size:
        begin = rows.find(known, begin + 1)
    return order.tickets[_NUMBER.unpack_from(rows, begin)[0]] if begin >= 0 else None


def indexed(rows: bytes) -> Iterator[tuple[int, bytes]]:
    """Of an order's `tokens`: digests as `Digests.fill` takes them."""
    return _INDEXED.iter_unpack(rows)
