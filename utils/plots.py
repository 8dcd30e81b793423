"""Charts as SVG, for a report's page or a file of their own: no scripts, nothing from elsewhere.

They are narrow, so that their letters can be read on a phone, and can be told apart by colour, dash and mark.

    chart = curves_chart("Training", [Curve("loss", [(0, 0.9), (64, 0.7)])], y_label="loss", x_label="samples")
    write_svg(Path("loss.svg"), chart)
"""
from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.files import write_text

WIDTH, HEIGHT = 420, 290
LEFT, RIGHT, TOP, BOTTOM = 50, 18, 12, 44
LEGEND_LINE, LEGEND_CHARACTERS, CHARACTER = 19, 46, 7.0  # pixels, the most of a line, pixels of one at 13 px
# Okabe and Ito's colours (2008), which colour-blind readers can tell apart; dashes tell them apart in black and white
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b2528f", "#8a6d00", "#3a8fc4", "#444444")
DASHES = ("", "7 4", "2 3", "9 3 2 3", "5 2", "1 4", "12 4")
INK, GRID = "#1c2126", "#d9dee3"
MOST_POINTS = 400  # of a curve; of more, neighbours are averaged

Point = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """A line through points (x, y), and the bounds of the intervals at its points where it has them (else None)."""

    name: str
    points: Sequence[Point]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()


@dataclass(frozen=True)
class Axis:
    """A range of values, the ticks in it, how they are written and how values are spaced (logarithmically or not)."""

    label: str
    low: float
    high: float
    ticks: Sequence[float]
    write: Callable[[float], str]
    is_log: bool = False

    def part(self, value: float) -> float:
        """0 at the low end, 1 at the high end."""
        low, high, value = (math.log10(v) if self.is_log else v for v in (self.low, self.high, value))
        return (value - low) / (high - low)


# ---------------------------------------------------------------------------------------------- axes


def value_axis(label: str, values: Iterable[float], most_ticks: int = 8) -> Axis:
    """Around all finite values, from one round number to another."""
    found = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(found), max(found)
    span = high - low or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / most_ticks))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if span / (power * factor) <= most_ticks - 1)
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    ticks = [step * i for i in range(first, last + 1)]
    return Axis(label, ticks[0], ticks[-1], ticks, lambda value: _short(value, step))


def percent_axis(label: str, lowest: float = 0.0) -> Axis:
    """From a round percentage not above `lowest` to 100 %."""
    low = math.floor(max(0.0, min(lowest, 0.9)) * 10) / 10
    step = 0.1 if low >= 0.4 else 0.2
    ticks = [1 - step * i for i in range(int((1 - low) / step + 1.001))]
    return Axis(label, low, 1.0, ticks, lambda value: f"{100 * value:.0f}")


def count_axis(label: str, last: int, first: int = 1) -> Axis:
    """Whole numbers from `first` to `last`."""
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, last) if last / step <= 11)
    ticks = sorted({first, last, *range(step, last + 1, step)} - ({1} if step > 2 else set()))
    ticks = [tick for tick in ticks if tick == last or last - tick >= step / 2]
    return Axis(label, first, max(first + 1, last), ticks, lambda value: f"{value:.0f}")


def area_axis(areas: Sequence[float]) -> Axis:
    """Around all areas (parts of the image above 0, at most 1), from one of ..., 1, 2, 5, 10, 20, ... % to another.

    These are the ticks too, or the powers of ten alone where that would be many.
    """
    exponents = range(math.floor(math.log10(min(areas))) - 1, 0)
    steps = [*(float(f"{factor}e{i}") for i in exponents for factor in (1, 2, 5)), 1.0]
    last = next(i for i, step in enumerate(steps) if step >= max(areas))
    first = min(max(i for i, step in enumerate(steps) if step <= min(areas)), last - 3)
    ticks = steps[first : last + 1]
    low, high = ticks[0], ticks[-1]
    ticks = ticks if len(ticks) <= 8 else [step for step in ticks if f"{step:e}".startswith("1.")]
    return Axis("object's area, % of the image", low, high, ticks, lambda value: f"{100 * value:g}", is_log=True)


