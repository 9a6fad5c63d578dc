"""An order that has left memory stands in the tables as its facts made it, and how far they are."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from engine import commands as c
from engine import ids
from engine.facts import Entry
from persistence.healing import heal
from persistence.journal import NodeName, PostgresJournal
from persistence.projector import Projector
from persistence.reading import Projections
from tests.engine.stage import BUYER, EVENT, FLOOR, HOLD_MS, KEPT_MS, Stage, terms
from tests.engine.tables import Tables
from tests.persistence.databases import fresh_database
from tests.runtime.journal_contract import batch

SHARD = 3


class Books:
    """A journal, the tables behind it, and what is read there."""

    def __init__(self, dsn: str, pool: asyncpg.Pool, connection: asyncpg.Connection) -> None:
        self._journal = PostgresJournal(dsn, pool, NodeName("one", "1"))
        self._projector = Projector(connection, heal)
        self._seq = 0
        self.projections = Projections(pool)

    async def write(self, *entries: Entry) -> None:
        (grant,) = await self._journal.acquire([SHARD])
        self._seq += 1
        await self._journal.append([batch(grant, self._seq, *entries)])

    async def project(self) -> None:
        while await self._projector.step():
            pass

    async def close(self) -> None:
        await self._journal.close()


@pytest_asyncio.fixture
async def books(postgres_dsn: str) -> AsyncIterator[Books]:
    async with fresh_database(postgres_dsn) as dsn, asyncpg.create_pool(dsn, min_size=1) as pool:
        connection = await asyncpg.connect(dsn)
        made = Books(dsn, pool, connection)
        yield made
        await made.close()
        await connection.close()


def an_eventful_sale() -> Stage:
    """Orders that ended in every way, were archived, recalled, paid late and paid in vain."""
    stage = Stage(terms(quantity=3), terms("tier_balcony"))
    stage.ask(c.CancelOrder(stage.place((FLOOR, 1), ("tier_balcony", 2)), BUYER))
    orders = [stage.place((FLOOR, 1)) for _ in range(3)]
    declined = stage.request(orders[0])
    stage.ask(c.DeclinePayment(orders[0], declined))
    payments = [stage.request(order_id) for order_id in orders]
    stage.pass_ms(HOLD_MS)
    stage.sweep_all()
    stage.archive_all()
    stage.ask(stage.recall(orders[0]))
    stage.ask(stage.confirm_order(orders[0], payments[0]))
    stage.sell((FLOOR, 2))
    for order_id, payment_id in list(zip(orders, payments, strict=True))[1:]:
        stage.ask(stage.recall(order_id))
        stage.ask(stage.confirm_order(order_id, payment_id))
    refund_id = stage.state.order_by_id[orders[1]].refunds[0].refund_id
    stage.ask(c.SettleRefund(orders[1], refund_id, True))
    stage.ask(c.SettleRefund(orders[2], "ref_unknown", True))
    stage.archive_all()
    stage.place(("tier_balcony", 1))
    return stage


@pytest.mark.parametrize("at_once", [1, 1000])
async def test_every_order_reads_as_its_facts_made_it_at_any_time(
    books: Books, at_once: int
) -> None:
    stage = an_eventful_sale()
    tables = Tables()
    orders = stage.auditor.orders
    for first in range(0, len(stage.entries), at_once):
        entries = stage.entries[first : first + at_once]
        await books.write(*entries)
        await books.project()
        for entry in entries:
            tables.hear(entry)
        for order_id in orders:
            assert await books.projections.order_on_file(order_id) == tables.read(order_id)
    assert any(type(entry.fact).__name__ == "OrderRecalled" for entry in stage.entries)


async def test_an_order_read_too_early_says_so(books: Books) -> None:
    stage = Stage()
    order_id = stage.place()
    stage.ask(c.CancelOrder(order_id, BUYER))
    early = len(stage.entries)
    stage.pass_ms(KEPT_MS)
    stage.archive_all()
    assert (await books.projections.order_on_file(order_id)).seq == 0
    await books.write(*stage.entries[:early])
    await books.project()
    file = await books.projections.order_on_file(order_id)
    assert file.seq == early < stage.state.header.archived_seq
    await books.write(*stage.entries[early:])
    await books.project()
    file = await books.projections.order_on_file(order_id)
    assert file.seq == stage.state.header.archived_seq


async def test_an_order_that_never_was_is_not_known(books: Books) -> None:
    await books.write(*Stage().entries)
    await books.project()
    never = ids.order_id(EVENT, bytes(ids.ORDER_RANDOM_BYTES))
    file = await books.projections.order_on_file(never)
    assert (file.seq, file.known, file.order) == (1, False, None)
