"""What all streams must do. A subclass offers the fixtures and runs where its server runs.

`streams` and `others` are two connections to one empty server; `narrow` keeps two parcels a shard.
"""

import asyncio

import pytest

from engine import commands as c
from engine.rejections import Reason, Rejection
from engine.replies import Reply
from engine.runtime.faults import DeadlinePassed, Fault, MailboxFull, OutcomeUnknown
from engine.runtime.ports import Parcel, Streams

SHARD, OTHER_SHARD = 3, 5
SALE = "evt_00000000000000aa"
PATIENCE_S = 5.0
START = "0-0"


def parcel(*numbers: int, gateway: str = "gateway") -> Parcel:
    """Calls that read the sale, by their numbers."""
    return Parcel("", gateway, 1_000, tuple((n, SALE, c.ReadSale()) for n in numbers))


def numbers(parcels: list[Parcel]) -> list[int]:
    return [number for found in parcels for number, _, _ in found.calls]


def place(entry_id: str) -> tuple[int, int]:
    ms, _, number = entry_id.partition("-")
    return int(ms), int(number)


class StreamsContract:
    @pytest.fixture
    def streams(self) -> Streams:
        raise NotImplementedError

    @pytest.fixture
    def others(self) -> Streams:
        raise NotImplementedError

    @pytest.fixture
    def narrow(self) -> Streams:
        raise NotImplementedError

    async def forget(self) -> None:
        """The server comes back empty."""
        raise NotImplementedError

    async def test_what_is_sent_is_read_in_order_as_it_was(
        self, streams: Streams, others: Streams
    ) -> None:
        for number in range(3):
            await streams.send(SHARD, parcel(number, number + 10))
        found = await others.read(SHARD, START)
        assert numbers(found) == [0, 10, 1, 11, 2, 12]
        assert [p.gateway for p in found] == ["gateway"] * 3
        assert found[0].calls[0] == (0, SALE, c.ReadSale())
        assert found[0].deadline_ms == 1_000

    async def test_ids_only_grow_and_reading_goes_on_after_one(self, streams: Streams) -> None:
        for number in range(5):
            await streams.send(SHARD, parcel(number))
        found = await streams.read(SHARD, START)
        places = [place(p.entry_id) for p in found]
        assert places == sorted(set(places))
        assert numbers(await streams.read(SHARD, found[2].entry_id)) == [3, 4]

    async def test_reading_takes_nothing_away(self, streams: Streams, others: Streams) -> None:
        await streams.send(SHARD, parcel(1))
        assert numbers(await streams.read(SHARD, START)) == [1]
        assert numbers(await others.read(SHARD, START)) == [1]

    async def test_shards_do_not_mix(self, streams: Streams) -> None:
        await streams.send(SHARD, parcel(1))
        await streams.send(OTHER_SHARD, parcel(2))
        assert numbers(await streams.read(OTHER_SHARD, START)) == [2]

    async def test_a_read_waits_for_what_comes_and_not_for_ever(self, streams: Streams) -> None:
        assert await streams.read(SHARD, START) == []
        reading = asyncio.create_task(streams.read(SHARD, START))
        await asyncio.sleep(0.05)
        await streams.send(SHARD, parcel(1))
        assert numbers(await reading) == [1]

    async def test_what_is_trimmed_is_gone_and_no_more(self, streams: Streams) -> None:
        for number in range(4):
            await streams.send(SHARD, parcel(number))
        found = await streams.read(SHARD, START)
        await streams.trim(SHARD, found[1].entry_id)
        assert numbers(await streams.read(SHARD, START)) == [2, 3]

    async def test_a_full_stream_refuses_and_forgets_nothing(self, narrow: Streams) -> None:
        await narrow.send(SHARD, parcel(1))
        await narrow.send(SHARD, parcel(2))
        with pytest.raises(MailboxFull):
            await narrow.send(SHARD, parcel(3))
        found = await narrow.read(SHARD, START)
        assert numbers(found) == [1, 2]
        await narrow.trim(SHARD, found[0].entry_id)
        await narrow.send(SHARD, parcel(4))
        assert numbers(await narrow.read(SHARD, START)) == [2, 4]

    async def test_answers_come_to_their_gateway_once_as_they_were(
        self, streams: Streams, others: Streams
    ) -> None:
        refusal = Rejection(Reason.SOLD_OUT, {"available": 0})
        told: list[tuple[int, Reply | Fault]] = [(1, refusal), (2, None)]
        await streams.answer("gateway", told)
        await streams.answer("another", [(3, None)])
        assert await others.answers("gateway") == told
        assert await others.answers("gateway") == []

    async def test_a_fault_comes_as_its_kind(self, streams: Streams) -> None:
        await streams.answer("gateway", [(1, DeadlinePassed()), (2, OutcomeUnknown())])
        found = await streams.answers("gateway")
        assert [(number, type(fault)) for number, fault in found] == [
            (1, DeadlinePassed),
            (2, OutcomeUnknown),
        ]

    async def test_fetching_waits_for_what_comes(self, streams: Streams) -> None:
        fetching = asyncio.create_task(streams.answers("gateway"))
        await asyncio.sleep(0.05)
        await streams.answer("gateway", [(1, None)])
        assert await fetching == [(1, None)]

    async def test_a_stream_that_is_behind_its_reader_is_lifted(self, streams: Streams) -> None:
        """What was sent to it before is lost; what is sent afterwards is read."""
        await streams.send(SHARD, parcel(1))
        (found,) = await streams.read(SHARD, START)
        ahead = f"{place(found.entry_id)[0] + 60_000}-0"
        assert await streams.read(SHARD, ahead) == []
        await streams.send(SHARD, parcel(2))
        (later,) = await streams.read(SHARD, ahead)
        assert numbers([later]) == [2]
        assert place(later.entry_id) > place(ahead)

    async def test_a_server_that_comes_back_empty_serves_again(self, streams: Streams) -> None:
        await streams.send(SHARD, parcel(1))
        (found,) = await streams.read(SHARD, START)
        await self.forget()
        await asyncio.sleep(0.05)
        await streams.send(SHARD, parcel(2))
        async with asyncio.timeout(PATIENCE_S):
            assert numbers(await streams.read(SHARD, found.entry_id)) == [2]
