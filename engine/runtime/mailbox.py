"""The mailbox of a sale that lives in this process: leaving a letter is a call."""

import asyncio
from functools import partial

from engine.commands import Command
from engine.replies import Reply
from engine.runtime.faults import Fault
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


def _settle(future: asyncio.Future[Reply], outcome: Reply | Fault) -> None:
    if future.done():  # whoever asked has gone; what was decided stands all the same
        return
    if isinstance(outcome, Fault):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
