"""A sale's state as named entities: the header, one an order, a scan, a lone key, a code, a waiter.

    restore(entities of a state) + the facts after it  ==  the state by replay,  byte for byte

Only what changed needs to be encoded again, so a snapshot costs what happened since the last. Of an
order that rests no more is decoded than what finds it: the rest stays as it is stored.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TypeAlias

import msgspec
from msgspec import Struct

from engine import ids, keys, limits, moments, tokens, waiting
from engine.digests import PARTS, Digests
from engine.keys import UsedKey
from engine.order import LIVE, OrderStatus
from engine.orders import unpack
from engine.promo import Promo
from engine.scan import SCAN_MARK, Scan
from engine.state import HEADER, KEY_MARK, Header, Phase, State, key_name
from engine.syncing import index_told
from engine.waiter import EntryStatus, WaitlistEntry

ENTITIES_AT_ONCE = 250  # what a step of restoring may cost the loop: a few milliseconds
PARTS_AT_ONCE = 16  # the same of an index

_encoder = msgspec.msgpack.Encoder()
_header = msgspec.msgpack.Decoder(Header)
_scan = msgspec.msgpack.Decoder(Scan)
_key = msgspec.msgpack.Decoder(UsedKey)
_promo = msgspec.msgpack.Decoder(Promo)
_waiter = msgspec.msgpack.Decoder(WaitlistEntry)


_BySpan: TypeAlias = defaultdict[bytes, list[bytes]]  # see `moments.split`


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
    """Of all entities. They are listed when they are come to, so the sale may go on meanwhile: who
    goes through it at leisure looks again at what was touched.
    """
    yield HEADER
    yield from state.order_by_id.listed()
    yield from state.scan_by_key.listed()
    yield from (key_name(used.key.digest) for used in state.lone_keys)
    yield from tuple(state.promo_by_id)
    yield from tuple(state.waitlist.entry_by_id)


def count(state: State) -> int:
    """Of all entities."""
    others = len(state.lone_keys) + len(state.promo_by_id) + len(state.waitlist.entry_by_id)
    return 1 + len(state.order_by_id) + len(state.scan_by_key) + others


def _entity(state: State, name: str) -> bytes | None:
    if SCAN_MARK in name:
        return _encoder.encode(state.scan_by_key[name])
    if name.startswith(ids.ORDER_MARK):
        return state.order_by_id.packed(name)
    if name == HEADER:
        return _encoder.encode(state.header)
    if name.startswith(KEY_MARK):
        used = state.lone_key(bytes.fromhex(name.removeprefix(KEY_MARK)))
        return _encoder.encode(used) if used is not None else None
    if name.startswith(ids.ENTRY_MARK):
        waiter = state.waitlist.entry_by_id.get(name)
        return _encoder.encode(waiter) if waiter is not None else None
    promo = state.promo_by_id.get(name)
    return _encoder.encode(promo) if promo is not None else None


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
        self._tokens: list[list[bytes]] = [[] for _ in range(PARTS)]  # rows
        self._keys: list[list[bytes]] = [[] for _ in range(PARTS)]
        self._keys_used: _BySpan = defaultdict(list)
        self._finished: _BySpan = defaultdict(list)
        self._ended: list[tuple[int, str]] = []  # of the waitlist

    def steps(self) -> Iterator[None]:
        """The state is whole when these have ended."""
        entities = iter(self._entities.items())
        while some := dict(islice(entities, ENTITIES_AT_ONCE)):
            self._take(some)
            yield
        yield from _filling(self.state.tokens, self._tokens)
        yield from _filling(self.state.keys, self._keys)
        for used in _in_order(self._keys_used):
            self.state.keys_by_age.extend(used)
            yield
        for finished in _in_order(self._finished):
            for at_ms, order_id in moments.unpack_all(self.state.header.sale_id, finished):
                self.state.finished[order_id] = at_ms
            yield
        self.state.waitlist.ended.update((name, at_ms) for at_ms, name in sorted(self._ended))

    def _take(self, entities: dict[str, bytes]) -> None:
        orders = {}
        for name, entity in entities.items():
            if name.startswith(ids.ORDER_MARK) and SCAN_MARK not in name:
                orders[name] = entity
            else:
                self._take_other(name, entity)
        self.state.order_by_id.add_packed(orders)
        self._take_orders(orders)

    def _take_other(self, name: str, entity: bytes) -> None:
        state = self.state
        if SCAN_MARK in name:
            scan = state.scan_by_key[name] = _scan.decode(entity)
            index_told(state, scan.fact)
        elif name.startswith(KEY_MARK):
            used = _key.decode(entity)
            state.lone_keys.add(used.order_id, (used,))
            order_random = ids.order_random(used.order_id)
            state.keys.add(used.key.digest, order_random)
            span, rest = moments.split(moments.pack(used.at_ms, order_random))
            self._keys_used[span].append(rest)
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

    def _take_orders(self, entities: Mapping[str, bytes]) -> None:
        """Nine tenths of a load, so nothing is called that need not be."""
        state, by_token, by_key, keys_used = self.state, self._tokens, self._keys, self._keys_used
        unwinds = state.header.phase is Phase.CANCELLED
        for order_id, entity in entities.items():
            found = _found.decode(entity)
            if found.status in LIVE:
                if found.status is OrderStatus.PENDING:
                    order = unpack(order_id, entity)
                    state.order_by_id.add(order)
                    state.index_hold(order)
                if state.taken_by_tier:
                    limits.index(state, unpack(order_id, entity), state.taken_by_tier)
                if unwinds:
                    state.to_unwind[order_id] = None
            order_random = ids.order_random(order_id)
            for part, row in tokens.indexed(found.tokens):
                by_token[part].append(row + order_random)
            for part, row, span, rest in keys.indexed(found.keys):
                by_key[part].append(row + order_random)
                keys_used[span].append(rest + order_random)
            if found.finished_at_ms:
                span, rest = moments.split(moments.pack(found.finished_at_ms, order_random))
                self._finished[span].append(rest)


def _filling(digests: Digests, rows_by_part: list[list[bytes]]) -> Iterator[None]:
    """Lets go of the rows on the way: to free all at once takes long, too."""
    for part, rows in enumerate(rows_by_part):
        digests.fill(part, rows)
        rows.clear()
        if part % PARTS_AT_ONCE == 0:
            yield


def _in_order(rests_by_span: _BySpan) -> Iterator[bytes]:
    """Some moments at a time. They are sorted span by span, so that no sort is a long one."""
    gathered = b""
    for span in sorted(rests_by_span):
        gathered += moments.join(span, sorted(rests_by_span.pop(span)))
        if len(gathered) >= ENTITIES_AT_ONCE * moments.SIZE:
            yield gathered
            gathered = b""
    yield gathered
