"""The pictures show what was measured: bars as long as their numbers, points in their places."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import picture
from benchmarks.plots import draw
from benchmarks.results import Figure, Measurement

SVG = "{http://www.w3.org/2000/svg}"


def _measurement(name: str, figures: list[Figure]) -> Measurement:
    return Measurement(name, "./run bench", "", figures, "", "", "")


def test_each_picture_is_drawn_from_the_figures_alone(tmp_path: Path) -> None:
    ways = [
        Figure("ours: reservations", "a second", [90.0, 100.0, 300.0]),
        Figure("a <lock>: reservations", "a second", [50.0]),
        Figure("ours: p99", "ms", [10.0]),
        Figure("ours: CPU of all processes", "µs a request", [120.0]),
    ]
    levels = [
        Figure(f"at {share}%: {what}", "", [value])
        for share in (20, 95)
        for what, value in (("asked", share * 10.0), ("p50", 1.0), ("p99", 9.0), ("p99.9", 20.0))
    ]
    soak = [
        Figure("time", "s", [0.0, 1.0]),
        Figure("projection lag", "batches", [3.0, 0.0]),
        Figure("memory of node-1", "MB", [100.0, 110.0]),
        Figure("journal in Postgres", "MB", [1.0, 2.0]),
        Figure("all of Postgres' tables", "MB", [10.0, 20.0]),
    ]
    drawn = draw(
        [
            _measurement("every other way", ways),
            _measurement("steady, as the load rises", levels),
            _measurement("soak, journal kept", soak),
            _measurement("what nobody draws", ways),
        ],
        tmp_path,
    )
    names = {"ways", "ways-p99", "ways-cpu", "curve", "soak-kept-size", "soak-kept-lag"}
    assert {path.stem for path in drawn} == names
    for path in drawn:
        assert ElementTree.fromstring(path.read_text()).tag == f"{SVG}svg"
    bars = ElementTree.fromstring((tmp_path / "ways.svg").read_text()).findall(f"{SVG}rect")
    ours, lock = (float(bar.attrib["width"]) for bar in bars)
    assert ours == pytest.approx(2 * lock, rel=0.01)  # of the medians


def test_a_line_goes_up_where_its_values_do() -> None:
    drawn = ElementTree.fromstring(
        picture.lines(
            "Latency", "ms", "load", {"p99": [(0, 1), (50, 10), (100, 100)]}, logarithmic=True
        )
    )
    line = drawn.find(f"{SVG}polyline")
    assert line is not None
    points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    across, down = zip(*points, strict=True)
    assert across[1] - across[0] == pytest.approx(across[2] - across[1], abs=0.2)
    assert down[0] - down[1] == pytest.approx(down[1] - down[2], abs=0.2) and down[0] > down[2]
