"""Orders that have left memory, and keys whose time is over: memory holds what lives.

What leaves, leaves by a fact, so a sale is the same by replay whatever the settings were at the
time. A cancelled order that is finished stays for a while, then the tables alone have it; its keys
stay behind on their own until their 24 hours are over. Confirmed and refunded orders stay, with
their tickets, for the doors.

An archived order is answered without its owner: nothing can happen to it unless it is recalled, so
what was read of it in the tables is true as long as it is archived.
"""

from itertools import islice, takewhile

from engine.commands import RecallOrder, Sweep
from engine.facts import Fact, KeysForgotten, OrderRecalled, OrdersArchived
from engine.order import revived, view
from engine.replies import Decision
from engine.state import GATHER_MS, KEY_KEPT_MS, State


def tidy(state: State, command: Sweep, now_ms: int) -> list[Fact]:
    """What is due by `State.next_tidying_ms`, and nothing before."""
    return [
        *_forget(state, command.orders_max, now_ms - KEY_KEPT_MS),
        *_archive(state, command.orders_max, now_ms - command.finished_kept_ms),
    ]


def _forget(state: State, keys_max: int, until_ms: int) -> list[Fact]:
    used = islice(state.keys.values(), keys_max)
    over = [u.remembered.at_ms for u in used if u.remembered.at_ms <= until_ms]
    return [KeysForgotten(over[-1])] if over and over[0] + GATHER_MS <= until_ms else []


def _archive(state: State, orders_max: int, until_ms: int) -> list[Fact]:
    finished = (state.order_by_id[order_id] for order_id in islice(state.finished, orders_max))
    over = list(takewhile(lambda order: order.finished_at_ms <= until_ms, finished))
    if not over or over[0].finished_at_ms + GATHER_MS > until_ms:
        return []
    return [OrdersArchived(tuple(order.order_id for order in over))]


def recall(state: State, command: RecallOrder, now_ms: int) -> Decision:
    """Take the order back, unless it is here, or has been and left again since it was read.

    The tables had come to fact `tables_seq` when it was read. What is not here has left by fact
    `archived_seq` at the latest, and nothing has happened to it since: at or after that fact, what
    was read is all there is.
    """
    found = state.order_by_id.get(command.order.order_id)
    if found is not None:
        return view(found, now_ms)
    if command.tables_seq < state.header.archived_seq:
        return state.archived(command.order.order_id)
    return [OrderRecalled(command.order)]


def apply_archived(state: State, fact: OrdersArchived) -> None:
    for order_id in fact.order_ids:
        gone = state.order_by_id.pop(order_id)
        del state.finished[order_id]
        state.touched[order_id] = None
        state.leave_keys(gone)
    state.header.archived_seq = state.header.seq


def apply_recalled(state: State, fact: OrderRecalled, at_ms: int) -> None:
    order_id = fact.order.order_id
    assert order_id not in state.order_by_id, order_id
    found = state.order_by_id[order_id] = revived(fact.order, at_ms)
    state.touched[order_id] = None
    state.index_finished(found)


def apply_forgotten(state: State, fact: KeysForgotten) -> None:
    over = takewhile(lambda row: row[1].remembered.at_ms <= fact.until_ms, state.keys.items())
    for digest in [digest for digest, _ in over]:
        state.forget(digest)
