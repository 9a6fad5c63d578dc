"""An instant of an order in 18 bytes that sort by time: what heaps and queues are made of.

`order_random`: what tells an order from others of its sale.
"""

import struct
from collections.abc import Iterable, Iterator

from engine import ids

_MOMENT = struct.Struct(f">q{ids.ORDER_RANDOM_BYTES}s")
SIZE = _MOMENT.size
SPAN_BYTES = 7  # a moment begins with its span of 256 ms
pack = _MOMENT.pack  # (at_ms, order_random)


def unpack(sale_id: str, moment: bytes | bytearray) -> tuple[int, str]:
    """(at_ms, order id)"""
    at_ms, order_random = _MOMENT.unpack(moment)
    return at_ms, ids.order_id(sale_id, order_random)


def unpack_all(sale_id: str, packed: bytes) -> Iterator[tuple[int, str]]:
    """Of moments that follow each other."""
    for at_ms, order_random in _MOMENT.iter_unpack(packed):
        yield at_ms, ids.order_id(sale_id, order_random)


def split(moment: bytes) -> tuple[bytes, bytes]:
    """Its span, and what tells it from others of that."""
    return moment[:SPAN_BYTES], moment[SPAN_BYTES:]


def join(span: bytes, rests: Iterable[bytes]) -> bytes:
    """Moments of one span, one or more, behind each other."""
    return span + span.join(rests)
