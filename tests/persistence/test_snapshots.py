"""Snapshots in Redis and Postgres: incremental, whole or not used, never ahead of the journal."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from msgspec.structs import replace
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from engine.commands import EventTerms
from engine.runtime.ports import Grant, SnapshotDelta, StoreUnavailable
from engine.state import Phase, SaleView
from persistence.durable_snapshots import PostgresSnapshots
from persistence.journal import NodeName, PostgresJournal
from persistence.saves import snapshot_key
from persistence.snapshots import RedisSaleViews, RedisSnapshots, Snapshots
from tests.persistence.databases import fresh_database
from tests.runtime.journal_contract import batch, placed

SHARD = 3
FAR_MS = 1 << 42


@pytest_asyncio.fixture
async def redis(any_redis_url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(any_redis_url)
    yield client
    await client.aclose()


@pytest_asyncio.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with fresh_database(postgres_dsn) as dsn, asyncpg.create_pool(dsn, min_size=1) as made:
        journal = PostgresJournal(dsn, made, NodeName("one", "1"))
        (grant,) = await journal.acquire([SHARD])
        for seq in range(1, 6):
            await journal.append([batch(grant, seq, placed(seq))])
        await journal.close()
        yield made


@pytest_asyncio.fixture
async def snapshots(redis: Redis, pool: asyncpg.Pool) -> Snapshots:
    return Snapshots(RedisSnapshots(redis), PostgresSnapshots(pool))


GRANT = Grant(SHARD, 1, 5)


def delta(
    sale_id: str, seq: int, base_seq: int | None, whole: int | None = None, **entities: bytes | None
) -> SnapshotDelta:
    """Unless told otherwise the sale has no entities but these."""
    terms = EventTerms("orga", "EUR", 0, FAR_MS)
    return SnapshotDelta(
        sale_id=sale_id,
        shard_id=SHARD,
        epoch=1,
        seq=seq,
        journal_seq=seq,
        base=(1, base_seq) if base_seq else None,
        sent_seq=base_seq or 0,
        whole=len(entities) if whole is None else whole,
        expires_at_ms=FAR_MS,
        entities=list(entities.items()),
        view=SaleView(sale_id, seq, 1, Phase.OPEN, terms, ()),
    )


def fresh_sale() -> str:
    return f"evt_{uuid4().hex[:16]}"


async def test_a_snapshot_is_brought_forward_piece_by_piece(snapshots: Snapshots) -> None:
    sale_id = fresh_sale()
    assert await snapshots.save(delta(sale_id, 1, None, sale=b"1", ord_a=b"a"))
    assert await snapshots.save(delta(sale_id, 2, 1, 3, sale=b"2", ord_b=b"b"))
    assert await snapshots.save(delta(sale_id, 3, 2, 3, ord_a=b"A" * 300))
    found = await snapshots.load(GRANT, sale_id)
    assert found is not None
    assert found.incremental
    assert (found.epoch, found.seq, found.journal_seq) == (1, 3, 3)
    assert found.entities == {"sale": b"2", "ord_a": b"A" * 300, "ord_b": b"b"}


async def test_a_snapshot_is_whole_however_often_its_parts_were_replaced(
    snapshots: Snapshots,
) -> None:
    sale_id = fresh_sale()
    await snapshots.save(delta(sale_id, 1, None, sale=b"1"))
    for seq in (2, 3, 4):
        await snapshots.save(delta(sale_id, seq, seq - 1, sale=b"%d" % seq))
        found = await snapshots.load(GRANT, sale_id)
        assert found is not None
        assert found.entities == {"sale": b"%d" % seq}


async def test_what_is_gone_is_taken_out_and_the_snapshot_is_whole(snapshots: Snapshots) -> None:
    sale_id = fresh_sale()
    first = {f"ord_{n}": b"%d" % n for n in range(700)}
    await snapshots.save(delta(sale_id, 1, None, None, sale=b"1", **first))
    gone = dict.fromkeys([f"ord_{n}" for n in range(0, 700, 2)])
    new = {f"key:{n}": b"k" for n in range(350)}
    assert await snapshots.save(delta(sale_id, 2, 1, 701, sale=b"2", **gone, **new, ord_never=None))
    found = await snapshots.load(GRANT, sale_id)
    assert found is not None
    left = {name: value for name, value in first.items() if name not in gone}
    assert found.entities == {"sale": b"2", **left, **new}
    everything = dict.fromkeys([*left, *new])
    assert await snapshots.save(delta(sale_id, 3, 2, 1, **everything))
    assert await snapshots.save(delta(sale_id, 4, 3, 2, ord_0=b"back"))
    found = await snapshots.load(GRANT, sale_id)
    assert found is not None
    assert found.entities == {"sale": b"2", "ord_0": b"back"}


async def test_a_snapshot_begun_anew_may_hear_of_what_is_gone(snapshots: Snapshots) -> None:
    sale_id = fresh_sale()
    assert await snapshots.save(delta(sale_id, 1, None, 1, sale=b"1", ord_a=None))
    found = await snapshots.load(GRANT, sale_id)
    assert found is not None
    assert found.entities == {"sale": b"1"}


async def test_what_is_saved_at_the_same_time_is_one_call_and_each_hears_of_its_own(
    snapshots: Snapshots, redis: Redis
) -> None:
    sales = [fresh_sale() for _ in range(20)]
    first = [delta(sale_id, 1, None, sale=b"1") for sale_id in sales]
    before = await _calls(snapshots, redis)
    assert all(await asyncio.gather(*map(snapshots.save, first)))
    assert await _calls(snapshots, redis) == before + 1 + 1
    fits = [delta(sale_id, 2, 1, 2, ord_a=b"a") for sale_id in sales[1:]]
    late = delta(sales[0], 3, 2, ord_a=b"a")
    stored = await asyncio.gather(*map(snapshots.save, [late, *fits]))
    assert list(stored) == [False] + [True] * 19
    for sale_id in sales[1:]:
        found = await snapshots.load(GRANT, sale_id)
        assert found is not None
        assert found.entities == {"sale": b"1", "ord_a": b"a"}


async def test_a_call_is_of_a_bounded_size(snapshots: Snapshots, redis: Redis) -> None:
    orders = {f"ord_{n}": b"%d" % n for n in range(400)}
    first = [delta(fresh_sale(), 1, None, None, **orders) for _ in range(5)]
    before = await _calls(snapshots, redis)
    assert all(await asyncio.gather(*map(snapshots.save, first)))
    assert await _calls(snapshots, redis) == before + 3 + 1
    for piece in first:
        found = await snapshots.load(GRANT, piece.sale_id)
        assert found is not None
        assert found.entities == orders


async def test_no_call_goes_to_two_shards(snapshots: Snapshots, redis: Redis) -> None:
    one = delta(fresh_sale(), 1, None, sale=b"1")
    other = replace(delta(fresh_sale(), 1, None, sale=b"1"), shard_id=SHARD + 1)
    before = await _calls(snapshots, redis)
    assert all(await asyncio.gather(snapshots.save(one), snapshots.save(other)))
    assert await _calls(snapshots, redis) == before + 2 + 1


async def _calls(snapshots: Snapshots, redis: Redis) -> int:
    """Of scripts until now, with one that makes sure that Redis knows them."""
    await snapshots.save(delta(fresh_sale(), 1, None, sale=b"1"))
    told = await redis.info("commandstats")
    return sum(told.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha"))


async def test_who_stops_waiting_for_a_save_stops_nobody_elses(snapshots: Snapshots) -> None:
    one, other = fresh_sale(), fresh_sale()
    leaving = asyncio.create_task(snapshots.save(delta(one, 1, None, sale=b"1")))
    staying = asyncio.create_task(snapshots.save(delta(other, 1, None, sale=b"1")))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying
    for sale_id in (one, other):
        assert await snapshots.load(GRANT, sale_id) is not None


async def test_all_hear_that_nobody_knows_where_redis_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # which never answers
        port = server.getsockname()[1]
        async with Redis(port=port, socket_timeout=0.05, retry=Retry(NoBackoff(), 0)) as away:
            saves = RedisSnapshots(away)
            three = [saves.save(delta(fresh_sale(), 1, None, sale=b"1")) for _ in range(3)]
            told = await asyncio.gather(*three, return_exceptions=True)
    assert [type(error) for error in told] == [StoreUnavailable] * 3


async def test_a_piece_for_another_base_is_not_taken(snapshots: Snapshots) -> None:
    sale_id = fresh_sale()
    assert not await snapshots.save(delta(sale_id, 2, 1, sale=b"2"))
    await snapshots.save(delta(sale_id, 1, None, sale=b"1"))
    assert not await snapshots.save(delta(sale_id, 4, 3, sale=b"4"))
    assert await snapshots.save(delta(sale_id, 4, None, sale=b"4"))
    found = await snapshots.load(GRANT, sale_id)
    assert found is not None
    assert found.entities == {"sale": b"4"}


async def test_a_snapshot_that_is_not_whole_is_not_used(snapshots: Snapshots, redis: Redis) -> None:
    sale_id = fresh_sale()
    await snapshots.save(delta(sale_id, 1, None, 0, sale=b"1"))
    assert await snapshots.load(GRANT, sale_id) is None
    await snapshots.save(delta(sale_id, 2, 1, 3, ord_a=b"a", ord_b=b"b"))
    assert await snapshots.load(GRANT, sale_id) is not None
    await redis.hdel(snapshot_key(SHARD, sale_id), "ord_a")
    assert await snapshots.load(GRANT, sale_id) is None


async def test_a_late_piece_of_an_abandoned_rewrite_makes_nothing_whole(
    snapshots: Snapshots,
) -> None:
    sale_id = fresh_sale()
    orders = {f"ord_{n}": b"%d" % n for n in range(6)}
    late = delta(sale_id, 1, 1, 7, ord_5=b"5")
    assert await snapshots.save(delta(sale_id, 1, None, 0, sale=b"1", ord_0=b"0"))
    assert not await snapshots.save(late)
    assert await snapshots.load(GRANT, sale_id) is None
    assert await snapshots.save(delta(sale_id, 1, 1, 7, **orders))
    found = await snapshots.load(GRANT, sale_id)
    assert found is not None
    assert found.entities == {"sale": b"1", **orders}


async def test_a_changed_value_is_found(snapshots: Snapshots, redis: Redis) -> None:
    sale_id = fresh_sale()
    await snapshots.save(delta(sale_id, 1, None, sale=b"1", ord_a=b"a"))
    await redis.hset(snapshot_key(SHARD, sale_id), "ord_a", b"\x00\x00\x00\x00x")
    assert await snapshots.load(GRANT, sale_id) is None


async def test_what_a_scan_tells_twice_counts_once(
    snapshots: Snapshots, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    sale_id = fresh_sale()
    await snapshots.save(delta(sale_id, 1, None, sale=b"1", ord_a=b"a"))
    everything = await redis.hgetall(snapshot_key(SHARD, sale_id))
    told = [(7, everything), (9, {b"ord_a": everything[b"ord_a"]}), (0, everything)]

    async def hscan(*_: object, **__: object) -> object:
        return told.pop(0)

    monkeypatch.setattr(redis, "hscan", hscan)
    found = await snapshots.load(GRANT, sale_id)
    assert found is not None
    assert found.entities == {"sale": b"1", "ord_a": b"a"}


async def test_what_changes_while_it_is_read_is_not_used(
    snapshots: Snapshots, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    sale_id = fresh_sale()
    await snapshots.save(delta(sale_id, 1, None, sale=b"1", ord_a=b"a"))
    scan = redis.hscan

    async def hscan(*args: Any, **named: Any) -> Any:
        assert await snapshots.save(delta(sale_id, 2, 1, 2, ord_a=b"b"))
        return await scan(*args, **named)

    with monkeypatch.context() as patched:
        patched.setattr(redis, "hscan", hscan)
        assert await snapshots.load(GRANT, sale_id) is None
    assert await snapshots.load(GRANT, sale_id) is not None


async def test_a_snapshot_ahead_of_the_journal_is_not_used(snapshots: Snapshots) -> None:
    sale_id = fresh_sale()
    await snapshots.save(delta(sale_id, 9, None, sale=b"9"))
    assert await snapshots.load(GRANT, sale_id) is None


async def test_what_is_sent_after_an_answer_was_lost_fits_whether_that_was_stored_or_not(
    snapshots: Snapshots,
) -> None:
    for stored in (False, True):
        sale_id = fresh_sale()
        await snapshots.save(delta(sale_id, 1, None, sale=b"1", ord_a=b"a"))
        if stored:
            await snapshots.save(delta(sale_id, 3, 1, 2, sale=b"3", ord_a=b"b"))
        again = replace(delta(sale_id, 5, 1, 2, sale=b"5", ord_a=b"b"), sent_seq=3)
        assert await snapshots.save(again)
        found = await snapshots.load(GRANT, sale_id)
        assert found is not None
        assert (found.seq, found.entities) == (5, {"sale": b"5", "ord_a": b"b"})


async def test_what_another_has_stored_since_is_no_base(snapshots: Snapshots) -> None:
    sale_id = fresh_sale()
    await snapshots.save(delta(sale_id, 3, None, sale=b"3"))
    await snapshots.save(replace(delta(sale_id, 5, 3, sale=b"5"), epoch=2))
    assert not await snapshots.save(replace(delta(sale_id, 6, 3, sale=b"6"), sent_seq=5))
    assert not await snapshots.save(replace(delta(sale_id, 6, 3, sale=b"6"), epoch=2, sent_seq=4))


async def test_what_redis_loses_postgres_has_kept(snapshots: Snapshots) -> None:
    sale_id = fresh_sale()
    await _keep(snapshots, sale_id, 3, {"sale": b"3", "ord_a": b"a"})
    found = await snapshots.load(GRANT, sale_id)
    assert found is not None
    assert not found.incremental
    assert (found.seq, found.entities) == (3, {"sale": b"3", "ord_a": b"a"})


async def test_a_later_piece_counts_before_an_earlier_one_and_what_is_gone_is_gone(
    snapshots: Snapshots,
) -> None:
    sale_id = fresh_sale()
    first = {"sale": b"2", "ord_a": b"a", "ord_b": b"b", "ord_c": b"c"}
    await _keep(snapshots, sale_id, 3, first, {"sale": b"3", "ord_b": None, "ord_c": b"d"})
    found = await snapshots.load(GRANT, sale_id)
    assert found is not None
    assert found.entities == {"sale": b"3", "ord_a": b"a", "ord_c": b"d"}


async def test_a_draft_that_is_not_finished_counts_for_nothing(
    snapshots: Snapshots, pool: asyncpg.Pool
) -> None:
    sale_id = fresh_sale()
    draft = await snapshots.draft(sale_id)
    await draft.add({"sale": b"3"})
    assert await snapshots.load(GRANT, sale_id) is None
    await _keep(snapshots, sale_id, 5, {"sale": b"5"})
    await _keep(snapshots, sale_id, 5, {"sale": b"5"})  # as after a rest in which nothing happened
    await _keep(snapshots, sale_id, 4, {"sale": b"4"})  # by somebody who was slow
    found = await snapshots.load(GRANT, sale_id)
    assert found is not None
    assert (found.seq, found.entities) == (5, {"sale": b"5"})
    pieces = "SELECT count(*) FROM snapshot_pieces WHERE sale_id = $1"
    assert await pool.fetchval(pieces, sale_id) == 1


async def _keep(
    snapshots: Snapshots, sale_id: str, seq: int, *pieces: Mapping[str, bytes | None]
) -> None:
    draft = await snapshots.draft(sale_id)
    for piece in pieces:
        await draft.add(piece)
    await draft.finish(SHARD, 1, seq, seq)


async def test_the_public_view_is_left_behind(snapshots: Snapshots, redis: Redis) -> None:
    views = RedisSaleViews(redis, 1)
    sale_id = fresh_sale()
    assert await views.read(sale_id) is None
    piece = replace(delta(sale_id, 1, None, sale=b"1"), shard_id=0)
    await snapshots.save(piece)
    assert await views.read(sale_id) == piece.view
