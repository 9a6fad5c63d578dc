"""Who is told what follows from the facts, once, however often they are read."""

from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
from msgspec.structs import replace

from engine import ids
from engine.catalogue import from_ms
from engine.commands import Key
from engine.facts import (
    Entry,
    OfferMade,
    OrderConfirmed,
    OrderRefunded,
    TicketScanned,
    TicketTransferred,
)
from engine.facts import ScanResult as Result
from engine.lifecycle import Step
from engine.outgoing import Endpoint, MailKind, WebhookType
from persistence import events
from persistence.backup import backup, restore
from persistence.outgoing.feeding import TOLD_WITHIN, feed
from persistence.outgoing.mails import MailOutbox
from persistence.outgoing.webhooks import Deliveries, Webhooks
from tests.persistence.books import Books
from tests.persistence.catalogue_world import World
from tests.persistence.test_backup import _silent, empty, empty_redis  # noqa: F401


def _now(entries: list[Entry]) -> list[Entry]:
    """The same facts, just now."""
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    return [replace(entry, at_ms=now_ms) for entry in entries]


async def _feed(books: Books, entries: list[Entry]) -> None:
    async with books.pool.acquire() as connection, connection.transaction():
        await feed(connection, entries)


async def _mails(books: Books) -> list[tuple[str, str]]:
    rows = await books.pool.fetch("SELECT kind, subject FROM mails ORDER BY mail_id")
    return [tuple(row) for row in rows]


async def _with_addresses(books: Books) -> None:
    """Every order has one, and nobody has been told anything."""
    await books.pool.execute("UPDATE orders SET sealed = '\\x00'")
    await books.pool.execute("DELETE FROM mails")


async def test_facts_that_are_read_twice_are_told_once(books: Books) -> None:
    await _with_addresses(books)
    entries = _now(books.sale.entries)
    await _feed(books, entries)
    told = await _mails(books)
    confirmed = [e.fact for e in entries if isinstance(e.fact, OrderConfirmed)]
    refunded = [e.fact for e in entries if isinstance(e.fact, OrderRefunded)]
    assert {s for k, s in told if k == MailKind.ORDER_CONFIRMED} == {f.order_id for f in confirmed}
    assert {s for k, s in told if k == MailKind.ORDER_REFUNDED} == {f.refund_id for f in refunded}
    assert len([k for k, _ in told if k == MailKind.MONEY_RETURNED]) == 1
    await _feed(books, entries)
    assert await _mails(books) == told


async def test_both_hear_of_a_transfer_and_who_waits_of_an_offer(books: Books) -> None:
    await _with_addresses(books)
    confirmed = next(e for e in books.sale.entries if isinstance(e.fact, OrderConfirmed))
    assert isinstance(confirmed.fact, OrderConfirmed)
    order_id, sale_id = confirmed.fact.order_id, confirmed.sale_id
    key = Key(bytes(16), bytes(16))
    given = TicketTransferred(order_id, 0, 1, "tier", bytes(16), None, b"sealed", key)
    entry_id = ids.entry_id(sale_id, bytes(ids.ORDER_RANDOM_BYTES))
    in_an_hour = int(datetime.now(UTC).timestamp() * 1000) + 3_600_000
    offer = OfferMade(entry_id, "tier", 2, in_an_hour, None)
    entries = _now([Entry(sale_id, 1, 0, given), Entry(sale_id, 2, 0, offer)])
    for _ in range(2):
        await _feed(books, entries)
    assert set(await _mails(books)) == {
        (MailKind.TICKET_GIVEN, ids.ticket_id(order_id, 0)),
        (MailKind.TICKET_RECEIVED, ids.ticket_id(order_id, 1)),
        (MailKind.OFFER_MADE, entry_id),
        (MailKind.OFFER_ENDING, entry_id),
    }
    assert len(await _mails(books)) == 4


@pytest.mark.parametrize(("window_min", "told"), [(30, True), (20, True), (19, False)])
async def test_an_offers_end_is_told_ten_minutes_before_if_its_window_is_long_enough(
    books: Books, window_min: int, told: bool
) -> None:
    await _with_addresses(books)
    sale_id = books.sale.entries[0].sale_id
    entry_id = ids.entry_id(sale_id, bytes(ids.ORDER_RANDOM_BYTES))
    (made,) = _now([Entry(sale_id, 1, 0, OfferMade(entry_id, "tier", 1, 0, None))])
    ends_ms = made.at_ms + window_min * 60_000
    offer = OfferMade(entry_id, "tier", 1, ends_ms, None)
    await _feed(books, [replace(made, fact=offer)])
    due = await books.pool.fetchval("SELECT due_at FROM mails WHERE kind = 'offer_ending'")
    assert due == (from_ms(ends_ms - 600_000) if told else None)


async def test_nobody_is_told_again_what_happened_long_ago(books: Books) -> None:
    await _with_addresses(books)
    old = datetime.now(UTC) - TOLD_WITHIN
    old_ms = int(old.timestamp() * 1000) - 1_000
    await _feed(books, [replace(entry, at_ms=old_ms) for entry in books.sale.entries])
    assert await _mails(books) == []


