"""Idempotency keys: what each was used for, and which is the oldest. All of it as rows of bytes.

An order has a row for each key of its last 24 hours; what a key's first answer needs beyond the
order itself stands there, too. A key that outlives its order in memory stays on its own.
"""

import struct
from collections.abc import Container, Iterable, Iterator

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from engine import ids, moments
from engine.commands import Key
from engine.digests import DIGEST_BYTES
from engine.order import FirstAnswer, Order, OrderView
from engine.rejections import Reason, Rejection

KEYS_MAX = 100  # of an order in 24 hours, where a client could go on for ever
_ROW = struct.Struct(">16s16sqh")  # digest, fingerprint, at_ms, which of the order's payments
_INDEXED = struct.Struct(
    f">B{DIGEST_BYTES - 1}s{32 - DIGEST_BYTES}x{moments.SPAN_BYTES}s{8 - moments.SPAN_BYTES}s2x"
)
_NO_PAYMENT = -1


class UsedKey(Struct, frozen=True, array_like=True, gc=False):
    """A used idempotency key and what renders its first answer again.

    Placing an order is rendered from the order, asking for a payment from `payment_id`,
    the rest from `view`.
    """

    order_id: str
    key: Key
    at_ms: int
    payment_id: str | None = None
    view: OrderView | None = None


_encode_into = msgspec.msgpack.Encoder().encode_into
_buffer = bytearray()
_decode_lone = msgspec.msgpack.Decoder(tuple[UsedKey, ...]).decode


def used_keys(order: Order) -> tuple[UsedKey, ...]:
    """In the order of time."""
    return tuple(_used(order, *row) for row in _ROW.iter_unpack(order.keys))


def find(order: Order, digest: bytes) -> UsedKey | None:
    return next((used for used in used_keys(order) if used.key.digest == digest), None)


def _used(order: Order, digest: bytes, fingerprint: bytes, at_ms: int, payment: int) -> UsedKey:
    payment_id = order.payments[payment].payment_id if payment != _NO_PAYMENT else None
    view = next((first.view for first in order.first_answers if first.digest == digest), None)
    return UsedKey(order.order_id, Key(digest, fingerprint), at_ms, payment_id, view)


def indexed(rows: bytes) -> Iterator[tuple[int, bytes, bytes, bytes]]:
    """Of an order's `keys`: digests as `Digests.fill` takes them, and as `moments.split` does the
    beginnings of their moments.
    """
    return _INDEXED.iter_unpack(rows)


def remember(
    order: Order, key: Key, at_ms: int, payment: int | None, view: OrderView | None
) -> None:
    about = _NO_PAYMENT if payment is None else payment
    order.keys += _ROW.pack(key.digest, key.fingerprint, at_ms, about)
    if view is not None:
        order.first_answers += (FirstAnswer(key.digest, view),)


def forget(order: Order, digests: Iterable[bytes]) -> None:
    gone = set(digests)
    rows = [row for row in _ROW.iter_unpack(order.keys) if row[0] not in gone]
    order.keys = b"".join(_ROW.pack(*row) for row in rows)
    order.first_answers = tuple(a for a in order.first_answers if a.digest not in gone)


def refuse_keys(order: Order) -> Rejection | None:
    """Why another key is not remembered for this order, or None.

    Each costs memory for a day. Those that end something (a refund, a hold) are few by nature.
    """
    if len(order.keys) < KEYS_MAX * _ROW.size:
        return None
    return Rejection(Reason.TOO_MANY_KEYS, {"keys_max": KEYS_MAX})


class LoneKeys:
    """Those of one sale that outlive their orders in memory. A day of them: so they are packed."""

    def __init__(self, sale_id: str) -> None:
        self._sale_id = sale_id
        self._packed_by_order: dict[bytes, bytes] = {}  # an order's id but for what all share
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[UsedKey]:
        """They may change meanwhile."""
        for order_random in tuple(self._packed_by_order):
            yield from self.of(ids.order_id(self._sale_id, order_random))

    def of(self, order_id: str) -> tuple[UsedKey, ...]:
        packed = self._packed_by_order.get(ids.order_random(order_id))
        if packed is None:
            return ()
        return tuple(replace(used, order_id=order_id) for used in _decode_lone(packed))

    def add(self, order_id: str, used: tuple[UsedKey, ...]) -> None:
        known = self.of(order_id)
        self._put(order_id, known, (*known, *used))

    def remove(self, order_id: str, gone: Container[bytes]) -> list[UsedKey]:
        """Those of the order with one of these digests: which they were."""
        known = self.of(order_id)
        left = tuple(used for used in known if used.key.digest not in gone)
        self._put(order_id, known, left)
        return [used for used in known if used.key.digest in gone]

    def _put(self, order_id: str, known: tuple[UsedKey, ...], used: tuple[UsedKey, ...]) -> None:
        order_random = ids.order_random(order_id)
        self._count += len(used) - len(known)
        if used:
            _encode_into([replace(u, order_id="") for u in used], _buffer)
            self._packed_by_order[order_random] = bytes(_buffer)  # as in `orders.pack`
        else:
            self._packed_by_order.pop(order_random, None)


class KeysByAge:
    """For each key of one sale when it was used and for which order, oldest first."""

    def __init__(self, sale_id: str) -> None:
        self._sale_id = sale_id
        self._moments = bytearray()  # loses its front at no cost, as a list would not

    def __len__(self) -> int:
        return len(self._moments) // moments.SIZE

    def add(self, at_ms: int, order_random: bytes) -> None:
        """No older than the newest."""
        self._moments += moments.pack(at_ms, order_random)

    def extend(self, packed: bytes) -> None:
        """Moments in their order, none older than the newest."""
        self._moments += packed

    def remove(self, at_ms: int, order_random: bytes) -> None:
        moment = moments.pack(at_ms, order_random)
        begin = self._moments.index(moment)
        while begin % moments.SIZE:
            begin = self._moments.index(moment, begin + 1)
        del self._moments[begin : begin + moments.SIZE]

    def at_ms(self, position: int) -> int:
        """When the key at this position was used; the oldest is at 0."""
        return self._at(position)[0]

    def _at(self, position: int) -> tuple[int, str]:
        begin = position * moments.SIZE
        return moments.unpack(self._sale_id, self._moments[begin : begin + moments.SIZE])

    def take(self, until_ms: int) -> list[str]:
        """Take out those up to that instant (inclusive): for each the order's id."""
        taken = []
        for position in range(len(self)):
            at_ms, order_id = self._at(position)
            if at_ms > until_ms:
                break
            taken.append(order_id)
        del self._moments[: len(taken) * moments.SIZE]
        return taken
