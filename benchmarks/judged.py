"""The real conferences as a catalogue, and the queries with the answers that are right for them.

What is not in the list of conferences, descriptions, venues' names and prices, is made here, the
same in every run. See `benchmarks/data/README.md` for how the queries were judged.
"""

import zlib
from datetime import date
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

FOLDER = Path(__file__).parent / "data"
PRICE_LEAST, PRICE_STEP, PRICE_STEPS = 4_900, 1_000, 60
VIP_FACTOR = 3

_T = TypeVar("_T")


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
    def description(self) -> str:
        return f"A conference on {', '.join(self.topics)}."

    @property
    def prices(self) -> tuple[int, int]:
        """Of its two tiers, in minor units."""
        seed = zlib.crc32(f"{self.name}|{self.start}|{self.city}".encode())
        least = PRICE_LEAST + seed % PRICE_STEPS * PRICE_STEP
        return least, least * VIP_FACTOR


class Judged(Struct, frozen=True):
    """`expect`: name and year of each right answer; `params`: of the call, beside `q`."""

    half: str
    kind: str
    q: str
    params: dict[str, str | float]
    expect: list[tuple[str, int]]


def conferences() -> list[Conference]:
    return _lines("conferences.jsonl", Conference)


def judged() -> list[Judged]:
    return _lines("judged.jsonl", Judged)


def _lines(name: str, kind: type[_T]) -> list[_T]:
    decoder = msgspec.json.Decoder(kind)
    return [decoder.decode(line) for line in (FOLDER / name).read_bytes().splitlines()]
