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


def fill_edges(polygons: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Bool (H, W): the pixels whose centres lie inside any of some polygons (N, 2) (y, x) along pixel edges."""
    mask = np.zeros(shape, bool)
    for polygon in polygons:
        mask |= _fill(np.asarray(polygon, float), shape)
    return mask


def _fill(polygon: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """By the even-odd rule, row by row: where each row's centre line crosses the polygon."""
    begin, end = polygon, np.roll(polygon, -1, axis=0)
    rows = np.arange(shape[0]) + 0.5
    changes = np.zeros((shape[0], shape[1] + 1), np.int32)
    for (y0, x0), (y1, x1) in zip(begin, end, strict=True):
        first, last = np.searchsorted(rows, sorted((y0, y1)))
        if first == last:
            continue
        x = x0 + (rows[first:last] - y0) * (x1 - x0) / (y1 - y0)
        columns = np.clip(np.ceil(x - 0.5), 0, shape[1]).astype(int)
        changes[np.arange(first, last), columns] += 1
    return np.cumsum(changes[:, :-1], axis=1) % 2 == 1
