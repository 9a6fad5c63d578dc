"""A network that can fail, between the nodes and a server that listens on a unix socket.

Rules of this file:

- What passes is bytes: nothing is parsed, so any protocol can go through.
- A disturbance concerns the links that it names, old and new ones, for as long as it is there.
- The kernel says which process is at the other end of a link, so one node can be cut off alone;
  on TCP, where each node has an address of its own, that address does.
- What is held back is not lost: it goes on when the disturbance ends, even if its sender is gone.
  That is how a batch arrives after everybody has forgotten it.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from msgspec import Struct

Place: TypeAlias = Path | tuple[str, int]

PIECE_BYTES = 64 * 1024
BACKLOG = 1_024
_PEER = struct.Struct("3i")  # SO_PEERCRED: pid, uid, gid


class Way(StrEnum):
    TO_SERVER = "to the server"
    TO_CLIENT = "to the client"


class Kind(StrEnum):
    DELAY = "delay"  # every piece, both ways
    HOLD = "hold"  # nothing passes, no connection breaks: a partition that nobody is told of
    HOLD_REQUESTS = "hold requests"  # nothing passes to the server
    CUT_BEFORE = "cut before"  # the next request does not reach the server
    CUT_DURING = "cut during"  # half of it does
    CUT_AFTER = "cut after"  # it does, and its answer does not come back


class Disturbance(Struct, frozen=True, eq=False):
    """`pids`: whose links; `links`: which of those that there are. None: all."""

    kind: Kind
    pids: frozenset[int] | None = None
    links: "frozenset[Link] | None" = None
    delay_s: float = 0.0

    def concerns(self, link: "Link") -> bool:
        return (self.pids is None or link.pid in self.pids) and (
            self.links is None or link in self.links
        )

    def holds(self, way: Way) -> bool:
        requests = self.kind is Kind.HOLD_REQUESTS and way is Way.TO_SERVER
        return requests or self.kind is Kind.HOLD


class _Cut(Exception):
    """A disturbance ends this link."""


class Link:
    """One proxied connection; `pid` is the process that opened it, `held` how much waits in it."""

    def __init__(self, proxy: "Proxy", client: asyncio.StreamWriter) -> None:
        self.pid = proxy.pid_of(client)
        self.client = client
        self.hello = b""  # its first bytes: in Postgres' protocol they name the application
        self.held = 0
        self._proxy = proxy
        self._condemned = False

    async def pump(
        self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Pass everything on until its sender ends. Raises _Cut, OSError."""
        while piece := await reader.read(PIECE_BYTES):
            self.hello = self.hello or piece
            await self._delay()
            await self._wait(way)
            await self._maybe_cut(way, piece, writer)
            await _send(piece, writer)
        if not writer.is_closing():
            writer.write_eof()

    def _disturbances(self) -> list[Disturbance]:
        return [each for each in self._proxy.disturbances if each.concerns(self)]

    async def _delay(self) -> None:
        for each in self._disturbances():
            await asyncio.sleep(each.delay_s)

    async def _wait(self, way: Way) -> None:
        while any(each.holds(way) for each in self._disturbances()):
            self.held += 1
            try:
                await self._proxy.turned()
            finally:
                self.held -= 1

    async def _maybe_cut(self, way: Way, piece: bytes, writer: asyncio.StreamWriter) -> None:
        if way is Way.TO_CLIENT:
            if self._condemned:
                raise _Cut
            return
        kinds = {each.kind for each in self._disturbances()}
        if Kind.CUT_BEFORE in kinds:
            raise _Cut
        if Kind.CUT_DURING in kinds:
            await _send(piece[: len(piece) // 2], writer)
            raise _Cut
        self._condemned = Kind.CUT_AFTER in kinds

    def cut(self) -> None:
        """Break it at the client's end; what the client has sent stays sent."""
        self.client.transport.abort()


async def _send(piece: bytes, writer: asyncio.StreamWriter) -> None:
    if writer.is_closing():
        raise _Cut
    writer.write(piece)
    await writer.drain()


class Proxy:
    """Listens at a unix socket, or at an address and port, and passes everything on to `server`."""

    def __init__(
        self,
        listens_at: Place,
        server: Path,
        pid_of: Callable[[asyncio.StreamWriter], int] | None = None,
    ) -> None:
        self.disturbances: list[Disturbance] = []
        self.links: set[Link] = set()
        self.pid_of = pid_of or peer_pid
        self._listens_at = listens_at
        self._server = server
        self._turn = asyncio.Event()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Until the end of the block; then every link is cut."""
        serving: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._serve(reader, writer))
            serving.add(task)
            task.add_done_callback(serving.discard)

        if isinstance(self._listens_at, Path):
            server = await asyncio.start_unix_server(accept, self._listens_at, backlog=BACKLOG)
        else:
            server = await asyncio.start_server(accept, *self._listens_at, backlog=BACKLOG)
        try:
            yield
        finally:
            server.close()
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
            if isinstance(self._listens_at, Path):
                self._listens_at.unlink(missing_ok=True)

    @asynccontextmanager
    async def disturbed(self, disturbance: Disturbance) -> AsyncIterator[None]:
        self.disturbances.append(disturbance)
        try:
            yield
        finally:
            self.disturbances.remove(disturbance)
            self._turn.set()
            self._turn = asyncio.Event()

    async def turned(self) -> None:
        """Returns when a disturbance has ended."""
        await self._turn.wait()

    def find(self, pids: frozenset[int] | None = None, hello: bytes = b"") -> frozenset[Link]:
        """The links of these processes that began with these bytes."""
        mine = (link for link in self.links if pids is None or link.pid in pids)
        return frozenset(link for link in mine if hello in link.hello)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(self, writer)
        self.links.add(link)
        try:
            with suppress(_Cut, OSError):  # a server that is down, a client that has gone
                await self._join(link, reader, writer)
        finally:
            self.links.discard(link)
            writer.close()

    async def _join(
        self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Until the server ends, or the link is cut; a client may end before its last answer."""
        server_reader, server_writer = await asyncio.open_unix_connection(self._server)
        requests = asyncio.ensure_future(link.pump(Way.TO_SERVER, reader, server_writer))
        answers = asyncio.ensure_future(link.pump(Way.TO_CLIENT, server_reader, writer))
        try:
            await asyncio.wait((requests, answers), return_when=asyncio.FIRST_COMPLETED)
            if requests.done() and requests.exception() is None:
                await asyncio.wait((answers,))
        finally:
            for pump in (requests, answers):
                pump.cancel()
            await asyncio.gather(requests, answers, return_exceptions=True)
            server_writer.close()


def peer_pid(writer: asyncio.StreamWriter) -> int:
    """The process at the other end of a unix socket."""
    credentials = writer.get_extra_info("socket").getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size
    )
    pid: int = _PEER.unpack(credentials)[0]
    return pid
