"""The audit: after all is quiet, does the ledger hold what was promised, and no more?

It reads the journal, replays every sale from nothing, and holds what clients saw, the tables and
the public figures against that. A request that got no answer may have happened or not, but at most
once for its key.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg
import msgspec
from msgspec import Struct

from engine.state import State
from loadtests import ledger, promises, tables
from loadtests.client import Client, NoAnswer
from loadtests.ledger import Ledger
from loadtests.promises import Finding
from loadtests.seen import Seen

QUIET_S_MAX = 60.0
PUBLIC_S_MAX = 5.0
LOOK_S = 0.2
CONNECTIONS_MAX = 8
WRONG_SHOWN_MAX = 5

JOURNAL_IS_WHOLE = "the journal has no gap, is whole, never went back"

# What still has to happen before the books can be compared.
_RESTLESS = {
    "batches to project": """
        SELECT coalesce(sum(s.last_seq - coalesce(o.seq, 0)), 0)
        FROM shards s LEFT JOIN projection_offsets o USING (shard_id)
        """,
    "holds": "SELECT count(*) FROM orders WHERE status = 'PENDING'",
    "refunds": "SELECT count(*) FROM refunds WHERE status = 'pending'",
    "webhooks": "SELECT count(*) FROM sandbox_webhooks",
}

_TAKEN = """
SELECT payment_id, amount_minor FROM sandbox_payments
WHERE outcome = 'succeeded' AND starts_with(order_id, 'ord_')
"""
_RETURNED = """
SELECT payment_id, sum(r.amount_minor)::bigint FROM sandbox_refunds r
JOIN sandbox_payments p USING (payment_id)
WHERE r.status = 'done' AND starts_with(p.order_id, 'ord_')
GROUP BY payment_id
"""

_PROMISES: dict[str, Callable[[Ledger, Seen], Finding]] = {
    "answers to one key are one answer": promises.answers_agree,
    "orders seen are in the journal once, as seen": promises.orders_are_kept,
    "orders nobody saw were in doubt": promises.unseen_orders_were_in_doubt,
    "a key places one order at most": promises.keys_place_one_order,
    "refused requests placed nothing": promises.refusals_placed_nothing,
    "confirmed orders have the tickets seen": promises.confirmed_orders_have_their_tickets,
    "orders given up stay given up": promises.given_up_orders_stay_so,
    "answers at the doors are in the journal once": promises.scans_are_kept,
    "a ticket is in once at most": promises.admissions_stand_once,
    "nobody is in whom no device let in": promises.admissions_were_told,
    "copies stayed out": promises.copies_stayed_out,
}

_TABLES: dict[
    str, Callable[[asyncpg.Connection, Ledger], Awaitable[tuple[tables.Rows, tables.Rows]]]
] = {
    "orders": tables.orders,
    "order_items": tables.items,
    "tickets": tables.tickets,
    "checkins": tables.check_ins,
    "tier_counters": tables.counters,
}


class Check(Struct, frozen=True):
    """A line of the report. `wrong`: what speaks against it, in sentences."""

    name: str
    numbers: str
    wrong: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.wrong

    def lines(self) -> list[str]:
        verdict = "OK    " if self.ok else "BROKEN"
        more = len(self.wrong) - WRONG_SHOWN_MAX
        shown = [f"         {sentence}" for sentence in self.wrong[:WRONG_SHOWN_MAX]]
        rest = [f"         and {more} more"] if more > 0 else []
        return [f"{verdict} {self.name}: {self.numbers}", *shown, *rest]


class Report(Struct, frozen=True):
    """`facts`: how many of each kind the journal holds."""

    checks: tuple[Check, ...]
    facts: dict[str, int]

    @property
    def holds(self) -> bool:
        return all(check.ok for check in self.checks)

    def lines(self) -> list[str]:
        return [line for check in self.checks for line in check.lines()]


class _PublicTier(Struct, frozen=True):
    tier_id: str
    total_quantity: int
    held_quantity: int
    sold_quantity: int


class _Public(Struct, frozen=True):
    version: int
    tiers: tuple[_PublicTier, ...]


async def audit(dsn: str, seen: Seen, base_url: str, quiet_s_max: float = QUIET_S_MAX) -> Report:
    """`base_url`: a server on that database, for what the public is shown."""
    connection = await asyncpg.connect(dsn)
    try:
        began = time.monotonic()
        restless = await until_quiet(connection, quiet_s_max)
        waited = f"after {time.monotonic() - began:.1f} s"
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            found = await ledger.read(connection)
            checks = [
                _check("all is quiet, the projection is at the journal's end", waited, restless),
                _check(JOURNAL_IS_WHOLE, *_form(found)),
                _check("every sale replays within its places", *_replay(found)),
                *against_clients(found, seen),
                *[
                    _check(f"table {name} is as replayed", *await _table(read, connection, found))
                    for name, read in _TABLES.items()
                ],
                _check("money taken is kept or returned", *await _money(connection, found)),
                _check("nothing is held any more", *_held(found)),
            ]
    finally:
        await connection.close()
    public = await _public(base_url, found)
    checks.append(_check("availability is as replayed", *public))
    return Report(tuple(checks), dict(found.count()))


def against_clients(found: Ledger, seen: Seen) -> list[Check]:
    return [_check(name, *promise(found, seen)) for name, promise in _PROMISES.items()]


async def until_quiet(
    connection: asyncpg.Connection, seconds_max: float = QUIET_S_MAX
) -> list[str]:
    """Wait till nothing is under way any more; what still is when patience ends."""
    deadline = time.monotonic() + seconds_max
    while True:
        counts = {name: await connection.fetchval(query) for name, query in _RESTLESS.items()}
        restless = [f"{count} {name} under way" for name, count in counts.items() if count]
        if not restless or time.monotonic() > deadline:
            return restless
        await asyncio.sleep(LOOK_S)


def _check(name: str, numbers: str, wrong: Sequence[str]) -> Check:
    return Check(name, numbers, tuple(wrong))


def _form(found: Ledger) -> Finding:
    return f"{found.rows} rows", found.rows_wrong


def _replay(found: Ledger) -> Finding:
    facts = sum(len(entries) for entries in found.entries_by_sale.values())
    return f"{len(found.state_by_sale)} sales, {facts} facts", found.sales_wrong


def _held(found: Ledger) -> Finding:
    held = {
        tier_id: tier.held
        for state in found.state_by_sale.values()
        for tier_id, tier in state.header.tiers.items()
    }
    wrong = [f"{tier_id} holds {count}" for tier_id, count in held.items() if count]
    return f"{sum(held.values())} places in {len(held)} tiers", wrong


async def _table(
    read: Callable[[asyncpg.Connection, Ledger], Awaitable[tuple[tables.Rows, tables.Rows]]],
    connection: asyncpg.Connection,
    found: Ledger,
) -> Finding:
    wanted, rows = await read(connection, found)
    wrong = [
        f"{key}: {'missing' if key not in rows else 'unknown' if key not in wanted else 'differs'}"
        for key in {**wanted, **rows}
        if wanted.get(key) != rows.get(key)
    ]
    return f"{len(rows)} rows", wrong


async def _money(connection: asyncpg.Connection, found: Ledger) -> Finding:
    """By the bank's own books: each payment has bought its order, or gone back."""
    taken = dict(await _pairs(connection, _TAKEN))
    returned = dict(await _pairs(connection, _RETURNED))
    kept: dict[str, int] = {}
    for state in found.state_by_sale.values():
        for order in state.order_by_id.values():
            if order.paid_by is not None:
                back = sum(r.amount_minor for r in order.refunds if r.payment_id == order.paid_by)
                kept[order.paid_by] = order.total_minor - back
    wrong = [
        f"{payment_id}: {taken.get(payment_id, 0)} taken, {kept.get(payment_id, 0)} kept,"
        f" {returned.get(payment_id, 0)} returned"
        for payment_id in {**taken, **kept, **returned}
        if taken.get(payment_id, 0) != kept.get(payment_id, 0) + returned.get(payment_id, 0)
    ]
    sums = (sum(taken.values()), sum(kept.values()), sum(returned.values()))
    return "{} taken = {} kept + {} returned (minor units)".format(*sums), wrong


