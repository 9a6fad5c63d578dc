"""Takes in what comes for a shard from other processes, and sends the answers back.

Answers that can't be sent are dropped: who asked hears nothing by the deadline, and the same key
finds out.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial

from engine.replies import Reply
from engine.runtime.faults import (
    DeadlinePassed,
    Fault,
    JournalUnavailable,
    MailboxFull,
    MailboxUnavailable,
    NotOwner,
    OutcomeUnknown,
    SaleUnavailable,
)
from engine.runtime.ports import Clock, Observer, Parcel, Streams
from engine.runtime.shard import Shard
from engine.runtime.supervisor import Supervisor

BACKLOG_MAX = 1_000  # entries that were read and are not durably decided
BACKLOG_PAUSE_S = 0.02
AWAY_PAUSE_S = 0.2
TRIMMED_AT_ONCE = 64
ANSWERS_MAX = 500  # in one message
LAST_ANSWERS_S = 1.0

Spawn = Callable[[Coroutine[None, None, None]], asyncio.Task[None]]

# Refusals that the journal has not heard of: the call is in the stream still, and the shard's next
# owner may decide it within its deadline, as its own clock sees it.
_UNWRITTEN = (DeadlinePassed, JournalUnavailable, MailboxFull, SaleUnavailable)


class Answers:
    """What is on its way to the gateways, one message to each at a time."""

    def __init__(self, streams: Streams, observer: Observer, spawn: Spawn) -> None:
        self._streams = streams
        self._observer = observer
        self._spawn = spawn
        self._waiting: dict[str, list[tuple[int, Reply | Fault]]] = {}
        self._sending: set[asyncio.Task[None]] = set()

    def add(self, gateway: str, number: int, outcome: Reply | Fault) -> None:
        if isinstance(outcome, NotOwner):
            return  # it was not decided here: the shard's next owner reads it in the stream
        if isinstance(outcome, _UNWRITTEN):
            outcome = OutcomeUnknown()
        if gateway in self._waiting:
            self._waiting[gateway].append((number, outcome))
        else:
            self._waiting[gateway] = [(number, outcome)]
            sending = self._spawn(self._send(gateway))
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)

    async def finish(self) -> None:
        """At the end: what is decided is told, but a server that is away stops nobody."""
        if self._sending:
            await asyncio.wait(self._sending, timeout=LAST_ANSWERS_S)

    async def _send(self, gateway: str) -> None:
        """Begins after whoever spawned it has added the rest of the turn's answers."""
        while answers := self._waiting[gateway][:ANSWERS_MAX]:
            del self._waiting[gateway][:ANSWERS_MAX]
            try:
                await self._streams.answer(gateway, answers)
            except MailboxUnavailable as fault:
                self._observer.streams_failed(fault)
        del self._waiting[gateway]


class Reader:
    """Reads one shard's stream as long as this process owns the shard."""

    def __init__(
        self,
        shard: Shard,
        *,
        streams: Streams,
        answers: Answers,
        supervisor: Supervisor,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._shard = shard
        self._streams = streams
        self._answers = answers
        self._supervisor = supervisor
        self._clock = clock
        self._observer = observer
        self._trimmed_to = ""
        self._untrimmed = 0

    async def run(self) -> None:
        while not self._shard.lost:
            if self._shard.inbox.backlog > BACKLOG_MAX:
                await self._clock.sleep(BACKLOG_PAUSE_S)
                continue
            try:
                await self._step()
            except MailboxUnavailable as fault:
                self._observer.streams_failed(fault)
                await self._clock.sleep(AWAY_PAUSE_S)

    async def _step(self) -> None:
        shard, inbox = self._shard, self._shard.inbox
        parcels = await self._streams.read(shard.shard_id, inbox.read_to)
        for parcel in parcels:
            if shard.lost:
                return
            self._take(parcel)
        self._untrimmed += len(parcels)
        decided_to = inbox.decided_to
        if decided_to != self._trimmed_to and (self._untrimmed > TRIMMED_AT_ONCE or not parcels):
            await self._streams.trim(shard.shard_id, decided_to)
            self._trimmed_to = decided_to
            self._untrimmed = 0

    def _take(self, parcel: Parcel) -> None:
        for place in self._shard.inbox.open(parcel):
            number, sale_id, command = parcel.calls[place]
            arrival = (parcel.entry_id, place)
            reply_to = partial(self._answers.add, parcel.gateway, number)
            try:
                self._supervisor.post(sale_id, command, reply_to, parcel.deadline_ms, arrival)
            except NotOwner:
                return  # all of it is for the next owner
            except Fault as fault:
                self._shard.inbox.decide(arrival)
                reply_to(fault)
