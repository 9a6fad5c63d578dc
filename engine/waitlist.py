"""Who waits in one sale, and how each is found. No decisions here.

A line is in the order of ranks: nobody gets past anybody. All but the entries is derived from them.
"""

import heapq
from bisect import bisect_left, insort
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator

from engine.waiter import EntryStatus, WaitlistEntry

_LIVE = (EntryStatus.WAITING, EntryStatus.OFFERED)


class Line:
    """Of one tier: the entries that wait, first come first."""

    def __init__(self) -> None:
        self._ranks: list[int] = []
        self._entry_id_by_rank: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._ranks)

    def __iter__(self) -> Iterator[str]:
        return (self._entry_id_by_rank[rank] for rank in self._ranks)

    def add(self, entry: WaitlistEntry) -> None:
        insort(self._ranks, entry.rank)
        self._entry_id_by_rank[entry.rank] = entry.entry_id

    def remove(self, entry: WaitlistEntry) -> None:
        del self._ranks[bisect_left(self._ranks, entry.rank)]
        del self._entry_id_by_rank[entry.rank]

    def position(self, entry: WaitlistEntry) -> int:
        """From 1."""
        return bisect_left(self._ranks, entry.rank) + 1


class Waitlist:
    """`live`: the entries that wait or are offered places. `ended` ones may leave memory, the
    longest ended first.
    """

    def __init__(self) -> None:
        self.entry_by_id: dict[str, WaitlistEntry] = {}
        self.live: dict[str, None] = {}
        self.ended: OrderedDict[str, int] = OrderedDict()  # since when
        self._lines: dict[str, Line] = {}
        self._live_of: Counter[tuple[str, str]] = Counter()  # by tier and buyer
        self._entry_id_by_key: dict[bytes, str] = {}
        self._offers: list[tuple[int, str]] = []  # a heap of when they end; some have ended before

    def line(self, tier_id: str) -> Line:
        return self._lines.get(tier_id) or Line()

    def waits(self, tier_id: str, buyer_id: str) -> bool:
        return self._live_of[tier_id, buyer_id] > 0

    def by_key(self, digest: bytes) -> WaitlistEntry | None:
        entry_id = self._entry_id_by_key.get(digest)
        return self.entry_by_id[entry_id] if entry_id is not None else None

    def add(self, entry: WaitlistEntry) -> None:
        """In any status: `index_offer` and `index_ended` are for the caller."""
        self.entry_by_id[entry.entry_id] = entry
        if entry.key is not None:
            before = self.by_key(entry.key.digest)
            if before is None or before.joined_at_ms < entry.joined_at_ms:
                self._entry_id_by_key[entry.key.digest] = entry.entry_id
        if entry.status in _LIVE:
            self.live[entry.entry_id] = None
            self._live_of[entry.tier_id, entry.buyer_id] += 1
        if entry.status is EntryStatus.WAITING:
            self._lines.setdefault(entry.tier_id, Line()).add(entry)

    def step_out(self, entry: WaitlistEntry) -> None:
        """Out of the line, which it is in."""
        line = self._lines[entry.tier_id]
        line.remove(entry)
        if not line:
            del self._lines[entry.tier_id]

    def end(self, entry: WaitlistEntry, at_ms: int) -> None:
        """A live entry which is in no line any more."""
        del self.live[entry.entry_id]
        who = entry.tier_id, entry.buyer_id
        self._live_of[who] -= 1
        if not self._live_of[who]:
            del self._live_of[who]
        entry.ended_at_ms = at_ms
        self.ended[entry.entry_id] = at_ms

    def forget(self, entry_id: str) -> None:
        """One that has ended."""
        entry = self.entry_by_id.pop(entry_id)
        del self.ended[entry_id]
        key = entry.key
        if key is not None and self._entry_id_by_key.get(key.digest) == entry_id:
            del self._entry_id_by_key[key.digest]

    # When offers end.

    def index_offer(self, entry: WaitlistEntry, ends_at_ms: int) -> None:
        heapq.heappush(self._offers, (ends_at_ms, entry.entry_id))

    def index_offers(self, ends_at_ms: Callable[[WaitlistEntry], int]) -> None:
        """Anew, since that may have changed for any of them."""
        entries = [self.entry_by_id[entry_id] for entry_id in self.live]
        offered = [e for e in entries if e.status is EntryStatus.OFFERED]
        self._offers = [(ends_at_ms(entry), entry.entry_id) for entry in offered]
        heapq.heapify(self._offers)

    def overdue_offers(self, now_ms: int) -> Iterator[WaitlistEntry]:
        """In no order; costs what is due, not what is offered."""
        places = [0] if self._offers else []
        while places:
            place = places.pop()
            ends_at_ms, entry_id = self._offers[place]
            if ends_at_ms > now_ms:
                continue
            if self._offered(entry_id):
                yield self.entry_by_id[entry_id]
            places += [p for p in (2 * place + 1, 2 * place + 2) if p < len(self._offers)]

    def next_end_ms(self) -> int | None:
        while self._offers:
            ends_at_ms, entry_id = self._offers[0]
            if self._offered(entry_id):
                return ends_at_ms
            heapq.heappop(self._offers)
        return None

    def _offered(self, entry_id: str) -> bool:
        entry = self.entry_by_id.get(entry_id)
        return entry is not None and entry.status is EntryStatus.OFFERED
