"""When each sale must be looked at next: one instant a sale, the earliest that was asked for."""

import heapq
from collections.abc import Iterator


class Wakes:
    def __init__(self) -> None:
        self._at_ms_by_sale: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []  # holds outdated ones too

    def set(self, sale_id: str, at_ms: int) -> None:
        known_ms = self._at_ms_by_sale.get(sale_id)
        if known_ms is None or at_ms < known_ms:
            self._at_ms_by_sale[sale_id] = at_ms
            heapq.heappush(self._heap, (at_ms, sale_id))

    def cancel(self, sale_id: str) -> None:
        self._at_ms_by_sale.pop(sale_id, None)

    def take_due(self, now_ms: int) -> Iterator[str]:
        while self._heap and self._heap[0][0] <= now_ms:
            at_ms, sale_id = heapq.heappop(self._heap)
            if self._at_ms_by_sale.get(sale_id) == at_ms:
                del self._at_ms_by_sale[sale_id]
                yield sale_id
