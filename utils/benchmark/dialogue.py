"""One dialogue: a robot clicks on one task, a model answers, every answer is scored."""
from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from utils.benchmark.metrics import Scorer
from utils.benchmark.models import LoadedModel, ModelError, takes_start
from utils.benchmark.robots import LoggedClick, Robot

SHOWN_CLICK = 3  # the report's pictures and the scatter show the state after this click
ROUNDING = 1e-4  # what interpolation may add to a probability of 0 or 1


@dataclass
class Dialogue:
    """What happened: a value a click in the lists, IoUs in [0, 1], times in seconds.

    `start_iou` is the IoU of the starting mask, `shown_mask` bool (H, W) the prediction after SHOWN_CLICK clicks (or
    the last, of fewer), `harness_seconds` the time between the model's answers: clicking and scoring.
    """

    area: int
    start_iou: float
    ious: list[float] = field(default_factory=list)
    boundary_ious: list[float] = field(default_factory=list)
    clicks: list[LoggedClick] = field(default_factory=list)
    prepare_seconds: float = 0.0
    click_seconds: list[float] = field(default_factory=list)
    harness_seconds: float = 0.0
    shown_mask: np.ndarray | None = None


def converse(
    model: LoadedModel, image: np.ndarray, truth: np.ndarray, robot: Robot, clicks: int, start: np.ndarray | None = None
) -> Dialogue:
    """Clicks so many times, or as long as the robot's log goes.

    Args:
        model: asked with the robot's clicker.
        image: uint8 (H, W, 3) RGB.
        truth: (H, W) of 1, 0 and -1 (ignored).
        robot: adds a click a round.
        clicks: number of rounds.
        start: mask bool (H, W) to correct; None begins from nothing.

    Raises:
        ModelError: the model can't start from a mask.
        ValueError: the model returns anything but probabilities of the image's size.
    """
    if start is not None and not takes_start(model.predictor):
        raise ModelError("get_prediction has no argument prev_mask, so the model can't start from a mask")
    begun = perf_counter()
    scorer = Scorer(truth)
    mask = np.zeros(truth.shape, bool) if start is None else start
    record = Dialogue(scorer.area, scorer.score(mask)[0])
    record.prepare_seconds = _timed(lambda: model.predictor.set_input_image(image))[1]
    for k in range(1, clicks + 1):
        robot.click(mask)
        first = {"prev_mask": start.astype(np.float32)} if k == 1 and start is not None else {}
        prob, seconds = _timed(lambda first=first: model.predictor.get_prediction(robot.clicker, **first))
        _check_probabilities(prob, truth.shape)
        mask = prob > model.threshold
        iou, boundary_iou = scorer.score(mask)
        record.ious.append(iou)
        record.boundary_ious.append(boundary_iou)
        record.click_seconds.append(seconds)
        if k <= SHOWN_CLICK:
            record.shown_mask = mask
    record.clicks = [(*click.coords, click.is_positive) for click in robot.clicker.get_clicks()]
    record.harness_seconds = perf_counter() - begun - record.prepare_seconds - sum(record.click_seconds)
    return record


def _check_probabilities(prob: Any, shape: tuple[int, ...]) -> None:
    if not isinstance(prob, np.ndarray) or prob.dtype.kind != "f" or prob.shape != shape:
        given = f"{prob.dtype} {prob.shape}" if isinstance(prob, np.ndarray) else type(prob).__name__
        raise ValueError(f"get_prediction must return a float array of the image's shape {shape}, but gave {given}")
    low, high = float(prob.min()), float(prob.max())
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # false for NaN too
        raise ValueError(f"get_prediction must return values in [0, 1], but gave {low} to {high}")


def _timed(action: Any) -> tuple[Any, float]:
    begun = perf_counter()
    result = action()
    return result, perf_counter() - begun
