"""What is derived: damage is found by name, mended on demand, and then all is clean."""

from collections.abc import Awaitable, Callable

import msgspec
import pytest

from engine.ids import shard_of
from persistence.saves import snapshot_key, view_key
from tests.engine.stage import EVENT
from tests.persistence.books import FACTS_A_BATCH, OTHER_SALE, SHARD, SHARDS, Books, found


async def _mended(books: Books, name: str, sentence: str) -> None:
    looked = found(await books.check(), name)
    assert any(sentence in finding for finding in looked), looked
    mending = await books.check(repair=True)
    assert set(found(mending, name)) <= set(looked)  # one mend may be for two findings
    assert mending.mended
    again = await books.check()
    assert again.clean, again.lines()


_FIRST = f"WHERE order_id = (SELECT min(order_id) FROM orders WHERE event_id = '{EVENT}')"
TABLE_DAMAGE = {
    "an order is gone": (f"DELETE FROM orders {_FIRST}", "orders", "is missing"),
    "an order is another's": (
        f"UPDATE orders SET buyer_id = 'eve' {_FIRST}",
        "orders",
        "has buyer_id eve, by the facts buyer-1",
    ),
    "an item is gone": (f"DELETE FROM order_items {_FIRST}", "order_items", "0 is missing"),
    "a payment is taken for open": (
        f"UPDATE payments SET status = 'open' {_FIRST}",
        "payments",
        "has status open, by the facts succeeded",
    ),
    "a refund is larger": (
        "UPDATE refunds SET amount_minor = amount_minor + 1 WHERE amount_minor = 10000",
        "refunds",
        "has amount_minor 10001, by the facts 10000",
    ),
    "a ticket too many": (
        "INSERT INTO tickets (order_id, number, event_id, tier_id, token_digest, status, issued_at)"
        " SELECT order_id, 99, event_id, tier_id, token_digest, 'VALID', issued_at FROM tickets"
        f" {_FIRST} AND number = 0",
        "tickets",
        "99 follows from no fact",
    ),
    "a dead ticket lives": (
        "UPDATE tickets SET status = 'VALID' WHERE status = 'CANCELLED'",
        "tickets",
        "has status VALID, by the facts CANCELLED",
    ),
    "a scan is gone": (
        "DELETE FROM checkins WHERE result = 'ALREADY_ADMITTED'",
        "checkins",
        "is missing",
    ),
    "a counter is wrong": (
        "UPDATE tier_counters SET sold = sold + 1 WHERE tier_id = 'tier_floor'",
        "tier_counters",
        "the row tier_floor has sold",
    ),
    "a counter is another event's": (
        "UPDATE tier_counters SET event_id = 'evt_00000000000000cc' WHERE tier_id = 'tier_floor'",
        "tier_counters",
        "the row tier_floor is missing",
    ),
    "a sale has come less far than it says": (
        "UPDATE sale_offsets SET seq = seq + 1",
        "sale_offsets",
        "by the facts",
    ),
    "rows of a sale that never was": (
        "INSERT INTO payments VALUES"
        " ('pay_' || repeat('0', 48), 'ord_' || repeat('0', 36), 'evt_', 'card', 1, 'open', 1)",
        "payments",
        "the rows of evt_0000000000000000 in payments: the journal has nothing of it",
    ),
}


@pytest.mark.parametrize("name", TABLE_DAMAGE)
async def test_a_wrong_table_is_found_and_written_anew(books: Books, name: str) -> None:
    statement, table, sentence = TABLE_DAMAGE[name]
    await books.damage(statement)
    await _mended(books, f"table {table}", sentence)


async def test_tables_are_mended_to_where_the_projection_is(books: Books) -> None:
    before = len(books.sale.entries)
    books.sale.sell()
    await books.write(books.sale.entries[before:])
    await books.damage("DELETE FROM orders WHERE event_id = $1", EVENT)
    await _mended(books, "table orders", "is missing")
    await books.project()
    assert (await books.check()).clean


async def _lose_entity(books: Books) -> None:
    await books.redis.hdel(snapshot_key(SHARD, EVENT), "sale")


async def _garble_meta(books: Books) -> None:
    await books.redis.hset(snapshot_key(SHARD, EVENT), "meta", "?")


async def _age_meta(books: Books) -> None:
    """Whole by its checksums, and yet not the sale as of that fact."""
    key = snapshot_key(SHARD, EVENT)
    meta = msgspec.json.decode(await books.redis.hget(key, "meta") or b"")
    meta[1] += FACTS_A_BATCH
    meta[2] += 1
    await books.redis.hset(key, "meta", msgspec.json.encode(meta))


async def _future_meta(books: Books) -> None:
    key = snapshot_key(SHARD, EVENT)
    meta = msgspec.json.decode(await books.redis.hget(key, "meta") or b"")
    meta[1] += 10_000
    await books.redis.hset(key, "meta", msgspec.json.encode(meta))


async def _misname_batch(books: Books) -> None:
    key = snapshot_key(SHARD, EVENT)
    meta = msgspec.json.decode(await books.redis.hget(key, "meta") or b"")
    meta[2] += 1
    await books.redis.hset(key, "meta", msgspec.json.encode(meta))


