"""fsck: no false alarm on what is whole; damage is found by name, and mended where derived."""

import zlib
from collections.abc import Callable
from pathlib import Path

import asyncpg
import msgspec
import pytest

from engine import facts as f
from engine.ids import shard_of
from persistence import projector
from persistence.fsck import fsck
from persistence.journal import decode
from persistence.migrations import MigrationError
from persistence.projected import TABLES
from persistence.projector import LOCK
from persistence.saves import view_key
from persistence.servers import ToolError
from tests.engine.stage import EVENT, HOUR_MS, promo
from tests.persistence.books import OTHER_SALE, SHARD, SHARDS, Books, found

ORDER = "SELECT order_id FROM orders WHERE event_id = $1 ORDER BY placed_at LIMIT 1"

_encode = msgspec.msgpack.Encoder().encode


async def test_what_is_whole_is_clean(books: Books) -> None:
    report = await books.check()
    assert report.clean, report.lines()
    assert report.check("sales").counted["sales"] == 2
    assert report.check("sales").counted["facts"] == sum(len(s.entries) for s in books.stages)
    assert report.check("Redis snapshots").counted["compared"] == 2
    assert report.check("Postgres snapshots").counted["compared"] == 2
    assert report.check("public views").counted["compared"] == 2
    assert report.check("table orders").counted["rows"] == 7
    assert report.check("personal keys").counted["erased"] == 0


async def test_what_lags_behind_the_journal_is_clean(books: Books) -> None:
    before = len(books.sale.entries)
    books.sale.sell()
    await books.write(books.sale.entries[before:])
    report = await books.check()
    assert report.clean, report.lines()
    assert (
        report.check("sales").counted["orders"] == report.check("table orders").counted["rows"] + 1
    )


async def test_what_was_never_projected_is_clean(books: Books) -> None:
    await _forget_the_tables(books)
    report = await books.check()
    assert report.clean, report.lines()
    assert report.check("table sale_offsets").counted["rows"] == 0


async def test_tables_are_the_same_however_the_projector_cuts_its_pieces(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projector, "ROWS_MAX", 1)
    await _forget_the_tables(books)
    await books.project()
    report = await books.check()
    assert report.clean, report.lines()


async def _forget_the_tables(books: Books) -> None:
    names = [table.name for table in TABLES]
    await books.pool.execute(f"TRUNCATE {', '.join(names)}, projection_offsets")


async def test_an_erased_person_is_no_damage(books: Books) -> None:
    await books.damage("DELETE FROM personal_keys WHERE order_id = (" + ORDER + ")", EVENT)
    report = await books.check()
    assert report.clean, report.lines()
    assert report.check("personal keys").counted["erased"] == 1


async def test_only_the_chosen_shards_are_checked(books: Books) -> None:
    await books.damage("UPDATE orders SET buyer_id = 'eve' WHERE event_id = $1", EVENT)
    assert (await books.check(chosen=[shard_of(OTHER_SALE, SHARDS)])).clean
    assert not (await books.check(chosen=[SHARD])).clean


# The journal. It is told of, never mended, and nothing of its shard is.

_BATCH = f"WHERE shard_id = {SHARD} AND seq = 4"
JOURNAL_DAMAGE = {
    "a flipped bit": (
        f"UPDATE journal SET batch = set_byte(batch, 9, get_byte(batch, 9) # 1) {_BATCH}",
        f"shard {SHARD}, batch 4 is not what was written",
        f"{EVENT}: batch 4 can't be read",
    ),
    "a gap": (
        f"DELETE FROM journal {_BATCH}",
        f"shard {SHARD}, batch 5 follows batch 3",
        f"{EVENT}: fact 13 follows fact 9",
    ),
    "an epoch going back": (
        f"UPDATE journal SET epoch = 0 {_BATCH}",
        f"shard {SHARD}, batch 4 is of epoch 0, after epoch 1",
        None,
    ),
    "an epoch of the future": (
        f"UPDATE journal SET epoch = 9 WHERE shard_id = {SHARD} AND seq > 5",
        f"shard {SHARD}, batch 6 is of epoch 9, which was never granted",
        None,
    ),
    "another end": (
        f"UPDATE shards SET last_seq = last_seq + 1 WHERE shard_id = {SHARD}",
        f"shard {SHARD} ends at batch ",
        None,
    ),
    "a lost shard": (
        f"DELETE FROM shards WHERE shard_id = {SHARD}",
        "and no row in shards",
        None,
    ),
    "other sales named": (
        f"UPDATE journal SET sale_ids = ARRAY['evt_00000000000000cc'] {_BATCH}",
        f"shard {SHARD}, batch 4 names evt_00000000000000cc, and holds facts of {EVENT}",
        f"{EVENT}: fact 13 follows fact 9",
    ),
    "a projection ahead": (
        f"UPDATE projection_offsets SET seq = seq + 1 WHERE shard_id = {SHARD}",
        "are projected",
        None,
    ),
}


