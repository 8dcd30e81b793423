"""Decodes COCO's segmentations (polygons, run lengths) with pycocotools, whose pixels are the field's reference."""
from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from utils.prepare.files import PrepareError, WrongCall

# Polygons may leave the photo, but not by this many times its longer side: the decoder walks every step of the way
FAR_OUTSIDE = 4


def pycocotools_mask() -> ModuleType:
    """pycocotools.mask, an optional package.

    Raises:
        WrongCall: it is not installed.
    """
    try:
        import pycocotools.mask
    except ImportError as error:
        raise WrongCall("polygons and run lengths need pycocotools: pip install pycocotools") from error
    return pycocotools.mask


def decode_segmentation(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """Mask boolean (H, W) of a COCO segmentation.

    Args:
        segmentation: a list of polygons [x, y, x, y, ...] in pixels, whose union is meant, or run lengths
            {"size": [H, W], "counts": [numbers] or text}.
        size: (H, W) of the photo.

    Raises:
        PrepareError: it is neither, or doesn't fit the photo; the message does not name the file, the caller does.
    """
    coder = pycocotools_mask()
    if isinstance(segmentation, dict):
        runs = _checked_runs(segmentation, size)
        encoded = coder.frPyObjects(runs, *size) if isinstance(runs["counts"], list) else runs
    else:
        encoded = coder.merge(coder.frPyObjects(_checked_polygons(segmentation, size), *size))
    try:
        return coder.decode(encoded).astype(bool)
    except ValueError as error:
        raise PrepareError(f"its run lengths are damaged ({error})") from error


def _checked_runs(segmentation: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    stated, counts = segmentation.get("size"), segmentation.get("counts")
    if stated != list(size):
        raise PrepareError(f"its run lengths are for [height, width] {stated}, the photo is {list(size)}")
    if isinstance(counts, str) and counts.isascii():
        return {"size": stated, "counts": counts.encode()}
    if isinstance(counts, list) and all(type(n) is int and n >= 0 for n in counts) and sum(counts) == size[0] * size[1]:
        return {"size": stated, "counts": counts}
    raise PrepareError("its run lengths are damaged: they are neither COCO's text nor numbers that fill the photo")


def _checked_polygons(polygons: Any, size: tuple[int, int]) -> list[list[float]]:
    """The polygons as floats.

    pycocotools takes the outline of four numbers for a box, so those are refused as it does not.
    """
    if not isinstance(polygons, Sequence) or isinstance(polygons, str) or not polygons:
        raise PrepareError("it has no segmentation, only a box perhaps; leave it out or outline it")
    checked = []
    for polygon in polygons:
        try:
            points = np.array(polygon, dtype=float)
        except (TypeError, ValueError):
            points = np.zeros(0)
        if points.ndim != 1 or points.size < 6 or points.size % 2:
            raise PrepareError("a polygon of it is no list [x, y, x, y, ...] of three points or more")
        if not np.all(np.abs(points) <= FAR_OUTSIDE * max(size)):  # NaN fails too
            raise PrepareError("a polygon of it lies far outside the photo; are its coordinates in pixels?")
        checked.append(points.tolist())
    return checked
