"""How good a concept model is: figures for each photo, means with bootstrap intervals, paired differences."""
from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from utils.files import UserError, write_text
from utils.metrics import DRAWS, Estimate, Scorer, estimates
from utils.segment.data import PhotoWithMask
from utils.segment.segmentation import IGNORED, SegmentationError

MakeMask = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class PhotoScore:
    """What the mask of one photo is worth, ignored pixels left out.

    IoU, Dice and Boundary IoU (Cheng et al. 2021) lie in [0, 1] and are 1 where both masks are empty; the rest are
    numbers of pixels.
    """

    name: str
    iou: float
    dice: float
    boundary_iou: float
    intersection: int
    union: int
    truth: int
    predicted: int


MEASURES = {"IoU a photo": "iou", "Dice": "dice", "Boundary IoU": "boundary_iou"}
PIXELS = "IoU over pixels"


def score_photo(name: str, truth: np.ndarray, mask: np.ndarray) -> PhotoScore:
    """Scores a mask bool (H, W) against the truth uint8 (H, W) of 0, 1 and IGNORED."""
    iou, boundary_iou = Scorer(np.where(truth == IGNORED, -1, truth == 1).astype(np.int8)).score(mask)
    counted = mask & (truth != IGNORED)
    objects, predicted = int((truth == 1).sum()), int(counted.sum())
    both = int((counted & (truth == 1)).sum())
    dice = 2 * both / (objects + predicted) if objects + predicted else 1.0
    return PhotoScore(name, iou, dice, boundary_iou, both, objects + predicted - both, objects, predicted)


def evaluate(
    samples: Iterable[PhotoWithMask], make_mask: MakeMask, failed: list[str] | None = None
) -> list[PhotoScore]:
    """Scores the masks that `make_mask` gives for photos.

    Args:
        failed: gets a sentence for each photo that can't be read; without it the first one is raised.

    Raises:
        SegmentationError, UserError: a photo or mask can't be read.
    """
    scores = []
    for sample in samples:
        try:
            photo, truth = sample.read()
        except (SegmentationError, UserError) as error:
            if failed is None:
                raise
            failed.append(str(error))
            continue
        scores.append(score_photo(sample.name, truth, make_mask(photo)))
    return scores


def summarise(scores: Sequence[PhotoScore]) -> dict[str, Estimate]:
    """The means of MEASURES, and PIXELS: intersections of all photos over their unions."""
    return {**estimates([_measures(score) for score in scores], [score.name for score in scores]),
            PIXELS: _over_pixels(scores)}


def _measures(score: PhotoScore) -> dict[str, float]:
    return {name: getattr(score, attribute) for name, attribute in MEASURES.items()}


def _over_pixels(scores: Sequence[PhotoScore]) -> Estimate:
    pixels = np.array([[score.intersection, score.union] for score in scores], dtype=float)
    mean = _ratio(pixels.sum(0))
    if len(scores) < 2:
        return Estimate(mean, None, None)
    times = np.random.default_rng(0).multinomial(len(scores), np.full(len(scores), 1 / len(scores)), size=DRAWS)
    low, high = np.quantile([_ratio(drawn) for drawn in times @ pixels], (0.025, 0.975)).tolist()
    return Estimate(mean, low, high)


def _ratio(pixels: np.ndarray) -> float:
    return float(pixels[0] / pixels[1]) if pixels[1] else 1.0


def difference(scores: Sequence[PhotoScore], others: Sequence[PhotoScore]) -> dict[str, Estimate]:
    """MEASURES of one way minus another's on the same photos, paired photo by photo."""
    theirs = {score.name: score for score in others}
    pairs = [(score.name, _measures(score), _measures(theirs[score.name])) for score in scores if score.name in theirs]
    rows = [{measure: a[measure] - b[measure] for measure in MEASURES} for _, a, b in pairs]
    return estimates(rows, [name for name, _, _ in pairs])


def write_csv(scores: Sequence[PhotoScore], path: Path) -> None:
    """A line for each photo."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([[field.name for field in fields(PhotoScore)], *map(astuple, scores)])
    write_text(path, text.getvalue())
