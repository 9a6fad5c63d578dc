"""The express lane: hot requests, served in the callback that read them.

aiohttp gives every request a careful parser, a task, a request, a look-up of its route and a
response of its own, which is most of what a reservation costs. A hot request that comes in its
plainest form (`gateway.plain`) needs none of them: its connection leaves the letter and writes the
answer when it comes. All else goes the ordinary way, and so does whatever the lane can't serve, a
refused credential or a body that does not fit; nothing is answered here that would be answered
otherwise there.

    data -> plain, hot, understood?  yes: command -> mailbox ... reply -> bytes
                                     no:  aiohttp's parser, and its task of the connection

While a request is served here the connection's task sleeps on, as between two requests; what comes
meanwhile waits in aiohttp's queue, so answers keep the order of their requests. Replies of one turn
are told together, so many in a callback.
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

from aiohttp import EMPTY_PAYLOAD, StreamReader, web
from aiohttp.http_parser import RawRequestMessage
from msgspec import Struct

from engine.commands import Command, Role
from engine.replies import Replayed, Reply
from engine.runtime.faults import Fault
from engine.runtime.ports import Postbox
from engine.state import Archived
from gateway import plain
from gateway.answers import REPLAYED_HEADER, Answer
from gateway.app import Edge
from gateway.hot import Call, Hot
from gateway.launcher import BACKLOG
from gateway.plain import Head
from gateway.problems import told
from gateway.routing import Route

TOLD_MAX = 128  # in one callback: a few milliseconds
_PREFIX = "/v1/events/{event_id}/"
_SHUTDOWN_S = 2.0
_NO_LOG: Any = None  # aiohttp's own; `RequestLog` has a line of every request


class _Line(Struct, frozen=True):
    """A hot route, as every request needs it. `roles`: of those who may go by the lane."""

    route: Route
    hot: Hot
    label: str
    roles: frozenset[Role]


class _Asking(Struct, gc=False):
    """A call whose reply has not come."""

    connection: "Connection"
    call: Call
    line: _Line
    command: Command
    began_s: float


class Lane:
    """What all connections of a process share.

    `mailbox`: the sales' own; of an order that has left memory it says so and no more.
    """

    def __init__(self, edge: Edge, mailbox: Postbox, routes: Iterable[Route]) -> None:
        self.edge = edge
        self._mailbox = mailbox
        self._line_by_end = {
            route.path.removeprefix(_PREFIX): _Line(
                route, route.hot, route.label, route.hot.roles or route.roles
            )
            for route in routes
            if route.method == "POST" and route.hot is not None and route.roles is not None
        }
        self._replies: list[tuple[_Asking, Reply | Fault]] = []
        self._soon = asyncio.get_running_loop().call_soon

    def understood(self, connection: "Connection", head: Head, body: bytes) -> _Asking | None:
        """The call, if it may go through here."""
        edge, headers, began_s = self.edge, head.headers, time.perf_counter()
        line = self._line_by_end.get(head.end)
        if line is None:
            return None
        try:
            principal = edge.ports.credentials.principal(headers)
            if principal is None or principal.role not in line.roles:
                return None
            if principal.enrolled:
                if not edge.ports.fleet.allows(principal.subject):
                    return None
                edge.ports.fleet.hear(principal.subject, headers)
            call = Call(head.path, head.event_id, headers, body, principal, edge.ports)
            command = line.hot.command(call)
            edge.limit(principal, None)
        except Exception:  # what is wrong with it is told the ordinary way, a bug too
            return None
        return _Asking(connection, call, line, command, began_s)

    def ask(self, asking: _Asking) -> None:
        """Have the connection told the reply. Raises a Fault where nobody takes the call."""
        self._mailbox.post(asking.call.event_id, asking.command, partial(self._replied, asking))

    def _replied(self, asking: _Asking, outcome: Reply | Fault) -> None:
        if not self._replies:
            self._soon(self._tell)
        self._replies.append((asking, outcome))

    def _tell(self) -> None:
        replies = self._replies[:TOLD_MAX]
        del self._replies[:TOLD_MAX]
        if self._replies:
            self._soon(self._tell)
        for asking, outcome in replies:
            asking.connection.replied(asking, outcome)

    def answered(self, asking: _Asking, answer: Answer) -> None:
        self.edge.requests.answered(
            asking.line.label,
            answer.status,
            time.perf_counter() - asking.began_s,
            asking.call.principal.role,
            answer.code,
        )

    def failed(self, asking: _Asking, error: BaseException) -> Answer:
        return told(self.edge.problem(error, asking.line.route))


class Connection(web.RequestHandler):
    """One client's.

    `_between`: aiohttp's parser has had whole requests only. `_part`: the beginning of a plain
    request. `_resting`: what the connection's task waits for, hidden while a request is served
    here.
    """

    __slots__ = ("_between", "_lane", "_looking_up", "_part", "_resting", "_serving")

    def __init__(self, lane: Lane, server: web.Server) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), access_log=_NO_LOG)
        self._lane = lane
        self._between = True
        self._part = b""
        self._serving = False
        self._resting: asyncio.Future[None] | None = None
        self._looking_up: asyncio.Task[None] | None = None

    def data_received(self, data: bytes) -> None:
        if self._serving:
            self._hide()
            self._pass_on(data)
        elif self._between and data and self._rests():  # no data: aiohttp has its parser go on
            self._hear(self._part + data)
        else:
            part, self._part = self._part, b""
            self._pass_on(part + data)

    def _hear(self, data: bytes) -> None:
        self._part = b""
        request = plain.read(data)
        if request is None:
            self._pass_on(data)
            return
        head, body = request
        if body is None:
            self._part = data
            return
        asking = self._lane.understood(self, head, body)
        if asking is None:
            self._pass_on(data)
        else:
            self._serve(asking)

    def _pass_on(self, data: bytes) -> None:
        """To aiohttp."""
        count = self._request_count
        super().data_received(data)
        if data and self._between:
            one = self._request_count == count + 1 and not self._upgraded
            self._between = one and _is_all(data, *self._messages[-1])

    def connection_lost(self, exc: BaseException | None) -> None:
        self._unhide()  # what was asked for is decided all the same
        super().connection_lost(exc)

    def _rests(self) -> bool:
        """Whether nothing is asked that is not answered."""
        if self._messages or self._force_close or self._close or self._paused:
            return False
        if self._waiter is None:
            return self._request_count == 0  # its task has not begun
        return not self._waiter.done()

    def _hide(self) -> None:
        if self._waiter is not None:
            self._resting, self._waiter = self._waiter, None

    def _unhide(self) -> None:
        if self._resting is not None:
            self._waiter, self._resting = self._resting, None

    def _serve(self, asking: _Asking) -> None:
        self._resting, self._waiter = self._waiter, None
        self._serving = True
        self._request_in_progress = True  # a shutdown waits for it
        try:
            self._lane.ask(asking)
        except Fault as fault:
            self._finish(asking, self._lane.failed(asking, fault))

    def replied(self, asking: _Asking, outcome: Reply | Fault) -> None:
        try:
            if isinstance(outcome, Fault):
                raise outcome
            answer = None if _is_archived(outcome) else asking.line.hot.told(asking.call, outcome)
        except Exception as error:  # whatever it is, the client is told of it
            answer = self._lane.failed(asking, error)
        if answer is None:
            self._looking_up = self._loop.create_task(self._look_up(asking, outcome))
        else:
            self._finish(asking, answer)

    async def _look_up(self, asking: _Asking, reply: Any) -> None:
        hot, call = asking.line.hot, asking.call
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
        self._lane.answered(asking, answer)
        if self.transport is None:
            return
        self.transport.write(written(answer))
        close_time = self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(close_time, self._process_keepalive)
        self._wake()

    def _wake(self) -> None:
        """The connection's task goes on with what has come meanwhile, or to its end."""
        waiter = self._resting
        if waiter is None:  # it began, or will, while the request was served, and sees to it itself
            return
        self._waiter, self._resting = waiter, None
        if waiter.done():
            return
        if self._force_close or self._close:
            waiter.cancel()
        elif self._messages:
            waiter.set_result(None)


