"""The mailbox as the edge uses it: orders that have left their sale's memory answer as before.

A sale that is asked of an order it does not have says how far the tables must have come to know
(`Archived`). What only reads is then answered from them, by the rules of the sale itself. What
would change the order needs its owner: it is recalled, and asked again. Whoever asks sees no
difference but the time it takes.
"""

from typing import Protocol

from engine.commands import Command, PlaceOrder, RecallOrder, RequestPayment
from engine.projection import OrderOnFile
from engine.replies import Decision, Replayed, Reply
from engine.runtime.faults import TablesBehind
from engine.runtime.ports import Clock, Mailbox
from engine.sale import decide_again, decide_archived
from engine.state import Archived

PATIENCE_S = 2.0
PAUSE_S = 0.05  # the projector is seldom further behind than this


class Files(Protocol):
    async def order_on_file(self, order_id: str) -> OrderOnFile:
        """An order that its sale does not have in memory; not older than its `seq`."""
        ...


class Archive:
    """A Mailbox on top of another one."""

    def __init__(self, mailbox: Mailbox, files: Files, clock: Clock) -> None:
        self._mailbox = mailbox
        self._files = files
        self._clock = clock

    async def ask(self, sale_id: str, command: Command) -> Reply:
        """The sale's durable answer. Raises a Fault where there is none."""
        until_s = self._clock.monotonic_s() + PATIENCE_S
        while self._clock.monotonic_s() < until_s:
            reply = await self._mailbox.ask(sale_id, command)
            archived = reply.view if isinstance(reply, Replayed) else reply
            if not isinstance(archived, Archived):
                return reply
            file = await self._files.order_on_file(archived.order_id)
            if file.seq < archived.seq:
                await self._clock.sleep(PAUSE_S)
            elif file.order is not None or not file.known:
                again = isinstance(reply, Replayed)
                decided = _decide(file, archived, command, self._clock.now_ms(), again=again)
                if not isinstance(decided, list):
                    return decided
                assert file.order is not None
                await self._mailbox.ask(sale_id, RecallOrder(file.order, file.seq))
        raise TablesBehind


def _decide(
    file: OrderOnFile, archived: Archived, command: Command, now_ms: int, *, again: bool
) -> Decision:
    if not again:
        return decide_archived(file.order, archived, command, now_ms)
    assert file.order is not None
    assert isinstance(command, PlaceOrder | RequestPayment)
    return decide_again(file.order, archived, command, now_ms)
