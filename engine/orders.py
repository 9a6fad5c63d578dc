"""The orders of one sale in memory. Those that rest are kept packed: a third of the room.

    read    an order to look at: nobody keeps or changes it
    change  the order itself; it stays unpacked until it is packed for a snapshot, or by `rest`

So `decide` reads and `apply` changes. A pending order never rests;
nothing else depends on which do.
"""

from collections.abc import Iterator, Mapping
from typing import TypeVar, overload

import msgspec
from msgspec import Struct

from engine.order import Order, OrderStatus
from engine.parted import PartedDict

_T = TypeVar("_T")
_encode_into = msgspec.msgpack.Encoder().encode_into
_buffer = bytearray()
_decode = msgspec.msgpack.Decoder(Order).decode


class _Standing(Struct, array_like=True, gc=False):
    """The beginning of an order."""

    status: OrderStatus


_decode_standing = msgspec.msgpack.Decoder(_Standing).decode


class Orders(Mapping[str, Order]):
    """By their ids. To look one up is to read it."""

    def __init__(self) -> None:
        self._by_id: PartedDict[Order | bytes] = PartedDict()
        self._stirred: dict[str, Order] = {}  # of those that are not packed, what may rest
        self._read: Order | None = None  # unpacked last, and packed still

    def __getitem__(self, order_id: str) -> Order:
        found = self._by_id[order_id]
        return self._unpacked(order_id, found) if isinstance(found, bytes) else found

    @overload
    def get(self, order_id: str, default: None = None, /) -> Order | None: ...
    @overload
    def get(self, order_id: str, default: Order | _T, /) -> Order | _T: ...
    def get(self, order_id: str, default: object = None, /) -> object:
        found = self._by_id.get(order_id)
        if isinstance(found, bytes):
            return self._unpacked(order_id, found)
        return default if found is None else found

    def __contains__(self, order_id: object) -> bool:
        return order_id in self._by_id

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_id)

    def __len__(self) -> int:
        return len(self._by_id)

    def listed(self) -> Iterator[str]:
        """The ids, as of a `PartedDict`."""
        return self._by_id.listed()

    def _unpacked(self, order_id: str, packed: bytes) -> Order:
        """Of what is read to be changed next, the second unpacking is spared."""
        order = self._read
        if order is None or order.order_id != order_id:
            order = self._read = _decode(packed)
            order.order_id = order_id
        return order

    def status(self, order_id: str) -> OrderStatus | None:
        """Without unpacking the rest of it."""
        found = self._by_id.get(order_id)
        if found is None:
            return None
        return _decode_standing(found).status if isinstance(found, bytes) else found.status

    def pending(self, order_id: str) -> bool:
        found = self._by_id.get(order_id)
        return isinstance(found, Order) and found.status is OrderStatus.PENDING

    def change(self, order_id: str) -> Order:
        found = self._by_id[order_id]
        if isinstance(found, bytes):
            found = self._by_id[order_id] = self._unpacked(order_id, found)
            self._read = None
        self._stirred[order_id] = found
        return found

    def add(self, order: Order) -> None:
        self._by_id[order.order_id] = order
        if order.status is not OrderStatus.PENDING:
            self._stirred[order.order_id] = order
        self._read = None

    def add_packed(self, packed: Mapping[str, bytes]) -> None:
        """What `pack` has made of orders; those that are pending are to be added unpacked, too."""
        self._by_id.add(packed)

    def remove(self, order_id: str) -> Order:
        order = self.change(order_id)
        del self._by_id[order_id], self._stirred[order_id]
        return order

    def packed(self, order_id: str) -> bytes | None:
        """The order as its snapshot entity; it rests from now on."""
        found = self._by_id.get(order_id)
        if isinstance(found, Order):
            packed = pack(found)
            self._stirred.pop(order_id, None)
            if found.status is not OrderStatus.PENDING:
                self._by_id[order_id] = packed
            return packed
        return found

    def rest(self) -> None:
        """Pack what can be, where no snapshot is taken."""
        for order in self._stirred.values():
            if order.status is not OrderStatus.PENDING:
                self._by_id[order.order_id] = pack(order)
        self._stirred.clear()


def pack(order: Order) -> bytes:
    """Without its id, which is the name of its entity. What msgspec encodes by itself keeps the
    room that it was encoded in: a third more.
    """
    order_id, order.order_id = order.order_id, ""
    _encode_into(order, _buffer)
    order.order_id = order_id
    return bytes(_buffer)


def unpack(order_id: str, packed: bytes) -> Order:
    order = _decode(packed)
    order.order_id = order_id
    return order
