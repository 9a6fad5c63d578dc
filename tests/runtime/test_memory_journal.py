"""The journal in memory keeps the contract, so what runs on it proves something."""

import pytest

from engine.runtime.ports import Journal
from tests.runtime.journal_contract import JournalContract
from tests.runtime.memory import MemoryJournal


class TestMemoryJournal(JournalContract):
    @pytest.fixture
    def journal(self) -> Journal:
        return MemoryJournal()

    @pytest.fixture
    def rival(self, journal: Journal) -> Journal:
        return journal

    @pytest.fixture
    def unfenced(self) -> tuple[Journal, Journal]:
        journal = MemoryJournal(fence=False)
        return journal, journal

    async def personal_keys(self, journal: Journal) -> list[tuple[str, bytes]]:
        assert isinstance(journal, MemoryJournal)
        return journal.personal_keys
