"""An open-loop generator: requests leave when they are due, whether or not the last was answered.

Latency counts from the instant at which a request was *meant* to leave, so whoever is held up by a
stall shows it, as buyers would feel it. Several processes (`python -m benchmarks.open_loop`) share
the rate; their histograms are added up. Each reads its Plan from stdin, and once all of them are
connected, the instant they start at; it tells READY and its Outcomes on stdout.
"""

import asyncio
import sys
import time
from asyncio.subprocess import Process
from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from heapq import merge
from itertools import chain, islice
from random import Random
from typing import Literal

import msgspec
import uvloop
from hdrh.histogram import HdrHistogram
from msgspec import Struct
from msgspec.structs import replace

from benchmarks import stage
from benchmarks.generator import LATENCY_MAX_US, Wire
from benchmarks.servers import Endpoint

PROCESSES = 2
CONNECTIONS = 256  # of each process; what finds none free waits, its latency counting
LATE_S = 0.01
PAUSE_S_MIN = 0.001  # what is due meanwhile leaves together, its latency counting
PREPARED_SHARE = 1.05  # of those that are meant to leave, on average
PREPARED_MAX = 200_000  # requests of a stream, before it starts; more are made as they leave
START_S = 0.1
GRACE_S = 10.0
READY = b"ready\n"


class Stream(Struct, frozen=True):
    """`per_second`: on average, over all processes. `tickets`: the tokens that are scanned.

    `token`: the credential. Every answer is meant to have the `status`.
    """

    kind: Literal["orders", "scans"]
    per_second: float
    token: str
    event_id: str
    tier_id: str = ""
    tickets: Sequence[str] = ()
    arrivals: Literal["poisson", "constant"] = "poisson"

    @property
    def status(self) -> int:
        return 201 if self.kind == "orders" else 200

    def requests(self) -> Iterator[bytes]:
        if self.kind == "orders":
            return stage.orders(self.event_id, self.tier_id, self.token)
        return stage.scans(self.event_id, self.token, iter(self.tickets))

    def due_s(self, seconds: float, random: Random) -> Iterator[float]:
        """When each request is meant to leave, from the start."""
        at_s = 0.0
        while True:
            constant = self.arrivals == "constant"
            at_s += 1 / self.per_second if constant else random.expovariate(self.per_second)
            if at_s >= seconds:
                return
            yield at_s


class Plan(Struct, frozen=True):
    """What one process does."""

    host: str
    port: int
    seconds: float
    seed: int
    streams: Mapping[str, Stream]


class Outcome(Struct):
    """`late`: left more than LATE_S after they were meant to, for want of a free connection or of
    the generator's own time. `failed`: another status, or no answer GRACE_S after the end.
    `histogram`: µs from the intended start to the answer, encoded.
    """

    meant: int
    statuses: dict[int, int]
    late: int
    failed: int
    histogram: bytes

    def ms(self, percentile: float) -> float:
        """Of those that were answered."""
        decoded = HdrHistogram.decode(self.histogram)
        return float(decoded.get_value_at_percentile(percentile)) / 1000


class _Connection(Wire):
    def __init__(self, load: "_Load") -> None:
        super().__init__()
        self._load = load
        self.under_way: tuple[str, float] | None = None

    def heard(self, status: int, body: bytes) -> None:
        assert self.under_way is not None
        self._load.answered(self, status, *self.under_way)

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.lost(self)


