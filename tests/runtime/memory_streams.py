"""The streams between nodes in memory, as one Redis holds them. The faults are the tests'.

Ids grow by this server's clock, which may stand still or be set back. `forget` is a Redis that came
back empty; `remember` and `come_back` are one that came back with what it held some time ago.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from copy import deepcopy

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from engine.replies import Reply
from engine.runtime.faults import Fault, MailboxFull, MailboxUnavailable, OutcomeUnknown
from engine.runtime.ports import Parcel
from tests.runtime.database import Bell

PARCELS_MAX = 20_000
READ_MAX = 200
BLOCK_S = 1.0
ANSWERS_KEPT_S = 15.0
CLOCK_MS = 1_000_000  # when the loop's time begins

_Place = tuple[int, int]  # an entry's id as numbers
_Answer = tuple[int, Reply, str | None]

_encode = msgspec.msgpack.Encoder().encode
_decode_parcel = msgspec.msgpack.Decoder(Parcel).decode
_decode_answers = msgspec.msgpack.Decoder(list[_Answer]).decode
_FAULTS = {kind.__name__: kind for kind in Fault.__subclasses__()}


class _Stream(Struct):
    newest: _Place = (0, 0)
    entries: list[tuple[_Place, bytes]] = []


class _Answers(Struct):
    until_s: float
    messages: list[bytes] = []


class MemoryStreams:
    def __init__(self, *, parcels_max: int = PARCELS_MAX) -> None:
        self._parcels_max = parcels_max
        self._streams: dict[int, _Stream] = {}
        self._remembered: dict[int, _Stream] = {}
        self._answers: dict[str, _Answers] = {}  # by gateway
        self._came: defaultdict[int | str, Bell] = defaultdict(Bell)  # by shard or gateway
        self.away = False
        self.clock_ms = CLOCK_MS  # by which it gives ids, beside the loop's time

    async def send(self, shard_id: int, parcel: Parcel) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise OutcomeUnknown
        stream = self._streams.setdefault(shard_id, _Stream())
        if len(stream.entries) >= self._parcels_max:
            raise MailboxFull
        now_ms = self.clock_ms + round(_now_s() * 1000)
        stream.newest = max((now_ms, 0), (stream.newest[0], stream.newest[1] + 1))
        stream.entries.append((stream.newest, _encode(parcel)))
        self._came[shard_id].ring()

    async def read(self, shard_id: int, after: str) -> list[Parcel]:
        await self._reach()
        parcels = self._after(shard_id, _place(after))
        until_s = _now_s() + BLOCK_S
        while not parcels and _now_s() < until_s:
            await self._came[shard_id].heard(until_s - _now_s())
            await self._reach()
            parcels = self._after(shard_id, _place(after))
        if not parcels:
            self._lift(shard_id, _place(after))
        return parcels

    def _after(self, shard_id: int, after: _Place) -> list[Parcel]:
        entries = self._streams.get(shard_id, _Stream()).entries
        found = [(place, packed) for place, packed in entries if place > after][:READ_MAX]
        return [replace(_decode_parcel(packed), entry_id=_text(place)) for place, packed in found]

    def _lift(self, shard_id: int, after: _Place) -> None:
        """A stream that is behind its reader goes on from there, or the reader would never hear."""
        stream = self._streams.get(shard_id)
        if stream is not None and stream.newest < after:
            stream.newest = after

    async def trim(self, shard_id: int, up_to: str) -> None:
        await self._reach()
        stream = self._streams.get(shard_id, _Stream())
        stream.entries = [entry for entry in stream.entries if entry[0] > _place(up_to)]

    async def answer(self, gateway: str, answers: Sequence[tuple[int, Reply | Fault]]) -> None:
        await self._reach()
        kept = self._answers.get(gateway)
        if kept is None or kept.until_s <= _now_s():
            kept = self._answers[gateway] = _Answers(0)
        kept.until_s = _now_s() + ANSWERS_KEPT_S
        kept.messages.append(_encode([_packed(*answer) for answer in answers]))
        self._came[gateway].ring()

    async def answers(self, gateway: str) -> list[tuple[int, Reply | Fault]]:
        await self._reach()
        until_s = _now_s() + BLOCK_S
        while not (messages := self._fetched(gateway)) and _now_s() < until_s:
            await self._came[gateway].heard(until_s - _now_s())
            await self._reach()
        return [_told(*answer) for packed in messages for answer in _decode_answers(packed)]

    def _fetched(self, gateway: str) -> list[bytes]:
        kept = self._answers.pop(gateway, None)
        return kept.messages if kept is not None and kept.until_s > _now_s() else []

    async def _reach(self) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise MailboxUnavailable

    # What may happen to it.

    def forget(self) -> None:
        self._streams.clear()
        self._answers.clear()

    def remember(self) -> None:
        self._remembered = deepcopy(self._streams)

    def come_back(self) -> None:
        """As it was when it last remembered, or empty."""
        self.forget()
        self._streams = deepcopy(self._remembered)

    def waiting(self, shard_id: int) -> int:
        """Entries that nobody has trimmed."""
        return len(self._streams.get(shard_id, _Stream()).entries)


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _place(entry_id: str) -> _Place:
    ms, _, number = entry_id.partition("-")
    return int(ms), int(number)


def _text(place: _Place) -> str:
    return f"{place[0]}-{place[1]}"


def _packed(number: int, outcome: Reply | Fault) -> _Answer:
    if isinstance(outcome, Fault):
        return number, None, type(outcome).__name__
    return number, outcome, None


def _told(number: int, reply: Reply, fault: str | None) -> tuple[int, Reply | Fault]:
    return number, _FAULTS[fault]() if fault is not None else reply
