"""The assignment's parts 1 to 3 in one call: encoder-decoder, U-Net and pretrained U-Net on the same split."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2

from utils.files import PathLike, read_text, write_text, write_whole
from utils.misc import contact_sheet
from utils.plots import Curve, curves_chart
from utils.report import charts, figure
from utils.segment import report
from utils.segment.data import PhotoWithMask
from utils.segment.evaluation import PhotoScore, difference, evaluate, summarise
from utils.segment.prediction import Inference
from utils.segment.segmentation import ConceptModel, Recipe, Settings, Weights, load_model, split_samples
from utils.segment.training import HEADINGS, TrainingResult, tiles, train
from utils.training import fit_tile

PARTS = ("encoder_decoder", "unet", "pretrained_unet")
SHEET_PHOTOS = 8


@dataclass(frozen=True)
class Contestant:
    """A trained network and what its masks of the held-out photos are worth."""

    name: str
    model: ConceptModel
    result: TrainingResult
    scores: list[PhotoScore]


def compare(samples: Sequence[PhotoWithMask], out: PathLike, recipe: Recipe, settings: Settings, pretrained: Weights,
            command: Sequence[str], device: str | None = None, quiet: bool = False) -> list[Contestant]:
    """Trains PARTS one after the other, each for the recipe's time, and writes the comparison.

    `out` gets a folder for each network, comparison.html, comparison.csv and side_by_side.jpg. A stopped call goes on.
    The plain networks have no hypercolumns: they differ in their skips alone.

    Returns:
        The networks; fewer of them if the training was stopped.
    """
    out = Path(out)
    _, held_out = split_samples(samples)
    done: list[Contestant] = []
    for name in PARTS:
        is_plain = name != "pretrained_unet"
        chosen = replace(settings, network=name, hypercolumns=settings.hypercolumns and not is_plain)
        weights = None if is_plain else pretrained
        result = train(samples, out / name, recipe, chosen, weights, device=device, quiet=quiet)
        if not result.is_finished:
            return done
        model = load_model(result.model)
        scores = evaluate(held_out, partial(Inference().mask, model))
        done.append(Contestant(name, model, result, scores))
    _write(done, held_out, out, command)
    return done


def table_text(contestants: Sequence[Contestant]) -> str:
    """A line for each network, as plain text."""
    heads = f"{'parameters':>10} {'IoU a photo':>11} {'over pixels':>11} {'Boundary IoU':>12} {'minutes':>7}"
    lines = [f"{'network':18} {heads}"]
    for one in contestants:
        figures = [estimate.mean for estimate in summarise(one.scores).values()]
        size = sum(parameter.numel() for parameter in one.model.parameters())
        lines.append(f"{one.name:18} {size:10} {figures[0]:11.4f} {figures[3]:11.4f} {figures[2]:12.4f} "
                     f"{one.result.seconds / 60:7.1f}")
    return "\n".join(lines)


def _write(contestants: Sequence[Contestant], held_out: Sequence[PhotoWithMask], out: Path,
           command: Sequence[str]) -> None:
    figures = report.table(f"{len(held_out)} held-out photos", {c.name: summarise(c.scores) for c in contestants})
    pairs = [(contestants[1], contestants[0]), (contestants[2], contestants[1])]
    differences = report.table("Paired differences; bold where the interval leaves zero out",
                               {f"{a.name} − {b.name}": difference(a.scores, b.scores) for a, b in pairs}, True)
    curves = charts([figure("Held-out IoU over training", _curves(contestants, out))])
    worst = report.choose(contestants[1].scores)
    by_name = {sample.name: sample for sample in held_out}
    pictures = "".join(
        report.photos(f"{one.name}: {heading.lower()} of {contestants[1].name}", names,
                        partial(report.shown, by_name, partial(Inference().mask, one.model)), lambda name: name)
        for heading, names in list(worst.items())[:1] for one in contestants
    )
    report.write_page(out / "comparison.html", "Encoder-decoder, U-Net, pretrained U-Net", command,
                      [figures, differences, curves, report.picture_section(pictures)])
    rows = ["photo," + ",".join(one.name for one in contestants)]
    for scores in zip(*(one.scores for one in contestants), strict=True):
        rows.append(",".join(['"' + scores[0].name.replace('"', '""') + '"', *(f"{s.iou:.6f}" for s in scores)]))
    write_text(out / "comparison.csv", "\n".join(rows) + "\n")
    _write_sheet(contestants, held_out[:SHEET_PHOTOS], out / "side_by_side.jpg")


def _curves(contestants: Sequence[Contestant], out: Path) -> str:
    curves = []
    for one in contestants:
        path = out / one.name / "metrics.csv"
        header, *lines = [line.split(",") for line in read_text(path).splitlines()] if path.is_file() else [["iou"]]
        column = header.index("iou")
        curves.append(Curve(one.name, [(float(line[0]), float(line[column])) for line in lines]))
    return curves_chart("Held-out IoU", curves, y_label="IoU", x_label="training")


def _write_sheet(contestants: Sequence[Contestant], samples: Sequence[PhotoWithMask], path: Path) -> None:
    """Photo, true mask and each network's mask, side by side."""
    rows = []
    for sample in samples:
        shown = [tiles(*sample.read(), one.model) for one in contestants]
        rows.append([fit_tile(tile) for tile in (*shown[0][:2], *(row[2] for row in shown))])
    sheet = contact_sheet(rows, [*HEADINGS[:2], *(one.name for one in contestants)])
    write_whole(path, cv2.imencode(".jpg", sheet[..., ::-1])[1].tobytes())
