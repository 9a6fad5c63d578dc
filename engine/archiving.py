"""Orders that have left memory, and keys whose time is over: memory holds what lives.

What leaves, leaves by a fact, so a sale is the same by replay whatever the settings were at the
time. A cancelled order that is finished stays for a while, then the tables alone have it; its keys
stay behind on their own until their 24 hours are over. Confirmed and refunded orders stay, with
their tickets, for the doors.

An archived order is answered without its owner: nothing can happen to it unless it is recalled, so
what was read of it in the tables is true as long as it is archived.
"""

from itertools import islice, takewhile

from engine import waiting
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
        *waiting.forget(state, command.orders_max, now_ms - KEY_KEPT_MS),
    ]


def _forget(state: State, keys_max: int, until_ms: int) -> list[Fact]:
    by_age = state.keys_by_age
    if not by_age or by_age.at_ms(0) + GATHER_MS > until_ms:
        return []
    used_ms = (by_age.at_ms(position) for position in range(min(keys_max, len(by_age))))
    *_, last = takewhile(lambda at_ms: at_ms <= until_ms, used_ms)
    return [KeysForgotten(last)]


def _archive(state: State, orders_max: int, until_ms: int) -> list[Fact]:
    finished = islice(state.finished.items(), orders_max)
    over = list(takewhile(lambda row: row[1] <= until_ms, finished))
    if not over or over[0][1] + GATHER_MS > until_ms:
        return []
    return [OrdersArchived(tuple(order_id for order_id, _ in over))]


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
        gone = state.order_by_id.remove(order_id)
        del state.finished[order_id]
        state.touched[order_id] = None
        state.leave_keys(gone)
    state.header.archived_seq = state.header.seq


def apply_recalled(state: State, fact: OrderRecalled, at_ms: int) -> None:
    order_id = fact.order.order_id
    assert order_id not in state.order_by_id, order_id
    found = revived(fact.order, at_ms)
    state.order_by_id.add(found)
    state.touched[order_id] = None
    state.index_finished(found)


def apply_forgotten(state: State, fact: KeysForgotten) -> None:
    state.forget_keys(fact.until_ms)
