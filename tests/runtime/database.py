"""The one database that all nodes share, in memory: journal, owners, leases. No faults here.

Every call is one statement: it happens at once or not at all, by the database's clock alone. What
goes in is encoded, what comes out is decoded, so nothing is shared by reference.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

import msgspec
from msgspec import Struct

from engine import facts as f
from engine.runtime.ports import Batch, Consumed, Grant, Roster
from tests.runtime.virtual_time import NOON_MS

_encode = msgspec.msgpack.Encoder().encode
_decode_batch = msgspec.msgpack.Decoder(Batch).decode


class _Row(Struct, frozen=True):
    shard_id: int
    seq: int
    sale_ids: frozenset[str]
    batch: bytes


class _Shard(Struct):
    epoch: int = 0
    last_seq: int = 0
    consumed: Consumed = Consumed()
    owner: str | None = None


class Lease(Struct):
    incarnation: str
    until_s: float
    willing: bool


class Bell:
    """Wakes all who wait for it."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    async def heard(self, within_s: float) -> None:
        """Return when it rings, at the latest then."""
        loop = asyncio.get_running_loop()
        ringing = loop.create_future()
        self._waiting.append(ringing)
        timer = loop.call_later(within_s, _ring, ringing)
        try:
            await ringing
        finally:
            timer.cancel()

    def ring(self) -> None:
        waiting, self._waiting = self._waiting, []
        for ringing in waiting:
            _ring(ringing)


def _ring(ringing: "asyncio.Future[None]") -> None:
    if not ringing.done():
        ringing.set_result(None)


