"""The projected tables of the simulated world, and a node's way to them.

One projector reads the journal for all nodes. It is always a little behind, and now and then it
stands still for seconds.
"""

import asyncio
from collections import defaultdict

from engine import ids
from engine.projection import OrderOnFile
from engine.runtime.faults import JournalUnavailable
from tests.engine.tables import Tables
from tests.runtime.database import Database
from tests.runtime.simulation.links import Wire
from tests.runtime.simulation.weather import Trouble, Weather


class Projector:
    def __init__(self, database: Database, weather: Weather) -> None:
        self._database = database
        self._weather = weather
        self._commits = 0  # so many are in the tables
        self._tables: defaultdict[str, Tables] = defaultdict(Tables)  # by sale

    async def run(self) -> None:
        """Until cancelled."""
        weather = self._weather
        while True:
            away = weather.strikes(Trouble.PROJECTOR_AWAY, "projector")
            await asyncio.sleep(weather.random.choice((0.5, 3.0, 8.0)) if away else 0.1)
            for entry in self._database.entries_since(self._commits):
                self._tables[entry.sale_id].hear(entry)
            self._commits = self._database.commits

    def reached(self, sale_id: str) -> int:
        """The sale's newest fact in the tables."""
        return self._tables[sale_id].seq

    def read(self, order_id: str) -> OrderOnFile:
        return self._tables[_sale_of(order_id)].read(order_id)


class FilesLink:
    """Reads as the real one does: first how far the tables have come, then the order."""

    def __init__(self, projector: Projector, wire: Wire) -> None:
        self._projector = projector
        self._wire = wire

    async def order_on_file(self, order_id: str) -> OrderOnFile:
        await self._wire.carry(JournalUnavailable)
        seq = self._projector.reached(_sale_of(order_id))
        await self._wire.carry(JournalUnavailable)
        file = self._projector.read(order_id)
        await self._wire.carry(JournalUnavailable)
        return OrderOnFile(seq, file.known, file.order)


def _sale_of(order_id: str) -> str:
    sale_id = ids.event_of_order(order_id)
    assert sale_id is not None
    return sale_id
