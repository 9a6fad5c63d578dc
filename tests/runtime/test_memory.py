"""The ports in memory keep their contracts, so what runs on them proves something."""

import pytest

from engine.runtime.ports import Journal
from tests.runtime.database import Database
from tests.runtime.journal_contract import JournalContract
from tests.runtime.memory import MemoryJournal


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
