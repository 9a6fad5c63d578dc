"""The digests of an order's tokens, former ones too, and whose each is. All of it as rows of bytes.

Kept with the order, since making a digest again costs more than all else in bringing a sale back.
"""

import struct
from collections.abc import Iterator

from engine.digests import DIGEST_BYTES
from engine.order import Order
from engine.ticket import Ticket, token_digest

_ROW = struct.Struct(f">{DIGEST_BYTES}sH")  # digest, the ticket's number
_INDEXED = struct.Struct(f">B{DIGEST_BYTES - 1}s2x")


def remember(order: Order, ticket: Ticket) -> bytes:
    """The ticket's token has just become its own; its digest."""
    digest = token_digest(ticket.token)
    order.tokens += _ROW.pack(digest[:DIGEST_BYTES], ticket.number)
    return digest


def find(order: Order, digest: bytes) -> Ticket | None:
    """Whose token has this digest, or had."""
    known = digest[:DIGEST_BYTES]
    rows = _ROW.iter_unpack(order.tokens)
    return next((order.tickets[number] for row, number in rows if row == known), None)


def indexed(rows: bytes) -> Iterator[tuple[int, bytes]]:
    """Of an order's `tokens`: digests as `Digests.fill` takes them."""
    return _INDEXED.iter_unpack(rows)
