"""The real conferences as a catalogue, and the queries with the answers that are right for them.

What is not in the list of conferences, descriptions, venues' names and prices, is made here, the
same in every run. See `benchmarks/data/README.md` for how the queries were judged.
"""

import zlib
from pathlib import Path

import msgspec
from msgspec import Struct

from loadtests.conferences import Conference

FOLDER = Path(__file__).parent / "data"
PRICE_LEAST, PRICE_STEP, PRICE_STEPS = 4_900, 1_000, 60
VIP_FACTOR = 3


class Judged(Struct, frozen=True):
    """`expect`: name and year of each right answer; `params`: of the call, beside `q`."""

    half: str
    kind: str
    q: str
    params: dict[str, str | float]
    expect: list[tuple[str, int]]


def judged() -> list[Judged]:
    decoder = msgspec.json.Decoder(Judged)
    return [decoder.decode(line) for line in (FOLDER / "judged.jsonl").read_bytes().splitlines()]


def description(conference: Conference) -> str:
    return f"A conference on {', '.join(conference.topics)}."


def prices(conference: Conference) -> tuple[int, int]:
    """Of its two tiers, in minor units."""
    seed = zlib.crc32(f"{conference.name}|{conference.start}|{conference.city}".encode())
    least = PRICE_LEAST + seed % PRICE_STEPS * PRICE_STEP
    return least, least * VIP_FACTOR
