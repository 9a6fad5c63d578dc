"""Running figures of the demo: what has been done so far, and how long the answers took."""

import time
from collections import Counter
from enum import StrEnum

from hdrh.histogram import HdrHistogram

LATENCY_US_MAX = 60_000_000
_SIGNIFICANT_DIGITS = 2


class Done(StrEnum):
    """What is counted; the words are shown as they are."""

    PLACED = "orders placed"
    REPLAYED = "answers replayed"
    CONFIRMED = "orders confirmed"
    DECLINED = "payments declined"
    REFUSED = "refused (sold out)"
    EXPIRED = "holds expired"
    LATE = "paid late, confirmed"
    MONEY_BACK = "paid late, money back"
    WENT_HOME = "went home without"
    ADMITTED = "admitted"
    ALREADY = "already admitted"
    INVALID = "invalid at the doors"
    GAVE_UP = "no answer in the end"
    UNEXPECTED = "unexpected answers"


class Tally:
    """`sold`, `held` and `places` are the hot event's, as its availability shows them."""

    def __init__(self) -> None:
        self.phase = "starting"
        self.done: Counter[Done] = Counter()
        self.unexpected: Counter[str] = Counter()
        self.places = self.sold = self.held = 0
        self.requests = 0
        self._latency_us_by_kind: dict[str, HdrHistogram] = {}
        self._recent: list[tuple[float, int]] = [(time.monotonic(), 0)]

    def observe(self, kind: str, status: int, seconds: float) -> None:
        self.requests += 1
        found = self._latency_us_by_kind.get(kind)
        if found is None:
            found = HdrHistogram(1, LATENCY_US_MAX, _SIGNIFICANT_DIGITS)
            self._latency_us_by_kind[kind] = found
        found.record_value(int(seconds * 1_000_000))

    def surprised(self, what: str) -> None:
        self.done[Done.UNEXPECTED] += 1
        self.unexpected[what] += 1

    def latency_ms(self, kind: str, percentile: float) -> float:
        """0 where there was none."""
        found = self._latency_us_by_kind.get(kind)
        return float(found.get_value_at_percentile(percentile)) / 1000 if found else 0.0

    def kinds(self) -> list[tuple[str, int]]:
        """Each kind of request and how many were answered, the most frequent first."""
        counts = [(k, int(h.get_total_count())) for k, h in self._latency_us_by_kind.items()]
        return sorted(counts, key=lambda pair: -pair[1])

    def per_second(self) -> float:
        """Requests answered a second, over the last second or so of being asked this."""
        now = time.monotonic()
        while len(self._recent) > 1 and now - self._recent[1][0] >= 1.0:
            self._recent.pop(0)
        since, count = self._recent[0]
        self._recent.append((now, self.requests))
        return (self.requests - count) / max(now - since, 0.001)
