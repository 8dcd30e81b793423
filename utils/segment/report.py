"""One HTML file of an evaluation or a comparison: tables, charts and pictures, in the style of the benchmark's."""
from __future__ import annotations

import base64
import html
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from utils import benchmark
from utils.benchmark.pictures import draw_task
from utils.files import read_text, write_text
from utils.images import encode_jpeg
from utils.plots import scatter_chart, value_axis
from utils.segment.data import PhotoWithMask
from utils.segment.evaluation import Estimate, MakeMask, PhotoScore
from utils.segment.segmentation import IGNORED

SHOWN = 24  # worst photos, and as many random ones
STYLE = Path(benchmark.__file__).with_name("report.css")
LEGEND = "White is the truth, orange the prediction; darkened pixels are ignored."
MEASURES = (
    "IoU is intersection over union, a photo on average or of all pixels at once; two empty masks have 1. Dice is "
    "twice the intersection over both areas. Boundary IoU (Cheng et al. 2021) compares the masks' inner bands, 2 % of "
    "the diagonal wide. Intervals are 95 % of a bootstrap over photos."
)

Picture = tuple[np.ndarray, np.ndarray, np.ndarray]  # photo (H, W, 3), truth (H, W) of 1, 0 and -1, mask bool (H, W)


def write_page(path: Path, title: str, command: Sequence[str], sections: Sequence[str]) -> None:
    """Writes a page that holds everything it shows."""
    body = "\n".join(sections)
    about = f"<section><h2>What was run</h2><pre>{html.escape(shlex.join(command))}</pre><p>{MEASURES}</p></section>"
    write_text(path, f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title><style>{read_text(STYLE)}</style></head>
<body><main><h1>{html.escape(title)}</h1>
{body}
{about}</main></body></html>
""")


def table(caption: str, columns: Mapping[str, Mapping[str, Estimate]], is_difference: bool = False) -> str:
    """A line for each measure, a column for each model or way; differences whose interval leaves zero out are bold."""
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in columns)
    measures = dict.fromkeys(measure for column in columns.values() for measure in column)
    rows = "".join(
        f'<tr><th scope="row">{html.escape(measure)}</th>'
        + "".join(f"<td>{_cell(column.get(measure), is_difference)}</td>" for column in columns.values()) + "</tr>"
        for measure in measures
    )
    return (f'<div class="table wide"><table><caption>{html.escape(caption)}</caption><thead><tr><th></th>{head}</tr>'
            f"</thead><tbody>{rows}</tbody></table></div>")


def _cell(estimate: Estimate | None, is_difference: bool) -> str:
    if estimate is None:
        return "–"
    sign = "+" if is_difference else ""
    mean, low, high = (f"{value:{sign}.4f}" for value in (estimate.mean, estimate.low, estimate.high))
    if is_difference and (estimate.low > 0 or estimate.high < 0):
        mean = f"<b>{mean}</b>"
    return mean if math.isnan(estimate.low) else f"{mean}<small>{low} to {high}</small>"


def charts(parts: Mapping[str, str]) -> str:
    """Charts (SVG) beneath their headings."""
    figures = (f"<figure><figcaption>{html.escape(name)}</figcaption>{svg}</figure>" for name, svg in parts.items())
    return f'<div class="charts">{"".join(figures)}</div>'


def size_chart(groups: Mapping[str, Sequence[PhotoScore]], pixels: Mapping[str, int]) -> str:
    """IoU over the part of the photo that the object takes; `pixels` by photo."""
    points = {name: [(score.truth / pixels[score.name], score.iou) for score in scores]
              for name, scores in groups.items()}
    x, y = value_axis("object's part of the photo", [0, 1]), value_axis("IoU", [0, 1])
    return scatter_chart("IoU over size", points, x, y)


def pictures(heading: str, names: Sequence[str], show: Callable[[str], Picture], label: Callable[[str], str]) -> str:
    """Photos with the outlines of truth and prediction."""
    figures = []
    for name in names:
        photo, truth, mask = show(name)
        jpeg = base64.b64encode(encode_jpeg(draw_task(photo, truth, mask, ()), quality=82)).decode()
        text = html.escape(label(name))
        figures.append(f'<figure><img src="data:image/jpeg;base64,{jpeg}" alt="{text}">'
                       f"<figcaption>{text}</figcaption></figure>")
    return f'<h3>{html.escape(heading)}</h3><div class="pictures">{"".join(figures)}</div>'


def shown(samples: Mapping[str, PhotoWithMask], make_mask: MakeMask, name: str) -> Picture:
    """What `pictures` shows of a sample."""
    photo, mask = samples[name].read()
    return photo, np.where(mask == IGNORED, -1, mask == 1).astype(np.int8), make_mask(photo)


def picture_section(content: str) -> str:
    """The section that `pictures` stand in."""
    return f"<section><h2>Pictures</h2><p>{LEGEND}</p>{content}</section>"


def choose(scores: Sequence[PhotoScore], seed: int = 0) -> dict[str, list[str]]:
    """Names of the worst photos and of random ones, by heading; all of them where there are no more."""
    worst = [score.name for score in sorted(scores, key=lambda score: (score.iou, score.name))]
    if len(worst) <= SHOWN:
        return {f"All {len(worst)} photos, the worst first": worst}
    drawn = np.random.default_rng(seed).permutation(len(scores))[:SHOWN]
    some = [scores[i].name for i in sorted(drawn)]
    return {f"The {SHOWN} worst photos": worst[:SHOWN], f"{SHOWN} random photos": some}
