"""The whole way of a buyer: reserve, ask for a payment, pay, and fetch the ticket.

Four requests a journey, and the bank's signed webhook as a fifth that the server sends to itself.
Any free connection takes any journey's next step.
"""

import time
from collections import deque
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import msgspec
from hdrh.histogram import HdrHistogram

from benchmarks import generator, stage
from benchmarks.asked import Asked
from benchmarks.generator import LATENCY_MAX_US
from benchmarks.results import Figure, Measurement, measured
from benchmarks.servers import Endpoint, stampede
from benchmarks.turns import PERCENTILES
from engine import ids
from engine.facts import OrderConfirmed

_CARD = b'{"method":"card"}'
_SUCCEED = b'{"outcome":"succeed"}'
_decode = msgspec.json.decode


class Journeys:
    """`ended_order_ids`: whose tickets were seen; `us`: from the first request to that."""

    def __init__(self, event_id: str, tier_id: str, token: str) -> None:
        self._placing = stage.orders(event_id, tier_id, token)
        self._headers = {"Authorization": f"Bearer {token}"}
        self._next: deque[bytes] = deque()
        self._began: deque[float] = deque()
        self._began_by_order: dict[str, float] = {}
        self.ended_order_ids: set[str] = set()
        self.us = HdrHistogram(1, LATENCY_MAX_US, 3)

    def requests(self) -> Iterator[bytes]:
        """What is begun goes first."""
        while True:
            if self._next:
                yield self._next.popleft()
            else:
                self._began.append(time.perf_counter())
                yield next(self._placing)

    def hear(self, body: bytes) -> None:
        answer = _decode(body)
        if "items" in answer:
            self._hear_of_order(answer)
        elif "checkout_url" in answer:
            path = f"/v1/sandbox/payments/{answer['payment_id']}"
            self._next.append(generator.request(path, {}, "", _SUCCEED))
        elif answer.get("status") == "succeeded":
            order_id = ids.order_of_payment(answer["payment_id"])
            assert order_id is not None
            self._read(order_id)
        else:
            raise SystemExit(f"a journey ended at {answer}")

    def _read(self, order_id: str) -> None:
        self._next.append(generator.get(f"/v1/orders/{order_id}", self._headers))

    def _hear_of_order(self, order: dict[str, Any]) -> None:
        order_id = order["order_id"]
        if order["status"] == "PENDING" and order_id in self._began_by_order:
            self._read(order_id)  # the webhook is still on its way
            return
        if order["status"] == "PENDING":
            # Placing is answered in about the order of asking: off by less than an answer takes.
            self._began_by_order[order_id] = self._began.popleft()
            path = f"/v1/orders/{order_id}/payment"
            self._next.append(generator.request(path, self._headers, uuid4().hex, _CARD))
            return
        if len(order["tickets"]) != 2:
            raise SystemExit(f"an order without its tickets: {order}")
        self.ended_order_ids.add(order_id)
        took_s = time.perf_counter() - self._began_by_order.pop(order_id)
        self.us.record_value(int(took_s * 1e6))


async def journey(asked: Asked) -> list[Measurement]:
    async with stampede() as ours:
        sale = stage.event_on_sale(ours)
        rounds = [await _round(ours, sale, asked) for _ in range(asked.rounds_or(5))]
        ended = set().union(*(one.ended_order_ids for one in rounds))
        confirmed = {
            f.order_id for f in await stage.facts(ours.dsn) if isinstance(f, OrderConfirmed)
        }
        if not ended <= confirmed:
            raise SystemExit(f"{len(ended - confirmed)} tickets seen are not in the journal")
        per_second = [len(one.ended_order_ids) / asked.seconds for one in rounds]
        figures = [Figure("journeys", "a second", per_second)]
        figures += [
            Figure(name, "ms", [one.us.get_value_at_percentile(p) / 1000 for one in rounds])
            for name, p in PERCENTILES.items()
        ]
        conditions = (
            "Reserve, ask for a payment, pay at the sandbox, read the order with its tickets, again"
            f" while the bank's webhook is on its way; {asked.in_flight} requests in flight, closed"
            f" loop, {asked.seconds:g} s a round; {await stage.durability(ours.dsn)}."
            f" {len(ended):,} journeys, every one confirmed in the journal."
        )
        return [measured("onsale, the whole journey", "./run bench journey", conditions, figures)]


async def _round(ours: Endpoint, sale: tuple[str, str], asked: Asked) -> Journeys:
    journeys = Journeys(*sale, ours.token("box_office", "bench"))
    load = await generator.started(
        ours.host,
        ours.port,
        journeys.requests(),
        connections=asked.in_flight,
        seconds=asked.seconds,
        keep_status=0,
        hear=journeys.hear,
    )
    await load.finished
    await ours.until_quiet()
    return journeys
