"""A closed-loop load generator, lean enough to leave the cores to the server.

Every connection has one request under way; the next leaves in the very callback that read the last
answer. No coroutine, no parser beyond the status line and Content-Length.
"""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import cast

from hdrh.histogram import HdrHistogram
from msgspec import Struct

LATENCY_MAX_US = 60_000_000


class Outcome(Struct):
    """`bodies` of the answers with the status that was asked to be kept."""

    seconds: float
    statuses: Counter[int]
    bodies: list[bytes]
    latencies_us: HdrHistogram

    @property
    def per_second(self) -> float:
        return sum(self.statuses.values()) / self.seconds


class _Connection(asyncio.Protocol):
    def __init__(self, load: "_Load") -> None:
        self._load = load
        self._buffer = b""
        self._sent = 0.0
        self._done = False
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._load.connected(self)

    def send(self) -> None:
        assert self._transport is not None
        request = self._load.next_request()
        if request is None:
            self._done = True
            self._transport.close()
            self._load.ended()
            return
        self._sent = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        head_end = buffer.find(b"\r\n\r\n")
        if head_end < 0:
            self._buffer = buffer
            return
        at = buffer.find(b"Content-Length: ") + 16
        length = int(buffer[at : buffer.find(b"\r\n", at)])
        if len(buffer) < head_end + 4 + length:
            self._buffer = buffer
            return
        self._buffer = b""
        self._load.answered(int(buffer[9:12]), buffer[head_end + 4 :], self._sent)
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done:
            self._load.lost()


class _Load:
    def __init__(self, requests: Iterator[bytes], connections: int, keep_status: int) -> None:
        self._requests = requests
        self._keep_status = keep_status
        self._expected = connections
        self._open: list[_Connection] = []
        self._stop_at = float("inf")
        self._alive = connections
        self.finished = asyncio.get_running_loop().create_future()
        self.all_connected = asyncio.get_running_loop().create_future()
        self.outcome = Outcome(0.0, Counter(), [], HdrHistogram(1, LATENCY_MAX_US, 3))

    def connected(self, connection: _Connection) -> None:
        self._open.append(connection)
        if len(self._open) == self._expected:
            self.all_connected.set_result(None)

    def begin(self, seconds: float) -> None:
        self._began = time.perf_counter()
        self._stop_at = self._began + seconds
        for connection in self._open:
            connection.send()

    def next_request(self) -> bytes | None:
        if time.perf_counter() >= self._stop_at:
            return None
        return next(self._requests, None)

    def answered(self, status: int, body: bytes, sent: float) -> None:
        now = time.perf_counter()
        self.outcome.statuses[status] += 1
        self.outcome.latencies_us.record_value(max(1, int((now - sent) * 1e6)))
        self.outcome.seconds = now - self._began
        if status == self._keep_status:
            self.outcome.bodies.append(body)

    def ended(self) -> None:
        self._alive -= 1
        if not self._alive and not self.finished.done():
            self.finished.set_result(None)

    def lost(self) -> None:
        if not self.finished.done():
            self.finished.set_exception(ConnectionError("the server closed a connection"))


async def run(
    host: str,
    port: int,
    requests: Iterator[bytes],
    *,
    connections: int,
    seconds: float,
    keep_status: int,
) -> Outcome:
    """Open all connections first, then ask on all of them until the time or the requests end."""
    loop = asyncio.get_running_loop()
    load = _Load(requests, connections, keep_status)
    for _ in range(connections):
        await loop.create_connection(lambda: _Connection(load), host, port)
    await load.all_connected
    load.begin(seconds)
    await load.finished
    return load.outcome


def request(path: str, headers: dict[str, str], key: str, body: bytes) -> bytes:
    """A POST of JSON; `key` is its Idempotency-Key, "" for none."""
    return _with_body(_head(path, headers), key, body)


def post(
    path: str, headers: dict[str, str], numbered: Callable[[int], tuple[str, bytes]]
) -> Iterator[bytes]:
    """Endless POSTs; `numbered` gives the n-th one's key and body."""
    head = _head(path, headers)
    for number in itertools.count():
        yield _with_body(head, *numbered(number))


def _head(path: str, headers: dict[str, str]) -> str:
    fixed = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n{fixed}"


def _with_body(head: str, key: str, body: bytes) -> bytes:
    key_line = f"Idempotency-Key: {key}\r\n" if key else ""
    return f"{head}{key_line}Content-Length: {len(body)}\r\n\r\n".encode() + body
