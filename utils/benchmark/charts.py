"""Charts as inline SVG: no scripts, nothing from elsewhere. Narrow, so that their letters can be read on a phone."""
from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 420, 290
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 44
# Okabe and Ito's colours (2008), which colour-blind readers can tell apart; dashes tell them apart in black and white
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b2528f", "#8a6d00", "#3a8fc4", "#444444")
DASHES = ("", "7 4", "2 3", "9 3 2 3", "5 2", "1 4", "12 4")

Point = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """A line over x = 1, 2, ...: values, and the bounds of their intervals where they have one."""

    name: str
    values: Sequence[float]
    low: Sequence[float | None]
    high: Sequence[float | None]


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


def percent_axis(label: str, lowest: float = 0.0) -> Axis:
    """From a round percentage not above `lowest` to 100 %."""
    low = math.floor(max(0.0, min(lowest, 0.9)) * 10) / 10
    step = 0.1 if low >= 0.4 else 0.2
    ticks = [1 - step * i for i in range(int((1 - low) / step + 1.001))]
    return Axis(label, low, 1.0, ticks, lambda value: f"{100 * value:.0f}")


def click_axis(clicks: int) -> Axis:
    """1 to the number of clicks."""
    step = next(step for step in (1, 2, 5, 10, 20) if clicks / step <= 11)
    ticks = sorted({1, clicks, *range(step, clicks + 1, step)} - ({1} if step > 2 else set()))
    ticks = [tick for tick in ticks if tick == clicks or clicks - tick >= step / 2]
    return Axis("clicks", 1, max(2, clicks), ticks, lambda value: f"{value:.0f}")


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


def curves_chart(title: str, curves: Sequence[Curve], y: Axis) -> str:
    """Lines with their intervals as bands."""
    x = click_axis(max(len(curve.values) for curve in curves))
    body = []
    for i, curve in enumerate(curves):
        band = [(k, low, high) for k, (low, high) in enumerate(zip(curve.low, curve.high, strict=True), 1)
                if low is not None]
        outline = [(k, high) for k, _, high in band] + [(k, low) for k, low, _ in reversed(band)]
        if outline:
            body.append(f'<polygon points="{_points(outline, x, y)}" fill="{COLOURS[i % 7]}" fill-opacity=".14"/>')
    for i, curve in enumerate(curves):
        points = list(enumerate(curve.values, 1))
        body.append(f'<polyline points="{_points(points, x, y)}" fill="none" {_stroke(i)}/>')
        body += [_mark(point, i, x, y) for point in points[:: max(1, len(points) // 20)]]
    return _chart(title, x, y, body) + _legend([curve.name for curve in curves])


def scatter_chart(title: str, groups: dict[str, Sequence[Point]], x: Axis, y: Axis) -> str:
    """A mark for each point (x, y), a colour and shape for each group."""
    body = [_mark(point, i, x, y, opacity=0.55) for i, points in enumerate(groups.values()) for point in points]
    return _chart(title, x, y, body) + _legend(list(groups), with_lines=False)


def _chart(title: str, x: Axis, y: Axis, body: Sequence[str]) -> str:
    lines = []
    for tick in y.ticks:
        row = _row(y, tick)
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{row:.1f}" y2="{row:.1f}"/>')
        lines.append(f'<text x="{LEFT - 6}" y="{row + 4:.1f}" text-anchor="end">{y.write(tick)}</text>')
    floor = HEIGHT - BOTTOM
    for tick in x.ticks:
        column = f"{_column(x, tick):.1f}"
        lines.append(f'<line class="tick" x1="{column}" x2="{column}" y1="{floor}" y2="{floor + 4}"/>')
        lines.append(f'<text x="{column}" y="{floor + 17}" text-anchor="middle">{x.write(tick)}</text>')
    lines.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{floor}" y2="{floor}"/>')
    middle, centre = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
    lines.append(f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{html.escape(x.label)}</text>')
    turned = f'transform="translate(12 {centre}) rotate(-90)" text-anchor="middle"'
    lines.append(f"<text {turned}>{html.escape(y.label)}</text>")
    name = html.escape(f"{title}: {y.label} over {x.label}", quote=True)
    content = "\n".join([*lines, *body])
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}">\n{content}\n</svg>'


def _legend(names: Sequence[str], with_lines: bool = True) -> str:
    """The names beside their marks and, for curves, a piece of their lines."""
    items = []
    for i, name in enumerate(names):
        line = f'<line x1="0" x2="30" y1="6" y2="6" {_stroke(i)}/>' if with_lines else ""
        mark = f'<svg viewBox="0 0 30 12" aria-hidden="true">{line}{_shape(15, 6, i)}</svg>'
        items.append(f"<li>{mark}{html.escape(name)}</li>")
    return f'<ul class="legend">{"".join(items)}</ul>'


def _stroke(group: int) -> str:
    dashes = f' stroke-dasharray="{DASHES[group % 7]}"' if DASHES[group % 7] else ""
    return f'stroke="{COLOURS[group % 7]}" stroke-width="2.2"{dashes}'


def _mark(point: Point, group: int, x: Axis, y: Axis, opacity: float = 1.0) -> str:
    return _shape(_column(x, point[0]), _row(y, point[1]), group, opacity)


def _shape(column: float, row: float, group: int, opacity: float = 1.0) -> str:
    """A disk, a square or a triangle, by group."""
    look = f'fill="{COLOURS[group % 7]}"' + (f' fill-opacity="{opacity}"' if opacity < 1 else "")
    if group % 3 == 0:
        return f'<circle cx="{column:.1f}" cy="{row:.1f}" r="3.2" {look}/>'
    square, triangle = ((-2.9, -2.9), (2.9, -2.9), (2.9, 2.9), (-2.9, 2.9)), ((0, -3.8), (3.6, 2.9), (-3.6, 2.9))
    corners = square if group % 3 == 1 else triangle
    return f'<polygon points="{" ".join(f"{column + dx:.1f},{row + dy:.1f}" for dx, dy in corners)}" {look}/>'


def _points(points: Sequence[Point], x: Axis, y: Axis) -> str:
    return " ".join(f"{_column(x, px):.1f},{_row(y, py):.1f}" for px, py in points)


def _column(x: Axis, value: float) -> float:
    return LEFT + 6 + x.part(value) * (WIDTH - RIGHT - LEFT - 12)


def _row(y: Axis, value: float) -> float:
    return HEIGHT - BOTTOM - min(1.0, max(0.0, y.part(value))) * (HEIGHT - BOTTOM - TOP)
