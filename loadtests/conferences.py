"""Real conferences: a selection for the demo, moved by whole years to lie ahead; all of them."""

import gzip
from datetime import date, timedelta
from pathlib import Path

import msgspec
from msgspec import Struct

FOLDER = Path(__file__).parent / "data"
AHEAD_MIN = timedelta(days=2)


class Conference(Struct, frozen=True):
    """`start` and `end`: its first and its last day."""

    name: str
    topics: tuple[str, ...]
    start: date
    end: date
    city: str
    country: str
    lat: float
    lon: float
    timezone: str

    @property
    def hall(self) -> tuple[str, str]:
        """Where there is one hall a city."""
        return self.city, self.country


def everything() -> list[Conference]:
    """All of 2013 to 2027, in the order of the list."""
    return _read(gzip.decompress((FOLDER / "all_conferences.jsonl.gz").read_bytes()))


def upcoming(today: date) -> list[Conference]:
    return [_ahead(each, today) for each in _read((FOLDER / "conferences.jsonl").read_bytes())]


def moved(conference: Conference, years: int) -> Conference:
    """It lasts as long as before; the 29th of February becomes the 28th."""
    start = _moved(conference.start, years)
    end = start + (conference.end - conference.start)
    return msgspec.structs.replace(conference, start=start, end=end)


def _read(lines: bytes) -> list[Conference]:
    return [msgspec.json.decode(line, type=Conference) for line in lines.splitlines()]


def _ahead(conference: Conference, today: date) -> Conference:
    years = 0
    while _moved(conference.start, years) < today + AHEAD_MIN:
        years += 1
    return moved(conference, years)


def _moved(day: date, years: int) -> date:
    leap_day = (day.month, day.day) == (2, 29)
    return day.replace(year=day.year + years, day=28 if leap_day else day.day)
