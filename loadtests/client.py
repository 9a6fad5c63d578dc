"""A lean HTTP/1.1 client for many keep-alive connections to one server.

It shares the machine with the server that it puts under load, so it does what a load needs and no
more: one request at a time on a connection, no redirects, no TLS, no pipelining. Whether a request
that got no answer was carried out is not known: `NoAnswer` says just that, and nothing is sent
again by itself.
"""

import asyncio
import re
import time
from collections.abc import Callable
from types import TracebackType
from typing import cast
from urllib.parse import urlsplit

from msgspec import Struct

ANSWER_S_MAX = 30.0
CONNECT_S_MAX = 10.0
BODY_BYTES_MAX = 64 * 1024 * 1024

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r]*chunked[ \t]*\r\n", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:[ \t]*close[ \t]*\r\n", re.IGNORECASE)
_HEAD_END = b"\r\n\r\n"
_BODILESS = (204, 304)


class NoAnswer(Exception):
    """The connection broke or the wait was too long; the request may have been carried out."""


class Answer(Struct, frozen=True, gc=False):
    """`head`: the status line and the headers, up to and with the line end before the body."""

    status: int
    head: bytes
    body: bytes

    def header(self, name: str) -> str | None:
        pattern = rb"\r\n" + re.escape(name.encode()) + rb":[ \t]*([^\r]*)\r\n"
        found = re.search(pattern, self.head, re.IGNORECASE)
        return found[1].decode("latin-1").strip() if found else None


class MalformedAnswer(Exception):
    """What came is not HTTP as this client reads it."""


def parse(received: bytes, *, bodiless: bool = False) -> tuple[Answer, int] | None:
    """The first answer in `received` and how many bytes it takes, or None if more must come.

    `bodiless`: the request was a HEAD. Raises MalformedAnswer.
    """
    head_end = received.find(_HEAD_END)
    if head_end < 0:
        return None
    head = received[: head_end + 2]
    status = _status(head)
    start = head_end + len(_HEAD_END)
    if 100 <= status < 200:
        rest = parse(received[start:], bodiless=bodiless)
        return (rest[0], start + rest[1]) if rest else None
    if bodiless or status in _BODILESS:
        return Answer(status, head, b""), start
    if _CHUNKED.search(head):
        chunked = _unchunk(received, start)
        return (Answer(status, head, chunked[0]), chunked[1]) if chunked else None
    length = _LENGTH.search(head)
    if length is None:
        raise MalformedAnswer("neither a length nor chunks")
    end = start + int(length[1])
    if end - start > BODY_BYTES_MAX:
        raise MalformedAnswer("a body beyond all measure")
    return (Answer(status, head, received[start:end]), end) if len(received) >= end else None


def _status(head: bytes) -> int:
    if not (head.startswith(b"HTTP/1.") and head[9:12].isdigit()):
        raise MalformedAnswer("no status line")
    return int(head[9:12])


def _unchunk(received: bytes, at: int) -> tuple[bytes, int] | None:
    """RFC 9112, section 7.1: the chunks joined, and where they end; None if more must come."""
    pieces: list[bytes] = []
    while (line_end := received.find(b"\r\n", at)) >= 0:
        try:
            size = int(received[at:line_end].partition(b";")[0], 16)
        except ValueError:
            raise MalformedAnswer("a chunk without its size") from None
        at = line_end + 2
        if size == 0:
            trailers_end = received.find(_HEAD_END, line_end)
            return (b"".join(pieces), trailers_end + 4) if trailers_end >= 0 else None
        if len(received) < at + size + 2:
            return None
        pieces.append(received[at : at + size])
        at += size + 2
    return None


class Connection(asyncio.Protocol):
    """One keep-alive connection; `request` one after another. Made by `connect`."""

    def __init__(self, host: str) -> None:
        self._host = host.encode()
        self._received = b""
        self._bodiless = False
        self._waiting: asyncio.Future[Answer] | None = None
        self._transport: asyncio.Transport | None = None

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def request(
        self, method: str, path: str, body: bytes = b"", headers: bytes = b""
    ) -> Answer:
        """`headers`: whole lines, each with its line end. Raises NoAnswer."""
        if self._transport is None or self._transport.is_closing():
            raise NoAnswer("not connected")
        assert self._waiting is None, "one request at a time"
        self._waiting = asyncio.get_running_loop().create_future()
        self._bodiless = method == "HEAD"
        self._transport.write(
            b"%b %b HTTP/1.1\r\nHost: %b\r\n%bContent-Length: %d\r\n\r\n%b"
            % (method.encode(), path.encode(), self._host, headers, len(body), body)
        )
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                return await self._waiting
        except TimeoutError:
            raise NoAnswer("none in time") from None
        finally:
            # Whoever stopped waiting leaves an answer behind that must not be the next one's.
            if not self._waiting.done() or self._waiting.cancelled():
                self.close()
            self._waiting = None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        self._received += data
        try:
            found = parse(self._received, bodiless=self._bodiless)
        except MalformedAnswer as error:
            self._fail(str(error))
            return
        if found is None:
            return
        answer, length = found
        self._received = self._received[length:]
        if self._waiting is None or self._waiting.done():
            self._fail("an answer that nobody asked for")
            return
        self._waiting.set_result(answer)
        if _CLOSE.search(answer.head):
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the connection broke")

    def _fail(self, why: str) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(NoAnswer(why))
        self.close()


async def connect(base_url: str) -> Connection:
    """Raises NoAnswer where nobody listens."""
    split = urlsplit(base_url)
    assert split.hostname is not None
    host, port = split.hostname, split.port or 80
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_S_MAX):
            _, made = await loop.create_connection(lambda: Connection(split.netloc), host, port)
    except (OSError, TimeoutError) as error:
        raise NoAnswer(f"can't connect: {error}") from error
    return made


def unobserved(kind: str, status: int, seconds: float) -> None:
    """For who needs no figures."""


class Client:
    """A bounded number of connections to one server, made as they are needed.

    `observe(kind, status, seconds)` hears of every request that was answered, `kind` being the
    caller's word for it, and `seconds` counted from when the request left.
    """

    def __init__(
        self,
        base_url: str,
        connections_max: int,
        observe: Callable[[str, int, float], None] = unobserved,
    ) -> None:
        self.base_url = base_url
        self._idle: list[Connection] = []
        self._free = asyncio.Semaphore(connections_max)
        self._observe = observe

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: bytes = b"",
        *,
        kind: str = "",
    ) -> Answer:
        """Waits for a free connection first. Raises NoAnswer."""
        async with self._free:
            connection = await self._connection()
            began = time.perf_counter()
            answer = await connection.request(method, path, body, headers)
            self._observe(kind, answer.status, time.perf_counter() - began)
            self._idle.append(connection)
            return answer

    async def _connection(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return await connect(self.base_url)
