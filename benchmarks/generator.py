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


class Wire(asyncio.Protocol):
    """A connection with one request under way at most."""

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def write(self, request: bytes) -> None:
        assert self._transport is not None
        self._transport.write(request)

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()

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
        self.heard(int(buffer[9:12]), buffer[head_end + 4 :])

    def heard(self, status: int, body: bytes) -> None:
        """The answer is whole."""
        raise NotImplementedError


class _Connection(Wire):
    def __init__(self, load: "Load") -> None:
        super().__init__()
        self._load = load
        self._sent = 0.0
        self._done = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._load.connected(self)

    def send(self, now: float) -> None:
        request = self._load.next_request(now)
        if request is None:
            self._done = True
            self.close()
            self._load.ended()
            return
        self._sent = now
        self.write(request)

    def heard(self, status: int, body: bytes) -> None:
        now = time.perf_counter()
        self._load.answered(status, body, now, now - self._sent)
        self.send(now)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done:
            self._load.lost()


class Load:
    """A run under way; `outcome` grows with each answer."""

    def __init__(
        self,
        requests: Iterator[bytes],
        connections: int,
        keep_status: int,
        *,
        may_die: bool = False,
        hear: Callable[[bytes], None] | None = None,
    ) -> None:
        self._requests = requests
        self._keep_status = keep_status
        self._may_die = may_die
        self._hear = hear
        self._expected = connections
        self._open: list[_Connection] = []
        self._stop_at = float("inf")
        self._alive = connections
        self.finished = asyncio.get_running_loop().create_future()
        self.all_connected = asyncio.get_running_loop().create_future()
        self.outcome = Outcome(0.0, Counter(), [], HdrHistogram(1, LATENCY_MAX_US, 3))
        self._took_s: list[float] = []

    def connected(self, connection: _Connection) -> None:
        self._open.append(connection)
        if len(self._open) == self._expected:
            self.all_connected.set_result(None)

    def begin(self, seconds: float) -> None:
        self._began = time.perf_counter()
        self._stop_at = self._began + seconds
        for connection in self._open:
            connection.send(time.perf_counter())

    def next_request(self, now: float) -> bytes | None:
        if now >= self._stop_at:
            return None
        return next(self._requests, None)

    def answered(self, status: int, body: bytes, now: float, took_s: float) -> None:
        self.outcome.statuses[status] += 1
        self._took_s.append(took_s)
        self.outcome.seconds = now - self._began
        if status == self._keep_status:
            self.outcome.bodies.append(body)
        if self._hear is not None:
            self._hear(body)

    def ended(self) -> None:
        self._alive -= 1
        if not self._alive and not self.finished.done():
            for took_s in self._took_s:  # recording costs more than sending
                self.outcome.latencies_us.record_value(max(1, int(took_s * 1e6)))
            self.finished.set_result(None)

    def lost(self) -> None:
        if self._may_die:
            self.ended()
        elif not self.finished.done():
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
    load = await started(
        host, port, requests, connections=connections, seconds=seconds, keep_status=keep_status
    )
    await load.finished
    return load.outcome


async def started(
    host: str,
    port: int,
    requests: Iterator[bytes],
    *,
    connections: int,
    seconds: float,
    keep_status: int,
    may_die: bool = False,
    hear: Callable[[bytes], None] | None = None,
) -> Load:
    """The same under way. `may_die`: a server that closes a connection only ends that one.

    `hear` is told each answer before the next request is taken.
    """
    loop = asyncio.get_running_loop()
    load = Load(requests, connections, keep_status, may_die=may_die, hear=hear)
    for _ in range(connections):
        await loop.create_connection(lambda: _Connection(load), host, port)
    await load.all_connected
    load.begin(seconds)
    return load


def get(path: str, headers: dict[str, str]) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\n{_lines(headers)}\r\n".encode()


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
    fixed = f"Host: bench\r\nContent-Type: application/json\r\n{_lines(headers)}"
    return f"POST {path} HTTP/1.1\r\n{fixed}"


def _lines(headers: dict[str, str]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


def _with_body(head: str, key: str, body: bytes) -> bytes:
    key_line = f"Idempotency-Key: {key}\r\n" if key else ""
    return f"{head}{key_line}Content-Length: {len(body)}\r\n\r\n".encode() + body
