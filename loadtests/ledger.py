"""The ledger: the journal read row by row, and every sale replayed from nothing.

What is wrong with it is collected as sentences, never raised: the audit is there to tell.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import TypeVar

import asyncpg
from msgspec import Struct, field
from msgspec.structs import replace

from engine import facts as f
from engine import sale, snapshot
from engine.order import Order, revived
from engine.state import State
from persistence.journal import CorruptJournal, decode

ROWS_AT_ONCE = 1_000

_SHARDS = "SELECT shard_id, epoch, last_seq FROM shards ORDER BY shard_id"
_ROWS = "SELECT shard_id, seq, epoch, sale_ids, batch, crc FROM journal ORDER BY shard_id, seq"

_F = TypeVar("_F")


class Ledger(Struct):
    """`rows_wrong` speaks of the journal's form, `sales_wrong` of what its facts add up to.

    `archived_by_sale`: by their ids, the orders that have left their sale's state, as they were.
    """

    rows: int = 0
    entries_by_sale: dict[str, list[f.Entry]] = field(default_factory=lambda: defaultdict(list))
    state_by_sale: dict[str, State] = field(default_factory=dict)
    archived_by_sale: dict[str, dict[str, Order]] = field(default_factory=dict)
    rows_wrong: list[str] = field(default_factory=list)
    sales_wrong: list[str] = field(default_factory=list)

    @property
    def entries(self) -> Iterable[f.Entry]:
        return (entry for entries in self.entries_by_sale.values() for entry in entries)

    def facts(self, kind: type[_F]) -> list[tuple[str, _F]]:
        """All facts of a kind, each with its sale's id."""
        return [(e.sale_id, e.fact) for e in self.entries if isinstance(e.fact, kind)]

    def orders(self) -> Iterator[tuple[str, Order]]:
        """All orders that ever were, in memory or not, each with its sale's id."""
        for sale_id, state in self.state_by_sale.items():
            for order in (*state.order_by_id.values(), *self.archived_by_sale[sale_id].values()):
                yield sale_id, order

    def count(self) -> Counter[str]:
        return Counter(type(entry.fact).__name__ for entry in self.entries)


async def read(connection: asyncpg.Connection) -> Ledger:
    """Inside a transaction, whose snapshot the answer is of."""
    ledger = Ledger()
    last_by_shard: dict[int, tuple[int, int]] = {}
    async for row in connection.cursor(_ROWS, prefetch=ROWS_AT_ONCE):
        seq, epoch = last_by_shard.get(row["shard_id"], (0, 0))
        _check_row(ledger, row, seq, epoch)
        last_by_shard[row["shard_id"]] = (row["seq"], row["epoch"])
        _take(ledger, row)
    for shard_id, epoch, last_seq in await connection.fetch(_SHARDS):
        seq, written_by = last_by_shard.pop(shard_id, (0, 0))
        if last_seq != seq or written_by > epoch:
            ledger.rows_wrong.append(f"shard {shard_id} ends at {seq}, not at {last_seq}")
    ledger.rows_wrong += [f"shard {shard_id} is nobody's" for shard_id in last_by_shard]
    for sale_id, entries in ledger.entries_by_sale.items():
        ledger.state_by_sale[sale_id] = _replayed(ledger, sale_id, entries)
    return ledger


def _check_row(ledger: Ledger, row: asyncpg.Record, last_seq: int, last_epoch: int) -> None:
    if row["seq"] != last_seq + 1:
        ledger.rows_wrong.append(f"shard {row['shard_id']}: {row['seq']} follows {last_seq}")
    if row["epoch"] < last_epoch:
        ledger.rows_wrong.append(f"shard {row['shard_id']}: its epoch goes back at {row['seq']}")


def _take(ledger: Ledger, row: asyncpg.Record) -> None:
    ledger.rows += 1
    try:
        entries = decode(row["batch"], row["crc"])
    except CorruptJournal as error:
        ledger.rows_wrong.append(f"shard {row['shard_id']} at {row['seq']}: {error}")
        return
    if {entry.sale_id for entry in entries} != set(row["sale_ids"]):
        ledger.rows_wrong.append(f"shard {row['shard_id']} at {row['seq']} names other sales")
    for entry in entries:
        ledger.entries_by_sale[entry.sale_id].append(entry)


def _replayed(ledger: Ledger, sale_id: str, entries: list[f.Entry]) -> State:
    state = snapshot.fresh(sale_id)
    archived = ledger.archived_by_sale[sale_id] = {}
    for entry in entries:
        try:
            _follow(archived, state, entry.fact)
            sale.apply(state, entry)
        except (AssertionError, KeyError, IndexError) as error:
            ledger.sales_wrong.append(f"{sale_id} at {entry.seq}: {error!r}")
            break
        for tier_id, tier in state.header.tiers.items():
            if tier.held < 0 or tier.sold < 0 or tier.free < 0:
                ledger.sales_wrong.append(f"{sale_id} at {entry.seq}: {tier_id} is {tier}")
    return state


def _follow(archived: dict[str, Order], state: State, fact: f.Fact) -> None:
    """Keep what leaves a sale's memory, which must come back as it was, but for its keys."""
    match fact:
        case f.OrdersArchived(order_ids):
            archived.update((order_id, state.order_by_id[order_id]) for order_id in order_ids)
        case f.OrderRecalled(found):
            left = archived.pop(found.order_id)
            assert replace(left, keys=b"", finished_at_ms=0) == revived(found, 0), found