@pytest.mark.parametrize("name", JOURNAL_DAMAGE)
async def test_damage_to_the_journal_is_found_and_left_alone(books: Books, name: str) -> None:
    statement, of_journal, of_sale = JOURNAL_DAMAGE[name]
    await books.damage(statement)
    await books.redis.delete(view_key(SHARD, EVENT))
    await books.redis.set(view_key(SHARD, EVENT), b"broken")
    report = await books.check(repair=True)
    assert any(of_journal in finding for finding in report.check("journal").findings)
    if of_sale is not None:
        assert of_sale in report.check("sales").findings
    assert not report.check("table orders").findings  # nothing can be said of what is derived
    assert report.mended == []
    assert await books.redis.get(view_key(SHARD, EVENT)) == b"broken"


async def test_a_sale_in_a_shard_that_is_not_its_own_is_found(books: Books) -> None:
    elsewhere = (SHARD + 1) % SHARDS
    await books.damage(
        "INSERT INTO journal SELECT $2, 1, epoch, sale_ids, batch, crc FROM journal"
        " WHERE shard_id = $1 AND seq = 1",
        SHARD,
        elsewhere,
    )
    await books.damage("UPDATE shards SET last_seq = 1 WHERE shard_id = $1", elsewhere)
    report = await books.check()
    assert (
        f"shard {elsewhere}, batch 1 holds facts of {EVENT}, which lives in shard {SHARD}"
        in report.check("journal").findings
    )


# The facts of one sale.


async def _tampered(books: Books, tamper: Callable[[f.Fact], f.Fact | None]) -> None:
    """Write batches of the eventful sale anew, with other facts and right checksums."""
    rows = await books.pool.fetch("SELECT seq, batch, crc FROM journal WHERE shard_id = $1", SHARD)
    for seq, batch, crc in rows:
        entries = [
            msgspec.structs.replace(entry, fact=tamper(entry.fact) or entry.fact)
            for entry in decode(batch, crc)
        ]
        blob = _encode(entries)
        await books.pool.execute(
            "UPDATE journal SET batch = $3, crc = $4 WHERE shard_id = $1 AND seq = $2",
            *(SHARD, seq, blob, zlib.crc32(blob)),
        )


async def test_a_second_admission_of_a_ticket_is_found(books: Books) -> None:
    admitted = next(
        entry.fact
        for entry in reversed(books.sale.entries)
        if isinstance(entry.fact, f.TicketScanned) and entry.fact.override_reason is not None
    )
    seq = len(books.sale.entries) + 1
    twice = msgspec.structs.replace(admitted, nonce="another")
    await books.write([f.Entry(EVENT, seq, books.sale.now_ms, twice)])
    sentences = found(await books.check(), "sales")
    assert any(f"fact {seq} can't be replayed" in sentence for sentence in sentences)
    assert any("is in already" in sentence for sentence in sentences)


async def test_more_places_than_there_are_is_found(books: Books) -> None:
    def shrink(fact: f.Fact) -> f.Fact | None:
        if not isinstance(fact, f.SaleOpened):
            return None
        tiers = tuple(msgspec.structs.replace(tier, quantity=3) for tier in fact.tiers)
        return msgspec.structs.replace(fact, tiers=tiers)

    await _tampered(books, shrink)
    sentences = (await books.check()).check("sales").findings
    assert any("of 3 places of tier_floor" in sentence for sentence in sentences)


