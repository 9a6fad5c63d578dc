"""Which order, and which of its tickets, a digest belongs to: 27 bytes each, and no objects.

A dict would cost a hundred bytes an entry, and every ticket has three. Here entries are rows of
bytes in 8,192 buckets, found by a search within one: quick up to a million entries and some more,
since a digest falls into any bucket alike. (Its first 13 bits say which; that is written out in
each place, where a call would cost more than what it does.)
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
        rows = self._rows_by_bucket.get(digest[0] << 5 | digest[1] >> 3)
        if rows is None:
            return None
        begin = _place(rows, digest[1:DIGEST_BYTES])
        if begin < 0:
            return None
        order_id = self._id_begins + rows[begin + _ORDER : begin + _NUMBER].hex()
        return order_id, rows[begin + _NUMBER] << 8 | rows[begin + _NUMBER + 1]

    def add(self, digest: bytes, order_random: bytes, number: int = 0) -> bool:
        """`order_random`: what tells the order from others of its sale. False where the digest is
        there already, and stays what it was.
        """
        known = digest[1:DIGEST_BYTES]
        row = known + order_random + number.to_bytes(_NUMBER_BYTES, "big")
        bucket = digest[0] << 5 | digest[1] >> 3
        rows = self._rows_by_bucket.get(bucket)
        if rows is not None and _place(rows, known) >= 0:
            return False
        self._rows_by_bucket[bucket] = row if rows is None else rows + row
        self._count += 1
        return True

    def extend(self, entries: list[bytes]) -> None:
        """Several, as `entry` makes them."""
        rows_by_bucket = self._rows_by_bucket
        for packed in entries:
            bucket = packed[0] << 5 | packed[1] >> 3
            rows = rows_by_bucket.get(bucket)
            rows_by_bucket[bucket] = packed[1:] if rows is None else rows + packed[1:]
        self._count += len(entries)

    def remove(self, digest: bytes) -> None:
        bucket = digest[0] << 5 | digest[1] >> 3
        rows = self._rows_by_bucket.pop(bucket)
        begin = _place(rows, digest[1:DIGEST_BYTES])
        assert begin >= 0, digest.hex()
        left = rows[:begin] + rows[begin + _ROW_BYTES :]
        if left:
            self._rows_by_bucket[bucket] = left
        self._count -= 1


def entry(digest: bytes, order_random: bytes, number: int = 0) -> bytes:
    return digest[:DIGEST_BYTES] + order_random + number.to_bytes(_NUMBER_BYTES, "big")


def _place(rows: bytes, known: bytes) -> int:
    """Where the row that begins so begins, or below 0."""
    begin = rows.find(known)
    while begin > 0 and begin % _ROW_BYTES:
        begin = rows.find(known, begin + 1)
    return begin
