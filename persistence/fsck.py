"""Recounts everything from the journal, and compares all that is derived with it.

Rules of this file:

- It is safe beside a running system: a copy is compared at the fact that it is as of, the tables at
  the projection's offset, all of one sale in one snapshot of the database. Redis is read first, so
  that it can't be ahead of what Postgres shows then.
- Memory holds a sale at a time.
- What the journal has lost may live on in what was derived from it alone: a shard whose journal is
  damaged, or a sale whose facts have a gap, is not mended.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import msgspec
from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError

from engine.facts import Entry
from engine.ids import shard_of
from persistence import strangers
from persistence.banking import disagreements
from persistence.copies import Kind, from_postgres, from_redis
from persistence.findings import Report
from persistence.history import History
from persistence.journal import CorruptJournal, decode
from persistence.mending import Mender, hold_projection
from persistence.migrations import MigrationError, assert_migrated
from persistence.projected import TABLES, Rows, Table, differences, expected
from persistence.reckoning import Reckoning
from persistence.retention import ArchivedRow
from persistence.servers import ToolError
from persistence.transactions import AWAY

CONNECT_S_MAX = 10.0

Progress = Callable[[str, int, int], None]  # what is looked at, how many of it, of how many

_SHARD = """
SELECT s.epoch, s.last_seq, coalesce(s.archived_seq, 0) AS archived_seq,
       coalesce(o.seq, 0) AS projected
FROM (SELECT $1::int AS shard_id) wanted
LEFT JOIN shards s USING (shard_id) LEFT JOIN projection_offsets o USING (shard_id)
"""
_KEYS = """
SELECT count(DISTINCT order_id) FROM personal_keys WHERE order_id >= $1 AND order_id < $2
"""


class _Journal(Struct):
    """A shard's. `sale_ids` in the order of their first fact."""

    sale_ids: dict[str, None]
    undamaged: bool


async def fsck(
    database_url: str,
    redis_url: str,
    *,
    archive: Path,
    shards: int,
    chosen: Iterable[int] = (),
    repair: bool = False,
    progress: Progress = lambda what, done, total: None,
) -> Report:
    """Check the chosen shards, or all. `archive`: where the journal's old parts went.

    Raises ToolError or MigrationError where it can't.
    """
    try:
        async with _connected(database_url, redis_url) as (connection, redis):
            await assert_migrated(connection)
            await _assert_shards(connection, shards)
            if repair:
                await hold_projection(connection)
            mender = Mender(connection, redis) if repair else None
            checking = Fsck(connection, redis, archive, shards, mender, progress)
            return await checking.run(sorted(set(chosen)) or range(shards))
    except (*AWAY, asyncpg.PostgresError, RedisError) as error:
        raise ToolError(f"it can't be checked: {error}") from error


@asynccontextmanager
async def _connected(
    database_url: str, redis_url: str
) -> AsyncIterator[tuple[asyncpg.Connection, Redis]]:
    connection = await asyncpg.connect(
        database_url, timeout=CONNECT_S_MAX, server_settings={"application_name": "stampede fsck"}
    )
    redis = Redis.from_url(redis_url)
    try:
        yield connection, redis
    finally:
        await redis.aclose()
        await connection.close()


async def _assert_shards(connection: asyncpg.Connection, shards: int) -> None:
    """A row that is missing among others is damage, and found; another number is a setting."""
    known = [row[0] for row in await connection.fetch("SELECT shard_id FROM shards ORDER BY 1")]
    unbroken = known == list(range(len(known)))
    if known and (known[-1] >= shards or (unbroken and len(known) < shards)):
        raise MigrationError(
            f"this database was set up with {known[-1] + 1} shards, not {shards}:"
            f" set STAMPEDE_SHARDS={known[-1] + 1}"
        )


