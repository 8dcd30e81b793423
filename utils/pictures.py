"""A task as a picture: the truth's contour, the prediction's, and the clicks that led to it."""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np

from utils.interactions import LoggedClick

LONG_SIDE = 360  # pixels
TRUTH, PREDICTION = (255, 255, 255), (255, 149, 0)  # RGB: white, and orange
POSITIVE, NEGATIVE, INK = (0, 114, 178), (200, 40, 30), (20, 20, 20)
IGNORED = 0.45  # brightness that is left of ignored pixels


def draw_task(
    image: np.ndarray, truth: np.ndarray, mask: np.ndarray, steps: Iterable[LoggedClick | dict[str, Any]],
    long_side: int = LONG_SIDE,
) -> np.ndarray:
    """A small RGB picture uint8 (h, w, 3); enlarged or reduced to `long_side` pixels.

    Args:
        image: uint8 (H, W, 3) RGB.
        truth: (H, W) of 1, 0 and -1; ignored pixels are darkened.
        mask: bool (H, W), the prediction.
        steps: clicks, or interactions as `interactions.to_plain` writes them; positive ones are blue with a plus sign,
            negative ones red with a minus sign.
    """
    height, width = truth.shape
    scale = long_side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    ignored = _resize(truth == -1, size)
    picture[ignored] = (picture[ignored] * IGNORED).astype(np.uint8)
    for region, colour in ((truth == 1, TRUTH), (mask, PREDICTION)):
        contours, _ = cv2.findContours(_resize(region, size).view(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, contours, -1, INK, 4, cv2.LINE_AA)
        cv2.drawContours(picture, contours, -1, colour, 2, cv2.LINE_AA)
    for step in steps:
        points, is_positive = (step["points"], step["positive"]) if isinstance(step, dict) else ([step[:2]], step[2])
        places = [(round((x + 0.5) * scale), round((y + 0.5) * scale)) for y, x in points]
        if len(places) > 1:
            _draw_line(picture, places, is_positive, is_closed=step["kind"] == "contour")
        _draw_click(picture, places[0], is_positive)
    return picture


def _resize(region: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(region.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) > 0.5


def _draw_line(picture: np.ndarray, places: list[tuple[int, int]], is_positive: bool, is_closed: bool) -> None:
    for colour, width in (((255, 255, 255), 5), (POSITIVE if is_positive else NEGATIVE, 3)):
        cv2.polylines(picture, [np.array(places)], is_closed, colour, width, cv2.LINE_AA)


def _draw_click(picture: np.ndarray, at: tuple[int, int], is_positive: bool) -> None:
    """A disk with its sign, whole even at the edge: (0, 0) is where the exact user clicks when no error is left."""
    x, y = (int(np.clip(c, 10, max(10, side - 11))) for c, side in zip(at, picture.shape[1::-1], strict=True))
    cv2.circle(picture, (x, y), 9, (255, 255, 255), -1, cv2.LINE_AA)
    cv2.circle(picture, (x, y), 8, POSITIVE if is_positive else NEGATIVE, -1, cv2.LINE_AA)
    cv2.line(picture, (x - 4, y), (x + 4, y), (255, 255, 255), 2)
    if is_positive:
        cv2.line(picture, (x, y - 4), (x, y + 4), (255, 255, 255), 2)
