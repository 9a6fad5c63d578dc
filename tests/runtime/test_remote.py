"""Calls to sales that live elsewhere: each gets one answer, by its deadline at the latest."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from engine.commands import CheckIn, ReadSale
from engine.runtime.faults import (
    DeadlinePassed,
    MailboxFull,
    MailboxUnavailable,
    OutcomeUnknown,
)
from engine.runtime.ports import Parcel
from engine.runtime.remote import CALLS_MAX, RemoteMailbox
from tests.runtime.desk import sale_in_shard
from tests.runtime.memory import Recorder
from tests.runtime.memory_streams import MemoryStreams
from tests.runtime.virtual_time import VirtualClock
from tests.runtime.world import fault_of, settle, until

SHARDS = 2
SALE, NEIGHBOUR, STRANGER = (
    sale_in_shard(0, SHARDS),
    sale_in_shard(0, SHARDS, nth=1),
    sale_in_shard(1, SHARDS),
)
TTL_S = 5.0
SCAN = CheckIn("device", "nonce", bytes(32), None, None, 0)


class Gateway:
    def __init__(self, streams: MemoryStreams, name: str = "gateway", waiting_max: int = 9) -> None:
        self.streams = streams
        self.mailbox = RemoteMailbox(
            streams=streams,
            clock=VirtualClock(),
            observer=Recorder(),
            gateway=name,
            shards=SHARDS,
            waiting_max=waiting_max,
            letter_ttl_s=TTL_S,
        )
        self.running = asyncio.create_task(self.mailbox.run())

    def ask(self, sale_id: str = SALE) -> "asyncio.Future[object]":
        return self.mailbox.ask(sale_id, ReadSale())  # type: ignore[return-value]

    async def stop(self) -> None:
        self.running.cancel()
        await asyncio.wait([self.running])


@pytest_asyncio.fixture
async def gateway() -> AsyncIterator[Gateway]:
    made = Gateway(MemoryStreams(parcels_max=3))
    yield made
    await made.stop()


async def parcels(gateway: Gateway, shard_id: int = 0) -> list[Parcel]:
    return await gateway.streams.read(shard_id, "0-0")


async def test_the_calls_of_one_turn_go_in_one_parcel_a_shard(gateway: Gateway) -> None:
    asked = [gateway.ask(sale_id) for sale_id in (SALE, NEIGHBOUR, STRANGER, SALE)]
    (sent,) = await parcels(gateway)
    assert [sale_id for _, sale_id, _ in sent.calls] == [SALE, NEIGHBOUR, SALE]
    (other,) = await parcels(gateway, 1)
    assert len(other.calls) == 1
    await gateway.streams.answer("gateway", [(number, None) for number in range(4)])
    assert await asyncio.gather(*asked) == [None] * 4


async def test_a_parcel_is_bounded() -> None:
    gateway = Gateway(MemoryStreams(), waiting_max=1_000)
    asked = [gateway.ask() for _ in range(CALLS_MAX + 1)]
    await until(lambda: gateway.streams.waiting(0) == 2)
    assert [len(sent.calls) for sent in await parcels(gateway)] == [CALLS_MAX, 1]
    await gateway.stop()
    assert {await fault_of(one) for one in asked} == {OutcomeUnknown}  # type: ignore[arg-type]


async def test_a_full_stream_refuses(gateway: Gateway) -> None:
    for _ in range(3):
        gateway.ask().add_done_callback(asyncio.Future.exception)
        await settle()
    with pytest.raises(MailboxFull):
        await gateway.ask()


async def test_too_many_calls_without_an_answer_are_refused_at_once(gateway: Gateway) -> None:
    for _ in range(9):
        gateway.ask().add_done_callback(asyncio.Future.exception)
    with pytest.raises(MailboxFull):
        gateway.ask()


async def test_a_call_into_streams_that_are_away_is_unknown_and_the_next_is_not_sent(
    gateway: Gateway,
) -> None:
    gateway.streams.away = True
    with pytest.raises(OutcomeUnknown):
        await gateway.ask()
    await until(lambda: gateway.mailbox.away)
    with pytest.raises(MailboxUnavailable):
        gateway.ask()
    gateway.streams.away = False
    await until(lambda: not gateway.mailbox.away)
    assert await parcels(gateway) == []


async def test_who_gets_no_answer_hears_by_the_deadline_that_nobody_knows(gateway: Gateway) -> None:
    asked = gateway.ask()
    await asyncio.sleep(TTL_S - 0.1)
    assert not asked.done()
    await asyncio.sleep(0.5)
    with pytest.raises(OutcomeUnknown):
        await asked
    assert gateway.mailbox.depth == 0


async def test_a_scan_does_not_wait_for_an_owner_that_is_silent(gateway: Gateway) -> None:
    order, scan = gateway.ask(), gateway.mailbox.ask(SALE, SCAN)
    elsewhere = gateway.mailbox.ask(STRANGER, SCAN)
    await asyncio.sleep(0.1)
    await gateway.streams.answer("gateway", [(2, None)])
    await asyncio.sleep(0.21)
    assert (scan.done(), order.done(), await elsewhere) == (True, False, None)
    with pytest.raises(OutcomeUnknown):
        await scan
    order.add_done_callback(asyncio.Future.exception)


async def test_a_scan_waits_for_an_owner_that_is_busy(gateway: Gateway) -> None:
    first, scan = gateway.ask(), gateway.mailbox.ask(SALE, SCAN)
    await asyncio.sleep(0.1)
    await gateway.streams.answer("gateway", [(0, None)])
    await asyncio.sleep(TTL_S - 0.3)
    assert (await first, scan.done()) == (None, False)
    await gateway.streams.answer("gateway", [(1, None)])
    assert await scan is None


async def test_answers_that_come_twice_late_or_to_nobody_do_no_harm(gateway: Gateway) -> None:
    asked = gateway.ask()
    await settle()
    await gateway.streams.answer("gateway", [(0, None), (0, DeadlinePassed()), (7, None)])
    assert await asked is None
    await gateway.streams.answer("gateway", [(0, None)])
    later = gateway.ask()
    await settle()
    await gateway.streams.answer("gateway", [(1, DeadlinePassed())])
    with pytest.raises(DeadlinePassed):
        await later


async def test_answers_for_an_earlier_life_are_not_ours(gateway: Gateway) -> None:
    dead = Gateway(gateway.streams, "an earlier life")
    dead.ask().add_done_callback(asyncio.Future.exception)
    await settle()
    await dead.stop()
    await gateway.streams.answer("an earlier life", [(0, None)])
    asked = gateway.ask()
    await asyncio.sleep(1)
    assert not asked.done()
    await gateway.streams.answer("gateway", [(0, None)])
    assert await asked is None


async def test_a_parcel_says_until_when_its_answers_are_of_use(gateway: Gateway) -> None:
    gateway.ask().add_done_callback(asyncio.Future.exception)
    (sent,) = await parcels(gateway)
    assert sent.deadline_ms == VirtualClock().offset_ms + TTL_S * 1000
