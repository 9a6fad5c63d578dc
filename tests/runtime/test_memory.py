"""The ports in memory keep their contracts, so what runs on them proves something."""

import asyncio

import pytest

from engine.runtime.faults import MailboxUnavailable, OutcomeUnknown
from engine.runtime.ports import Journal, Streams
from tests.runtime.database import Database
from tests.runtime.journal_contract import JournalContract
from tests.runtime.membership_contract import Bury, Join, MembershipContract, Process
from tests.runtime.memory import MemoryJournal, MemoryMembership
from tests.runtime.memory_streams import ANSWERS_KEPT_S, MemoryStreams
from tests.runtime.streams_contract import SHARD, StreamsContract, parcel


class TestMemoryJournal(JournalContract):
    @pytest.fixture
    def database(self) -> Database:
        return Database()

    @pytest.fixture
    def journal(self, database: Database) -> Journal:
        return MemoryJournal(database, "one")

    @pytest.fixture
    def rival(self, database: Database) -> Journal:
        return MemoryJournal(database, "two")

    @pytest.fixture
    def unfenced(self) -> tuple[Journal, Journal]:
        database = Database(fence=False)
        return MemoryJournal(database, "one"), MemoryJournal(database, "two")

    async def personal_keys(self, journal: Journal) -> list[tuple[str, bytes]]:
        assert isinstance(journal, MemoryJournal)
        return journal.personal_keys


class TestMemoryMembership(MembershipContract):
    ttl_s = 3.0

    @pytest.fixture
    def database(self) -> Database:
        return Database()

    @pytest.fixture
    def join(self, database: Database) -> Join:
        async def join(node: str, incarnation: str) -> Process:
            membership = MemoryMembership(database, node, incarnation, self.ttl_s)
            return membership, MemoryJournal(database, node, incarnation)

        return join

    @pytest.fixture
    def bury(self, database: Database) -> Bury:
        async def bury(incarnation: str) -> None:
            database.dead.add(incarnation)

        return bury


class TestMemoryStreams(StreamsContract):
    @pytest.fixture
    def streams(self) -> Streams:
        self.server = MemoryStreams()
        return self.server

    @pytest.fixture
    def others(self, streams: Streams) -> Streams:
        return streams

    @pytest.fixture
    def narrow(self) -> Streams:
        return MemoryStreams(parcels_max=2)

    async def forget(self) -> None:
        self.server.forget()

    async def test_answers_that_nobody_fetches_vanish(self) -> None:
        streams = MemoryStreams()
        await streams.answer("gateway", [(1, None)])
        await asyncio.sleep(ANSWERS_KEPT_S + 0.1)
        assert await streams.answers("gateway") == []

    async def test_what_is_away_says_so_and_a_send_into_it_is_unknown(self) -> None:
        streams = MemoryStreams()
        streams.away = True
        with pytest.raises(OutcomeUnknown):
            await streams.send(SHARD, parcel(1))
        with pytest.raises(MailboxUnavailable):
            await streams.read(SHARD, "0-0")