class _Load:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._requests = {name: _prepared(plan, name) for name in plan.streams}
        self._free: list[_Connection] = []
        self._waiting: deque[tuple[str, float]] = deque()
        self._took_us: dict[str, Counter[int]] = {name: Counter() for name in plan.streams}
        self._statuses: dict[str, Counter[int]] = {name: Counter() for name in plan.streams}
        self._meant: Counter[str] = Counter()
        self._late: Counter[str] = Counter()
        self._under_way = 0
        self._all_sent = False
        self._finished = asyncio.Event()

    async def connect(self) -> None:
        loop, plan = asyncio.get_running_loop(), self._plan
        for _ in range(CONNECTIONS):
            _, made = await loop.create_connection(lambda: _Connection(self), plan.host, plan.port)
            self._free.append(made)

    async def run(self, starts_s: float) -> dict[str, Outcome]:
        for at_s, name in self._schedule():
            due_s = starts_s + at_s
            if (ahead_s := due_s - time.monotonic()) > 0:
                await asyncio.sleep(max(ahead_s, PAUSE_S_MIN))
            self._meant[name] += 1
            self._send(name, due_s)
        self._all_sent = True
        self._look()
        with suppress(TimeoutError):  # what is still under way has failed
            await asyncio.wait_for(self._finished.wait(), GRACE_S)
        streams = self._plan.streams
        return {name: self._outcome(name, stream) for name, stream in streams.items()}

    def _schedule(self) -> Iterator[tuple[float, str]]:
        return merge(*(self._due(name, stream) for name, stream in self._plan.streams.items()))

    def _due(self, name: str, stream: Stream) -> Iterator[tuple[float, str]]:
        random = Random(f"{self._plan.seed} {name}")
        return ((at_s, name) for at_s in stream.due_s(self._plan.seconds, random))

    def _send(self, name: str, due_s: float) -> None:
        if not self._free:
            self._waiting.append((name, due_s))
            return
        self._leave(self._free.pop(), name, due_s)

    def _leave(self, connection: _Connection, name: str, due_s: float) -> None:
        self._late[name] += time.monotonic() - due_s > LATE_S
        self._under_way += 1
        connection.under_way = (name, due_s)
        connection.write(next(self._requests[name]))

    def answered(self, connection: _Connection, status: int, name: str, due_s: float) -> None:
        self._took_us[name][int((time.monotonic() - due_s) * 1e6)] += 1
        self._statuses[name][status] += 1
        self._under_way -= 1
        if self._waiting:
            self._leave(connection, *self._waiting.popleft())
            return
        self._free.append(connection)
        self._look()

    def lost(self, connection: _Connection) -> None:
        """What was under way on it stays unanswered."""
        if connection in self._free:
            self._free.remove(connection)

    def _look(self) -> None:
        if self._all_sent and not self._under_way:
            self._finished.set()

    def _outcome(self, name: str, stream: Stream) -> Outcome:
        meant, statuses = self._meant[name], self._statuses[name]
        failed = meant - statuses[stream.status]
        histogram = HdrHistogram(1, LATENCY_MAX_US, 3)
        for took_us, times in self._took_us[name].items():  # recording costs more than sending
            histogram.record_value(min(max(1, took_us), LATENCY_MAX_US), times)
        return Outcome(meant, statuses, self._late[name], failed, histogram.encode())


def _prepared(plan: Plan, name: str) -> Iterator[bytes]:
    """Made before the start: later the generator shares its core with who is measured."""
    requests = plan.streams[name].requests()
    count = int(plan.streams[name].per_second * plan.seconds * PREPARED_SHARE)
    return chain(list(islice(requests, min(count, PREPARED_MAX))), requests)


async def run(plan: Plan) -> dict[str, Outcome]:
    """In this process; by the streams' names."""
    load = _Load(plan)
    await load.connect()
    return await load.run(time.monotonic() + START_S)


async def drive(
    server: Endpoint, streams: Mapping[str, Stream], seconds: float, seed: int = 1
) -> dict[str, Outcome]:
    """In processes of their own; by the streams' names."""
    plans = [
        Plan(server.host, server.port, seconds, seed * PROCESSES + n, _share(streams, n))
        for n in range(PROCESSES)
    ]
    processes = [await _ready(plan) for plan in plans]
    starts_s = time.monotonic() + START_S
    found = await asyncio.gather(*(_driven(process, starts_s) for process in processes))
    return {name: together([outcomes[name] for outcomes in found]) for name in streams}


def _share(streams: Mapping[str, Stream], number: int) -> dict[str, Stream]:
    return {
        name: replace(
            stream,
            per_second=stream.per_second / PROCESSES,
            tickets=stream.tickets[number::PROCESSES],
        )
        for name, stream in streams.items()
    }


async def _ready(plan: Plan) -> Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.open_loop"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(msgspec.json.encode(plan) + b"\n")
    if await process.stdout.readline() != READY:
        raise SystemExit("a generator can't connect")
    return process


async def _driven(process: Process, starts_s: float) -> dict[str, Outcome]:
    told, _ = await process.communicate(b"%r\n" % starts_s)
    if process.returncode:
        raise SystemExit("a generator failed")
    return msgspec.json.decode(told, type=dict[str, Outcome])


def together(outcomes: Collection[Outcome]) -> Outcome:
    histogram = HdrHistogram(1, LATENCY_MAX_US, 3)
    for outcome in outcomes:
        histogram.decode_and_add(outcome.histogram)
    return Outcome(
        sum(outcome.meant for outcome in outcomes),
        sum((Counter(outcome.statuses) for outcome in outcomes), Counter()),
        sum(outcome.late for outcome in outcomes),
        sum(outcome.failed for outcome in outcomes),
        histogram.encode(),
    )


async def _run_as_told() -> dict[str, Outcome]:
    load = _Load(msgspec.json.decode(sys.stdin.buffer.readline(), type=Plan))
    await load.connect()
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    return await load.run(float(await asyncio.to_thread(sys.stdin.buffer.readline)))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcomes = runner.run(_run_as_told())
    sys.stdout.buffer.write(msgspec.json.encode(outcomes))
