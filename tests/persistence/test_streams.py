"""Calls and answers through a real Valkey, alone and as a cluster: order, bounds, and its absence.

Whatever becomes of Redis: nobody waits long, what was decided is not read again, and what may have
been sent is not sent again.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import NoneType

import pytest
import pytest_asyncio
from msgspec.structs import replace
from redis.asyncio import Redis

from engine import commands as c
from engine.rejections import Reason, Rejection
from engine.replies import Reply
from engine.runtime.faults import Fault, MailboxFull, MailboxUnavailable, OutcomeUnknown
from engine.runtime.ports import Parcel
from persistence import streams as module
from persistence.embedded import EmbeddedRedis
from persistence.streams import RedisStreams, answers_key, connect, stream_key
from tests.persistence.examples import alternatives, example
from tests.waiting import until

SHARD, OTHER_SHARD = 3, 5
GATEWAY = "gateway-1"
FAST_S = 2.0


@pytest_asyncio.fixture
async def redis(any_redis_url: str) -> AsyncIterator[Redis]:
    """Empty: a stream of an earlier test would be read on."""
    client = connect(any_redis_url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def streams(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> RedisStreams:
    monkeypatch.setattr(module, "BLOCK_MS", 100)
    return RedisStreams(redis)


def parcel(*call_numbers: int) -> Parcel:
    calls = tuple((number, "evt_00000000000000aa", c.ReadSale()) for number in call_numbers)
    return Parcel("", GATEWAY, 1_000, calls)


def numbers(parcels: list[Parcel]) -> list[int]:
    return [number for found in parcels for number, _, _ in found.calls]


async def sent(streams: RedisStreams, *parcels: Parcel) -> list[str]:
    """The ids that they got."""
    for each in parcels:
        await streams.send(SHARD, each)
    return [found.entry_id for found in await streams.read(SHARD, "0-0")]


# -- calls ---------------------------------------------------------------------------------


async def test_parcels_come_in_the_order_of_their_sending(streams: RedisStreams) -> None:
    ids = await sent(streams, parcel(0, 1), parcel(2), parcel(3), parcel(4))
    await streams.send(OTHER_SHARD, parcel(99))
    assert numbers(await streams.read(SHARD, "0-0")) == [0, 1, 2, 3, 4]
    assert numbers(await streams.read(SHARD, ids[1])) == [3, 4]
    assert numbers(await streams.read(OTHER_SHARD, "0-0")) == [99]


@pytest.mark.parametrize("kind", alternatives(c.Command), ids=lambda kind: kind.__name__)
async def test_every_command_arrives_as_it_was_sent(streams: RedisStreams, kind: type) -> None:
    calls = ((1, "evt_00000000000000aa", example(kind)), (2, "evt_00000000000000bb", example(kind)))
    original = Parcel("", GATEWAY, 5, calls)
    await streams.send(SHARD, original)
    (found,) = await streams.read(SHARD, "0-0")
    assert found == replace(original, entry_id=found.entry_id)


async def test_a_read_waits_for_what_comes_and_not_for_ever(streams: RedisStreams) -> None:
    began = time.monotonic()
    assert await streams.read(SHARD, "0-0") == []
    assert time.monotonic() - began < FAST_S
    reading = asyncio.create_task(streams.read(SHARD, "0-0"))
    await streams.send(SHARD, parcel(7))
    assert numbers(await reading) == [7]


async def test_a_full_stream_takes_nothing_and_loses_nothing(redis: Redis) -> None:
    streams = RedisStreams(redis, parcels_max=3)
    ids = await sent(streams, parcel(0), parcel(1), parcel(2))
    with pytest.raises(MailboxFull):
        await streams.send(SHARD, parcel(3))
    await streams.send(OTHER_SHARD, parcel(4))  # bounds are each stream's own
    await streams.trim(SHARD, ids[0])
    await streams.send(SHARD, parcel(5))
    assert numbers(await streams.read(SHARD, "0-0")) == [1, 2, 5]


async def test_a_trim_takes_what_is_decided_and_nothing_beyond(
    streams: RedisStreams, redis: Redis
) -> None:
    entry = {"p": module._encode(parcel(0))}  # ids that differ in their last number alone
    for entry_id in ("5-1", "5-2", "5-3", "6-0"):
        await redis.xadd(stream_key(SHARD), entry, id=entry_id)  # type: ignore[arg-type]
    await streams.trim(SHARD, "5-2")
    assert [found.entry_id for found in await streams.read(SHARD, "0-0")] == ["5-3", "6-0"]
    await streams.trim(SHARD, "5-2")
    await streams.trim(SHARD, "0-0")
    assert await redis.xlen(stream_key(SHARD)) == 2


async def test_what_cannot_be_read_is_passed_over(streams: RedisStreams, redis: Redis) -> None:
    await streams.send(SHARD, parcel(1))
    await redis.xadd(stream_key(SHARD), {"p": b"\xc1 no msgpack"})
    await redis.xadd(stream_key(SHARD), {"other": b"field"})
    await streams.send(SHARD, parcel(2))
    found = await streams.read(SHARD, "0-0")
    assert [numbers([each]) for each in found] == [[1], [], [], [2]]
    assert await streams.read(SHARD, found[-1].entry_id) == []


# -- streams that are not what they were ---------------------------------------------------


async def test_a_stream_that_vanished_goes_on(streams: RedisStreams, redis: Redis) -> None:
    (place,) = await sent(streams, parcel(1))
    await redis.flushall()
    assert await streams.read(SHARD, place) == []
    await streams.send(SHARD, parcel(2))
    assert numbers(await streams.read(SHARD, place)) == [2]


async def test_a_stream_behind_its_owner_is_lifted_and_nothing_is_read_twice(
    streams: RedisStreams, redis: Redis
) -> None:
    """As after a Redis that came back older, with a clock that was set back."""
    ahead_ms = int(time.time() * 1000) + 3_600_000
    place = f"{ahead_ms}-7"
    await streams.send(SHARD, parcel(1))  # decided long ago
    assert await streams.read(SHARD, place) == []
    await streams.send(SHARD, parcel(2))
    (found,) = await streams.read(SHARD, place)
    assert numbers([found]) == [2]
    assert found.entry_id == f"{ahead_ms}-8"
    await streams.trim(SHARD, found.entry_id)
    assert await redis.xlen(stream_key(SHARD)) == 0


async def test_a_stream_that_is_level_is_left_alone(streams: RedisStreams) -> None:
    (place,) = await sent(streams, parcel(1))
    assert await streams.read(SHARD, place) == []
    await streams.send(SHARD, parcel(2))
    assert numbers(await streams.read(SHARD, place)) == [2]


# -- answers -------------------------------------------------------------------------------


def _kinds() -> list[Reply | Fault]:
    replies = [example(kind) for kind in alternatives(Reply) if kind is not NoneType]
    return [None, *replies, *(kind() for kind in Fault.__subclasses__())]


async def test_every_kind_of_answer_arrives_as_it_was_given(streams: RedisStreams) -> None:
    given = list(enumerate(_kinds()))
    await streams.answer(GATEWAY, given)
    for (number, outcome), (fetched_number, fetched) in zip(
        given, await streams.answers(GATEWAY), strict=True
    ):
        assert fetched_number == number
        assert type(fetched) is type(outcome)
        assert isinstance(outcome, Fault) or fetched == outcome


async def test_the_facts_of_a_refusal_arrive_with_it(streams: RedisStreams) -> None:
    facts: dict[str, object] = {"tier_id": "tier_floor", "available": 0, "gate": None, "by": ["x"]}
    refusals = [Rejection(reason, facts) for reason in Reason] + [Rejection(Reason.SOLD_OUT)]
    await streams.answer(GATEWAY, list(enumerate(refusals)))
    assert [answer for _, answer in await streams.answers(GATEWAY)] == refusals


async def test_answers_come_once_in_order_and_to_their_gateway_alone(
    streams: RedisStreams,
) -> None:
    await streams.answer(GATEWAY, [(1, None), (2, None)])
    await streams.answer("gateway-2", [(9, None)])
    await streams.answer(GATEWAY, [(3, None)])
    assert await streams.answers(GATEWAY) == [(1, None), (2, None), (3, None)]
    assert await streams.answers(GATEWAY) == []
    assert await streams.answers("gateway-2") == [(9, None)]


async def test_answers_that_nobody_fetches_vanish(
    streams: RedisStreams, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWERS_KEPT_MS", 50)
    await streams.answer(GATEWAY, [(1, None)])
    await until(lambda: _gone(redis), FAST_S)


async def _gone(redis: Redis) -> bool:
    return not await redis.exists(answers_key(GATEWAY))


async def test_an_answer_that_cannot_be_read_does_not_take_others_with_it(
    streams: RedisStreams, redis: Redis
) -> None:
    await streams.answer(GATEWAY, [(1, None)])
    await redis.rpush(answers_key(GATEWAY), b"\xc1 no msgpack")
    await streams.answer(GATEWAY, [(2, None)])
    assert await streams.answers(GATEWAY) == [(1, None), (2, None)]


# -- Redis away ----------------------------------------------------------------------------


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedRedis]:
    server = EmbeddedRedis(tmp_path / "redis")
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture
async def client(
    server: EmbeddedRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Redis]:
    """By a path that stays when the server starts again; given up sooner than in earnest."""
    monkeypatch.setattr(module, "BLOCK_MS", 100)
    monkeypatch.setattr(module, "SOCKET_TIMEOUT_S", 0.5)
    made = connect(f"unix://{tmp_path}/redis.sockets/redis.sock")
    await made.ping()
    yield made
    await made.aclose()


@contextmanager
def _quickly() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < FAST_S


async def _nothing_goes(streams: RedisStreams) -> None:
    asked = (
        streams.send(SHARD, parcel(1)),
        streams.read(SHARD, "0-0"),
        streams.trim(SHARD, "1-0"),
        streams.answer(GATEWAY, [(1, None)]),
        streams.answers(GATEWAY),
    )
    with _quickly():
        told = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(each) for each in told} == {MailboxUnavailable}


async def _everything_goes(streams: RedisStreams) -> None:
    await streams.send(SHARD, parcel(5))
    assert numbers(await streams.read(SHARD, "0-0"))[-1:] == [5]
    await streams.answer(GATEWAY, [(5, None)])
    assert (5, None) in await streams.answers(GATEWAY)


async def test_a_redis_that_is_gone_is_told_fast_and_taken_up_again(
    server: EmbeddedRedis, client: Redis
) -> None:
    streams = RedisStreams(client)
    await _everything_goes(streams)
    await server.stop()
    await _nothing_goes(streams)
    await server.start()
    await _everything_goes(streams)


@contextmanager
def _frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_a_redis_that_hangs_is_told_fast_and_taken_up_again(client: Redis) -> None:
    streams = RedisStreams(client)
    pid = (await client.info("server"))["process_id"]
    with _frozen(pid):
        with _quickly(), pytest.raises(OutcomeUnknown):  # it was good a moment ago
            await streams.send(SHARD, parcel(1))
        await _nothing_goes(streams)
    await _everything_goes(streams)


async def test_what_redis_refuses_it_has_not_taken(client: Redis) -> None:
    streams = RedisStreams(client)
    await client.config_set("maxmemory", "1")
    with pytest.raises(MailboxUnavailable):
        await streams.send(SHARD, parcel(1))
    await client.config_set("maxmemory", "0")
    assert await client.xlen(stream_key(SHARD)) == 0


class _Eavesdropper:
    """Stands before a server: passes all on, but cuts the line instead of answering a send."""

    def __init__(self, server: str) -> None:
        self._server = server
        self.sends = 0
        self._lines: set[asyncio.Task[None]] = set()

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(self._server)
        try:
            while asked := await reader.read(1 << 16):
                to_server.write(asked)
                answer = await from_server.read(1 << 16)
                if b"XADD" in asked:
                    self.sends += 1
                    return
                writer.write(answer)
        finally:
            writer.close()
            to_server.close()


async def test_a_send_whose_answer_is_lost_is_unknown_and_not_sent_again(
    client: Redis, tmp_path: Path
) -> None:
    between = _Eavesdropper(str(tmp_path / "redis.sockets" / "redis.sock"))
    door = str(tmp_path / "door")
    async with await asyncio.start_unix_server(between.meet, door):
        cut_off = connect(f"unix://{door}")
        with pytest.raises(OutcomeUnknown):
            await RedisStreams(cut_off).send(SHARD, parcel(1))
        await cut_off.aclose()
    assert between.sends == 1
    assert await client.xlen(stream_key(SHARD)) == 1
