"""The express lane: hot requests, served in the callback that read them.

aiohttp gives every request a task, a request, a look-up of its route and a response of its own,
which is most of what a reservation costs. A request of a hot route that has come whole needs none
of them: its connection leaves the letter and writes the answer when it comes. All else goes the
ordinary way, and so does whatever the lane can't serve, a refused credential or a body that does
not fit; nothing is answered here that would be answered otherwise there.

    data -> aiohttp's parser -> hot and whole?  yes: command -> mailbox ... reply -> bytes
                                                no:  aiohttp's task of the connection

While a request is served here the connection's task sleeps on, as between two requests; what comes
meanwhile waits in aiohttp's queue, so answers keep the order of their requests.
"""

import asyncio
import socket
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from email.utils import formatdate
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Any

from aiohttp import EMPTY_PAYLOAD, HttpVersion11, StreamReader, web
from aiohttp.http_parser import RawRequestMessage
from msgspec import Struct

from engine.commands import Command
from engine.ids import is_event
from engine.replies import Replayed, Reply
from engine.runtime.faults import Fault
from engine.runtime.ports import Mailbox
from engine.state import Archived
from gateway.answers import REPLAYED_HEADER, Answer
from gateway.app import Edge
from gateway.hot import Call, Hot
from gateway.http import BODY_BYTES_MAX
from gateway.launcher import BACKLOG
from gateway.problems import told
from gateway.routing import Route

_PREFIX = "/v1/events/"
_SHUTDOWN_S = 2.0
_NO_LOG: Any = None  # aiohttp's own; `RequestLog` has a line of every request


class _Asking(Struct, gc=False):
    """A call whose reply has not come."""

    call: Call
    route: Route
    hot: Hot
    command: Command
    began_s: float


class Lane:
    """What all connections of a process share.

    `mailbox`: the sales' own; of an order that has left memory it says so and no more.
    """

    def __init__(self, edge: Edge, mailbox: Mailbox, routes: Iterable[Route]) -> None:
        self.edge = edge
        self.mailbox = mailbox
        hot = [route for route in routes if route.hot is not None]
        self._route_by_end = {
            (route.method, route.path.removeprefix(f"{_PREFIX}{{event_id}}/")): route
            for route in hot
        }

    def taken(self, message: Any, payload: StreamReader) -> "_Asking | bytes | None":
        """The call, if it may go through here; else its body, if that has been read."""
        if not isinstance(message, RawRequestMessage):
            return None
        path = message.path
        event_id, _, end = path.removeprefix(_PREFIX).partition("/")
        route = self._route_by_end.get((message.method, end))
        if route is None or not path.startswith(_PREFIX) or not is_event(event_id):
            return None
        if (
            message.version != HttpVersion11
            or message.should_close
            or message.compression
            or "Expect" in message.headers
            or payload is EMPTY_PAYLOAD
            or not payload.is_eof()
            or payload.total_bytes > BODY_BYTES_MAX
        ):
            return None
        body = payload.read_nowait()
        return self._understood(route, event_id, message, body) or body

    def _understood(self, route: Route, event_id: str, message: Any, body: bytes) -> _Asking | None:
        edge, hot, began_s = self.edge, route.hot, time.perf_counter()
        assert hot is not None
        assert route.roles is not None
        try:
            principal = edge.ports.credentials.principal(message.headers)
            if principal is None or principal.role not in (hot.roles or route.roles):
                return None
            if principal.enrolled:
                if not edge.ports.fleet.allows(principal.subject):
                    return None
                edge.ports.fleet.hear(principal.subject, message.headers)
            call = Call(message.path, event_id, message.headers, body, principal, edge.ports)
            command = hot.command(call)
            edge.limit(principal, None)
        except Exception:  # what is wrong with it is told the ordinary way, a bug too
            return None
        return _Asking(call, route, hot, command, began_s)

    def answered(self, asking: _Asking, answer: Answer) -> None:
        self.edge.requests.answered(
            asking.route.label,
            answer.status,
            time.perf_counter() - asking.began_s,
            asking.call.principal.role.value,
            answer.code,
        )

    def failed(self, asking: _Asking, error: BaseException) -> Answer:
        return told(self.edge.problem(error, asking.route))