async def test_an_order_without_an_address_costs_no_mail(books: Books) -> None:
    await _with_addresses(books)
    await books.pool.execute("UPDATE orders SET sealed = NULL")
    await books.pool.execute("UPDATE tickets SET sealed = NULL")
    await _feed(books, _now(books.sale.entries))
    assert await _mails(books) == []


async def test_a_restored_house_tells_nobody_twice(
    books: Books,
    empty: str,  # noqa: F811
    empty_redis: str,  # noqa: F811
    tmp_path: Path,
) -> None:
    assert await _mails(books)  # written when it was projected
    await books.pool.execute("UPDATE mails SET state = 'sent'")
    file = tmp_path / "backup.tar"
    await backup(books.dsn, books.archive, file, _silent)
    await restore(empty, empty_redis, file, _silent)
    connection = await asyncpg.connect(empty)
    before = await connection.fetchval("SELECT max(mail_id) FROM mails")
    assert await MailOutbox(connection).next([]) is None
    added = await connection.fetchval(
        "INSERT INTO mails (kind, subject, version, event_id, detail, lane)"
        " VALUES ('k', 's', 0, 'e', '{}', 0) RETURNING mail_id"
    )
    assert added > before
    await connection.close()


def _endpoint(organizer: str, *kinds: WebhookType, at_ms: int) -> Endpoint:
    name = f"whk_{organizer}"
    return Endpoint(name, organizer, "https://x.org/", kinds, "s", True, None, from_ms(at_ms))


async def test_endpoints_hear_their_kinds_and_nothing_from_before_them(
    world: World, books: Books
) -> None:
    event, _ = await world.on_sale()
    owned = [replace(entry, sale_id=event.event_id) for entry in _now(books.sale.entries)]
    at_ms = owned[0].at_ms
    webhooks = Webhooks(world.pool)
    hears = _endpoint(event.organizer_id, WebhookType.TICKET_CHECKED_IN, at_ms=at_ms)
    assert await webhooks.add(hears, 5)
    late = replace(hears, endpoint_id="whk_late", created_at=from_ms(at_ms + 1))
    other = _endpoint("somebody", WebhookType.TICKET_CHECKED_IN, at_ms=at_ms)
    for endpoint in (late, other):
        assert await webhooks.add(endpoint, 5)
    assert not await webhooks.add(replace(hears, endpoint_id="whk_more"), 2)
    async with world.pool.acquire() as connection:
        for _ in range(2):
            await feed(connection, owned)
        calls = await Deliveries(connection).due([], [], 100)
    admitted = [
        e for e in owned if isinstance(e.fact, TicketScanned) and e.fact.result is Result.ADMIT
    ]
    assert len(await webhooks.deliveries(hears.endpoint_id, 1 << 60, 100)) == len(admitted)
    assert {call.delivery.endpoint_id for call in calls} == {hears.endpoint_id}


@pytest.mark.parametrize("step", [Step.COMPLETE, Step.CANCEL])
async def test_an_event_that_ends_begins_one_mailing_at_most(world: World, step: Step) -> None:
    event, _ = await world.on_sale()
    await world.step(event, step)
    found = await world.pool.fetch("SELECT kind FROM mailings WHERE event_id = $1", event.event_id)
    # The holders of a cancelled event hear of it with their refund.
    assert [row["kind"] for row in found] == (["event_completed"] if step is Step.COMPLETE else [])


async def test_only_another_time_or_place_begins_a_mailing(world: World) -> None:
    event, _ = await world.on_sale()
    statement = "SELECT count(*) FROM mailings WHERE event_id = $1"
    async with world.pool.acquire() as connection:
        await events.save(connection, replace(await world.read(event), title="Another"))
        assert await connection.fetchval(statement, event.event_id) == 0
        elsewhere = await world.venue()
        await events.save(connection, replace(await world.read(event), venue_id=elsewhere.venue_id))
        assert await connection.fetchval(statement, event.event_id) == 1


async def test_a_mailing_waits_until_the_tables_have_its_orders(books: Books) -> None:
    """Who bought just before the change may not be in the tables yet when it is written out."""
    await _with_addresses(books)
    confirmed = await books.pool.fetchval(
        "SELECT count(*) FROM orders WHERE status = 'CONFIRMED' AND event_id = $1",
        books.sale.event_id,
    )
    assert confirmed
    reached = await books.pool.fetch("SELECT shard_id, seq FROM projection_offsets")
    await books.pool.execute("UPDATE projection_offsets SET seq = seq - 1")
    await books.pool.execute(
        "INSERT INTO mailings (kind, event_id) VALUES ('event_completed', $1)", books.sale.event_id
    )
    async with books.pool.acquire() as connection:
        outbox = MailOutbox(connection)
        assert await outbox.write_out() == 0
        for row in reached:
            await connection.execute(
                "UPDATE projection_offsets SET seq = $2 WHERE shard_id = $1", *row
            )
        assert await outbox.write_out() == confirmed
        assert await outbox.write_out() == 0
        assert await connection.fetchval("SELECT count(*) FROM mailings") == 0
        assert await connection.fetchval("SELECT count(*) FROM mails") == confirmed
