"""Bugs that were never there, to see whether the simulation would find them.

Each breaks one rule of the runtime by a patch of a few lines. A simulation that does not find it
within a thousand seeds does not look where that rule holds.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any
from unittest.mock import patch

from msgspec import Struct
from msgspec.structs import replace

from engine import archiving
from engine.commands import Command, RecallOrder, Sweep
from engine.digests import Digests
from engine.facts import Entry, OrderRecalled
from engine.order import view
from engine.replies import Decision, Reply
from engine.runtime import loading
from engine.runtime.actor import Actor, Piece
from engine.runtime.committing import FoundOut
from engine.runtime.faults import Fault, JournalUnavailable
from engine.runtime.inbox import Inbox
from engine.runtime.ownership import Ownership
from engine.runtime.ports import Batch, Consumed, Grant, Snapshot, SnapshotDelta
from engine.runtime.reading import Reader
from engine.runtime.saving import Saver
from engine.runtime.supervisor import Supervisor
from engine.runtime.turn import Part
from engine.state import State
from tests.runtime.database import Database
from tests.runtime.simulation import scenario
from tests.runtime.simulation.host import LEASE, Servers
from tests.runtime.simulation.scenario import Simulation
from tests.runtime.simulation.tables import Projector


class Planted(Struct, frozen=True):
    name: str
    plant: Callable[[], AbstractContextManager[Any]]


def first_seed(name: str, seeds: Iterable[int]) -> int | None:
    """The first of the seeds in which the simulation finds this bug."""
    (bug,) = [bug for bug in PLANTED if bug.name == name]
    with bug.plant():
        return next((seed for seed in seeds if _fails(seed)), None)


def _fails(seed: int) -> bool:
    try:
        Simulation(seed).run()
    except Exception:  # whatever comes of a bug
        return True
    return False


def _patch(target: Any, name: str, wrong: Any) -> Callable[[], AbstractContextManager[Any]]:
    return partial(patch.object, target, name, wrong)


# Deciding and committing.

_append = Supervisor._append
_handle = Supervisor._handle
_batch = Part.batch


async def _answers_before_the_commit(self: Supervisor, parts: list[Part]) -> None:
    for part in parts:
        part.deliver()
    await _append(self, parts)


def _expires_without_the_journal(
    self: Supervisor, part: Part, actor: Actor, command: Command, now_ms: int
) -> Reply | Fault:
    if isinstance(command, Sweep):
        return actor.handle(command, now_ms)[1]
    return _handle(self, part, actor, command, now_ms)


def _keeps_memory_after_a_lost_append(
    self: Supervisor, parts: list[Part], batches: list[Batch], found: FoundOut | None
) -> None:
    for part in parts:
        shard = part.shard
        if found is not None and shard.shard_id in found.grant_by_shard:
            grant = found.grant_by_shard[shard.shard_id]
            shard.epoch, shard.last_seq = grant.epoch, grant.last_seq
        shard.put_back(part.undecided())


def _forgets_letters_of_an_unknown_append(
    self: Supervisor, parts: list[Part], batches: list[Batch], found: FoundOut | None
) -> None:
    for part in parts:
        part.answers.clear()
    _resume(self, parts, batches, found)


_resume = Supervisor._resume


def _time_goes_back(self: Actor, command: Command, clock_ms: int) -> tuple[list[Entry], Reply]:
    self.now_ms = 0
    state = self.state
    assert state is not None
    state.header.now_ms = 0
    return _actor_handle(self, command, clock_ms)


_actor_handle = Actor.handle


# Owning.


def _always_trusts(self: Supervisor, until_s: float) -> None:
    self._trusted_until_s = float("inf")


def _trusts_from_the_end_of_the_renewal(self: Supervisor, until_s: float) -> None:
    self._trusted_until_s = self._clock.monotonic_s() + 2 * LEASE.ttl_s


def _reacquires_from_whoever_owns(self: Database, grants: Sequence[Grant]) -> list[int]:
    for grant in grants:
        self._shard(grant.shard_id).epoch += 1
    return [grant.shard_id for grant in grants]


async def _releases_before_the_drain(self: Ownership, shard_id: int, successor: str) -> None:
    self._stop_reading(shard_id)
    shard = self._supervisor._shard_by_id[shard_id]
    try:
        await self._journal.release(shard.grant, successor)
    except JournalUnavailable:
        return
    if not shard.lost:
        await self._supervisor.drain(shard_id)


def _renews_a_replaced_life(
    self: Database, node: str, incarnation: str, ttl_s: float, *, willing: bool, first: bool
) -> bool:
    _renew(self, node, incarnation, ttl_s, willing=willing, first=True)
    return True


def _takes_a_living_ones_name(
    self: Database, node: str, incarnation: str, ttl_s: float, *, willing: bool, first: bool
) -> bool:
    if first:
        self.dead.update(lease.incarnation for lease in self.leases.values())
    return _renew(self, node, incarnation, ttl_s, willing=willing, first=first)


_renew = Database.renew


def _takes_over_without_looking_what_is_due(self: Supervisor, sale_ids: Iterable[str]) -> None:
    pass


# Snapshots.


def _snapshot_one_batch_ahead(self: Actor, entities_max: int) -> SnapshotDelta:
    delta = _delta(self, entities_max)
    return replace(delta, journal_seq=delta.journal_seq + 1)


_delta = Actor.delta


def _keeps_what_it_has_read(self: Actor, state: State) -> None:
    self.unsaved.add(state.touched)
    state.touched.clear()


async def _keeps_in_the_midst_of_a_turn(self: Saver, actor: Actor, state: State) -> Piece | None:
    return actor.piece(self._piece_max) if actor.state is state else None


async def _restores_without_keys(found: Snapshot) -> State:
    state = await _restored(found)
    state.keys = Digests(state.header.sale_id)
    return state


_restored = loading._restored


# Leaving memory, and coming back.


def _recalls_what_was_here_since(state: State, command: RecallOrder, now_ms: int) -> Decision:
    found = state.order_by_id.get(command.order.order_id)
    return [OrderRecalled(command.order)] if found is None else view(found, now_ms)


def _tables_believed(self: Projector, sale_id: str) -> int:
    return sys.maxsize


# The inbox.

_progress = Inbox.progress


def _watermark_one_too_low(self: Inbox) -> Consumed | None:
    found = _progress(self)
    if found is None:
        return None
    ids = [self._committed.after, *self._entries]
    place = ids.index(found.after) if found.after in ids else 0
    return replace(found, after=ids[max(place - 1, 0)])


def _watermark_one_too_high(self: Inbox) -> Consumed | None:
    found = _progress(self)
    ids = [self._committed.after, *self._entries]
    if found is None or found.after not in ids:
        return found
    return replace(found, after=ids[min(ids.index(found.after) + 1, len(ids) - 1)])


def _consumed_when_read(self: Inbox) -> Consumed | None:
    found = Consumed(self.read_to)
    return found if found != self._committed else None


def _position_is_not_written(self: Part) -> Batch:
    return replace(_batch(self), consumed=None)


def _skips_beyond(self: Inbox, consumed: Consumed) -> None:
    _inbox(self, replace(consumed, beyond=()))


_inbox = Inbox.__init__


async def _reads_again_what_waits(self: Reader) -> None:
    inbox = self._shard.inbox
    inbox.read_to = inbox.decided_to
    await _step(self)


_step = Reader._step

PLANTED = (
    Planted("no fence", _patch(scenario, "Servers", partial(Servers, fence=False))),
    Planted("answer before commit", _patch(Supervisor, "_append", _answers_before_the_commit)),
    Planted("expiry is not journaled", _patch(Supervisor, "_handle", _expires_without_the_journal)),
    Planted(
        "memory kept after a lost append",
        _patch(Supervisor, "_resume", _keeps_memory_after_a_lost_append),
    ),
    Planted(
        "letters of an unknown append forgotten",
        _patch(Supervisor, "_resume", _forgets_letters_of_an_unknown_append),
    ),
    Planted("time goes back", _patch(Actor, "handle", _time_goes_back)),
    Planted("refusals are always trusted", _patch(Supervisor, "trust", _always_trusts)),
    Planted(
        "trust outlasts the lease",
        _patch(Supervisor, "trust", _trusts_from_the_end_of_the_renewal),
    ),
    Planted(
        "unknown append: acquired from whoever owns",
        _patch(Database, "reacquire", _reacquires_from_whoever_owns),
    ),
    Planted(
        "hand-over releases before the drain",
        _patch(Ownership, "_hand_over", _releases_before_the_drain),
    ),
    Planted("a replaced life is renewed", _patch(Database, "renew", _renews_a_replaced_life)),
    Planted("a living one's name is taken", _patch(Database, "renew", _takes_a_living_ones_name)),
    Planted(
        "takeover does not look what is due",
        _patch(Supervisor, "remind", _takes_over_without_looking_what_is_due),
    ),
    Planted("snapshot one batch ahead", _patch(Actor, "delta", _snapshot_one_batch_ahead)),
    Planted(
        "what changes while it is kept is not read again",
        _patch(Actor, "_gather", _keeps_what_it_has_read),
    ),
    Planted(
        "kept as of the midst of a turn",
        _patch(Saver, "_between_turns", _keeps_in_the_midst_of_a_turn),
    ),
    Planted("keys not restored", _patch(loading, "_restored", _restores_without_keys)),
    Planted(
        "recalled though it was here since it was read",
        _patch(archiving, "recall", _recalls_what_was_here_since),
    ),
    Planted("tables behind are believed", _patch(Projector, "reached", _tables_believed)),
    Planted("watermark one too low", _patch(Inbox, "progress", _watermark_one_too_low)),
    Planted("watermark one too high", _patch(Inbox, "progress", _watermark_one_too_high)),
    Planted("consumed when read", _patch(Inbox, "progress", _consumed_when_read)),
    Planted("position is not written", _patch(Part, "batch", _position_is_not_written)),
    Planted("skips `beyond`", _patch(Inbox, "__init__", _skips_beyond)),
    Planted("a call is read twice", _patch(Reader, "_step", _reads_again_what_waits)),
)
