"""A sale's state as named entities: the header, an entity an order, a scan, a lone key.

    restore(entities of a state) + the facts after it  ==  the state by replay,  byte for byte

Only what changed needs to be encoded again, so a snapshot costs what happened since the last.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from engine.order import Order, OrderStatus
from engine.scan import SCAN_MARK, Scan
from engine.state import HEADER, KEY_MARK, Header, Phase, State, UsedKey, lone_key

_encoder = msgspec.msgpack.Encoder()
_header = msgspec.msgpack.Decoder(Header)
_order = msgspec.msgpack.Decoder(Order)
_scan = msgspec.msgpack.Decoder(Scan)
_key = msgspec.msgpack.Decoder(UsedKey)


def fresh(sale_id: str) -> State:
    return State(Header(sale_id))


def encode(state: State, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    for name, entity in changes(state, names):
        assert entity is not None, name
        yield name, entity


def changes(state: State, names: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
    """These entities as they are now; None: there is no such entity any more."""
    for name in names:
        entity = _entity(state, name)
        yield name, None if entity is None else _encoder.encode(entity)


def names(state: State) -> Iterator[str]:
    yield HEADER
    yield from state.order_by_id
    yield from state.scan_by_key
    yield from (lone_key(digest) for digest, used in state.keys.items() if used.lone)


def _entity(state: State, name: str) -> Header | Order | Scan | UsedKey | None:
    if name == HEADER:
        return state.header
    if SCAN_MARK in name:
        return state.scan_by_key[name]
    if name.startswith(KEY_MARK):
        used = state.keys.get(bytes.fromhex(name.removeprefix(KEY_MARK)))
        return used if used is not None and used.lone else None
    return state.order_by_id.get(name)


def restore(entities: Mapping[str, bytes]) -> State:
    """Raises msgspec.DecodeError on what `encode` has not made, KeyError without a header."""
    state = State(_header.decode(entities[HEADER]))
    used: list[UsedKey] = []
    for name, entity in entities.items():
        if SCAN_MARK in name:
            state.scan_by_key[name] = _scan.decode(entity)
        elif name.startswith(KEY_MARK):
            used.append(_key.decode(entity))
        elif name != HEADER:
            state.order_by_id[name] = _order.decode(entity)
    _index(state, used)
    return state


def _index(state: State, used: list[UsedKey]) -> None:
    finished: list[Order] = []
    for found in state.order_by_id.values():
        if found.status is OrderStatus.PENDING:
            state.index_hold(found)
        if found.finished:
            finished.append(found)
        used += [UsedKey(found.order_id, remembered) for remembered in found.remembered]
        for ticket in found.tickets:
            state.index_tokens(ticket)
    for found in sorted(finished, key=lambda order: order.finished_at_ms):
        state.index_finished(found)
    for key in sorted(used, key=lambda key: key.remembered.at_ms):
        state.keys[key.remembered.key.digest] = key
    if state.header.phase is Phase.CANCELLED:
        state.index_unwinding()
