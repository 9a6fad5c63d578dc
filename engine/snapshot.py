"""A sale's state as named entities: the header, an entity an order, an entity a scan.

    restore(entities of a state) + the facts after it  ==  the state by replay,  byte for byte

Only what changed needs to be encoded again, so a snapshot costs what happened since the last.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from engine.order import Order
from engine.scan import SCAN_MARK, Scan
from engine.state import HEADER, Header, Phase, State

_encoder = msgspec.msgpack.Encoder()
_header = msgspec.msgpack.Decoder(Header)
_order = msgspec.msgpack.Decoder(Order)
_scan = msgspec.msgpack.Decoder(Scan)


def fresh(sale_id: str) -> State:
    return State(Header(sale_id))


def encode(state: State, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    for name in names:
        yield name, _encoder.encode(_entity(state, name))


def names(state: State) -> Iterator[str]:
    yield HEADER
    yield from state.order_by_id
    yield from state.scan_by_key


def _entity(state: State, name: str) -> Header | Order | Scan:
    if name == HEADER:
        return state.header
    if name in state.order_by_id:
        return state.order_by_id[name]
    return state.scan_by_key[name]


def restore(entities: Mapping[str, bytes]) -> State:
    """Raises msgspec.DecodeError on what `encode` has not made, KeyError without a header."""
    state = State(_header.decode(entities[HEADER]))
    for name, entity in entities.items():
        if SCAN_MARK in name:
            state.scan_by_key[name] = _scan.decode(entity)
        elif name != HEADER:
            state.order_by_id[name] = _order.decode(entity)
    _index(state)
    return state


def _index(state: State) -> None:
    remembered = []
    for found in state.order_by_id.values():
        state.index_hold(found)
        remembered += [(r.at_ms, found, r) for r in found.remembered]
        for ticket in found.tickets:
            state.index_tokens(ticket)
    for _, found, r in sorted(remembered, key=lambda row: row[0]):
        state.index_key(found, r)
    if state.header.phase is Phase.CANCELLED:
        state.index_unwinding()
