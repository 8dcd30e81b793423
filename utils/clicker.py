"""The robot user: clicks in the middle of the largest error, as the grader does."""
from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np


@dataclass
class Click:
    """A click at `coords` (y, x), in pixels of the image; positive on the object, negative off it.

    `indx` is its position in the dialogue. Numpy's numbers become plain ones.
    """

    is_positive: bool
    coords: tuple[float, float]
    indx: int | None = None

    def __post_init__(self) -> None:
        self.is_positive = bool(self.is_positive)
        y, x = (c.item() if isinstance(c, np.generic) else c for c in self.coords)
        self.coords = (y, x)

    @property
    def coords_and_indx(self) -> tuple[float, float, int | None]:
        """(y, x, indx)."""
        return (*self.coords, self.indx)

    def copy(self, **changes: Any) -> Click:
        """The same click, but for the given fields."""
        return replace(self, **changes)


class Clicker:
    """The clicks on an image, made by hand or by the protocol of the interactive segmentation benchmarks.

    Args:
        gt_mask: ground truth (H, W): 1 or True on the object, 0 off it, ignore_label where nothing is an error. Only
            `make_next_click` needs it.
        init_clicks: clicks to begin with.
        ignore_label: label of the ignored pixels.
        click_indx_offset: `indx` of the first click.

    Raises:
        ValueError: gt_mask is not (H, W) or has other labels, or a click lies outside it.
    """

    def __init__(
        self,
        gt_mask: np.ndarray | None = None,
        init_clicks: Iterable[Click] | None = None,
        ignore_label: int = -1,
        click_indx_offset: int = 0,
    ) -> None:
        self.click_indx_offset = click_indx_offset
        self.gt_mask: np.ndarray | None = None
        self.not_clicked_map: Any = None  # bool (H, W) where there is a ground truth
        self.not_ignore_mask: np.ndarray | None = None
        if gt_mask is not None:
            self.gt_mask, self.not_ignore_mask = _read_ground_truth(np.asarray(gt_mask), ignore_label)
        self.set_state(init_clicks or ())

    def __len__(self) -> int:
        """Number of clicks."""
        return len(self.clicks_list)

    def make_next_click(self, pred_mask: np.ndarray) -> None:
        """Adds the click that corrects the largest error of a prediction (H, W), in which non-zero is the object.

        False negatives and false positives each have a distance transform (exact, Euclidean, the image's edge counts
        as the region's); the largest distance says where to click, the first in row-major order. The click is positive
        if the false negatives reach strictly further. Pixels that have been clicked are not clicked again; with
        no error left the click is negative at (0, 0).

        Raises:
            ValueError: there is no ground truth, or the prediction is of another size.
        """
        if self.gt_mask is None:
            raise ValueError("make_next_click needs a ground truth: Clicker(gt_mask=...)")
        pred = np.asarray(pred_mask) != 0
        if pred.shape != self.gt_mask.shape:
            raise ValueError(f"the prediction has shape {pred.shape}, the ground truth {self.gt_mask.shape}")
        error = (pred != self.gt_mask) & self.not_ignore_mask
        missed, missed_at = self._innermost(error & self.gt_mask)
        false, false_at = self._innermost(error & pred)
        is_positive = missed > false
        self.add_click(Click(is_positive, missed_at if is_positive else false_at))

    def add_click(self, click: Click) -> None:
        """Appends a copy of the click, with the next index.

        Raises:
            ValueError: the click lies outside the ground truth.
        """
        if self.gt_mask is not None:
            height, width = self.gt_mask.shape
            y, x = click.coords
            if not (0 <= y < height and 0 <= x < width):
                raise ValueError(f"click (y, x) = {click.coords} lies outside the ground truth, {height} x {width}")
            self.not_clicked_map[int(y), int(x)] = False
        self.clicks_list.append(click.copy(indx=self.click_indx_offset + len(self)))

    def get_clicks(self, clicks_limit: int | None = None) -> list[Click]:
        """The clicks in their order, the first `clicks_limit` of them if given."""
        return self.clicks_list[:clicks_limit]

    def reset_clicks(self) -> None:
        """Forgets all clicks."""
        self.clicks_list: list[Click] = []
        self.not_clicked_map = None if self.gt_mask is None else np.ones(self.gt_mask.shape, dtype=bool)

    def get_state(self) -> list[Click]:
        """A copy of the clicks, for `set_state`."""
        return copy.deepcopy(self.clicks_list)

    def set_state(self, state: Iterable[Click]) -> None:
        """Goes back to the clicks that `get_state` returned."""
        self.reset_clicks()
        for click in state:
            self.add_click(click)

    @property
    def num_pos_clicks(self) -> int:
        """Number of positive clicks."""
        return sum(click.is_positive for click in self.clicks_list)

    @property
    def num_neg_clicks(self) -> int:
        """Number of negative clicks."""
        return len(self) - self.num_pos_clicks

    def _remove_last_click(self) -> None:
        """Takes the last click back; its pixel may be clicked again, unless an earlier click lies there too."""
        if not self.clicks_list:
            raise ValueError("there is no click to remove")
        self.set_state(self.clicks_list[:-1])

    def _innermost(self, region: np.ndarray) -> tuple[float, tuple[int, int]]:
        """The largest squared distance to the edge of a region among pixels not clicked yet, and where it first is.

        No pixel of a region is nearer to the world beyond its bounding box than to the frame around that box, so the
        distances are computed in the box alone.
        """
        x, y, width, height = cv2.boundingRect(region.view(np.uint8))
        if width == 0:
            return 0.0, (0, 0)
        box = slice(y, y + height), slice(x, x + width)
        padded = np.pad(region[box].view(np.uint8), 1)
        distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
        # Squared distances are whole numbers. Rounded, equal ones are equal: how OpenCV rounds depends on the size of
        # the image and the number of threads, and would decide which of several equally good pixels is clicked.
        squared = np.rint(distance * distance) * self.not_clicked_map[box]
        peak = int(squared.argmax())
        if squared.flat[peak] == 0:
            return 0.0, (0, 0)
        return float(squared.flat[peak]), (y + peak // width, x + peak % width)


def _read_ground_truth(gt_mask: np.ndarray, ignore_label: int) -> tuple[np.ndarray, np.ndarray]:
    """Boolean masks (H, W): the object, and the pixels that count."""
    if gt_mask.ndim != 2:
        raise ValueError(f"gt_mask must be (H, W), got shape {gt_mask.shape}")
    is_object, is_counted = gt_mask == 1, gt_mask != ignore_label
    unknown = gt_mask[(gt_mask != 0) & ~is_object & is_counted]
    if unknown.size:
        raise ValueError(f"gt_mask holds label {unknown[0]}; mark the object by 1, all else by 0")
    return is_object, is_counted
