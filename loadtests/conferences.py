"""The conferences of the demo: real ones, moved by whole years so that they lie ahead."""

from datetime import date, timedelta
from pathlib import Path

import msgspec
from msgspec import Struct

SELECTION = Path(__file__).parent / "data" / "conferences.jsonl"
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


def upcoming(today: date) -> list[Conference]:
    lines = SELECTION.read_bytes().splitlines()
    return [_ahead(msgspec.json.decode(line, type=Conference), today) for line in lines]


def _ahead(conference: Conference, today: date) -> Conference:
    years = 0
    while _moved(conference.start, years) < today + AHEAD_MIN:
        years += 1
    lasts = conference.end - conference.start
    start = _moved(conference.start, years)
    return msgspec.structs.replace(conference, start=start, end=start + lasts)


def _moved(day: date, years: int) -> date:
    leap_day = (day.month, day.day) == (2, 29)
    return day.replace(year=day.year + years, day=28 if leap_day else day.day)
