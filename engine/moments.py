"""An instant of an order in 18 bytes that sort by time: what heaps and queues are made of.

`order_random`: what tells an order from others of its sale.
"""

import struct

from engine import ids

_MOMENT = struct.Struct(f">q{ids.ORDER_RANDOM_BYTES}s")
SIZE = _MOMENT.size
pack = _MOMENT.pack  # (at_ms, order_random)


def unpack(sale_id: str, moment: bytes | bytearray) -> tuple[int, str]:
    """(at_ms, order id)"""
    at_ms, order_random = _MOMENT.unpack(moment)
    return at_ms, ids.order_id(sale_id, order_random)