REDIS_DAMAGE: dict[str, tuple[Callable[[Books], Awaitable[None]], str]] = {
    "an entity is lost": (_lose_entity, "does not agree with its own checksums"),
    "what it says of itself is garbled": (_garble_meta, "says nothing of itself"),
    "it is another fact's": (_age_meta, "is as of fact 18, but sale differs"),
    "it is ahead of the journal": (_future_meta, "is as of fact 10015, the journal ends at"),
    "it names another batch": (_misname_batch, "names batch 6, where batch 5 brought that fact"),
}


@pytest.mark.parametrize("name", REDIS_DAMAGE)
async def test_a_wrong_snapshot_in_redis_is_found_and_deleted(books: Books, name: str) -> None:
    damage, sentence = REDIS_DAMAGE[name]
    await damage(books)
    await _mended(books, "Redis snapshots", sentence)
    assert not await books.redis.exists(snapshot_key(SHARD, EVENT))


async def test_a_snapshot_under_way_is_no_damage(books: Books) -> None:
    key = snapshot_key(SHARD, EVENT)
    meta = msgspec.json.decode(await books.redis.hget(key, "meta") or b"")
    meta[3] = 0
    await books.redis.hset(key, "meta", msgspec.json.encode(meta))
    await books.redis.hdel(key, "sale")
    assert (await books.check()).clean


async def test_a_wrong_snapshot_in_postgres_is_found_and_written_anew(books: Books) -> None:
    await books.damage("UPDATE snapshot_pieces SET entities = set_byte(entities, 99, 0)")
    report = await books.check(repair=True)
    assert len(found(report, "Postgres snapshots")) == 2
    assert (await books.check()).clean
    seq = await books.pool.fetchval("SELECT seq FROM snapshots WHERE sale_id = $1", EVENT)
    assert seq == len(books.sale.entries)


async def test_a_snapshot_in_postgres_with_another_content_is_found(books: Books) -> None:
    await books.damage("UPDATE snapshots SET seq = seq - 1 WHERE sale_id = $1", EVENT)
    await _mended(books, "Postgres snapshots", "is as of fact 14, but")


async def test_a_wrong_view_is_found_and_deleted(books: Books) -> None:
    other = await books.redis.get(view_key(shard_of(OTHER_SALE, SHARDS), OTHER_SALE))
    assert other is not None
    await books.redis.set(view_key(SHARD, EVENT), other)
    await _mended(books, "public views", f"the public view of {EVENT} is as of fact")


async def test_copies_of_a_sale_that_never_was_are_found_and_deleted(books: Books) -> None:
    nobody = "evt_00000000000000cc"
    for shard_id, sale_id in ((shard_of(nobody, SHARDS), nobody), ((SHARD + 1) % SHARDS, EVENT)):
        await books.redis.copy(snapshot_key(SHARD, EVENT), snapshot_key(shard_id, sale_id))
    await books.damage("UPDATE snapshots SET sale_id = $2 WHERE sale_id = $1", EVENT, nobody)
    report = await books.check(repair=True)
    assert len(report.check("Redis snapshots").findings) == 2
    assert len(report.check("Postgres snapshots").findings) == 1
    assert (await books.check()).clean


# The journal's beginning in the archive.


async def test_what_went_to_the_archive_is_counted_from_there(books: Books) -> None:
    before = (await books.check()).check("sales").counted
    assert await books.retire() > 5
    report = await books.check()
    assert report.clean, report.lines()
    assert report.check("sales").counted == before
    await books.damage("UPDATE orders SET buyer_id = 'eve' WHERE event_id = $1", EVENT)
    await _mended(books, "table orders", "has buyer_id eve, by the facts buyer-1")


async def test_an_archive_that_is_away_is_found_and_nothing_is_mended(books: Books) -> None:
    await books.retire()
    await books.damage("UPDATE orders SET buyer_id = 'eve' WHERE event_id = $1", EVENT)
    books.archive = books.archive.with_name("elsewhere")
    report = await books.check(repair=True)
    told = f"shard {SHARD}: batch 1 is not in the archive {books.archive}"
    assert told in report.check("journal").findings
    assert f"{EVENT}: fact 16 follows fact 0" in report.check("sales").findings
    assert report.mended == []


async def test_a_file_of_the_archive_that_can_not_be_read_is_found(books: Books) -> None:
    await books.retire()
    (path,) = (books.archive / f"shard-{SHARD:04}").iterdir()
    path.write_bytes(path.read_bytes()[:-20])
    report = await books.check()
    assert f"shard {SHARD}: {path} can't be read" in report.check("journal").findings


async def test_a_snapshot_that_the_archive_needs_is_written_anew(books: Books) -> None:
    await books.retire()
    await books.damage("DELETE FROM snapshots WHERE sale_id = $1", EVENT)
    sentence = f"the Postgres snapshot of {EVENT} does not have batch 5, which went to the archive"
    await _mended(books, "Postgres snapshots", sentence)
