"""One object: a simulated user interacts, the model answers, every answer is scored."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from utils.benchmark.combinations import ReplayDrawings
from utils.clicker import Clicker
from utils.interactions import KINDS, DrawingUser, LoggedClick, User, as_clicks, kind_of, to_plain
from utils.metrics import Scorer
from utils.models import Model, ModelError, takes_prev_mask

ROUNDING = 1e-4  # what interpolation may add to a probability of 0 or 1


CLICK_SPACING = 1 / 16  # of the longer side, between the clicks that a stroke becomes for a model of clicks alone


@dataclass
class ObjectResult:
    """What happened: a value an interaction in the lists, IoUs in [0, 1], times in seconds.

    `clicks` are a clicking user's, `interactions` a drawing user's as `interactions.to_plain` writes them; `as_clicks`
    says that the model got them as clicks. `initial_iou` is the IoU of the initial mask, `mask` bool (H, W) the last
    prediction, `harness_seconds` the time between the model's answers: interacting and scoring.
    """

    area: int
    initial_iou: float
    ious: list[float] = field(default_factory=list)
    boundary_ious: list[float] = field(default_factory=list)
    clicks: list[LoggedClick] = field(default_factory=list)
    interactions: list[dict[str, Any]] = field(default_factory=list)
    as_clicks: bool = False
    prepare_seconds: float = 0.0
    click_seconds: list[float] = field(default_factory=list)
    harness_seconds: float = 0.0
    mask: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), bool))


def evaluate_object(
    model: Model, image: np.ndarray, truth: np.ndarray, user: User | DrawingUser | ReplayDrawings, clicks: int,
    initial: np.ndarray | None = None,
) -> ObjectResult:
    """Interacts so many times.

    Args:
        model: predicts from the user's clicker, or from a list of interactions; strokes and contours become clicks for
            one that doesn't say by `understands` that it knows them.
        image: uint8 (H, W, 3) RGB.
        truth: (H, W) of 1, 0 and -1 (ignored).
        user: adds an interaction a round.
        clicks: number of rounds.
        initial: mask bool (H, W) to correct; None begins from nothing.

    Raises:
        ModelError: the model can't start from a mask.
        ValueError: the model returns anything but probabilities of the image's size.
    """
    if initial is not None and not takes_prev_mask(model.predictor):
        raise ModelError("get_prediction has no argument prev_mask, so the model can't start from a mask")
    begun = perf_counter()
    scorer = Scorer(truth)
    mask = np.zeros(truth.shape, bool) if initial is None else initial
    result = ObjectResult(scorer.area, scorer.score(mask)[0])
    result.prepare_seconds = _timed(lambda: model.predictor.set_input_image(image))[1]
    for k in range(1, clicks + 1):
        prompt = _next_prompt(user, mask, model)
        first = {"prev_mask": initial.astype(np.float32)} if k == 1 and initial is not None else {}
        prob, seconds = _timed(partial(model.predictor.get_prediction, prompt, **first))
        _check_probabilities(prob, truth.shape)
        mask = prob > model.threshold
        iou, boundary_iou = scorer.score(mask)
        result.ious.append(iou)
        result.boundary_ious.append(boundary_iou)
        result.click_seconds.append(seconds)
    result.mask = mask
    if not isinstance(user, (DrawingUser, ReplayDrawings)):
        result.clicks = [(int(y), int(x), bool(is_positive)) for (y, x), is_positive in
                         ((click.coords, click.is_positive) for click in user.clicker.get_clicks())]
    else:
        result.interactions = [to_plain(one) for one in user.interactions]
        drawn = {kind_of(one) for one in user.interactions} - {KINDS[0]}
        result.as_clicks = bool(drawn) and not set(KINDS) <= set(model.understands)
    result.harness_seconds = perf_counter() - begun - result.prepare_seconds - sum(result.click_seconds)
    return result


def _next_prompt(user: User | DrawingUser | ReplayDrawings, mask: np.ndarray, model: Model) -> Any:
    """Lets the user interact, and gives what the model is asked with."""
    if not isinstance(user, (DrawingUser, ReplayDrawings)):
        user.click(mask)
        return user.clicker
    user.interact(mask)
    if set(KINDS) <= set(model.understands):
        return list(user.interactions)
    spacing = max(mask.shape) * CLICK_SPACING
    return Clicker(init_clicks=[click for one in user.interactions for click in as_clicks(one, spacing)])


def _check_probabilities(prob: Any, shape: tuple[int, ...]) -> None:
    if not isinstance(prob, np.ndarray) or prob.dtype.kind != "f" or prob.shape != shape:
        given = f"{prob.dtype} {prob.shape}" if isinstance(prob, np.ndarray) else type(prob).__name__
        raise ValueError(f"get_prediction must return a float array of the image's shape {shape}, but gave {given}")
    low, high = float(prob.min()), float(prob.max())
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # false for NaN too
        raise ValueError(f"get_prediction must return values in [0, 1], but gave {low} to {high}")


def _timed(action: Callable[[], Any]) -> tuple[Any, float]:
    begun = perf_counter()
    result = action()
    return result, perf_counter() - begun
