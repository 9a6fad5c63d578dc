"""One node's ways to the servers: every port, with what may happen to a message on the way.

A request takes its time, takes effect at the server at one instant, and its answer takes its time
again. A node that is paused stands still at any of these: before the effect, or after it with the
answer in its socket. (An effect while it is paused is the same as one just before.)
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from engine.replies import Reply
from engine.runtime.faults import Fault, JournalUnavailable, MailboxUnavailable, OutcomeUnknown
from engine.runtime.ports import (
    Batch,
    Grant,
    Journal,
    Membership,
    Parcel,
    Roster,
    Snapshot,
    SnapshotDelta,
    SnapshotDraft,
    SnapshotStore,
    StoreUnavailable,
    Streams,
)
from tests.runtime.simulation.weather import Trouble, Weather
from tests.runtime.simulation.witness import Witness

TIMEOUT_S = 1.0
_T = TypeVar("_T")


class Wire:
    """Between one node and one server."""

    def __init__(self, weather: Weather, node: str) -> None:
        self.weather = weather
        self.node = node
        self.cut_until_s = 0.0

    def strikes(self, trouble: Trouble) -> bool:
        return self.weather.strikes(trouble, self.node)

    async def carry(self, broken: type[Exception]) -> None:
        """One message, one way."""
        await asyncio.sleep(self.weather.delay_s(self.node))
        if asyncio.get_running_loop().time() < self.cut_until_s:
            await self.fail(broken)

    async def fail(self, broken: type[Exception]) -> None:
        await asyncio.sleep(self.weather.random.choice((0, TIMEOUT_S)))
        raise broken

    def some_s(self) -> float:
        return self.weather.random.choice((0.001, 0.1, 1, 4))


class JournalLink:
    def __init__(self, journal: Journal, wire: Wire) -> None:
        self._journal = journal
        self._wire = wire

    async def _ask(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        wire = self._wire
        await wire.carry(JournalUnavailable)
        if wire.strikes(Trouble.STATEMENT_LOST):
            await wire.fail(JournalUnavailable)
        answer = await ask()
        if wire.strikes(Trouble.STATEMENT_UNANSWERED):
            await wire.fail(JournalUnavailable)
        await wire.carry(JournalUnavailable)
        return answer

    async def acquire(self, shard_ids: Sequence[int]) -> list[Grant]:
        return await self._ask(partial(self._journal.acquire, shard_ids))

    async def reacquire(self, grants: Sequence[Grant]) -> list[Grant]:
        return await self._ask(partial(self._journal.reacquire, grants))

    async def landed(self, batch: Batch) -> bool:
        return await self._ask(partial(self._journal.landed, batch))

    async def unsettled(self, shard_ids: Sequence[int]) -> list[str]:
        return await self._ask(partial(self._journal.unsettled, shard_ids))

    async def release(self, grant: Grant, successor: str | None) -> None:
        wire = self._wire
        if wire.strikes(Trouble.RELEASE_LATE):
            late = partial(self._journal.release, grant, successor)
            wire.weather.later(wire.some_s(), late)
            await wire.fail(JournalUnavailable)
        await self._ask(partial(self._journal.release, grant, successor))

    async def append(self, batches: Sequence[Batch]) -> frozenset[int]:
        wire = self._wire
        await wire.carry(OutcomeUnknown)
        if wire.strikes(Trouble.APPEND_REFUSED):
            await wire.fail(JournalUnavailable)
        if wire.strikes(Trouble.APPEND_LOST):
            await wire.fail(OutcomeUnknown)
        if wire.strikes(Trouble.APPEND_LATE):
            wire.weather.later(wire.some_s(), partial(self._append_late, batches))
            await wire.fail(OutcomeUnknown)
        committed = await self._journal.append(batches)
        if wire.strikes(Trouble.APPEND_UNANSWERED):
            await wire.fail(OutcomeUnknown)
        await wire.carry(OutcomeUnknown)
        return committed

    async def _append_late(self, batches: Sequence[Batch]) -> None:
        await self._journal.append(batches)

    async def suffix(self, shard_id: int, sale_id: str, after_seq: int) -> AsyncIterator[Batch]:
        wire = self._wire
        await wire.carry(JournalUnavailable)
        async for batch in self._journal.suffix(shard_id, sale_id, after_seq):
            if wire.strikes(Trouble.READ_BROKEN):
                await wire.fail(JournalUnavailable)
            yield batch
        await wire.carry(JournalUnavailable)


class MembershipLink:
    def __init__(self, membership: Membership, wire: Wire) -> None:
        self._membership = membership
        self._wire = wire
        self.changed = membership.changed

    async def renew(self, *, willing: bool) -> Roster:
        wire = self._wire
        await wire.carry(JournalUnavailable)
        roster = await self._membership.renew(willing=willing)
        if wire.strikes(Trouble.STATEMENT_UNANSWERED):
            await wire.fail(JournalUnavailable)
        await wire.carry(JournalUnavailable)
        return roster

    async def leave(self) -> None:
        await self._wire.carry(JournalUnavailable)
        await self._membership.leave()


class StreamsLink:
    def __init__(self, streams: Streams, wire: Wire, witness: Witness) -> None:
        self._streams = streams
        self._wire = wire
        self._witness = witness

    async def send(self, shard_id: int, parcel: Parcel) -> None:
        wire = self._wire
        await wire.carry(OutcomeUnknown)
        if wire.strikes(Trouble.CALL_LOST):
            await wire.fail(OutcomeUnknown)
        send = partial(self._send, shard_id, parcel)
        if wire.strikes(Trouble.CALL_LATE):
            wire.weather.later(wire.some_s(), partial(_if_possible, send))
            await wire.fail(OutcomeUnknown)
        if wire.strikes(Trouble.CALL_DOUBLED):
            wire.weather.later(wire.some_s(), partial(_if_possible, send))
        await send()
        if wire.strikes(Trouble.CALL_UNANSWERED):
            await wire.fail(OutcomeUnknown)
        await wire.carry(OutcomeUnknown)

    async def _send(self, shard_id: int, parcel: Parcel) -> None:
        await self._streams.send(shard_id, parcel)
        self._witness.sent(parcel)

    async def read(self, shard_id: int, after: str) -> list[Parcel]:
        await self._wire.carry(MailboxUnavailable)
        parcels = await self._streams.read(shard_id, after)
        if self._wire.strikes(Trouble.CALLS_BROKEN):
            await self._wire.fail(MailboxUnavailable)
        await self._wire.carry(MailboxUnavailable)
        return parcels

    async def trim(self, shard_id: int, up_to: str) -> None:
        await self._wire.carry(MailboxUnavailable)
        await self._streams.trim(shard_id, up_to)

    async def answer(self, gateway: str, answers: Sequence[tuple[int, Reply | Fault]]) -> None:
        wire = self._wire
        self._witness.answered(gateway, answers)
        await wire.carry(MailboxUnavailable)
        if wire.strikes(Trouble.ANSWER_LOST):
            await wire.fail(MailboxUnavailable)
        answer = partial(self._streams.answer, gateway, list(answers))
        if wire.strikes(Trouble.ANSWER_LATE):
            wire.weather.later(wire.some_s(), partial(_if_possible, answer))
            return
        if wire.strikes(Trouble.ANSWER_DOUBLED):
            wire.weather.later(wire.some_s(), partial(_if_possible, answer))
        await answer()

    async def answers(self, gateway: str) -> list[tuple[int, Reply | Fault]]:
        await self._wire.carry(MailboxUnavailable)
        answers = await self._streams.answers(gateway)
        if answers and self._wire.strikes(Trouble.FETCH_LOST):
            await self._wire.fail(MailboxUnavailable)
        await self._wire.carry(MailboxUnavailable)
        return answers


class SnapshotsLink:
    def __init__(self, snapshots: SnapshotStore, wire: Wire) -> None:
        self._snapshots = snapshots
        self._wire = wire

    async def load(self, grant: Grant, sale_id: str) -> Snapshot | None:
        await self._wire.carry(StoreUnavailable)
        return await self._snapshots.load(grant, sale_id)

    async def save(self, delta: SnapshotDelta) -> bool:
        await self._wire.carry(StoreUnavailable)
        stored = await self._snapshots.save(delta)
        if self._wire.strikes(Trouble.SNAPSHOT_UNANSWERED):
            await self._wire.fail(StoreUnavailable)
        await self._wire.carry(StoreUnavailable)
        return stored

    async def draft(self, sale_id: str) -> "DraftLink":
        await self._wire.carry(StoreUnavailable)
        return DraftLink(await self._snapshots.draft(sale_id), self._wire)


class DraftLink:
    def __init__(self, draft: SnapshotDraft, wire: Wire) -> None:
        self._draft = draft
        self._wire = wire

    async def add(self, entities: Mapping[str, bytes | None]) -> None:
        await self._wire.carry(StoreUnavailable)
        await self._draft.add(entities)

    async def finish(self, shard_id: int, epoch: int, seq: int, journal_seq: int) -> None:
        await self._wire.carry(StoreUnavailable)
        await self._draft.finish(shard_id, epoch, seq, journal_seq)


async def _if_possible(send: Callable[[], Awaitable[None]]) -> None:
    """Who sent it does not wait for it any more."""
    try:
        await send()
    except Fault:
        return
