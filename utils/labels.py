"""What the values of a label image mean: which are objects, which are ignored, and whether they are labels at all."""
from __future__ import annotations

import re
from collections.abc import Collection

import cv2
import numpy as np

from utils.images import COLOUR, ImageError

VOID = 255  # the usual label of pixels that count neither way (PASCAL VOC, Cityscapes)
VOID_COLOUR = COLOUR + 0xE0E0C0  # the colour in which VOC shows it
MIN_CONTRAST = 16  # a soft mask spans more values; labels below it are believed
MIN_EVIDENCE = 16  # pixels that a value needs to say how it lies
SCATTER = 3  # parts a value, on average, from which on tiny values are scattered along outlines


def value_name(value: int) -> str:
    """A value of a LabelImage as people write it: 7, or #e0e0c0 for a colour."""
    return f"#{value - COLOUR:06x}" if value >= COLOUR else str(value)


def parse_value(text: str) -> int:
    """The inverse of `value_name`.

    Raises:
        ValueError: neither a whole number from 0 to 65535 nor a colour.
    """
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        return COLOUR + int(text[1:], 16)
    if re.fullmatch(r"[0-9]{1,5}", text) and int(text) <= 65535:
        return int(text)
    raise ValueError(f"{text!r} is no value of a label image: write a number from 0 to 65535 or a colour as #e0e0c0")


def ignored_values(values: np.ndarray, chosen: Collection[int] | None = None) -> list[int]:
    """The values of a label map whose pixels count neither as an object nor as background.

    However the map is stored, the same pixels: VOID and VOC's colour for it mean one another.

    Args:
        values: of a LabelImage.
        chosen: those that are to be ignored; None for VOID, if the map holds 8-bit labels and other ones beside it (a
            mask of 0 and 255 shows an object).
    """
    found = set(np.unique(values).tolist()) - {0}
    voids = {VOID, VOID_COLOUR}
    if chosen is not None:
        wanted = set(chosen) | (voids if voids & set(chosen) else set())
        return sorted(found & wanted)
    is_8_bit = all(value <= 255 or value >= COLOUR for value in found)
    return sorted(found & voids) if is_8_bit and found - voids else []


def object_values(values: np.ndarray, ignored: Collection[int] | None = None) -> list[int]:
    """The values of a label map that are objects: all but 0 and the ignored ones (see `ignored_values`)."""
    return sorted(set(np.unique(values).tolist()) - {0} - set(ignored_values(values, ignored)))


def refuse_soft_mask(values: np.ndarray, name: str, option: str = "--binary 127") -> None:
    """Refuses a mask with soft edges that is taken for a label map.

    Args:
        values: of a LabelImage.
        name: of the file.
        option: that reads it as one object.

    Raises:
        ImageError: most of its values are strung along outlines.
    """
    soft, hard = soft_values(values)
    if soft and len(soft) >= len(hard):
        raise ImageError(
            f"{name} has {len(soft) + len(hard)} values, {len(soft)} of them along outlines only: it is a mask with "
            f"soft edges and no label map; use {option}"
        )


def soft_values(values: np.ndarray) -> tuple[list[int], list[int]]:
    """The values but 0 of a label image that lie as a soft edge's do, and the other ones.

    A soft edge's value lies between a smaller and a larger one nearly everywhere, or in crumbs all along the edge; a
    label is one region, however small.
    """
    found, plane = np.unique(values, return_inverse=True)
    counts = np.bincount(plane.ravel(), minlength=len(found))
    if int(found[-1]) - int(found[0]) < MIN_CONTRAST or (found >= COLOUR).any() and len(found) <= 8:
        return [], found[found != 0].tolist()
    order = plane.reshape(values.shape).astype(np.float32)
    window = np.ones((3, 3), np.uint8)
    is_between = (cv2.erode(order, window) < order) & (order < cv2.dilate(order, window))
    between = np.bincount(plane.ravel(), is_between.ravel(), minlength=len(found))
    judged = (counts >= MIN_EVIDENCE) & (found != 0)
    soft = judged & (between >= 0.8 * counts)
    tiny = ~judged & (found != 0)
    if tiny.any() and _parts(plane.reshape(values.shape), tiny) >= SCATTER * np.count_nonzero(tiny):
        soft |= tiny
    hard = (found != 0) & ~soft & (judged | ~soft.any())
    return found[soft].tolist(), found[hard].tolist()


def _parts(plane: np.ndarray, chosen: np.ndarray) -> int:
    """Connected parts (by edges and corners) of the chosen values, counted value by value in their boxes."""
    ys, xs = np.nonzero(chosen[plane])
    order = np.argsort(plane[ys, xs], kind="stable")
    values, begins = np.unique(plane[ys, xs][order], return_index=True)
    total = 0
    for y, x in zip(np.split(ys[order], begins[1:]), np.split(xs[order], begins[1:]), strict=True):
        part = np.zeros((np.ptp(y) + 1, np.ptp(x) + 1), np.uint8)
        part[y - y.min(), x - x.min()] = 1
        total += cv2.connectedComponents(part, connectivity=8)[0] - 1
    return total


def blurred_pixels(values: np.ndarray, level: int) -> int:
    """How many pixels of a blurred mask (JPEG) are uncertain beyond a band of one pixel about its outline.

    Args:
        values: grey, 0 to 255.
        level: above it is the object.
    """
    mask = (values > level).astype(np.uint8)
    window = np.ones((3, 3), np.uint8)
    band = cv2.dilate(mask, window) != cv2.erode(mask, window)
    uncertain = (np.abs(values.astype(np.int32) - level) < 64) & ~band
    return int(np.count_nonzero(uncertain))