async def test_a_key_that_placed_two_orders_is_found(books: Books) -> None:
    placed = [e.fact for e in books.sale.entries if isinstance(e.fact, f.OrderPlaced)]

    def same_key(fact: f.Fact) -> f.Fact | None:
        if isinstance(fact, f.OrderPlaced) and fact.order_id == placed[1].order_id:
            return msgspec.structs.replace(fact, key=placed[0].key)
        return None

    await _tampered(books, same_key)
    sentences = (await books.check()).check("sales").findings
    assert any(
        f"the key of {placed[1].order_id} has placed an order before" in s for s in sentences
    )


async def test_a_token_that_was_issued_twice_is_found(books: Books) -> None:
    def same_tokens(fact: f.Fact) -> f.Fact | None:
        if isinstance(fact, f.OrderConfirmed):
            return msgspec.structs.replace(fact, tokens=(fact.tokens[0],) * len(fact.tokens))
        return None

    await _tampered(books, same_tokens)
    sentences = (await books.check()).check("sales").findings
    assert any("a token is issued twice" in sentence for sentence in sentences)


async def test_places_that_nobody_has_paid_are_found(books: Books) -> None:
    def cheaper(fact: f.Fact) -> f.Fact | None:
        if isinstance(fact, f.PaymentRequested):
            return msgspec.structs.replace(fact, amount_minor=1)
        return None

    await _tampered(books, cheaper)
    sentences = (await books.check()).check("sales").findings
    assert any("1 were paid for 15000" in sentence for sentence in sentences)


async def test_a_promo_code_that_is_used_more_often_than_it_may_is_found(books: Books) -> None:
    before = len(books.sale.entries)
    books.sale.give(promo(uses_max=2))
    for _ in range(3):  # the first gives its use back
        books.sale.ask(books.sale.place_order(promo_code="SUMMER"))
        if len(books.sale.entries) == before + 2:
            books.sale.pass_ms(HOUR_MS)
            books.sale.sweep_all()
    await books.write(books.sale.entries[before:])
    report = await books.check()
    assert report.clean, report.lines()

    def once(fact: f.Fact) -> f.Fact | None:
        if isinstance(fact, f.PromoConfigured):
            terms = msgspec.structs.replace(fact.promo, uses_max=1)
            return msgspec.structs.replace(fact, promo=terms)
        return None

    await _tampered(books, once)
    sentences = (await books.check()).check("sales").findings
    assert any("SUMMER is used 2 times, of 1" in sentence for sentence in sentences)


async def test_uses_of_a_promo_code_that_replay_counts_otherwise_are_found(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(books.sale.entries)
    books.sale.give(promo(uses_max=2))
    books.sale.ask(books.sale.place_order(promo_code="SUMMER"))
    await books.write(books.sale.entries[before:])
    monkeypatch.setattr("engine.promos.count", lambda *_: None)
    sentences = found(await books.check(), "sales")
    assert any("is used 1 times by the facts, 0 by replay" in s for s in sentences)


# When it can't run.


async def test_nothing_is_mended_beside_a_projector(books: Books) -> None:
    async with books.pool.acquire() as other:
        await other.execute("SELECT pg_advisory_lock($1)", LOCK)
        assert (await books.check()).clean
        with pytest.raises(ToolError, match="stop the server"):
            await books.check(repair=True)


async def test_another_number_of_shards_is_refused(books: Books) -> None:
    for shards in (8, 32):
        with pytest.raises(MigrationError, match="set STAMPEDE_SHARDS=16"):
            await fsck(books.dsn, books.redis_url, archive=books.archive, shards=shards)


async def test_an_empty_database_is_refused_and_stays_empty(
    postgres_dsn: str, redis_url: str, tmp_path: Path
) -> None:
    connection = await asyncpg.connect(postgres_dsn)
    with pytest.raises(MigrationError, match="empty"):
        await fsck(postgres_dsn, redis_url, archive=tmp_path, shards=SHARDS)
    assert await connection.fetchval("SELECT to_regclass('schema_migrations')") is None
    await connection.close()


async def test_a_server_that_is_away_is_told_in_one_line(books: Books) -> None:
    with pytest.raises(ToolError, match="it can't be checked"):
        await fsck(books.dsn, "unix:///nowhere/redis.sock", archive=books.archive, shards=SHARDS)
