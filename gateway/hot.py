"""The routes that must be cheap: what they ask of a sale, and what they say to its reply.

Plain functions of the request and the reply, so that a request may be served with or without a
task and an aiohttp request of its own (`gateway.express`).
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from msgspec import Struct

from engine.commands import Command, Role
from engine.replies import Reply
from gateway.answers import Answer
from gateway.auth import Principal
from gateway.ports import Ports


class Call(Struct, gc=False):
    """A request about an event, with all of its body. `path` and `event_id` as they came.

    `headers` are found by their names in lower case.
    """

    path: str
    event_id: str
    headers: Mapping[str, str]
    body: bytes
    principal: Principal
    ports: Ports


class Hot(Struct, frozen=True):
    """`command` raises the Problem that refuses the call. `told` needs nothing but what it is
    given; None where that is not enough, then `looked_up` tells. `roles`: of those who may call
    it, whose calls need nothing else first; None: all.
    """

    command: Callable[[Call], Command]
    told: Callable[[Call, Reply], Answer | None]
    looked_up: Callable[[Call, Any, Reply], Awaitable[Answer]]
    roles: frozenset[Role] | None = None

    async def answer(self, call: Call, command: Command) -> Answer:
        """The whole way, with all the time that it takes. Raises a Fault or Problem."""
        reply = await call.ports.mailbox.ask(call.event_id, command)
        return self.told(call, reply) or await self.looked_up(call, command, reply)