async def _pairs(connection: asyncpg.Connection, query: str) -> list[tuple[str, int]]:
    return [(row[0], row[1]) for row in await connection.fetch(query)]


async def _public(base_url: str, found: Ledger) -> Finding:
    """What anybody is shown may be a moment old, so it gets a moment."""
    deadline = time.monotonic() + PUBLIC_S_MAX
    left = {sale_id: state for sale_id, state in found.state_by_sale.items() if state.opened}
    count = len(left)
    async with Client(base_url, CONNECTIONS_MAX) as client:
        while left:
            shown = await asyncio.gather(*(_shown(client, sale_id) for sale_id in left))
            pairs = zip(left.items(), shown, strict=True)
            left = {s: state for (s, state), public in pairs if public != _publishable(state)}
            if time.monotonic() > deadline:
                break
            if left:
                await asyncio.sleep(LOOK_S)
    return f"{count} events", [f"{sale_id} is shown otherwise" for sale_id in left]


async def _shown(client: Client, sale_id: str) -> Any:
    """None where the server does not tell."""
    try:
        answer = await client.request("GET", f"/v1/events/{sale_id}/availability")
    except NoAnswer:
        return None
    return msgspec.json.decode(answer.body, type=_Public) if answer.status == 200 else None


def _publishable(state: State) -> _Public:
    tiers = state.header.tiers.values()
    return _Public(
        state.header.seq,
        tuple(_PublicTier(t.terms.tier_id, t.terms.quantity, t.held, t.sold) for t in tiers),
    )
