"""A database in which all that can happen has happened: two sales, and all that follows."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from redis.asyncio import Redis

from engine import commands as c
from engine import facts as f
from engine import ids, snapshot
from engine.runtime.ports import Batch, Grant, Snapshot, SnapshotDelta
from engine.sale import apply
from engine.state import State
from engine.telling import ScanResult
from persistence.durable_snapshots import PostgresSnapshots
from persistence.findings import Report
from persistence.fsck import fsck
from persistence.healing import heal
from persistence.journal import NodeName, PostgresJournal
from persistence.projector import Projector
from persistence.retention import Retention
from persistence.snapshots import RedisSnapshots
from tests.engine.stage import (
    EVENT,
    FLOOR,
    HOLD_MS,
    HOUR_MS,
    MINUTE_MS,
    OFFER_MS,
    Stage,
    terms,
)
from tests.persistence.databases import fresh_database

SHARDS = 16
FACTS_A_BATCH = 3
FAR_MS = 1 << 42
SHARD = ids.shard_of(EVENT, SHARDS)  # of the eventful sale
OTHER_SALE = "evt_00000000000000bb"
OTHER_TIER = "tier_other"


def eventful() -> Stage:
    """Paid, declined, paid late, refunded, reissued, scanned, undone, let in though refunded,
    scanned offline, and come back.
    """
    stage = Stage()
    sold = stage.sell((FLOOR, 3))
    stage.place()
    late = stage.place((FLOOR, 2))
    payment_id = stage.request(late)
    stage.pass_ms(HOUR_MS)
    stage.sweep_all()
    stage.ask(stage.confirm_order(late, payment_id))
    underpaid = stage.place()
    stage.ask(stage.confirm_order(underpaid, stage.request(underpaid), 1))
    stage.ask(stage.reissue_ticket(sold.order_id, 1))
    stage.ask(stage.name_attendee(sold.order_id, 1))
    first, second, third = (stage.token(sold.order_id, number) for number in range(3))
    stage.scan(first, "undone")
    stage.ask(stage.undo_check_in("undone"))
    stage.scan(first)
    stage.scan(first)
    stage.scan(second)
    stage.ask(stage.refund_order(sold.order_id, 1, 2, force=True))
    stage.ask(stage.check_in(third, override=True, elsewhere=False))
    offline = stage.token(late)
    stage.sync("device-7", stage.told(offline, stage.now_ms - 5), stage.told(bytes(16)))
    stage.sync("device-8", stage.told(offline, stage.now_ms - 9), stage.told(first))
    stage.sync("device-9", stage.told(offline, stage.now_ms - 2))
    stage.allow_reentry()
    come_back(stage, stage.token(late, 1))
    stage.place((FLOOR, 1))
    return stage


def come_back(stage: Stage, token: bytes) -> None:
    """In and out, some of it told late: the second of two in a stay turns out to be of the next."""
    stage.scan(token)
    stage.pass_ms(MINUTE_MS)
    stage.sync("device-8", stage.told(token, stage.now_ms - 9), stage.told(token))
    stage.sync("device-9", stage.told(token, stage.now_ms - 10, told=ScanResult.EXIT))
    stage.sync("device-7", stage.told(token, stage.now_ms - 8))
    stage.leave(token)
    stage.pass_ms(1)
    stage.scan(token, "back")
    stage.ask(stage.undo_check_in("back"))
    stage.scan(token)


def quiet() -> Stage:
    """Places that come back are offered, in part, and taken, left, and let lapse; a ticket is given
    to another, and refunded.
    """
    stage = Stage(terms(OTHER_TIER, quantity=2), event_id=OTHER_SALE)
    sold = stage.sell((OTHER_TIER, 2))
    stage.ask(stage.transfer_ticket(sold.order_id))
    taken = stage.join(3, OTHER_TIER, "buyer-3")
    for buyer_id in ("buyer-4", "buyer-5"):
        stage.join(1, OTHER_TIER, buyer_id)
    stage.ask(stage.refund_order(sold.order_id, 1))
    offer_id = ids.offer_id(taken)
    stage.ask(stage.place_order((OTHER_TIER, 1), buyer_id="buyer-3", offer_id=offer_id))
    rest = stage.entry(taken).rest_entry_id
    assert rest is not None
    stage.ask(c.LeaveWaitlist(rest, c.Caller(c.Role.ADMIN, "")))
    stage.pass_ms(HOLD_MS)
    stage.sweep_all()
    stage.pass_ms(OFFER_MS)
    stage.sweep_all()
    stage.ask(stage.refund_order(sold.order_id, 2))
    return stage


def at(entries: Iterable[f.Entry], seq: int) -> State:
    """The sale as of its `seq`-th fact."""
    entries = list(entries)
    state = snapshot.fresh(entries[0].sale_id)
    for entry in entries[:seq]:
        apply(state, entry)
    return state


class Books:
    def __init__(
        self, dsn: str, pool: asyncpg.Pool, redis_url: str, redis: Redis, archive: Path
    ) -> None:
        self.dsn = dsn
        self.archive = archive
        self.redis_url = redis_url
        self.pool = pool
        self.redis = redis
        self.stages = (eventful(), quiet())
        self.journal = PostgresJournal(dsn, pool, NodeName("one", "1"))
        self.grants: dict[int, Grant] = {}

    @property
    def sale(self) -> Stage:
        return self.stages[0]

    async def check(self, *, repair: bool = False, chosen: Iterable[int] = ()) -> Report:
        return await fsck(
            self.dsn,
            self.redis_url,
            archive=self.archive,
            shards=SHARDS,
            repair=repair,
            chosen=chosen,
        )

    async def damage(self, statement: str, *values: object) -> None:
        done: str = await self.pool.execute(statement, *values)
        assert not done.endswith(" 0"), "it damaged nothing"

    async def write(self, entries: list[f.Entry]) -> None:
        """A few facts a batch, as many small turns would have."""
        shard_id = ids.shard_of(entries[0].sale_id, SHARDS)
        grant = self.grants[shard_id]
        seq = await self.pool.fetchval("SELECT last_seq FROM shards WHERE shard_id = $1", shard_id)
        for number, first in enumerate(range(0, len(entries), FACTS_A_BATCH), start=1):
            piece = tuple(entries[first : first + FACTS_A_BATCH])
            keys = tuple(
                (e.fact.order_id, bytes(32)) for e in piece if isinstance(e.fact, f.OrderPlaced)
            )
            batch = Batch(shard_id, grant.epoch, seq + number, piece, keys)
            assert await self.journal.append([batch]) == {shard_id}

    async def project(self) -> None:
        connection = await asyncpg.connect(self.dsn)
        projector = Projector(connection, heal)
        while await projector.step():
            pass
        await connection.close()

    async def retire(self) -> int:
        """Move what may go to the archive; how many batches went."""
        connection = await asyncpg.connect(self.dsn)
        moved = await Retention(connection, self.archive, timedelta(0)).step()
        await connection.close()
        return moved

    async def save(self, stage: Stage, batches: int) -> None:
        """Both snapshots and the view, as of the end of the sale's `batches`-th batch."""
        seq = min(batches * FACTS_A_BATCH, len(stage.entries))
        state = at(stage.entries, seq)
        grant = self.grants[ids.shard_of(stage.event_id, SHARDS)]
        entities = dict(snapshot.encode(state, snapshot.names(state)))
        place = (stage.event_id, grant.shard_id, grant.epoch, seq, batches)
        delta = SnapshotDelta(
            *place, None, 0, len(entities), FAR_MS, list(entities.items()), state.view()
        )
        assert await RedisSnapshots(self.redis).save(delta)
        await PostgresSnapshots(self.pool).keep(Snapshot(*place, entities, incremental=False))


def found(report: Report, name: str) -> list[str]:
    """The findings of that check; no other check may have any."""
    others = [check.name for check in report.checks if check.findings and check.name != name]
    assert not others, report.lines()
    return report.check(name).findings


@asynccontextmanager
async def opened(postgres_dsn: str, redis_url: str, archive: Path) -> AsyncIterator[Books]:
    """Written, projected, one sale's copies up to date and the other's a little behind."""
    own = urlunsplit(urlsplit(redis_url)._replace(query="db=7"))
    redis = Redis.from_url(own)
    await redis.flushdb()
    async with (
        fresh_database(postgres_dsn) as dsn,
        asyncpg.create_pool(dsn, min_size=1, max_size=3) as pool,
    ):
        books = Books(dsn, pool, own, redis, archive)
        acquired = await books.journal.acquire(range(SHARDS))
        books.grants = {grant.shard_id: grant for grant in acquired}
        for stage in books.stages:
            await books.write(stage.entries)
        await books.project()
        await books.save(books.stages[0], 5)
        await books.save(books.stages[1], -(-len(books.stages[1].entries) // FACTS_A_BATCH))
        yield books
        await books.journal.close()
    await redis.flushdb()
    await redis.aclose()