def _short(value: float, step: float) -> str:
    """A tick's value in as many digits as tell it from its neighbours; thousands as 10k, 2.5M."""
    for divisor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= divisor and step >= divisor / 100:
            return f"{value / divisor:g}{unit}"
    return f"{value:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


# ---------------------------------------------------------------------------------------------- charts


def curves_chart(
    title: str,
    curves: Sequence[Curve],
    y: Axis | None = None,
    x: Axis | None = None,
    y_label: str = "",
    x_label: str = "",
) -> str:
    """Lines with their intervals as bands; an axis that is not given is made for the points."""
    shown = [_finite(curve) for curve in curves]
    points = [point for curve in shown for point in curve.points]
    x = x or value_axis(x_label, [point[0] for point in points])
    y = y or value_axis(y_label, [point[1] for point in points])
    body = [_band(curve, i, x, y) for i, curve in enumerate(shown) if curve.low]
    for i, curve in enumerate(shown):
        line = _averaged(curve.points)
        body.append(f'<polyline points="{_points(line, x, y)}" fill="none" {_stroke(i)}/>')
        body += [_mark(point, i, x, y) for point in line[:: max(1, len(line) // 20)]]
    return _chart(title, x, y, body, [curve.name for curve in curves])


def scatter_chart(title: str, groups: Mapping[str, Sequence[Point]], x: Axis, y: Axis) -> str:
    """A mark for each point (x, y), a colour and shape for each group."""
    body = [_mark(point, i, x, y, opacity=0.55) for i, points in enumerate(groups.values()) for point in points]
    return _chart(title, x, y, body, list(groups), with_lines=False)


def write_svg(path: Path, chart: str) -> None:
    """Writes a chart as a file that browsers and editors show."""
    white = f'<rect x="-8" y="-8" width="{WIDTH + 16}" height="4000" fill="#fff"/>'
    whole = chart.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    write_text(path, whole.replace("\n", f"\n{white}\n", 1))


def _finite(curve: Curve) -> Curve:
    kept = [i for i, point in enumerate(curve.points) if all(math.isfinite(value) for value in point)]
    low, high = ([values[i] for i in kept] if values else () for values in (curve.low, curve.high))
    return Curve(curve.name, [curve.points[i] for i in kept], low, high)


def _averaged(points: Sequence[Point]) -> Sequence[Point]:
    """At most MOST_POINTS points, the means of equal parts of them all."""
    if len(points) <= MOST_POINTS:
        return points
    edges = [len(points) * i // MOST_POINTS for i in range(MOST_POINTS + 1)]
    parts = [points[a:b] for a, b in zip(edges, edges[1:], strict=False)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]


def _band(curve: Curve, group: int, x: Axis, y: Axis) -> str:
    rows = zip(curve.points, curve.low, curve.high, strict=True)
    band = [(point[0], low, high) for point, low, high in rows if low is not None and high is not None]
    outline = [(at, high) for at, _, high in band] + [(at, low) for at, low, _ in reversed(band)]
    if not outline:
        return ""
    return f'<polygon points="{_points(outline, x, y)}" fill="{COLOURS[group % 7]}" fill-opacity=".14"/>'


def _chart(title: str, x: Axis, y: Axis, body: Iterable[str], names: Sequence[str], with_lines: bool = True) -> str:
    rule = f'stroke="{INK}"'
    lines = []
    for tick in y.ticks:
        row = _row(y, tick)
        lines.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{row:.1f}" y2="{row:.1f}" stroke="{GRID}"/>')
        lines.append(f'<text x="{LEFT - 6}" y="{row + 4:.1f}" text-anchor="end">{y.write(tick)}</text>')
    floor = HEIGHT - BOTTOM
    for tick in x.ticks:
        column = f"{_column(x, tick):.1f}"
        lines.append(f'<line x1="{column}" x2="{column}" y1="{floor}" y2="{floor + 4}" {rule}/>')
        lines.append(f'<text x="{column}" y="{floor + 17}" text-anchor="middle">{x.write(tick)}</text>')
    lines.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{floor}" y2="{floor}" {rule}/>')
    middle, centre = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
    lines.append(f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{html.escape(x.label)}</text>')
    turned = f'transform="translate(12 {centre}) rotate(-90)" text-anchor="middle"'
    lines.append(f"<text {turned}>{html.escape(y.label)}</text>")
    legend, height = _legend(names, with_lines)
    name = html.escape(f"{title}: {y.label} over {x.label}", quote=True)
    style = f'font-family="system-ui, sans-serif" font-size="13" fill="{INK}"'
    content = "\n".join([*lines, *(part for part in body if part), *legend])
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{name}" {style}>\n{content}\n</svg>'


def _legend(names: Sequence[str], with_lines: bool) -> tuple[list[str], int]:
    """The names below the chart beside their marks and, for curves, a piece of their lines; and the whole height."""
    items, x, y = [], float(LEFT), HEIGHT + 12
    for i, name in enumerate(names):
        lines = textwrap.wrap(name, LEGEND_CHARACTERS) or [""]
        width = 38 + CHARACTER * max(map(len, lines)) + 16
        if x > LEFT and x + width > WIDTH:
            x, y = float(LEFT), y + LEGEND_LINE
        if with_lines:
            items.append(f'<line x1="{x:.0f}" x2="{x + 30:.0f}" y1="{y}" y2="{y}" {_stroke(i)}/>')
        items.append(_shape(x + 15, y, i))
        for line in lines:
            items.append(f'<text x="{x + 36:.0f}" y="{y + 4}">{html.escape(line)}</text>')
            y += LEGEND_LINE
        y -= LEGEND_LINE
        x = x + width if len(lines) == 1 else float(WIDTH)
    return items, y + 10 if names else HEIGHT


def _stroke(group: int) -> str:
    dashes = f' stroke-dasharray="{DASHES[group % 7]}"' if DASHES[group % 7] else ""
    return f'stroke="{COLOURS[group % 7]}" stroke-width="2.2"{dashes}'


def _mark(point: Point, group: int, x: Axis, y: Axis, opacity: float = 1.0) -> str:
    return _shape(_column(x, point[0]), _row(y, point[1]), group, opacity)


def _shape(column: float, row: float, group: int, opacity: float = 1.0) -> str:
    """A disk, a square or a triangle, by group."""
    style = f'fill="{COLOURS[group % 7]}"' + (f' fill-opacity="{opacity}"' if opacity < 1 else "")
    if group % 3 == 0:
        return f'<circle cx="{column:.1f}" cy="{row:.1f}" r="3.2" {style}/>'
    square, triangle = ((-2.9, -2.9), (2.9, -2.9), (2.9, 2.9), (-2.9, 2.9)), ((0, -3.8), (3.6, 2.9), (-3.6, 2.9))
    corners = square if group % 3 == 1 else triangle
    return f'<polygon points="{" ".join(f"{column + dx:.1f},{row + dy:.1f}" for dx, dy in corners)}" {style}/>'


def _points(points: Sequence[Point], x: Axis, y: Axis) -> str:
    return " ".join(f"{_column(x, px):.1f},{_row(y, py):.1f}" for px, py in points)


def _column(x: Axis, value: float) -> float:
    return LEFT + 6 + x.part(value) * (WIDTH - RIGHT - LEFT - 12)


def _row(y: Axis, value: float) -> float:
    return HEIGHT - BOTTOM - min(1.0, max(0.0, y.part(value))) * (HEIGHT - BOTTOM - TOP)
