"""A sale's state as named entities: the header, one an order, a scan, a lone key, a code, a waiter.

    restore(entities of a state) + the facts after it  ==  the state by replay,  byte for byte

Only what changed needs to be encoded again, so a snapshot costs what happened since the last. Of an
order that rests no more is decoded than what finds it: the rest stays as it is stored.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

import msgspec
from msgspec import Struct

from engine import ids, keys, limits, moments, tokens, waiting
from engine.digests import Digests
from engine.keys import UsedKey
from engine.order import LIVE, OrderStatus
from engine.orders import unpack
from engine.promo import Promo
from engine.scan import SCAN_MARK, Scan
from engine.state import HEADER, KEY_MARK, Header, Phase, State, key_name
from engine.syncing import index_told
from engine.waiter import EntryStatus, WaitlistEntry

ENTITIES_AT_ONCE = 250  # what a step of restoring may cost the loop: a few milliseconds
BUCKETS_AT_ONCE = 1_000  # the same of an index
_SPAN = slice(7)  # moments are sorted by the 256 ms, so that no sort is a long one

_encoder = msgspec.msgpack.Encoder()
_header = msgspec.msgpack.Decoder(Header)
_scan = msgspec.msgpack.Decoder(Scan)
_key = msgspec.msgpack.Decoder(UsedKey)
_promo = msgspec.msgpack.Decoder(Promo)
_waiter = msgspec.msgpack.Decoder(WaitlistEntry)


class _Found(Struct, array_like=True, gc=False):
    """How an order begins: with all that it is found by."""

    status: OrderStatus
    finished_at_ms: int
    keys: bytes
    tokens: bytes


_found = msgspec.msgpack.Decoder(_Found)


def fresh(sale_id: str) -> State:
    return State(Header(sale_id))


def encode(state: State, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    for name, entity in changes(state, names):
        assert entity is not None, name
        yield name, entity


def changes(state: State, names: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
    """These entities as they are now; None: there is no such entity any more. Orders that can rest
    do so from now on.
    """
    return ((name, _entity(state, name)) for name in names)


def names(state: State) -> Iterator[str]:
    yield HEADER
    yield from state.order_by_id
    yield from state.scan_by_key
    yield from (key_name(used.key.digest) for used in state.lone_keys)
    yield from state.promo_by_id
    yield from state.waitlist.entry_by_id


def count(state: State) -> int:
    """Of all entities."""
    others = len(state.lone_keys) + len(state.promo_by_id) + len(state.waitlist.entry_by_id)
    return 1 + len(state.order_by_id) + len(state.scan_by_key) + others


def _entity(state: State, name: str) -> bytes | None:
    if name == HEADER:
        return _encoder.encode(state.header)
    if SCAN_MARK in name:
        return _encoder.encode(state.scan_by_key[name])
    if name.startswith(KEY_MARK):
        used = state.lone_key(bytes.fromhex(name.removeprefix(KEY_MARK)))
        return _encoder.encode(used) if used is not None else None
    if name.startswith(ids.ENTRY_MARK):
        waiter = state.waitlist.entry_by_id.get(name)
        return _encoder.encode(waiter) if waiter is not None else None
    if name.startswith(ids.PROMO_MARK):
        promo = state.promo_by_id.get(name)
        return _encoder.encode(promo) if promo is not None else None
    return state.order_by_id.packed(name)


def restore(entities: Mapping[str, bytes]) -> State:
    """Raises what `Restoring` does."""
    restoring = Restoring(entities)
    deque(restoring.steps(), maxlen=0)
    return restoring.state


class Restoring:
    """A state on its way back from its entities, in `steps` of a bounded size.

    Raises msgspec.DecodeError on what `encode` has not made, KeyError without a header.
    """

    def __init__(self, entities: Mapping[str, bytes]) -> None:
        self.state = State(_header.decode(entities[HEADER]))
        for tier in self.state.header.tiers.values():
            limits.configure(self.state, tier.terms)
        self._entities = entities
        self._tokens: defaultdict[int, list[bytes]] = defaultdict(list)  # rows by bucket
        self._keys: defaultdict[int, list[bytes]] = defaultdict(list)
        self._keys_used: defaultdict[bytes, list[bytes]] = defaultdict(list)  # moments by span
        self._finished: defaultdict[bytes, list[bytes]] = defaultdict(list)
        self._ended: list[tuple[int, str]] = []  # of the waitlist

    def steps(self) -> Iterator[None]:
        """The state is whole when these have ended."""
        entities = iter(self._entities.items())
        while some := list(islice(entities, ENTITIES_AT_ONCE)):
            for name, entity in some:
                self._take(name, entity)
            yield
        yield from _filling(self.state.tokens, self._tokens)
        yield from _filling(self.state.keys, self._keys)
        for used in _in_order(self._keys_used):
            self.state.keys_by_age.extend(used)
            yield
        for finished in _in_order(self._finished):
            for moment in finished:
                at_ms, order_id = moments.unpack(self.state.header.sale_id, moment)
                self.state.finished[order_id] = at_ms
            yield
        self.state.waitlist.ended.update((name, at_ms) for at_ms, name in sorted(self._ended))

    def _take(self, name: str, entity: bytes) -> None:
        state = self.state
        if SCAN_MARK in name:
            scan = state.scan_by_key[name] = _scan.decode(entity)
            index_told(state, scan.fact)
        elif name.startswith(ids.ORDER_MARK):
            self._take_order(name, entity)
        elif name.startswith(KEY_MARK):
            used = _key.decode(entity)
            state.lone_keys.add(used.order_id, (used,))
            order_random = ids.order_random(used.order_id)
            state.keys.add(used.key.digest, order_random)
            moment = moments.pack(used.at_ms, order_random)
            self._keys_used[moment[_SPAN]].append(moment)
        elif name.startswith(ids.ENTRY_MARK):
            self._take_waiter(_waiter.decode(entity))
        elif name.startswith(ids.PROMO_MARK):
            promo = state.promo_by_id[name] = _promo.decode(entity)
            state.index_promo(promo)

    def _take_waiter(self, entry: WaitlistEntry) -> None:
        self.state.waitlist.add(entry)
        if entry.status is EntryStatus.OFFERED:
            ends_at_ms = waiting.ends_at_ms(self.state, entry)
            self.state.waitlist.index_offer(entry, ends_at_ms)
        if entry.ended_at_ms is not None:
            self._ended.append((entry.ended_at_ms, entry.entry_id))

    def _take_order(self, order_id: str, entity: bytes) -> None:
        state, found = self.state, _found.decode(entity)
        if found.status is OrderStatus.PENDING:
            order = unpack(order_id, entity)
            state.order_by_id.add(order)
            state.index_hold(order)
        else:
            state.order_by_id.add_packed(order_id, entity)
        if state.taken_by_tier and found.status in LIVE:
            limits.index(state, unpack(order_id, entity), state.taken_by_tier)
        if found.status in LIVE and state.header.phase is Phase.CANCELLED:
            state.to_unwind[order_id] = None
        order_random = ids.order_random(order_id)
        for first, rest in tokens.indexed(found.tokens):
            self._tokens[first >> 3].append(rest + order_random)
        for first, rest, at in keys.indexed(found.keys):
            self._keys[first >> 3].append(rest + order_random)
            moment = at + order_random
            self._keys_used[moment[_SPAN]].append(moment)
        if found.finished_at_ms:
            moment = moments.pack(found.finished_at_ms, order_random)
            self._finished[moment[_SPAN]].append(moment)


def _filling(digests: Digests, rows_by_bucket: Mapping[int, list[bytes]]) -> Iterator[None]:
    buckets = iter(rows_by_bucket.items())
    while some := list(islice(buckets, BUCKETS_AT_ONCE)):
        digests.fill(some)
        yield


def _in_order(moments_by_span: Mapping[bytes, list[bytes]]) -> Iterator[list[bytes]]:
    """Some at a time."""
    gathered: list[bytes] = []
    for span in sorted(moments_by_span):
        gathered += sorted(moments_by_span[span])
        if len(gathered) >= ENTITIES_AT_ONCE:
            yield gathered
            gathered = []
    yield gathered
