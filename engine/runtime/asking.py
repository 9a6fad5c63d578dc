"""Answers to be awaited, out of a mailbox that calls back."""

import asyncio
from collections.abc import Callable
from functools import partial

from engine.commands import Command
from engine.replies import Reply
from engine.runtime.faults import Fault

ReplyTo = Callable[[Reply | Fault], None]


def ask(
    post: Callable[[str, Command, ReplyTo], None], sale_id: str, command: Command
) -> asyncio.Future[Reply]:
    """Raises a Fault, now or when awaited, where there is no answer."""
    future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    post(sale_id, command, partial(_settle, future))
    return future


def _settle(future: asyncio.Future[Reply], outcome: Reply | Fault) -> None:
    if future.done():  # whoever asked has gone; what was decided stands all the same
        return
    if isinstance(outcome, Fault):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
