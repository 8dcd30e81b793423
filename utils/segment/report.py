"""One HTML file of an evaluation or a comparison: tables, charts and pictures, in the style of the benchmark's."""
from __future__ import annotations

import html
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from utils.files import write_text
from utils.metrics import Estimate
from utils.pictures import draw_task
from utils.plots import scatter_chart, value_axis
from utils.report import Row, figures_table, page, picture, pictures, signed
from utils.segment.data import PhotoWithMask
from utils.segment.evaluation import MakeMask, PhotoScore
from utils.segment.segmentation import IGNORED

SHOWN = 24  # worst photos, and as many random ones
LEGEND = "White is the truth, orange the prediction; darkened pixels are ignored."
MEASURES = (
    "IoU is intersection over union, a photo on average or of all pixels at once; two empty masks have 1. Dice is "
    "twice the intersection over both areas. Boundary IoU (Cheng et al. 2021) compares the masks' inner bands, 2 % of "
    "the diagonal wide. Intervals are 95 % of a bootstrap over photos."
)

Picture = tuple[np.ndarray, np.ndarray, np.ndarray]  # photo (H, W, 3), truth (H, W) of 1, 0 and -1, mask bool (H, W)


def write_page(path: Path, title: str, command: Sequence[str], sections: Sequence[str]) -> None:
    """Writes a page that holds everything it shows."""
    about = f"<section><h2>What was run</h2><pre>{html.escape(shlex.join(command))}</pre><p>{MEASURES}</p></section>"
    write_text(path, page(title, [f"<h1>{html.escape(title)}</h1>", *sections, about]))


def table(caption: str, columns: Mapping[str, Mapping[str, Estimate]], is_difference: bool = False) -> str:
    """A line for each measure, a column for each model or way; differences whose interval leaves zero out are bold."""
    measures = dict.fromkeys(measure for column in columns.values() for measure in column)
    rows = [Row(measure, measure, _signed if is_difference else _plain) for measure in measures]
    return figures_table(caption, columns, rows, is_difference)


def _plain(value: float) -> str:
    return f"{value:.4f}"


def _signed(value: float) -> str:
    return signed(value, 4)


def size_chart(groups: Mapping[str, Sequence[PhotoScore]], pixels: Mapping[str, int]) -> str:
    """IoU over the part of the photo that the object takes; `pixels` by photo."""
    points = {name: [(score.truth / pixels[score.name], score.iou) for score in scores]
              for name, scores in groups.items()}
    x, y = value_axis("object's part of the photo", [0, 1]), value_axis("IoU", [0, 1])
    return scatter_chart("IoU over size", points, x, y)


def photos(heading: str, names: Sequence[str], show: Callable[[str], Picture], label: Callable[[str], str]) -> str:
    """Photos with the outlines of truth and prediction."""
    return pictures(heading, (picture(draw_task(*show(name), ()), label(name)) for name in names))


def shown(samples: Mapping[str, PhotoWithMask], make_mask: MakeMask, name: str) -> Picture:
    """What `photos` shows of a sample."""
    photo, mask = samples[name].read()
    return photo, np.where(mask == IGNORED, -1, mask == 1).astype(np.int8), make_mask(photo)


def picture_section(content: str) -> str:
    """The section that `photos` stand in."""
    return f"<section><h2>Pictures</h2><p>{LEGEND}</p>{content}</section>"


def choose(scores: Sequence[PhotoScore], seed: int = 0) -> dict[str, list[str]]:
    """Names of the worst photos and of random ones, by heading; all of them where there are no more."""
    worst = [score.name for score in sorted(scores, key=lambda score: (score.iou, score.name))]
    if len(worst) <= SHOWN:
        return {f"All {len(worst)} photos, the worst first": worst}
    drawn = np.random.default_rng(seed).permutation(len(scores))[:SHOWN]
    some = [scores[i].name for i in sorted(drawn)]
    return {f"The {SHOWN} worst photos": worst[:SHOWN], f"{SHOWN} random photos": some}
