"""The way to a sale: in this process leaving a letter is a call, elsewhere the streams take it."""

import asyncio
from functools import partial

from engine.commands import Command
from engine.replies import Reply
from engine.runtime.asking import ReplyTo, ask
from engine.runtime.faults import Fault, NotOwner
from engine.runtime.ports import Postbox
from engine.runtime.supervisor import Supervisor


class LocalMailbox:
    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def ask(self, sale_id: str, command: Command) -> asyncio.Future[Reply]:
        """The sale's durable answer. Raises a Fault, now or when awaited, where there is none."""
        return ask(self._supervisor.post, sale_id, command)


class NearestMailbox:
    """A call where this process owns the sale; `remote` where it does not, or no longer does."""

    def __init__(self, supervisor: Supervisor, remote: Postbox) -> None:
        self._supervisor = supervisor
        self._remote = remote

    def ask(self, sale_id: str, command: Command) -> asyncio.Future[Reply]:
        """The sale's durable answer. Raises a Fault, now or when awaited, where there is none."""
        return ask(self.post, sale_id, command)

    def post(self, sale_id: str, command: Command, reply_to: ReplyTo) -> None:
        """Have `reply_to` called with the answer. Raises a Fault where it can't be taken."""
        if self._supervisor.takes(sale_id):
            answered = partial(self._answered, sale_id, command, reply_to)
            self._supervisor.post(sale_id, command, answered)
        else:
            self._remote.post(sale_id, command, reply_to)

    def _answered(
        self, sale_id: str, command: Command, reply_to: ReplyTo, outcome: Reply | Fault
    ) -> None:
        if not isinstance(outcome, NotOwner):
            reply_to(outcome)
            return
        try:  # the shard has moved before this was decided
            self._remote.post(sale_id, command, reply_to)
        except Fault as fault:
            reply_to(fault)
