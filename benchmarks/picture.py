"""Bars and lines as SVG: one file without a script, readable on a light and on a dark page."""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 760, 300
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 40, 50
BAR, GAP = 22, 10
LABEL = 230
# Mid tones, so that one picture serves both backgrounds; words take the page's own colour.
COLOURS = ("#2f8f5b", "#c77c1e", "#4a84c4", "#b0517b", "#7a6bc0", "#808080", "#a5483b", "#4aa3a2")
_STYLE = """text { font: 12px sans-serif; fill: #24292f }
.title { font-weight: bold; font-size: 14px }
.grid { stroke: #8c8c8c; stroke-opacity: 0.3 }
@media (prefers-color-scheme: dark) { text { fill: #d5dae0 } }"""

Points = Sequence[tuple[float, float]]


def bars(title: str, unit: str, values: Mapping[str, float]) -> str:
    """A bar each, from the top down, with its number."""
    most = max(values.values()) or 1
    room = WIDTH - LABEL - RIGHT - 70
    parts = []
    for row, (name, value) in enumerate(values.items()):
        y, width = TOP + row * (BAR + GAP), room * value / most
        middle = y + BAR / 2 + 4
        parts.append(
            f'<text x="{LABEL - 8}" y="{middle:.1f}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{LABEL}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2"'
            f' fill="{COLOURS[0] if row == 0 else COLOURS[5]}"/>'
            f'<text x="{LABEL + width + 6:.1f}" y="{middle:.1f}">{number(value)}</text>'
        )
    return _page(title, unit, TOP + len(values) * (BAR + GAP) + 10, parts)


def lines(
    title: str, unit: str, across: str, series: Mapping[str, Points], *, logarithmic: bool = False
) -> str:
    """A line each over a common axis; `across` names what runs along it."""
    x_most = max(x for points in series.values() for x, _ in points) or 1
    values = [y for points in series.values() for _, y in points]
    low, high = _range(values, logarithmic=logarithmic)

    def at(x: float, y: float) -> tuple[float, float]:
        share = (_scaled(y, logarithmic) - low) / ((high - low) or 1)
        right = LEFT + x / x_most * (WIDTH - LEFT - RIGHT)
        return right, TOP + HEIGHT * (1 - share)

    parts = [*_levels(low, high, logarithmic=logarithmic)]
    for step in range(6):
        x = x_most * step / 5
        parts.append(
            f'<text x="{at(x, values[0])[0]:.1f}" y="{TOP + HEIGHT + 18}"'
            f' text-anchor="middle">{number(x)}</text>'
        )
    parts.append(
        f'<text x="{WIDTH - RIGHT}" y="{TOP + HEIGHT + 36}" text-anchor="end">'
        f"{escape(across)}</text>"
    )
    for place, points in enumerate(series.values()):
        colour = COLOURS[place % len(COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in points))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>'
            for x, y in (at(*point) for point in points)
        ]
    keys = list(_keys(list(series)))
    return _page(title, unit, TOP + HEIGHT + BOTTOM + 18 * len(keys), [*parts, *keys])


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _scaled(value: float, logarithmic: bool) -> float:
    return math.log10(max(value, 1e-3)) if logarithmic else value


def _range(values: Sequence[float], *, logarithmic: bool) -> tuple[float, float]:
    if not logarithmic:
        return 0.0, max(values) or 1.0
    scaled = [_scaled(value, True) for value in values]
    return math.floor(min(scaled)), math.ceil(max(scaled))


def _levels(low: float, high: float, *, logarithmic: bool) -> Iterator[str]:
    steps = int(high - low) if logarithmic else 4
    for step in range(steps + 1):
        level = low + (high - low) * step / (steps or 1)
        y = TOP + HEIGHT * (1 - step / (steps or 1))
        value = 10**level if logarithmic else level
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{number(value)}</text>'


def _keys(names: Sequence[str]) -> Iterator[str]:
    for row, name in enumerate(names):
        y = TOP + HEIGHT + BOTTOM + 18 * row
        colour = COLOURS[row % len(COLOURS)]
        yield (
            f'<rect x="{LEFT}" y="{y - 9}" width="10" height="10" fill="{colour}"/>'
            f'<text x="{LEFT + 16}" y="{y}">{escape(name)}</text>'
        )


def _page(title: str, unit: str, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style>"
        f'<text class="title" x="8" y="20">{escape(title)}</text>'
        f'<text x="{WIDTH - RIGHT}" y="20" text-anchor="end">{escape(unit)}</text>'
        f"{''.join(parts)}</svg>\n"
    )
