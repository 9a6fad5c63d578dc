"""The mailbox of sales that live in other processes: calls go by the owner's stream.

What is asked in one turn of the loop, and while the shard's last parcel is on its way, goes
together. A call that may have been sent is never sent again: the client's key is.

A scan does not wait for an owner that is silent, as while another takes its shards over: the device
judges by itself meanwhile. An owner that answers others is busy, and is waited for.
"""

import asyncio
from collections.abc import Iterator
from itertools import count

from msgspec import Struct

from engine.commands import CheckIn, Command
from engine.ids import shard_of
from engine.replies import Reply
from engine.runtime.asking import ReplyTo, ask
from engine.runtime.faults import Fault, MailboxFull, MailboxUnavailable, OutcomeUnknown
from engine.runtime.ports import Clock, Observer, Parcel, Streams

CALLS_MAX = 256  # in a parcel
AWAY_PAUSE_S = 0.2
SILENCE_S_MAX = 1.4  # without a fetch that succeeded; more than one takes when nothing comes
TICK_S = 0.1

Call = tuple[int, str, Command]


class _Waiting(Struct, gc=False):
    reply_to: ReplyTo
    until_s: float
    shard_id: int


class RemoteMailbox:
    """`gateway` names this process and this life of it: answers to an earlier one are not ours."""

    def __init__(
        self,
        *,
        streams: Streams,
        clock: Clock,
        observer: Observer,
        gateway: str,
        shards: int,
        waiting_max: int = 20_000,
        letter_ttl_s: float = 5.0,
        scan_wait_s: float = 0.3,
    ) -> None:
        self._streams = streams
        self._clock = clock
        self._observer = observer
        self._gateway = gateway
        self._shards = shards
        self._waiting_max = waiting_max
        self._letter_ttl_s = letter_ttl_s
        self._scan_wait_s = max(scan_wait_s - TICK_S, 0.0)  # it is looked at once a tick
        self._numbers = count()
        self._waiting: dict[int, _Waiting] = {}  # in the order of their deadlines
        self._scans: dict[int, float] = {}  # those of them, by when they were asked
        self._heard_of_s: dict[int, float] = {}  # by shard, when its owner last answered
        self._gathered: dict[int, list[Call]] = {}  # by shard, which has a sender while it is here
        self._senders: set[asyncio.Task[None]] = set()
        self._away = False
        self._heard_s = 0.0

    @property
    def away(self) -> bool:
        return self._away

    @property
    def depth(self) -> int:
        """Calls without an answer."""
        return len(self._waiting)

    def ask(self, sale_id: str, command: Command) -> asyncio.Future[Reply]:
        """The sale's durable answer. Raises a Fault, now or when awaited, where there is none."""
        return ask(self.post, sale_id, command)

    def post(self, sale_id: str, command: Command, reply_to: ReplyTo) -> None:
        """Have `reply_to` called with the answer. Raises a Fault where it can't be taken."""
        if self._away:
            raise MailboxUnavailable
        if len(self._waiting) >= self._waiting_max:
            raise MailboxFull
        number = next(self._numbers)
        shard_id, now_s = shard_of(sale_id, self._shards), self._clock.monotonic_s()
        self._waiting[number] = _Waiting(reply_to, now_s + self._letter_ttl_s, shard_id)
        if isinstance(command, CheckIn):
            self._scans[number] = now_s
        call = (number, sale_id, command)
        if shard_id in self._gathered:
            self._gathered[shard_id].append(call)
        else:
            self._gathered[shard_id] = [call]
            sender = asyncio.create_task(self._send(shard_id))
            self._senders.add(sender)
            sender.add_done_callback(self._senders.discard)

    async def run(self) -> None:
        """Fetch answers until cancelled; then all who wait hear that nobody knows."""
        self._heard_s = self._clock.monotonic_s()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._tick())
                while True:
                    await self._fetch()
        finally:
            for sender in self._senders:
                sender.cancel()
            self._answer(list(self._waiting), OutcomeUnknown())

    async def _fetch(self) -> None:
        try:
            answers = await self._streams.answers(self._gateway)
        except MailboxUnavailable as fault:
            self._away = True
            self._observer.streams_failed(fault)
            if self._clock.monotonic_s() - self._heard_s > SILENCE_S_MAX:
                self._answer(list(self._waiting), OutcomeUnknown())
            await self._clock.sleep(AWAY_PAUSE_S)
            return
        self._away = False
        self._heard_s = self._clock.monotonic_s()
        for number, outcome in answers:
            if (waiting := self._waiting.get(number)) is not None:
                self._heard_of_s[waiting.shard_id] = self._heard_s
            self._answer([number], outcome)

    async def _tick(self) -> None:
        while True:
            await self._clock.sleep(TICK_S)
            now_s = self._clock.monotonic_s()
            self._answer([*self._overdue(now_s), *self._unheard(now_s)], OutcomeUnknown())

    def _overdue(self, now_s: float) -> Iterator[int]:
        for number, waiting in self._waiting.items():
            if waiting.until_s >= now_s:
                return
            yield number

    def _unheard(self, now_s: float) -> Iterator[int]:
        """Scans whose owner has been silent since they were asked."""
        for number, asked_s in self._scans.items():
            if asked_s + self._scan_wait_s > now_s:
                return
            if self._heard_of_s.get(self._waiting[number].shard_id, 0.0) <= asked_s:
                yield number

    async def _send(self, shard_id: int) -> None:
        gathered = self._gathered[shard_id]
        try:
            while gathered:
                calls = [call for call in gathered[:CALLS_MAX] if call[0] in self._waiting]
                del gathered[:CALLS_MAX]
                if self._away:  # since they were asked: do not let each find that out by itself
                    self._answer([number for number, _, _ in calls], MailboxUnavailable())
                elif calls:
                    await self._send_parcel(shard_id, calls)
        finally:
            del self._gathered[shard_id]

    async def _send_parcel(self, shard_id: int, calls: list[Call]) -> None:
        left_s = self._waiting[calls[0][0]].until_s - self._clock.monotonic_s()
        deadline_ms = self._clock.now_ms() + round(left_s * 1000)
        try:
            await self._streams.send(shard_id, Parcel("", self._gateway, deadline_ms, tuple(calls)))
        except Fault as fault:
            self._observer.letter_refused(type(fault).__name__)
            self._answer([number for number, _, _ in calls], fault)

    def _answer(self, numbers: list[int], outcome: Reply | Fault) -> None:
        for number in numbers:
            waiting = self._waiting.pop(number, None)
            self._scans.pop(number, None)
            if waiting is not None:
                waiting.reply_to(outcome)
