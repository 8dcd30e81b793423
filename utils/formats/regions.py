"""Sets of pixels, how they nest and join, and the label layers that COCO_LVIS stores them in."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

# COCO's and LVIS's masks of one object overlap by at least this IoU; of such a pair RITM (Sofiiuk et al., 2021) keeps
# the one of LVIS, whose outlines are better
SAME_OBJECT_IOU = 0.8
# A part lies in its object with at least this share of its pixels; the published hierarchy has none below it
INSIDE_SHARE = 0.8
MAX_LABELS = 255  # in one 8-bit layer, whose label 0 is "nothing here"

Mapping = list[tuple[int, int]]
Hierarchy = dict[int, "dict[str, Any] | None"]


@dataclass(frozen=True, eq=False)
class Region:
    """A set of pixels of a photo, kept as its box: `mask` boolean (h, w), whose first pixel is (top, left)."""

    name: str
    top: int
    left: int
    mask: np.ndarray

    @classmethod
    def of(cls, name: str, mask: np.ndarray) -> Region | None:
        """The region of a mask (H, W) of the whole photo; None if no pixel of it is set."""
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not rows.size:
            return None
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        return cls(name, int(rows[0]), int(columns[0]), np.array(mask[box], dtype=bool))

    @cached_property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.mask))

    @property
    def box(self) -> tuple[slice, slice]:
        """Where the mask lies in the photo."""
        height, width = self.mask.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def drawn(self, size: tuple[int, int]) -> np.ndarray:
        """The mask bool (H, W) of a whole photo."""
        whole = np.zeros(size, bool)
        whole[self.box] = self.mask
        return whole

    def overlap(self, other: Region) -> int:
        """Number of pixels that both have."""
        sides = zip(self.box, other.box, strict=True)
        rows, columns = (slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in sides)
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return 0
        return int(np.count_nonzero(self._window(rows, columns) & other._window(rows, columns)))

    def iou(self, other: Region) -> float:
        """Intersection over union, 0 to 1."""
        common = self.overlap(other)
        return common / (self.area + other.area - common)

    def _window(self, rows: slice, columns: slice) -> np.ndarray:
        return self.mask[rows.start - self.top : rows.stop - self.top,
                         columns.start - self.left : columns.stop - self.left]


def join(better: Sequence[Region], further: Sequence[Region]) -> list[Region]:
    """All better regions and those further ones that show another object, by RITM's rule for LVIS and COCO."""
    return [*better, *(r for r in further if all(r.iou(known) < SAME_OBJECT_IOU for known in better))]


def nest(regions: Sequence[Region]) -> Hierarchy:
    """Which region is a part of which.

    A region's parent is the smallest larger one that holds INSIDE_SHARE of its pixels or more.

    Returns:
        {index: {"children": [indices], "parent": index or None, "node_level": depth}}, None for unrelated regions.
    """
    parents = [_parent(i, regions) for i in range(len(regions))]
    children: list[list[int]] = [[] for _ in regions]
    for i, parent in enumerate(parents):
        if parent is not None:
            children[parent].append(i)
    return {
        i: {"children": children[i], "parent": parents[i], "node_level": _depth(i, parents)}
        if children[i] or parents[i] is not None
        else None
        for i in range(len(regions))
    }


def _parent(i: int, regions: Sequence[Region]) -> int | None:
    part = regions[i]
    larger = sorted((whole.area, j) for j, whole in enumerate(regions) if whole.area > part.area)
    return next((j for _, j in larger if part.overlap(regions[j]) >= INSIDE_SHARE * part.area), None)


def _depth(i: int, parents: Sequence[int | None]) -> int:
    depth, above = 0, parents[i]
    while above is not None:
        depth, above = depth + 1, parents[above]
    return depth


def draw_layers(regions: Sequence[Region], size: tuple[int, int]) -> tuple[list[np.ndarray], Mapping]:
    """Label layers uint8 (H, W) in which every region is whole, and the (layer, label) of each.

    Regions that overlap go to different layers, those that don't share one, so that a photo needs few.
    """
    layers: list[np.ndarray] = []
    used: list[int] = []
    mapping: Mapping = []
    for region in regions:
        unused = (not layer[region.box][region.mask].any() for layer in layers)
        k = next((k for k, free in enumerate(unused) if free and used[k] < MAX_LABELS), len(layers))
        if k == len(layers):
            layers.append(np.zeros(size, np.uint8))
            used.append(0)
        used[k] += 1
        layers[k][region.box][region.mask] = used[k]
        mapping.append((k, used[k]))
    return layers, mapping