class Database:
    """`fence=False` writes whoever asks: what the negative controls run on."""

    def __init__(self, *, fence: bool = True) -> None:
        self._fence = fence
        self._shards: dict[int, _Shard] = {}
        self._rows: list[_Row] = []
        self.leases: dict[str, Lease] = {}  # by node
        self.dead: set[str] = set()  # incarnations, as whoever starts in their place sees it
        self.moved = Bell()  # rings when a shard is given up
        self.moves = 0
        self.personal_keys: list[tuple[str, bytes]] = []
        self.on_taken: Callable[[Batch], None] = lambda _: None
        self.on_succeeded: Callable[[str], None] = lambda _: None  # an incarnation, in its name

    # Who lives.

    def renew(
        self, node: str, incarnation: str, ttl_s: float, *, willing: bool, first: bool
    ) -> bool:
        """The first renewal takes the name over from a process that is dead, or whose lease has
        ended; later ones prolong."""
        before = self.leases.get(node)
        if before is not None and before.incarnation != incarnation:
            free = before.incarnation in self.dead or node not in self.living
            if not (first and free):
                return False
            self.on_succeeded(before.incarnation)
        self.leases[node] = Lease(incarnation, _now_s() + ttl_s, willing)
        return True

    def leave(self, node: str, incarnation: str) -> None:
        lease = self.leases.get(node)
        if lease is not None and lease.incarnation == incarnation:
            del self.leases[node]
        self._tell_of_moves()

    def _tell_of_moves(self) -> None:
        self.moves += 1
        self.moved.ring()

    def roster(self, *, accepted: bool) -> Roster:
        living = self.living
        return Roster(
            now_ms=NOON_MS + round(_now_s() * 1000),
            accepted=accepted,
            living=frozenset(living),
            willing=frozenset(node for node in living if self.leases[node].willing),
            owner_by_shard={shard_id: shard.owner for shard_id, shard in self._shards.items()},
            epoch_by_shard={shard_id: shard.epoch for shard_id, shard in self._shards.items()},
        )

    @property
    def living(self) -> set[str]:
        now_s = _now_s()
        return {node for node, lease in self.leases.items() if lease.until_s > now_s}

    # Who owns.

    def acquire(self, shard_ids: Iterable[int], node: str, incarnation: str) -> list[int]:
        """Bump the epochs of those that no other live node owns; which they are."""
        lease = self.leases.get(node)
        if lease is not None and lease.incarnation != incarnation:
            return []
        others = self.living - {node}
        free = [shard_id for shard_id in shard_ids if self._shard(shard_id).owner not in others]
        for shard_id in free:
            self._shard(shard_id).owner = node
            self._shard(shard_id).epoch += 1
        return free

    def reacquire(self, grants: Sequence[Grant]) -> list[int]:
        held = [g.shard_id for g in grants if self._shard(g.shard_id).epoch == g.epoch]
        for shard_id in held:
            self._shard(shard_id).epoch += 1
        return held

    def grants(self, shard_ids: Iterable[int]) -> list[Grant]:
        found = [(shard_id, self._shard(shard_id)) for shard_id in shard_ids]
        return [Grant(shard_id, s.epoch, s.last_seq, s.consumed) for shard_id, s in found]

    def release(self, grant: Grant, successor: str | None) -> None:
        shard = self._shard(grant.shard_id)
        if shard.epoch == grant.epoch:
            shard.owner = successor
            self._tell_of_moves()

    def _shard(self, shard_id: int) -> _Shard:
        return self._shards.setdefault(shard_id, _Shard())

    # What is written.

    def append(self, batches: Iterable[Batch]) -> frozenset[int]:
        return frozenset(batch.shard_id for batch in batches if self._take(batch))

    def _take(self, batch: Batch) -> bool:
        shard = self._shard(batch.shard_id)
        last_seq = batch.seq - bool(batch.entries)
        if self._fence and (shard.epoch, shard.last_seq) != (batch.epoch, last_seq):
            return False
        if batch.consumed is not None:
            shard.consumed = batch.consumed
        if batch.entries:
            shard.last_seq = batch.seq
            sale_ids = frozenset(entry.sale_id for entry in batch.entries)
            self._rows.append(_Row(batch.shard_id, batch.seq, sale_ids, _encode(batch)))
            self.personal_keys += batch.personal_keys
        self.on_taken(batch)
        return True

    def landed(self, batch: Batch) -> bool:
        written = _encode(batch)
        return any(row.batch == written for row in self._rows)

    def suffix(self, shard_id: int, sale_id: str, after_seq: int) -> list[Batch]:
        return [
            _decode_batch(row.batch)
            for row in self._rows
            if row.shard_id == shard_id and row.seq > after_seq and sale_id in row.sale_ids
        ]

    def unsettled(self, shard_ids: Sequence[int]) -> list[str]:
        pending: dict[str, str] = {}  # sale by order or entry of a waitlist
        cancelled: set[str] = set()
        for entry in (e for shard_id in shard_ids for e in self.entries(shard_id)):
            match entry.fact:
                case f.OrderPlaced():
                    pending[entry.fact.order_id] = entry.sale_id
                    if entry.fact.offer is not None:
                        pending.pop(entry.fact.offer.entry_id)
                case f.WaitlistJoined():
                    pending[entry.fact.entry_id] = entry.sale_id
                case f.OfferMade(rest_entry_id=str(rest_entry_id)):
                    pending[rest_entry_id] = entry.sale_id
                case f.OfferLapsed() | f.WaitlistLeft():
                    pending.pop(entry.fact.entry_id)
                case f.OrderCancelled() | f.OrderConfirmed():
                    pending.pop(entry.fact.order_id, None)
                case f.EventCancelled():
                    cancelled.add(entry.sale_id)
        return sorted(cancelled.union(pending.values()))

    def batches(self, shard_id: int) -> list[Batch]:
        return [_decode_batch(row.batch) for row in self._rows if row.shard_id == shard_id]

    def entries(self, shard_id: int) -> list[f.Entry]:
        return [entry for batch in self.batches(shard_id) for entry in batch.entries]

    def all_entries(self) -> list[f.Entry]:
        """Every entry in the order of the commits."""
        return self.entries_since(0)

    def entries_since(self, commits: int) -> list[f.Entry]:
        """Those of the commits after the first `commits`."""
        rows = self._rows[commits:]
        return [entry for row in rows for entry in _decode_batch(row.batch).entries]

    @property
    def commits(self) -> int:
        return len(self._rows)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
