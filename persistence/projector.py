"""Copies facts from the journal into the tables, each batch exactly once.

A piece of every shard's journal is folded in memory into rows and written with the shards' new
offsets in one transaction, so a crash repeats nothing and loses nothing. Only the projector writes
these tables, one projector at a time (an advisory lock); others wait until that one is gone.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeAlias

import asyncpg

from engine import facts as f
from engine.configuring import Configured
from engine.money import total_minor
from engine.order import OrderStatus
from engine.purchase import PaymentStatus, RefundStatus
from engine.scan import SCAN_MARK
from engine.telling import Settled
from engine.ticket import TicketStatus, token_digest
from persistence import transfers
from persistence.alone import alone
from persistence.journal import decode
from persistence.outgoing.feeding import feed
from persistence.priority import share_priority
from persistence.projector_statements import COPIED, STATEMENTS
from persistence.transactions import Connection
from persistence.waitlists import Row, WaitlistFold, known

ROWS_MAX = 200
# Under load a large piece costs less than many small ones, and nobody misses a quarter of a second.
IDLE_S, BUSY_S = 0.05, 0.25
BUSY_ROWS = 10
LOCK = 7_308_052_001  # an arbitrary number that is the projector's

# When a ticket came in, and by which of its sale's facts.
_Admission: TypeAlias = tuple[datetime | None, int | None]
_OUT: _Admission = (None, None)

Heal = Callable[[asyncpg.Connection, str, Configured], Awaitable[None]]

_BEHIND = """
SELECT s.shard_id, coalesce(o.seq, 0) AS seq, s.last_seq - coalesce(o.seq, 0) AS lag
FROM shards s LEFT JOIN projection_offsets o USING (shard_id)
WHERE s.last_seq > coalesce(o.seq, 0)
"""

# Of each shard the next so many.
_READ = """
SELECT b.shard_id, j.seq, j.batch, j.crc
FROM unnest($1::int[], $2::bigint[]) AS b (shard_id, seq) CROSS JOIN LATERAL (
    SELECT * FROM journal WHERE shard_id = b.shard_id AND seq > b.seq ORDER BY seq LIMIT $3
) j
ORDER BY b.shard_id, j.seq
"""

_ADVANCE = """
INSERT INTO projection_offsets (shard_id, seq) SELECT * FROM unnest($1::int[], $2::bigint[])
ON CONFLICT (shard_id) DO UPDATE SET seq = excluded.seq
"""


async def project(dsn: str, heal: Heal) -> None:
    """For ever, one process at a time."""

    async def work(connection: asyncpg.Connection) -> None:
        share_priority(dsn, connection)
        await Projector(connection, heal).run()

    # What it writes can be made again, and its offset goes with it: it need not wait for the disk,
    # nor have the journal wait for it there.
    await alone(dsn, "projector", LOCK, work, synchronous_commit="off")


class Projector:
    """`heal` brings the catalogue forward where a fact is ahead of it."""

    def __init__(self, connection: asyncpg.Connection, heal: Heal) -> None:
        self._connection = connection
        self._heal = heal
        self._read_rows = 0  # all told

    async def run(self) -> None:
        while True:
            before = self._read_rows
            behind = await self.step()
            busy = self._read_rows - before > BUSY_ROWS
            await asyncio.sleep(0 if behind else BUSY_S if busy else IDLE_S)

    async def step(self) -> int:
        """Project the next piece of all shards that are behind; how many batches are left."""
        behind = await self._connection.fetch(_BEHIND)
        if not behind:
            return 0
        shard_ids, seqs = [row["shard_id"] for row in behind], [row["seq"] for row in behind]
        rows = await self._connection.fetch(_READ, shard_ids, seqs, max(1, ROWS_MAX // len(behind)))
        self._read_rows += len(rows)
        reached = {row["shard_id"]: row["seq"] for row in rows}
        entries = [entry for row in rows for entry in decode(row["batch"], row["crc"])]
        async with self._connection.transaction():
            await self._project(entries)
            await self._connection.execute(_ADVANCE, list(reached), list(reached.values()))
        lag: int = sum(row["lag"] for row in behind)
        return lag - len(rows)

    async def _project(self, entries: list[f.Entry]) -> None:
        waiting = await known(self._connection, entries)
        received = await transfers.received(self._connection, entries)
        fold = Fold(await self._items(entries), waiting, received)
        for entry in entries:
            fold.take(entry)
        await fold.write(self._connection)
        for event_id, fact in fold.configured:
            await self._heal(self._connection, event_id, fact)
        await feed(self._connection, entries)

    async def _items(self, entries: list[f.Entry]) -> dict[str, tuple[f.Item, ...]]:
        """The items of the orders that are spoken of but were placed before this piece."""
        needed = (f.OrderConfirmed, f.OrderCancelled, f.OrderRefunded)
        if {type(e.fact) for e in entries}.isdisjoint(needed):
            return {}
        placed = {e.fact.order_id for e in entries if isinstance(e.fact, f.OrderPlaced)}
        spoken_of = {e.fact.order_id for e in entries if isinstance(e.fact, needed)}
        if spoken_of <= placed:
            return {}
        rows = await self._connection.fetch(
            "SELECT order_id, tier_id, quantity, unit_price_minor, discount_minor FROM order_items"
            " WHERE order_id = ANY($1) ORDER BY order_id, position",
            list(spoken_of - placed),
        )
        items: dict[str, tuple[f.Item, ...]] = {}
        for order_id, *item in rows:
            items[order_id] = (*items.get(order_id, ()), f.Item(*item))
        return items


class Fold:
    """Entries folded into rows. Later facts win over earlier ones about the same thing."""

    def __init__(
        self,
        items_by_order: dict[str, tuple[f.Item, ...]],
        row_by_entry: dict[str, Row],
        tier_by_received: dict[tuple[str, int], str],
    ) -> None:
        self._items = items_by_order
        self._tier_by_received = tier_by_received
        self._waitlist = WaitlistFold(row_by_entry)
        self._tables: dict[str, list[tuple[Any, ...]]] = {
            name: [] for name in (*COPIED, *STATEMENTS)
        }
        self._status: dict[str, tuple[str, str | None, datetime | None]] = {}
        self._refunded: Counter[str] = Counter()
        self._refund_status: dict[str, tuple[RefundStatus, datetime | None, int]] = {}
        self._admission: dict[tuple[str, int], _Admission | None] = {}
        self._untold: set[tuple[str, int]] = set()  # whose token has another worth now
        self._in_by: dict[tuple[str, int], tuple[str, ...]] = {}  # by another scan than the last
        self._stands: dict[tuple[str, str, str], bool] = {}
        self._held: Counter[tuple[str, str]] = Counter()
        self._sold: Counter[tuple[str, str]] = Counter()
        self._reached: dict[str, int] = {}
        self.confirmed_in: Counter[tuple[datetime, str]] = Counter()
        self.configured: list[tuple[str, Configured]] = []

    async def write(self, connection: Connection) -> None:
        """In a transaction."""
        tables = self._tables
        tables["status"] = [(key, *change) for key, change in self._status.items()]
        tables["settled"] = [(key, *change) for key, change in self._refund_status.items()]
        tables["refunded"] = list(self._refunded.items())
        admissions = self._admission.items()
        tables["admitted"] = [(*key, *now) for key, now in admissions if now is not None]
        tables["not_admitted"] = [key for key, now in admissions if now is None]
        tables["settled_admissions"] = [(*key, *scan) for key, scan in self._in_by.items()]
        tables["untold"] = list(self._untold)
        tables["settled_scans"] = [(*key, stands) for key, stands in self._stands.items()]
        tables["counters"] = [
            (*key, self._held[key], self._sold[key]) for key in {**self._held, **self._sold}
        ]
        tables["waitlist"] = self._waitlist.rows()
        tables["reached"] = list(self._reached.items())
        tables["trending"] = [(*key, tickets) for key, tickets in self.confirmed_in.items()]
        for name, columns in COPIED.items():
            if rows := tables[name]:
                await connection.copy_records_to_table(name, records=rows, columns=columns)
        for name, statement in STATEMENTS.items():
            if tables[name]:
                await connection.execute(statement, *map(list, zip(*tables[name], strict=True)))

    def take(self, entry: f.Entry) -> None:
        fact, event_id, at = entry.fact, entry.sale_id, _instant(entry.at_ms)
        self._reached[event_id] = entry.seq
        match fact:  # most frequent first: a Struct class is slow to say no
            case f.OrderPlaced():
                self._placed(event_id, fact, at)
            case f.TicketScanned():
                self._scanned(entry, fact, at)
            case f.OrderCancelled():
                self._status[fact.order_id] = (OrderStatus.CANCELLED, fact.reason, None)
                self._count(event_id, fact.order_id, held=-1)
            case f.PaymentRequested():
                row = (fact.payment_id, fact.order_id, event_id, fact.method, fact.amount_minor)
                self._tables["payments"].append((*row, PaymentStatus.OPEN, entry.seq))
            case f.PaymentDeclined():
                self._paid(fact.payment_id, PaymentStatus.DECLINED)
            case f.OrderConfirmed():
                self._confirmed(event_id, fact, at)
            case f.MoneyReturned():
                self._paid(fact.payment_id, PaymentStatus.RETURNED, fact.amount_minor, at)
                self._refund(entry, fact)
            case f.OrderRefunded():
                self._refund(entry, fact)
                self._take_back(event_id, fact)
            case f.RefundSettled():
                settled = RefundStatus.DONE if fact.done else RefundStatus.FAILED
                self._refund_now(fact.refund_id, settled, at)
            case f.RefundRetried():
                self._refund_now(fact.refund_id, RefundStatus.PENDING, None)
            case f.TicketReissued():
                digest = token_digest(fact.token)
                self._tables["tokens"].append((fact.order_id, fact.number, digest))
            case f.TicketTransferred():
                self._transferred(event_id, fact, at)
            case f.AttendeeNamed():
                self._tables["named"].append((fact.order_id, fact.number, fact.sealed))
            case f.WaitlistJoined() | f.OfferMade() | f.OfferLapsed() | f.WaitlistLeft():
                held = self._waitlist.take(event_id, fact, at)
                self._held[event_id, fact.tier_id] += held
            case f.EntriesForgotten():
                pass  # what has ended is read here from now on
            case f.PaymentAskedAgain() | f.KeysForgotten():
                pass  # keys are the sale's own
            case f.OrdersArchived() | f.OrderRecalled():
                pass  # what a sale has in memory is its own affair, too
            case f.AdmissionUndone():
                undone = (event_id, fact.device_id, fact.nonce, at, fact.undone_by)
                self._tables["undone"].append(undone)
                self._stand(fact.order_id, fact.number, _OUT if fact.used else None)
            case _:
                self._configured(event_id, fact)

    def _placed(self, event_id: str, fact: f.OrderPlaced, at: datetime) -> None:
        self._items[fact.order_id] = fact.items
        if fact.offer is not None:
            self._waitlist.taken(fact.offer, fact.order_id, at)
            self._held[event_id, fact.offer.tier_id] -= fact.offer.quantity
        self._tables["orders"].append(
            (
                fact.order_id,
                event_id,
                fact.buyer_id,
                OrderStatus.PENDING,
                fact.currency,
                total_minor(fact.items),
                _instant(fact.placed_at_ms),
                _instant(fact.expires_at_ms),
                fact.sealed,
                fact.promo.promo_id if fact.promo is not None else None,
                fact.promo.code if fact.promo is not None else None,
            )
        )
        for position, item in enumerate(fact.items):
            costs = (item.unit_price_minor, item.discount_minor)
            row = (fact.order_id, position, item.tier_id, item.quantity, *costs)
            self._tables["order_items"].append(row)
        self._count(event_id, fact.order_id, held=+1)

    def _confirmed(self, event_id: str, fact: f.OrderConfirmed, at: datetime) -> None:
        self._status[fact.order_id] = (OrderStatus.CONFIRMED, None, at)
        self._count(event_id, fact.order_id, held=0 if fact.late else -1, sold=+1)
        hour = at.replace(minute=0, second=0, microsecond=0)
        tickets = sum(item.quantity for item in self._items[fact.order_id])
        self.confirmed_in[hour, event_id] += tickets
        if fact.payment_id is not None:
            self._paid(fact.payment_id, PaymentStatus.SUCCEEDED, None, at)
        tiers = self._tier_by_number(fact.order_id)
        for number, (tier_id, token) in enumerate(zip(tiers, fact.tokens, strict=True)):
            self._issued((fact.order_id, number), event_id, tier_id, token, at)

    def _issued(
        self, ticket: tuple[str, int], event_id: str, tier_id: str, token: bytes, at: datetime
    ) -> None:
        row = (*ticket, event_id, tier_id, token_digest(token), TicketStatus.VALID, at)
        self._tables["tickets"].append(row)

    def _tier_by_number(self, order_id: str) -> list[str]:
        return [i.tier_id for i in self._items[order_id] for _ in range(i.quantity)]

    def _paid(
        self,
        payment_id: str,
        status: PaymentStatus,
        taken_minor: int | None = None,
        taken_at: datetime | None = None,
    ) -> None:
        """`taken_minor` None: the amount that was asked, or nothing where nothing came."""
        self._tables["paid"].append((payment_id, status, taken_minor, taken_at))

    def _refund(self, entry: f.Entry, fact: f.MoneyReturned | f.OrderRefunded) -> None:
        status = RefundStatus.PENDING if fact.amount_minor else RefundStatus.DONE
        row = (fact.refund_id, fact.order_id, entry.sale_id, fact.payment_id, fact.amount_minor)
        self._tables["refunds"].append((*row, status, entry.seq, _instant(entry.at_ms)))

    def _refund_now(self, refund_id: str, status: RefundStatus, settled: datetime | None) -> None:
        retried = self._refund_status[refund_id][2] if refund_id in self._refund_status else 0
        retried += status is RefundStatus.PENDING
        self._refund_status[refund_id] = (status, settled, retried)

    def _take_back(self, event_id: str, fact: f.OrderRefunded) -> None:
        self._refunded[fact.order_id] += fact.amount_minor
        tiers = self._tier_by_number(fact.order_id)
        for number in fact.ticket_numbers:
            received = self._tier_by_received.get((fact.order_id, number))
            self._sold[event_id, received or tiers[number]] -= 1
            self._tables["dead"].append((fact.order_id, number))

    def _transferred(self, event_id: str, fact: f.TicketTransferred, at: datetime) -> None:
        new = (fact.order_id, fact.new_number)
        self._tier_by_received[new] = fact.tier_id
        self._issued(new, event_id, fact.tier_id, fact.token, at)
        self._tables["named"].append((*new, fact.sealed))
        self._tables["received"].append((*new, fact.number, fact.holder_id))
        self._tables["transferred"].append((fact.order_id, fact.number))

    def _scanned(self, entry: f.Entry, fact: f.TicketScanned, at: datetime) -> None:
        offline = fact.offline
        corrected_at_ms = offline.at_ms if offline else fact.corrected_at_ms
        self._tables["checkins"].append(
            (
                entry.sale_id,
                entry.seq,
                fact.device_id,
                fact.nonce,
                fact.token_digest,
                fact.order_id,
                fact.number,
                fact.tier_id,
                fact.gate,
                fact.result,
                fact.reason,
                fact.override_reason,
                _instant(fact.scanned_at_ms) if fact.scanned_at_ms is not None else None,
                at,
                offline.outcome if offline else None,
                offline.told if offline else None,
                _instant(corrected_at_ms) if corrected_at_ms is not None else None,
                offline.contested if offline else False,
                fact.leaving,
                fact.visit,
            )
        )
        if offline is not None and offline.displaced is not None:
            device_id, _, nonce = offline.displaced.partition(SCAN_MARK)
            self._tables["displaced"].append((entry.sale_id, device_id, nonce))
        if fact.order_id is None or fact.number is None:
            return
        if offline is not None and offline.settled is not None:
            self._settled(entry, fact.order_id, fact.number, offline.settled)
        elif fact.result is f.ScanResult.ADMIT and offline is not None:
            self._stand(fact.order_id, fact.number, (_instant(offline.at_ms), entry.seq))
        elif fact.result is f.ScanResult.ADMIT:
            self._stand(fact.order_id, fact.number, (at, entry.seq))
            self._untold.discard((fact.order_id, fact.number))  # what is told, the fact has
            worth = (entry.sale_id, fact.token_digest, fact.tier_id, TicketStatus.USED)
            self._tables["token_changes"].append(worth)
        elif fact.result is f.ScanResult.EXIT and fact.checked_in_at_ms is not None:
            self._stand(fact.order_id, fact.number, _OUT)

    def _settled(self, entry: f.Entry, order_id: str, number: int, settled: Settled) -> None:
        for keys, stands in ((settled.falls, False), (settled.stands, True)):
            for key in keys:
                device_id, _, nonce = key.partition(SCAN_MARK)
                self._stands[entry.sale_id, device_id, nonce] = stands
        at_ms, in_by = settled.admitted_at_ms, settled.admitted_by
        admitted_at = _instant(at_ms) if at_ms is not None else None
        self._stand(order_id, number, (admitted_at, None) if settled.used else None)
        if in_by is not None:
            device_id, _, nonce = in_by.partition(SCAN_MARK)
            self._in_by[order_id, number] = (entry.sale_id, device_id, nonce)

    def _stand(self, order_id: str, number: int, admission: _Admission | None) -> None:
        self._admission[order_id, number] = admission
        self._untold.add((order_id, number))
        self._in_by.pop((order_id, number), None)

    def _configured(self, event_id: str, fact: Configured) -> None:
        self.configured.append((event_id, fact))
        match fact:
            case f.SaleOpened():
                tiers = fact.tiers
            case f.TierConfigured():
                tiers = (fact.tier,)
            case _:
                tiers = ()
        self._tables["quantities"] += [(t.tier_id, event_id, t.quantity) for t in tiers]

    def _count(self, event_id: str, order_id: str, *, held: int, sold: int = 0) -> None:
        for item in self._items[order_id]:
            self._held[event_id, item.tier_id] += held * item.quantity
            self._sold[event_id, item.tier_id] += sold * item.quantity


@lru_cache(maxsize=1_000)  # a batch is decided at one instant
def _instant(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
