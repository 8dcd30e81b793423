"""Masks as polygons in two conventions, and back.

Along the edges of pixels (COCO, labelme): corners are whole numbers, (0, 0) the upper left corner of the first pixel.
Through the centres of pixels (YOLO): the corners are the outermost pixels themselves, which the reader draws too.
"""
from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ..masks import outline


def parts_of(mask: np.ndarray, connectivity: int = 4) -> list[tuple[np.ndarray, tuple[int, int]]]:
    """The connected parts of a mask: each bool (h, w) and where its upper left pixel lies (y, x)."""
    count, numbers, boxes, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=connectivity)
    boxes = boxes[1:, :4].tolist()
    return [(numbers[top : top + height, left : left + width] == number, (top, left))
            for number, (left, top, width, height) in zip(range(1, count), boxes, strict=True)]


def edge_polygons(mask: np.ndarray) -> list[np.ndarray]:
    """One closed polygon along pixel edges, corners int (N, 2) (y, x), for each part, cut open to its holes."""
    return [joined(outline(part)) + at for part, at in parts_of(mask)]


def joined(polygons: Sequence[np.ndarray]) -> np.ndarray:
    """Several closed polygons (N, 2) as one, by seams that are gone along twice."""
    whole = polygons[0]
    for polygon in polygons[1:]:
        leave = _nearest(whole, polygon[0])
        enter = _nearest(polygon, whole[leave])
        whole = detour(whole, leave, polygon, enter)
    return whole


def detour(whole: np.ndarray, leave: int, polygon: np.ndarray, enter: int, way: np.ndarray | None = None) -> np.ndarray:
    """A closed polygon with another one visited from its corner `leave`, by way of some points and back."""
    way = np.empty((0, 2), whole.dtype) if way is None else way
    visit = [polygon[enter:], polygon[: enter + 1]]
    return np.concatenate([whole[: leave + 1], way, *visit, way[::-1], whole[leave:]])


def _nearest(polygon: np.ndarray, point: np.ndarray) -> int:
    return int(((polygon - point) ** 2).sum(axis=1).argmin())