class Fsck:
    """`mender` None: only look."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        redis: Redis,
        archive: Path,
        shards: int,
        mender: Mender | None,
        progress: Progress,
    ) -> None:
        self._connection = connection
        self._redis = redis
        self._archive = archive
        self._shards = shards
        self._mender = mender
        self._progress = progress
        self._known: set[str] = set()  # the sales that were checked
        self._undamaged: set[int] = set()  # shards whose journal is as it was written
        self._report = Report()
        self._journal = self._report.check("journal")
        self._sales = self._report.check("sales")
        self._copies = {kind: self._report.check(f"{kind.value}s") for kind in Kind}
        self._tables = {t.name: self._report.check(f"table {t.name}") for t in TABLES}
        self._personal = self._report.check("personal keys")
        self._bank = self._report.check("sandbox's ledger")

    async def run(self, shard_ids: Sequence[int]) -> Report:
        for shard_id in shard_ids:
            await self._check_shard(shard_id)
        await self._find_strangers(frozenset(shard_ids))
        return self._report

    async def _check_shard(self, shard_id: int) -> None:
        history = History(self._connection, self._archive, shard_id)
        async with self._one_look():
            journal = await self._check_journal(shard_id, history)
        if journal.undamaged:
            self._undamaged.add(shard_id)
        for done, sale_id in enumerate(journal.sale_ids):
            self._progress(f"shard {shard_id}, sales", done, len(journal.sale_ids))
            await self._check_sale(shard_id, sale_id, history)
        self._known |= journal.sale_ids.keys()

    @asynccontextmanager
    async def _one_look(self) -> AsyncIterator[None]:
        async with self._connection.transaction(isolation="repeatable_read", readonly=True):
            yield

    # The journal's form.

    async def _check_journal(self, shard_id: int, history: History) -> _Journal:
        shard = await self._connection.fetchrow(_SHARD, shard_id)
        assert shard is not None
        found = len(self._journal.findings) + self._journal.untold
        sale_ids: dict[str, None] = {}
        first, last = 0, None
        async for row in history.shard(shard["archived_seq"]):
            self._progress(f"shard {shard_id}, batches", row.seq, shard["last_seq"] or 0)
            self._check_batch(f"shard {shard_id}, batch {row.seq}", row, last, shard)
            sale_ids |= self._check_sales(shard_id, row)
            first, last = first or row.seq, row
        for path in history.unreadable:
            self._journal.find(f"shard {shard_id}: {path} can't be read")
        if shard["archived_seq"] and first != 1:
            self._journal.find(f"shard {shard_id}: batch 1 is not in the archive {self._archive}")
        self._check_end(shard_id, last.seq if last else 0, shard)
        self._journal.counted["shards"] += 1
        undamaged = len(self._journal.findings) + self._journal.untold == found
        return _Journal(sale_ids, undamaged and first in (0, 1))

    def _check_batch(
        self, name: str, row: ArchivedRow, last: ArchivedRow | None, shard: asyncpg.Record
    ) -> None:
        self._journal.counted["batches"] += 1
        if last is not None and row.seq != last.seq + 1:
            self._journal.find(f"{name} follows batch {last.seq}")
        if last is not None and row.epoch < last.epoch:
            self._journal.find(f"{name} is of epoch {row.epoch}, after epoch {last.epoch}")
        if row.epoch > (shard["epoch"] or 0):
            self._journal.find(f"{name} is of epoch {row.epoch}, which was never granted")

    def _check_sales(self, shard_id: int, row: ArchivedRow) -> dict[str, None]:
        """The batch's sales, those that it only says it names too."""
        name = f"shard {shard_id}, batch {row.seq}"
        named = dict.fromkeys(row.sale_ids)
        try:
            entries = decode(row.batch, row.crc)
        except (CorruptJournal, msgspec.DecodeError):
            self._journal.find(f"{name} is not what was written: its checksum or form is wrong")
            return named
        held = dict.fromkeys(entry.sale_id for entry in entries)
        if held.keys() != named.keys():
            self._journal.find(f"{name} names {_listed(named)}, and holds facts of {_listed(held)}")
        for sale_id in held:
            home = shard_of(sale_id, self._shards)
            if home != shard_id:
                self._journal.find(f"{name} holds facts of {sale_id}, which lives in shard {home}")
        return {**held, **named}

    def _check_end(self, shard_id: int, seq: int, shard: asyncpg.Record) -> None:
        if shard["last_seq"] is None:
            if seq:
                self._journal.find(f"shard {shard_id} has {seq} batches, and no row in shards")
        elif shard["last_seq"] != seq:
            self._journal.find(
                f"shard {shard_id} ends at batch {seq}, its row says {shard['last_seq']}"
            )
        if shard["projected"] > seq:
            self._journal.find(
                f"shard {shard_id} ends at batch {seq}, but {shard['projected']} are projected"
            )

    # One sale.

    async def _check_sale(self, shard_id: int, sale_id: str, history: History) -> None:
        copies = await from_redis(self._redis, shard_id, sale_id)
        async with self._one_look():
            shard = await self._connection.fetchrow(_SHARD, shard_id)
            assert shard is not None
            copies += await from_postgres(self._connection, shard_id, sale_id)
            reckoning = Reckoning(sale_id, shard["epoch"] or 0, shard["archived_seq"], copies)
            tables_differ = await self._reckon(reckoning, history, shard["projected"])
            await self._count_keys(reckoning)
            await self._check_bank(reckoning)
        reckoning.end()
        for copy in copies:
            self._copies[copy.kind].counted["compared"] += 1
        for kind, wrong in reckoning.broken.items():
            self._copies[kind].find(f"the {kind.value} of {sale_id} {wrong}")
        for wrong in reckoning.wrong:
            self._sales.find(f"{sale_id}: {wrong}")
        self._sales.counted.update(reckoning.summary())
        if self._mender and reckoning.whole and shard_id in self._undamaged:
            mended = await self._mender.mend(shard_id, reckoning)
            if tables_differ:
                mended += await self._mender.rewrite_tables(history, reckoning, shard["projected"])
            self._report.mended += mended

    async def _reckon(self, reckoning: Reckoning, history: History, projected: int) -> bool:
        """Go through the sale's facts; whether a table differs from those that are projected."""
        compared: bool | None = None
        async for row in history.sale(reckoning.sale_id, reckoning.archived_seq):
            if compared is None and row.seq > projected:
                compared = await self._compare_tables(reckoning)
            for entry in self._entries(reckoning, row):
                reckoning.take((row.epoch, row.seq), entry)
        return await self._compare_tables(reckoning) if compared is None else compared

    def _entries(self, reckoning: Reckoning, row: ArchivedRow) -> list[Entry]:
        try:
            entries = decode(row.batch, row.crc)
        except (CorruptJournal, msgspec.DecodeError):
            reckoning.miss(f"batch {row.seq} can't be read")
            return []
        return [entry for entry in entries if entry.sale_id == reckoning.sale_id]

    async def _compare_tables(self, reckoning: Reckoning) -> bool:
        if not reckoning.whole:
            return False
        wanted = expected(reckoning.recount)
        different = [await self._compare(t, reckoning.sale_id, wanted[t.name]) for t in TABLES]
        return any(different)

    async def _compare(self, table: Table, sale_id: str, wanted: Rows) -> bool:
        check = self._tables[table.name]
        count, wrong = await differences(self._connection, table, sale_id, wanted)
        check.counted["rows"] += count
        for sentence in wrong:
            check.find(f"{sale_id}: {sentence}")
        return bool(wrong)

    async def _check_bank(self, reckoning: Reckoning) -> None:
        if not reckoning.whole:
            return
        orders, recount = TABLES[0], reckoning.recount
        count, wrong = await disagreements(
            self._connection, recount, orders.bounds(reckoning.sale_id)
        )
        self._bank.counted["payments decided"] += count
        for sentence in wrong:
            self._bank.find(f"{reckoning.sale_id}: {sentence}")

    async def _count_keys(self, reckoning: Reckoning) -> None:
        orders = TABLES[0]
        kept: int = await self._connection.fetchval(_KEYS, *orders.bounds(reckoning.sale_id))
        sealed = len(reckoning.recount.sealed)
        self._personal.counted["orders with personal data"] += sealed
        self._personal.counted["erased"] += max(sealed - kept, 0)

    # What nobody asked for.

    async def _find_strangers(self, shard_ids: frozenset[int]) -> None:
        found = strangers.find(self._connection, self._redis, self._shards, self._known)
        async for stranger in found:
            shard_id = shard_of(stranger.sale_id, self._shards)
            if shard_id in shard_ids:
                place = stranger.place
                told = self._tables[place.name] if isinstance(place, Table) else self._copies[place]
                told.find(f"{stranger.name}: the journal has nothing of it there")
                if self._mender and shard_id in self._undamaged:
                    await self._mender.remove(stranger)
                    self._report.mended.append(f"{stranger.name}: deleted")


def _listed(sale_ids: Iterable[str]) -> str:
    return " ".join(sale_ids) or "none"
