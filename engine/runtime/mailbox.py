"""The way to a sale: in this process leaving a letter is a call, elsewhere the streams take it."""

import asyncio
from functools import partial

from engine.commands import Command
from engine.replies import Reply
from engine.runtime.faults import Fault, NotOwner
from engine.runtime.ports import Mailbox
from engine.runtime.supervisor import Supervisor


class LocalMailbox:
    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._new_future = asyncio.get_running_loop().create_future

    def ask(self, sale_id: str, command: Command) -> asyncio.Future[Reply]:
        """The sale's durable answer. Raises a Fault, now or when awaited, where there is none."""
        future: asyncio.Future[Reply] = self._new_future()
        self._supervisor.post(sale_id, command, partial(_settle, future))
        return future


class NearestMailbox:
    """A call where this process owns the sale; `remote` where it does not, or no longer does."""

    def __init__(self, supervisor: Supervisor, remote: Mailbox) -> None:
        self._supervisor = supervisor
        self._remote = remote
        self._new_future = asyncio.get_running_loop().create_future

    def ask(self, sale_id: str, command: Command) -> "asyncio.Future[Reply]":
        """The sale's durable answer. Raises a Fault, now or when awaited, where there is none."""
        if not self._supervisor.takes(sale_id):
            return asyncio.ensure_future(self._remote.ask(sale_id, command))
        future: asyncio.Future[Reply] = self._new_future()
        self._supervisor.post(sale_id, command, partial(self._settle, future, sale_id, command))
        return future

    def _settle(
        self,
        future: asyncio.Future[Reply],
        sale_id: str,
        command: Command,
        outcome: Reply | Fault,
    ) -> None:
        if not isinstance(outcome, NotOwner):
            _settle(future, outcome)
            return
        try:  # the shard has moved before this was decided
            asked = asyncio.ensure_future(self._remote.ask(sale_id, command))
        except Fault as fault:
            _settle(future, fault)
        else:
            asked.add_done_callback(partial(_pass_on, future))


def _settle(future: asyncio.Future[Reply], outcome: Reply | Fault) -> None:
    if future.done():  # whoever asked has gone; what was decided stands all the same
        return
    if isinstance(outcome, Fault):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def _pass_on(future: asyncio.Future[Reply], asked: asyncio.Future[Reply]) -> None:
    if asked.cancelled():
        future.cancel()
        return
    error = asked.exception()
    if error is None:
        _settle(future, asked.result())
    elif isinstance(error, Fault):
        _settle(future, error)
    else:
        future.set_exception(error)