def _is_all(data: bytes, message: Any, payload: StreamReader) -> bool:
    """Whether the data was this one message, so that aiohttp's parser has nothing of another."""
    if not isinstance(message, RawRequestMessage) or message.chunked or message.compression:
        return False
    if not payload.is_eof():
        return False
    length = 0 if payload is EMPTY_PAYLOAD else payload.total_bytes
    return data.find(b"\r\n\r\n") + 4 + length == len(data)


def _is_archived(reply: Reply) -> bool:
    # A Struct's class is slow to say, to `isinstance`, that something is not of it.
    return type(reply.view if type(reply) is Replayed else reply) is Archived


def written(answer: Answer) -> bytes:
    """The answer as HTTP/1.1."""
    body = answer.body
    head = _head(
        answer.status,
        answer.content_type,
        answer.retry_after_s,
        answer.replayed,
        int(time.time()),
    )
    return b"%b%d\r\n\r\n%b" % (head, len(body), body)


@lru_cache(maxsize=64)
def _head(
    status: int, content_type: str, retry_after_s: int | None, replayed: bool, second: int
) -> bytes:
    """All but the length of the body."""
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"Date: {formatdate(second, usegmt=True)}",
        f"Content-Type: {content_type}",
    ]
    if retry_after_s is not None:
        lines.append(f"Retry-After: {retry_after_s}")
    if replayed:
        lines.append(f"{REPLAYED_HEADER}: true")
    return "\r\n".join([*lines, "Content-Length: "]).encode()


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
