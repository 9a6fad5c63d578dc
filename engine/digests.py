"""Which order, and which of its tickets, a digest belongs to: 27 bytes each, and no objects.

A dict would cost a hundred bytes an entry, and every ticket has three. Here entries are rows of
bytes in a fixed number of buckets, found by a search within one: quick up to a million entries and
some more, since a digest falls into any bucket alike.
"""

from engine import ids

DIGEST_BYTES = 16  # of a longer digest the first ones count: enough that no two are ever the same
_ORDER = DIGEST_BYTES - 1  # where it begins in a row, since the bucket knows a digest's first byte
_NUMBER = _ORDER + ids.ORDER_RANDOM_BYTES
_NUMBER_BYTES = 2
_ROW_BYTES = _NUMBER + _NUMBER_BYTES


class Digests:
    """Of one sale: all orders' ids begin alike. A digest is there once."""

    def __init__(self, sale_id: str) -> None:
        self._id_begins = ids.order_id(sale_id, b"")
        self._rows_by_bucket: dict[int, bytes] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def find(self, digest: bytes) -> tuple[str, int] | None:
        """The order's id and the number given with it."""
        rows = self._rows_by_bucket.get(_bucket(digest))
        begin = -1 if rows is None else _place(rows, digest)
        if rows is None or begin < 0:
            return None
        order_id = self._id_begins + rows[begin + _ORDER : begin + _NUMBER].hex()
        return order_id, int.from_bytes(rows[begin + _NUMBER : begin + _ROW_BYTES], "big")

    def add(self, digest: bytes, order_random: bytes, number: int = 0) -> None:
        """`order_random`: what tells the order from others of its sale."""
        self.extend([entry(digest, order_random, number)])

    def extend(self, entries: list[bytes]) -> None:
        """Several, as `entry` makes them."""
        rows_by_bucket = self._rows_by_bucket
        for packed in entries:
            bucket = packed[0] << 5 | packed[1] >> 3  # as `_bucket`, which would cost a call
            rows = rows_by_bucket.get(bucket)
            rows_by_bucket[bucket] = packed[1:] if rows is None else rows + packed[1:]
        self._count += len(entries)

    def remove(self, digest: bytes) -> None:
        bucket = _bucket(digest)
        rows = self._rows_by_bucket.pop(bucket)
        begin = _place(rows, digest)
        assert begin >= 0, digest.hex()
        left = rows[:begin] + rows[begin + _ROW_BYTES :]
        if left:
            self._rows_by_bucket[bucket] = left
        self._count -= 1


def entry(digest: bytes, order_random: bytes, number: int = 0) -> bytes:
    return digest[:DIGEST_BYTES] + order_random + number.to_bytes(_NUMBER_BYTES, "big")


def _bucket(digest: bytes) -> int:
    """One of 8,192, by the first 13 bits."""
    return digest[0] << 5 | digest[1] >> 3


def _place(rows: bytes, digest: bytes) -> int:
    """Where the digest's row begins, or below 0."""
    known = digest[1:DIGEST_BYTES]
    begin = rows.find(known)
    while begin > 0 and begin % _ROW_BYTES:
        begin = rows.find(known, begin + 1)
    return begin
