"""Which order a digest belongs to: 22 bytes each, and no objects.

A dict would cost a hundred bytes an entry, and every ticket has three. Here entries are rows of
bytes in 8,192 buckets, found by a search within one: quick up to a million entries and some more,
since a digest falls into any bucket alike. (Its first 13 bits say which; that is written out in
each place, where a call would cost more than what it does.)

Of a digest 109 bits count, so that no two that come by chance are ever the same; the order itself
has all of it, and says what exactly was found.
"""

import struct
from collections import defaultdict

from engine import ids

DIGEST_BYTES = 14  # of each the first ones count
_BEGIN = 2  # of a digest what a row has: the bucket knows (nearly) what stands before it
_ORDER = DIGEST_BYTES - _BEGIN
_ROW_BYTES = _ORDER + ids.ORDER_RANDOM_BYTES
_BUCKETS = tuple(range(2**13))  # or every index had its own numbers
PARTS = 2**8  # of what is filled in at once, by a digest's first byte
_FILLED = struct.Struct(f">B{_ROW_BYTES}s")


class Digests:
    """Of one sale: all orders' ids begin alike. A digest is there once."""

    def __init__(self, sale_id: str) -> None:
        self._id_begins = ids.order_id(sale_id, b"")
        self._rows_by_bucket: dict[int, bytes] = {}
        self._unsorted: dict[int, bytes] = {}  # by part: filled in, and not asked for yet
        self._count = 0
        self._missing = b""  # looked for last, in vain: what is used first is looked for twice

    def __len__(self) -> int:
        return self._count

    def find(self, digest: bytes) -> str | None:
        """The order's id."""
        if digest == self._missing:
            return None
        if self._unsorted:
            self._sort(digest[0])
        rows = self._rows_by_bucket.get(digest[0] << 5 | digest[1] >> 3)
        if rows is None or (begin := _place(rows, digest[_BEGIN:DIGEST_BYTES])) < 0:
            self._missing = digest
            return None
        return self._id_begins + rows[begin + _ORDER : begin + _ROW_BYTES].hex()

    def add(self, digest: bytes, order_random: bytes) -> None:
        """`order_random`: what tells the order from others of its sale. In no order, so what is
        unsorted stays so.
        """
        self._missing = b""
        row = digest[_BEGIN:DIGEST_BYTES] + order_random
        bucket = _BUCKETS[digest[0] << 5 | digest[1] >> 3]
        rows = self._rows_by_bucket.get(bucket)
        self._rows_by_bucket[bucket] = row if rows is None else rows + row
        self._count += 1

    def fill(self, part: int, rows: list[bytes]) -> None:
        """Many at once, a part once: a row is a digest from its second byte on, and `order_random`.

        They are sorted into their buckets when the first of the part is asked for: in bringing a
        large sale back that would be a third of the time.
        """
        if rows:
            self._missing = b""
            self._unsorted[part] = b"".join(rows)
            self._count += len(rows)

    def _sort(self, part: int) -> None:
        """1,200 rows, where there are 300,000: a third of a millisecond."""
        rows_by_bucket = defaultdict(list)
        for second, row in _FILLED.iter_unpack(self._unsorted.pop(part, b"")):
            rows_by_bucket[part << 5 | second >> 3].append(row)
        for bucket, rows in rows_by_bucket.items():
            before = self._rows_by_bucket.get(bucket, b"")
            self._rows_by_bucket[_BUCKETS[bucket]] = before + b"".join(rows)

    def remove(self, digest: bytes) -> None:
        if self._unsorted:
            self._sort(digest[0])
        bucket = _BUCKETS[digest[0] << 5 | digest[1] >> 3]
        rows = self._rows_by_bucket.pop(bucket)
        begin = _place(rows, digest[_BEGIN:DIGEST_BYTES])
        assert begin >= 0, digest.hex()
        left = rows[:begin] + rows[begin + _ROW_BYTES :]
        if left:
            self._rows_by_bucket[bucket] = left
        self._count -= 1


def _place(rows: bytes, known: bytes) -> int:
    """Where the row that begins so begins, or below 0."""
    begin = rows.find(known)
    while begin > 0 and begin % _ROW_BYTES:
        begin = rows.find(known, begin + 1)
    return begin
