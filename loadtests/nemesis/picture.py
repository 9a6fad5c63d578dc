"""The run as a picture: answers each second, and the faults on them; one file without a script."""

from collections.abc import Iterator, Sequence
from html import escape

from loadtests.nemesis.liveness import Recovery, Struck
from loadtests.nemesis.run import Outcome
from loadtests.nemesis.witness import Came, Second

WIDTH, HEIGHT = 1_400, 360
LANE, LANES_MAX = 14, 3
MARGIN = 50
COLOURS = {
    Came.DONE: "#3a9d5d",
    Came.REFUSED: "#9fc5e8",
    Came.FAULT: "#f0a830",
    Came.ERROR: "#c0392b",
    Came.NOTHING: "#555555",
}
FAULT_COLOUR = "#c0392b"

Row = tuple[Struck, Recovery | None]


def page(outcome: Outcome, verdict: str, rows: Sequence[Row]) -> str:
    """HTML: the verdict, the picture, and the faults by their numbers."""
    seconds = outcome.witness.seconds
    colour = "#3a9d5d" if outcome.holds else FAULT_COLOUR
    legend = " ".join(
        f'<span style="color:{fill}">&#9632;</span> {escape(kind)}'
        for kind, fill in COLOURS.items()
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Nemesis</title>
<style>body {{ font: 14px sans-serif; margin: 2em }} svg text {{ font: 11px sans-serif }}
td {{ padding: 0 1em 0 0; vertical-align: top }}</style>
</head><body>
<h1 style="color:{colour}">{escape(verdict)}</h1>
<p>Requests a second by what became of them; the line is what was offered. {legend}</p>
{_svg(seconds, outcome.struck)}
<table>{"".join(_row(*row) for row in rows)}</table>
<ul>{"".join(_check(check.ok, check.name, check.numbers) for check in outcome.checks)}</ul>
</body></html>
"""


def _row(fault: Struck, found: Recovery | None) -> str:
    served_s = found.after_start_s if found is not None else None
    served = "never served again" if served_s is None else f"served again after {served_s:.1f} s"
    how = f"missed: {fault.missed}" if fault.missed is not None else f"{fault.target}; {served}"
    cells = (f"{fault.plan.number}", f"{fault.began_s:.1f} s", fault.plan.kind, how)
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _check(ok: bool, name: str, numbers: str) -> str:
    return f"<li>{'OK' if ok else '<b>BROKEN</b>'} {escape(name)}: {escape(numbers)}</li>"


def _svg(seconds: list[Second], struck: list[Struck]) -> str:
    across = (WIDTH - MARGIN) / max(1, len(seconds))
    most = max((max(s.offered, s.came.total()) for s in seconds), default=1) or 1
    up = HEIGHT / most
    top = LANE * LANES_MAX
    parts = [
        *_axis(most, up, top),
        *_bars(seconds, across, up, top),
        _offered(seconds, across, up, top),
        *_faults(struck, across, top),
        *(
            f'<text x="{MARGIN + number * across:.1f}" y="{top + HEIGHT + 14}">{number} s</text>'
            for number in range(0, len(seconds), max(1, len(seconds) // 12))
        ),
    ]
    return f'<svg viewBox="0 0 {WIDTH} {top + HEIGHT + 20}" width="100%">{"".join(parts)}</svg>'


def _axis(most: int, up: float, top: int) -> Iterator[str]:
    for share in (0.25, 0.5, 0.75, 1.0):
        y = top + HEIGHT - most * share * up
        yield f'<line x1="{MARGIN}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
        yield f'<text x="0" y="{y + 4:.1f}">{most * share:.0f}</text>'


def _bars(seconds: list[Second], across: float, up: float, top: int) -> Iterator[str]:
    for number, second in enumerate(seconds):
        y = float(top + HEIGHT)
        for kind, fill in COLOURS.items():
            height = second.came[kind] * up
            y -= height
            if height:
                yield (
                    f'<rect x="{MARGIN + number * across:.1f}" y="{y:.1f}" width="{across:.2f}"'
                    f' height="{height:.1f}" fill="{fill}"/>'
                )


def _offered(seconds: list[Second], across: float, up: float, top: int) -> str:
    points = " ".join(
        f"{MARGIN + (number + 0.5) * across:.1f},{top + HEIGHT - second.offered * up:.1f}"
        for number, second in enumerate(seconds)
    )
    return f'<polyline points="{points}" fill="none" stroke="#000" stroke-width="1"/>'


def _faults(struck: list[Struck], across: float, top: int) -> Iterator[str]:
    """A band over the whole height for each, its number in a lane at the top."""
    for fault in struck:
        if fault.missed is not None:
            continue
        x = MARGIN + fault.began_s * across
        width = max(1.0, (fault.healed_s - fault.began_s) * across)
        lane = fault.plan.number % LANES_MAX
        words = escape(f"{fault.plan.kind} ({fault.target}) at {fault.began_s:.1f} s")
        yield (
            f'<rect x="{x:.1f}" y="{lane * LANE + 4}" width="{width:.1f}"'
            f' height="{top + HEIGHT - lane * LANE - 4}" fill="{FAULT_COLOUR}" opacity="0.18">'
            f"<title>{words}</title></rect>"
            f'<text x="{x + 2:.1f}" y="{(lane + 1) * LANE - 4}" fill="{FAULT_COLOUR}">'
            f"{fault.plan.number}<title>{words}</title></text>"
        )
