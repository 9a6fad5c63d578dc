"""Pictures of what `results.json` holds, in `plots/`; drawn again without measuring anything."""

import re
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks import picture
from benchmarks.results import FOLDER, Measurement

PLOTS = FOLDER / "plots"
WAYS, CURVE = "every other way", "steady, as the load rises"
STEADY = "steady, at 70 % of the most, on a core of its own"
_AT = re.compile(r"at (\d+)%: (asked|p50|p99|p99\.9)")

Medians = dict[str, float]


def draw(measurements: Sequence[Measurement], folder: Path = PLOTS) -> list[Path]:
    """Of every measurement that there is a picture for; what was drawn."""
    found = {measurement.name: measurement for measurement in measurements}
    pictures: dict[str, str] = {}
    if WAYS in found:
        pictures |= _ways(found[WAYS])
    if CURVE in found:
        pictures |= _curve(found[CURVE])
    if STEADY in found:
        pictures |= _steady(found[STEADY])
    for name, measurement in found.items():
        if name.startswith("soak"):
            pictures |= _soak(measurement)
    folder.mkdir(exist_ok=True)
    for name, svg in pictures.items():
        (folder / f"{name}.svg").write_text(svg)
    return [folder / f"{name}.svg" for name in pictures]


def _medians(measurement: Measurement) -> Medians:
    return {figure.what: statistics.median(figure.values) for figure in measurement.figures}


def _ending(medians: Medians, ending: str) -> Medians:
    return {
        what.removesuffix(ending): value for what, value in medians.items() if what.endswith(ending)
    }


def _ways(measurement: Measurement) -> dict[str, str]:
    medians = _medians(measurement)
    speed = _ending(medians, ": reservations")
    p99 = _ending(medians, ": p99")
    cpu = _ending(medians, ": CPU of all processes")
    return {
        "ways": picture.bars("Reservations of one hot tier, closed loop", "a second", speed),
        "ways-p99": picture.bars("p99 of a reservation, closed loop", "ms", p99),
        "ways-cpu": picture.bars("CPU of all processes", "µs a reservation", cpu),
    }


def _curve(measurement: Measurement) -> dict[str, str]:
    levels: dict[int, Medians] = {}
    for what, value in _medians(measurement).items():
        if at := _AT.fullmatch(what):
            levels.setdefault(int(at[1]), {})[at[2]] = value
    series = {
        p: [(level["asked"], level[p]) for _, level in sorted(levels.items())]
        for p in ("p50", "p99", "p99.9")
    }
    title = "Latency as the load rises, from the intended start"
    drawn = picture.lines(title, "ms", "reservations a second", series, logarithmic=True)
    return {"curve": drawn}


def _steady(measurement: Measurement) -> dict[str, str]:
    latencies = {
        what: value
        for what, value in _medians(measurement).items()
        if what.rsplit(": ", 1)[-1] in {"p50", "p99", "p99.9"}
    }
    return {
        "steady": picture.bars(
            "Latency at 70 % of the most, who sells on its own core", "ms", latencies
        )
    }


def _soak(measurement: Measurement) -> dict[str, str]:
    values = {figure.what: figure.values for figure in measurement.figures}
    times = values["time"]
    name = "soak-moved" if "moved" in measurement.name else "soak-kept"

    def over_time(*whats: str) -> dict[str, picture.Points]:
        return {what: list(zip(times, values[what], strict=True)) for what in whats}

    grown = [what for what in values if what.startswith("memory of ")]
    grown += ["journal in Postgres", "all of Postgres' tables"]
    size = picture.lines(f"{measurement.name}: size", "MB", "s", over_time(*grown))
    lag = picture.lines(
        f"{measurement.name}: projection lag", "batches", "s", over_time("projection lag")
    )
    return {f"{name}-size": size, f"{name}-lag": lag}
