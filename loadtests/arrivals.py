"""When buyers come: the curve of a real sale, at any size and length.

Only the shape is taken from the record: how many came in each of its seconds.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from random import Random

import msgspec
from msgspec import Struct

RECORD = Path(__file__).parent / "data" / "onsale_arrivals.json"


class _Record(Struct, frozen=True):
    per_second: tuple[int, ...]


def recorded() -> tuple[int, ...]:
    return msgspec.json.decode(RECORD.read_bytes(), type=_Record).per_second


def arrivals(shape: Sequence[int], count: int, span_s: float, random: Random) -> list[float]:
    """`count` instants in `[0, span_s)`, in order, as dense as the shape says."""
    return sorted(_instant(list(accumulate(shape)), random) * span_s for _ in range(count))


def _instant(totals: Sequence[int], random: Random) -> float:
    """A draw from the shape, in `[0, 1)`: even within each of its slots."""
    slot = bisect_left(totals, random.random() * totals[-1])
    return (slot + random.random()) / len(totals)
