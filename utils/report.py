"""Reports as one HTML file that holds everything it shows: the page, tables of figures, pictures and charts."""
from __future__ import annotations

import base64
import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.files import read_text
from utils.images import encode_jpeg
from utils.metrics import Estimate

STYLE = Path(__file__).with_name("report.css")
PICTURE_QUALITY = 82
NARROW_COLUMNS = 3  # so many tables' columns stand side by side on a phone

Figures = Mapping[str, Estimate]


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page of its sections (HTML); empty ones are left out."""
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{read_text(STYLE)}</style>\n</head>\n<body>\n<main>\n"
        f"{body}\n</main>\n</body>\n</html>\n"
    )


def figure(caption: str, content: str) -> str:
    """A chart (SVG) beneath its caption."""
    return f"<figure><figcaption>{html.escape(caption)}</figcaption>{content}</figure>"


def charts(figures: Iterable[str]) -> str:
    """Figures side by side where there is room."""
    return f'<div class="charts">{"".join(figures)}</div>'


def picture(image: np.ndarray, label: str) -> str:
    """A picture uint8 (H, W, 3) RGB above its label."""
    source = f"data:image/jpeg;base64,{base64.b64encode(encode_jpeg(image, PICTURE_QUALITY)).decode()}"
    text = html.escape(label)
    return f'<figure><img src="{source}" alt="{text}"><figcaption>{text}</figcaption></figure>'


def pictures(heading: str, figures: Iterable[str]) -> str:
    """Pictures beneath a heading."""
    return f'<h3>{html.escape(heading)}</h3>\n<div class="pictures">{"".join(figures)}</div>'


@dataclass(frozen=True)
class Row:
    """A line of a table of figures: its label, the figure's name, how it is written."""

    label: str
    name: str
    write: Callable[[float], str]


def figures_table(
    caption: str, columns: Mapping[str, Figures], rows: Iterable[Row], is_difference: bool = False
) -> str:
    """A line for each figure, a column for each model; figures that a column lacks stay empty."""
    lines = []
    for row in rows:
        found = [figures.get(row.name) for figures in columns.values()]
        lines.append((row.label, [_cell(estimate, row.write, is_difference) for estimate in found]))
    return html_table(caption, list(columns), lines)


def _cell(estimate: Estimate | None, write: Callable[[float], str], is_difference: bool) -> str:
    if estimate is None:
        return "–"
    if estimate.low is None or estimate.high is None:
        return write(estimate.mean)
    mean = write(estimate.mean)
    if is_difference and estimate.leaves_zero_out():
        mean = f"<b>{mean}</b>"
    return f"{mean}<small>{write(estimate.low)} to {write(estimate.high)}</small>"


def html_table(caption: str, columns: Sequence[str], rows: Sequence[tuple[str, list[str]]], kind: str = "") -> str:
    """Any table: a caption, names of columns, and rows of a label and cells."""
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in columns)
    body = "".join(
        f'<tr><th scope="row">{html.escape(label)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for label, cells in rows
    )
    title = f"<caption><span>{html.escape(caption)}</span></caption>"
    table = f"{title}<thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody>"
    name = html.escape(caption, quote=True)
    css = "table wide" if len(columns) > NARROW_COLUMNS else "table"
    region = f'<div class="{css}" role="region" tabindex="0" aria-label="{name}">'
    return f'{region}<table class="{kind}">{table}</table></div>'


def click_word(count: int) -> str:
    """Singular or plural."""
    return "click" if count == 1 else "clicks"


def as_percent(value: float) -> str:
    """0.5 as 50.0."""
    return f"{100 * value:.1f}"


def signed_percent(value: float) -> str:
    """0.5 as +50.0."""
    return signed(100 * value, 1)


def two_decimals(value: float) -> str:
    """0.5 as 0.50."""
    return f"{value:.2f}"


def signed(value: float, decimals: int = 2) -> str:
    """0.5 as +0.50."""
    text = f"{value:+.{decimals}f}".replace("-", "−")
    return text if text.strip("+−0.") else text[1:]  # nothing has no sign
