"""Prompts as a click model understands them: strokes and contours as such, or as clicks and zoom-in boxes."""
from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from utils.clicker import Click
from utils.interactions import STROKE_WIDTH, Contour, Interaction, InteractionError, Stroke

from .document import Prompt

STROKE_CLICKS = 3  # at most, along a stroke
STROKE_SPACING = 24  # pixels of a stroke's line for one more click

Shape = tuple[int, int]
ModelClick = tuple[int, int, bool]  # (y, x, is_positive)
Understands = tuple[str, ...]  # kinds of interactions, see models.Model.understands
SMOOTH = 1.0  # pixels that a hand-drawn line may be simplified by


def interactions(prompt: Prompt, shape: Shape, understands: Understands) -> list[Interaction]:
    """What a click model that understands these kinds of interactions is given for a prompt."""
    drawn = native(prompt, shape, understands)
    return [drawn] if drawn else [Click(is_positive, (y, x)) for y, x, is_positive in as_clicks(prompt, shape)]


@lru_cache(maxsize=64)
def native(prompt: Prompt, shape: Shape, understands: Understands) -> Stroke | Contour | None:
    """The stroke or contour of a prompt; None for a click, for a line that can't be one, or if it isn't understood."""
    kind = "stroke" if prompt.kind == "stroke" else "contour" if prompt.kind in ("box", "lasso") else "click"
    if kind == "click" or kind not in understands:
        return None
    line = np.clip(np.array(prompt.points, np.float32), 0, np.array(shape, np.float32) - 1)
    try:
        if prompt.kind == "box":
            return Contour.box(*line.ravel().tolist())
        corners = cv2.approxPolyDP(line[:, None], SMOOTH, prompt.kind == "lasso")[:, 0].tolist()
        if prompt.kind == "lasso":
            return Contour(prompt.is_positive, corners)
        return Stroke(prompt.is_positive, corners, max(1.0, STROKE_WIDTH * max(shape)))
    except InteractionError:
        return None


def as_clicks(prompt: Prompt, shape: Shape) -> list[ModelClick]:
    """The clicks (y, x, is_positive) inside a picture of shape (H, W) that say most of what a prompt says.

    A box becomes a click in its middle (`zoom_box` is its other half), a stroke up to STROKE_CLICKS clicks along it, a
    lasso a click where it is widest.
    """
    if prompt.kind == "stroke":
        points = _along(np.array(prompt.points, float))
    elif prompt.kind == "lasso":
        points = _widest(prompt, shape)
    else:
        points = np.mean(prompt.points, axis=0)[None]
    inside = np.clip(np.round(points), 0, np.array(shape) - 1).astype(int)
    return [(y, x, prompt.is_positive) for y, x in dict.fromkeys(map(tuple, inside.tolist()))]


def _along(line: np.ndarray) -> np.ndarray:
    """Points (N, 2) evenly along a line, its ends left out."""
    steps = np.hypot(*np.diff(line, axis=0).T)
    way = np.concatenate([[0.0], np.cumsum(steps)])
    count = int(np.clip(1 + way[-1] // STROKE_SPACING, 1, STROKE_CLICKS))
    places = (np.arange(count) + 0.5) / count * way[-1]
    return np.stack([np.interp(places, way, line[:, axis]) for axis in (0, 1)], axis=1)


def _widest(prompt: Prompt, shape: Shape) -> np.ndarray:
    """The pixel inside a contour that is farthest from it, (1, 2); of a contour without area its middle."""
    top, left, bottom, right = zoom_box(prompt, shape)
    canvas = np.zeros((bottom - top + 2, right - left + 2), np.uint8)
    corners = np.round(np.array(prompt.points) - (top - 1, left - 1)).astype(np.int32)
    cv2.fillPoly(canvas, [corners[:, ::-1]], 1)
    canvas[[0, -1]] = canvas[:, [0, -1]] = 0
    distance = cv2.distanceTransform(canvas, cv2.DIST_L2, 3)
    if not distance.any():
        return np.mean(prompt.points, axis=0)[None]
    return np.array(np.unravel_index(distance.argmax(), distance.shape))[None] + (top - 1, left - 1)


def zoom_box(prompt: Prompt, shape: Shape) -> tuple[int, int, int, int]:
    """The part of a picture that a prompt encloses: (top, left, bottom, right), the last two beyond it."""
    points = np.array(prompt.points)
    low = np.clip(np.floor(points.min(axis=0) + 0.5), 0, np.array(shape) - 1).astype(int)
    high = np.clip(np.ceil(points.max(axis=0) + 0.5), low + 1, shape).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def last_enclosing(prompts: tuple[Prompt, ...], shape: Shape, understands: Understands) -> int | None:
    """The number of the last box or lasso round the object that the model doesn't understand as such."""
    return max((number for number, prompt in enumerate(prompts) if prompt.kind in ("box", "lasso")
                and prompt.is_positive and native(prompt, shape, understands) is None), default=None)


def enclosed(prompt: Prompt, shape: Shape) -> np.ndarray:
    """Bool (H, W): where the object may be."""
    inside = np.zeros(shape, np.uint8)
    if prompt.kind == "lasso":
        corners = np.round(np.array(prompt.points)).astype(np.int32)[:, ::-1]
        cv2.fillPoly(inside, [corners], 1)
    else:
        top, left, bottom, right = zoom_box(prompt, shape)
        inside[top:bottom, left:right] = 1
    return inside.view(bool)
