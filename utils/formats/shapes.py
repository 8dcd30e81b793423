"""Masks of the shapes of annotation files, drawn by pycocotools, whose pixels are the field's reference.

A polygon's corners are in pixels, (0, 0) the upper left corner of the first pixel: (0, 0, 2, 2) as a box has 4 pixels.
"""
from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from utils.files import UsageError

FAR_OUTSIDE = 4  # times the longer side that a polygon may leave the photo by: the decoder walks every step of the way
CORNERS = 180  # of a circle
Size = tuple[int, int]
Point = Sequence[float] | np.ndarray


class ShapeError(ValueError):
    """A shape can't be drawn; the message says why, and whoever catches it which one it is."""


class NoOutlineError(ShapeError):
    """There is only a box, or nothing at all."""


def pycocotools_mask() -> ModuleType:
    """pycocotools.mask, an optional package.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import pycocotools.mask
    except ImportError as error:
        raise UsageError("polygons and run lengths need pycocotools: pip install pycocotools") from error
    return pycocotools.mask


def decode_segmentation(segmentation: Any, size: Size) -> np.ndarray:
    """Mask bool (H, W) of a COCO segmentation.

    Args:
        segmentation: a list of polygons [x, y, x, y, ...] in pixels, whose union is meant, or run lengths
            {"size": [H, W], "counts": [numbers] or text}.
        size: (H, W) of the photo.

    Raises:
        ShapeError: it is neither, or doesn't fit the photo.
    """
    coder = pycocotools_mask()
    if not segmentation:
        raise NoOutlineError("it has no outline, only a box perhaps")
    if isinstance(segmentation, dict):
        runs = _checked_runs(segmentation, size)
        encoded = coder.frPyObjects(runs, *size) if isinstance(runs["counts"], list) else runs
    else:
        encoded = coder.merge(coder.frPyObjects(_checked_polygons(segmentation, size), *size))
    try:
        return coder.decode(encoded).astype(bool)
    except ValueError as error:
        raise ShapeError(f"its run lengths are damaged ({error})") from error


def _checked_runs(segmentation: dict[str, Any], size: Size) -> dict[str, Any]:
    stated, counts = segmentation.get("size"), segmentation.get("counts")
    if stated != list(size):
        raise ShapeError(f"its run lengths are for [height, width] {stated}, the photo is {list(size)}")
    if isinstance(counts, str) and counts.isascii():
        return {"size": stated, "counts": counts.encode()}
    if isinstance(counts, list) and all(type(n) is int and n >= 0 for n in counts) and sum(counts) == size[0] * size[1]:
        return {"size": stated, "counts": counts}
    raise ShapeError("its run lengths are damaged: they are neither COCO's text nor numbers that fill the photo")


def _checked_polygons(polygons: Any, size: Size) -> list[list[float]]:
    """The polygons as floats. pycocotools takes an outline of four numbers for a box, so those are refused here."""
    if not isinstance(polygons, Sequence) or isinstance(polygons, str):
        raise ShapeError("its segmentation is neither polygons nor run lengths")
    checked = []
    for polygon in polygons:
        try:
            points = np.array(polygon, dtype=float)
        except (TypeError, ValueError):
            points = np.zeros(0)
        if points.ndim != 1 or points.size < 6 or points.size % 2:
            raise ShapeError("a polygon of it is no list [x, y, x, y, ...] of three points or more")
        if not np.all(np.abs(points) <= FAR_OUTSIDE * max(size)):  # NaN fails too
            raise ShapeError("a polygon of it lies far outside the photo; are its coordinates in pixels?")
        checked.append(points.tolist())
    return checked


def polygon_mask(corners: np.ndarray, size: Size) -> np.ndarray:
    """Mask bool (H, W) of a polygon, corners (N, 2) (x, y)."""
    return decode_segmentation([np.asarray(corners, float).ravel().tolist()], size)


def rectangle(first: ArrayLike, second: ArrayLike) -> np.ndarray:
    """The corners (4, 2) (x, y) of a box between two opposite ones."""
    (left, top), (right, bottom) = np.minimum(first, second), np.maximum(first, second)
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def ellipse(centre: Point, radii: Point, turned: float = 0.0) -> np.ndarray:
    """Corners (CORNERS, 2) (x, y) of an ellipse whose first axis is turned clockwise from the right, in radians."""
    if not np.isfinite([*centre, *radii, turned]).all():
        raise ShapeError("its centre, radius or angle is no number")
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    along, across = radii[0] * np.cos(angles), radii[1] * np.sin(angles)
    cosine, sine = np.cos(turned), np.sin(turned)
    return np.stack([centre[0] + along * cosine - across * sine, centre[1] + along * sine + across * cosine], axis=1)