class Connection(web.RequestHandler):
    """One client's. `_resting`: what its task waits for, hidden while a request is served here."""

    __slots__ = ("_lane", "_looking_up", "_resting", "_serving")

    def __init__(self, lane: Lane, server: web.Server) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), access_log=_NO_LOG)
        self._lane = lane
        self._serving = False
        self._resting: asyncio.Future[None] | None = None
        self._looking_up: asyncio.Task[None] | None = None

    def data_received(self, data: bytes) -> None:
        if not (self._serving or self._task_rests()):
            super().data_received(data)
            return
        if self._waiter is not None:
            self._resting, self._waiter = self._waiter, None
        super().data_received(data)
        if not self._serving and self._in_order():
            self._next()

    def resume_reading(self, resume_parser: bool = True) -> None:
        if self._reading_paused or self._buffer_paused:  # else it would parse nothing, twice
            super().resume_reading(resume_parser)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._resting is not None:  # what was asked for is decided all the same
            self._waiter, self._resting = self._resting, None
        super().connection_lost(exc)

    def _task_rests(self) -> bool:
        if self._waiter is None:
            return self._request_count == 0  # it has not begun
        return not self._waiter.done()

    def _in_order(self) -> bool:
        """A task that has not begun will take what is second without waiting for the first."""
        return self._resting is not None or len(self._messages) < 2

    def _next(self) -> None:
        """Serve what came first; wake the connection's task where that can't be done here."""
        while self._messages and not (self._force_close or self._close or self._paused):
            message, payload = self._messages[0]
            asking = self._lane.taken(message, payload)
            if not isinstance(asking, _Asking):
                if asking is not None:
                    self._messages[0] = (message, self._unread(asking))
                break
            self._messages.popleft()
            if self._ask(asking):
                return
        self._wake()

    def _wake(self) -> None:
        if self._resting is None:
            return
        waiter = self._waiter = self._resting
        self._resting = None
        if waiter.done():
            return
        if self._force_close or self._close:
            waiter.cancel()
        elif self._messages:
            waiter.set_result(None)

    def _unread(self, body: bytes) -> StreamReader:
        payload = StreamReader(self, self._read_bufsize, loop=self._loop)
        payload.feed_data(body)
        payload.feed_eof()
        return payload

    def _ask(self, asking: _Asking) -> bool:
        """Whether the reply is still to come."""
        assert self._parser is not None
        self._parser.message_consumed()
        if self._buffer_paused:
            self._resume_reading_if_drained()
        try:
            asked = asyncio.ensure_future(
                self._lane.mailbox.ask(asking.call.event_id, asking.command)
            )
        except Fault as fault:
            self._answer(asking, self._lane.failed(asking, fault))
            return False
        self._serving = True
        self._request_in_progress = True  # a shutdown waits for it
        asked.add_done_callback(partial(self._replied, asking))
        return True

    def _replied(self, asking: _Asking, asked: "asyncio.Future[Reply]") -> None:
        try:
            reply = asked.result()
            answer = None if _is_archived(reply) else asking.hot.told(asking.call, reply)
        except Exception as error:  # whatever it is, the client is told of it
            answer = self._lane.failed(asking, error)
        if answer is None:
            self._looking_up = self._loop.create_task(self._look_up(asking, reply))
        else:
            self._finish(asking, answer)

    async def _look_up(self, asking: _Asking, reply: Reply) -> None:
        hot, call = asking.hot, asking.call
        try:
            if _is_archived(reply):
                answer = await hot.answer(call, asking.command)
            else:
                answer = await hot.looked_up(call, asking.command, reply)
        except Exception as error:  # as above
            answer = self._lane.failed(asking, error)
        self._looking_up = None
        self._finish(asking, answer)

    def _finish(self, asking: _Asking, answer: Answer) -> None:
        self._serving = False
        self._request_in_progress = False
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)
        self._answer(asking, answer)
        if self.transport is not None:
            self._next()

    def _answer(self, asking: _Asking, answer: Answer) -> None:
        self._lane.answered(asking, answer)
        if self.transport is None:
            return
        self.transport.write(written(answer))
        close_time = self._loop.time() + self._keepalive_timeout
        self._next_keepalive_close_time = close_time
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(close_time, self._process_keepalive)


def _is_archived(reply: Reply) -> bool:
    return isinstance(reply.view if isinstance(reply, Replayed) else reply, Archived)


def written(answer: Answer) -> bytes:
    """The answer as HTTP/1.1."""
    head = _head(answer.status, answer.content_type, answer.retry_after_s, answer.replayed)
    date = _date(int(time.time()))
    return b"%b%b\r\nContent-Length: %d\r\n\r\n%b" % (head, date, len(answer.body), answer.body)


@lru_cache(maxsize=256)
def _head(status: int, content_type: str, retry_after_s: int | None, replayed: bool) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"Content-Type: {content_type}"]
    if retry_after_s is not None:
        lines.append(f"Retry-After: {retry_after_s}")
    if replayed:
        lines.append(f"{REPLAYED_HEADER}: true")
    return "\r\n".join([*lines, "Date: "]).encode()


@lru_cache(maxsize=4)
def _date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()


async def serve(
    stack: AsyncExitStack,
    app: web.Application,
    listening: socket.socket,
    lane: Lane | None = None,
) -> None:
    """Until the stack unwinds; then what is under way is still answered."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    assert runner.server is not None
    connection = partial(Connection, lane, runner.server) if lane else runner.server
    listener = await asyncio.get_running_loop().create_server(
        connection, sock=listening, backlog=BACKLOG
    )
    stack.callback(listener.close)
