"""The real conferences of fifteen years imported as events, and their conflicts counted apart.

One hall a city, whole days from local midnight to local midnight, all moved by 14 years. The count
beside ours knows dates only: in the order of the file a conference gets its hall if no earlier one
that got it shares a day with it. One whose midnight the clocks skip has no such start, and no hall.
"""

import asyncio
import csv
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import asyncpg
import msgspec
from msgspec import Struct

from benchmarks.asked import Asked
from benchmarks.results import Figure, Measurement, measured
from benchmarks.servers import Endpoint, stampede
from loadtests.conferences import Conference, everything, moved

YEARS = 14
ORGANIZER = "bench"

_CONTENT = """
SELECT md5(string_agg(line, ' ' ORDER BY line)) FROM (
    SELECT e::text AS line FROM events e UNION ALL SELECT b::text FROM bookings b
    UNION ALL SELECT i::text FROM imported_rows i UNION ALL SELECT v::text FROM venues v
) everything
"""


class Imported(Struct, frozen=True):
    """`refused_lines`: as the report tells them, `conflicts` of them; `output`: the last line."""

    seconds: float
    refused_lines: list[int]
    conflicts: int
    output: str


class Run(Struct, frozen=True):
    """`conflicts`, `without_midnight`: line numbers by the independent count."""

    rows: int
    halls: int
    first: Imported
    again: Imported
    conflicts: list[int]
    without_midnight: list[int]

    @property
    def agrees(self) -> bool:
        counted = sorted(self.conflicts + self.without_midnight)
        return counted == self.first.refused_lines == self.again.refused_lines


def conferences() -> list[Conference]:
    return [moved(each, YEARS) for each in everything()]


def conflicts(all_of_them: Sequence[Conference]) -> Iterator[int]:
    """Lines that find their hall taken."""
    held: dict[tuple[str, str], list[Conference]] = defaultdict(list)
    for number, wanted in enumerate(all_of_them, start=1):
        if _skips_midnight(wanted):
            continue
        if any(wanted.start <= has.end and has.start <= wanted.end for has in held[wanted.hall]):
            yield number
        else:
            held[wanted.hall].append(wanted)


def _skips_midnight(conference: Conference) -> bool:
    """There and back again: a local time that does not exist comes back as another one."""
    midnights = (conference.start, conference.end + timedelta(days=1))
    for day in midnights:
        local = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(conference.timezone))
        there_and_back = local.astimezone(UTC).astimezone(local.tzinfo)
        if there_and_back.replace(tzinfo=None) != local.replace(tzinfo=None):
            return True
    return False


async def run() -> Run:
    """Raises AssertionError where the second import changed anything."""
    found = conferences()
    async with stampede() as server:
        assert server.folder is not None
        hall_ids = await asyncio.to_thread(_halls, server, found)
        file = server.folder.parent / "conferences.jsonl"
        file.write_bytes(b"\n".join(_row(each, hall_ids) for each in found))
        first = await _import(server.folder, file)
        before = await _content(server)
        again = await _import(server.folder, file)
        assert await _content(server) == before
    skipping = [n for n, each in enumerate(found, start=1) if _skips_midnight(each)]
    return Run(len(found), len(hall_ids), first, again, list(conflicts(found)), skipping)


def _halls(server: Endpoint, found: Sequence[Conference]) -> dict[tuple[str, str], str]:
    token = server.token("organizer", ORGANIZER)
    halls: dict[tuple[str, str], str] = {}
    for each in found:
        if each.hall in halls:
            continue
        hall = {
            "name": f"{each.city} Hall",
            "city": each.city,
            "country": each.country,
            "latitude": each.lat,
            "longitude": each.lon,
            "capacity": 5_000,
            "timezone": each.timezone,
        }
        halls[each.hall] = server.call("POST", "/v1/venues", hall, token)["venue_id"]
    return halls


def _row(each: Conference, hall_ids: dict[tuple[str, str], str]) -> bytes:
    return msgspec.json.encode(
        {
            "import_key": f"{each.name}, {each.city}, {each.start}, {each.end}",
            "venue_id": hall_ids[each.hall],
            "title": each.name,
            "category": "CONFERENCE",
            "start_time": f"{each.start}T00:00:00",
            "end_time": f"{each.end + timedelta(days=1)}T00:00:00",
        }
    )


async def _import(data_folder: Path, file: Path) -> Imported:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "refused.csv"
        options = [f"--organizer={ORGANIZER}", f"--report={report}"]
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "import", "events", str(file), *options),
            env={**os.environ, "STAMPEDE_DATA_DIR": str(data_folder)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        output, _ = await process.communicate()
        took = time.perf_counter() - began
        with report.open(newline="") as refused:
            rows = list(csv.DictReader(refused))
    lines = [int(row["line"]) for row in rows]
    taken = sum(row["reason"].startswith("venue conflict") for row in rows)
    return Imported(took, lines, taken, output.decode().strip())


async def _content(server: Endpoint) -> str:
    connection = await asyncpg.connect(server.dsn)
    try:
        found: str = await connection.fetchval(_CONTENT)
    finally:
        await connection.close()
    return found


async def measure(_: Asked) -> list[Measurement]:
    made = await run()
    assert made.agrees
    figures = [
        Figure("first import", "s", [made.first.seconds]),
        Figure("the same again", "s", [made.again.seconds]),
        Figure("venue conflicts, by the import", "rows", [made.first.conflicts]),
        Figure("venue conflicts, by the count beside it", "rows", [len(made.conflicts)]),
        Figure("refused: no such midnight", "rows", [len(made.without_midnight)]),
    ]
    conditions = (
        f"{made.rows:,} real conferences in {made.halls} halls, whole days, moved by"
        f" {YEARS} years; start of the command included. Refused are the same lines as"
        f" in the count beside it, in both runs. First: {made.first.output}. Again:"
        f" {made.again.output}; the tables were the same to the byte. Load average of the shared"
        f" machine meanwhile: {os.getloadavg()[0]:.1f}."
    )
    return [measured("import of 4,825 conferences", "./run bench import", conditions, figures)]
