"""The figures that click models are compared by, and their intervals.

IoU@k is the mean IoU after k clicks. NoC@t (number of clicks; Xu et al. 2016) is how many clicks a task needs until its
IoU is at least t, capped: RITM (Sofiiuk et al. 2021) stops at 20, f-BRS (Sofiiuk et al. 2020) also at 100. NoF@t counts
the tasks that never get there (failures). SAIC-IS calls the same count NoI, number of interactions, and takes it on
Boundary IoU too.
"""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

TARGETS = (0.80, 0.85, 0.90, 0.95)
CAPS = (20, 100)
HURT = 0.05  # an interaction hurts if it lowers the IoU by more
DILATION_RATIO = 0.02  # of the image's diagonal, Boundary IoU's standard
DRAWS = 2000  # of a bootstrap


class Scorer:
    """Scores predictions against one ground truth; what depends on the truth alone is computed once.

    Args:
        truth: (H, W), 1 on the object, 0 off it, -1 where nothing counts.
    """

    def __init__(self, truth: np.ndarray) -> None:
        self._object = truth == 1
        counts = truth != -1
        self._counts = None if counts.all() else counts
        self.area = int(np.count_nonzero(self._object))
        self._width = boundary_width(*truth.shape)
        self._boundary = boundary(self._object, self._width)
        self._boundary_area = int(np.count_nonzero(self._boundary))

    def score(self, mask: np.ndarray) -> tuple[float, float]:
        """IoU and Boundary IoU of a mask bool (H, W), in [0, 1]; 1 if both masks are empty.

        Ignored pixels are taken out of both masks first, so that a boundary along them is the same in both.
        """
        if self._counts is not None:
            mask = mask & self._counts
        edge = boundary(mask, self._width)
        return iou(mask, self._object, self.area), iou(edge, self._boundary, self._boundary_area)


def boundary_width(height: int, width: int) -> int:
    """Pixels of the band that Boundary IoU (Cheng et al. 2021) looks at: 2 % of the image's diagonal, at least 1."""
    return max(1, round(DILATION_RATIO * math.hypot(height, width)))


def boundary(mask: np.ndarray, width: int) -> np.ndarray:
    """The pixels of a mask bool (H, W) that `width` erosions by a 3x3 square remove, the outside being empty."""
    band = np.zeros_like(mask)
    left, top, columns, rows = cv2.boundingRect(mask.view(np.uint8))
    if columns == 0:
        return band
    box = slice(top, top + rows), slice(left, left + columns)
    inside = mask[box].view(np.uint8)
    square = np.ones((3, 3), np.uint8)
    core = cv2.erode(inside, square, iterations=width, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    band[box] = inside > core
    return band


def iou(mask: np.ndarray, truth: np.ndarray, truth_area: int | None = None) -> float:
    """IoU of two masks bool (H, W), in [0, 1]; 1 if both are empty. `truth_area` is the truth's, if it is known."""
    truth_area = int(np.count_nonzero(truth)) if truth_area is None else truth_area
    intersection = int(np.count_nonzero(mask & truth))
    union = int(np.count_nonzero(mask)) + truth_area - intersection
    return intersection / union if union else 1.0


def number_of_clicks(ious: Sequence[float], target: float, cap: int) -> int:
    """NoC: the first click, counted from 1, after which the IoU is at least `target`; `cap` if none of `cap` is."""
    return next((k for k, iou in enumerate(ious[:cap], 1) if iou >= target), cap)


def is_failure(ious: Sequence[float], target: float, cap: int) -> bool:
    """NoF counts these: no IoU of the first `cap` clicks is at least `target`."""
    return all(iou < target for iou in ious[:cap])


def losses(ious: Sequence[float], initial_iou: float = 0.0) -> np.ndarray:
    """What each interaction took from the IoU: 0 where it did not fall."""
    return np.maximum(0.0, -np.diff([initial_iou, *ious]))


def area_under_curve(ious: Sequence[float]) -> float:
    """Area under the IoU over clicks 1, 2, ... by trapezia, divided by its width: in [0, 1]; of one click, its IoU."""
    if len(ious) == 1:
        return float(ious[0])
    return (sum(ious) - (ious[0] + ious[-1]) / 2) / (len(ious) - 1)


def caps(clicks: int) -> tuple[int, ...]:
    """The caps of NoC that so many clicks can tell: 20 and 100, or all of them where they are fewer."""
    return tuple(cap for cap in CAPS if cap <= clicks) or (clicks,)


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval, which is None where there is only one cluster."""

    mean: float
    low: float | None
    high: float | None

    def leaves_zero_out(self) -> bool:
        """Whether a difference is significant."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def estimates(rows: Sequence[Mapping[str, float]], clusters: Sequence[str]) -> dict[str, Estimate]:
    """Means with intervals of figures by name; a row for each task. See `mean_interval`."""
    values = np.array([list(row.values()) for row in rows], dtype=float)
    found = np.stack(mean_interval(values, clusters), axis=1).tolist()
    return {name: Estimate(mean, *(None if math.isnan(bound) else bound for bound in bounds))
            for name, (mean, *bounds) in zip(rows[0], found, strict=True)}


def mean_interval(
    values: np.ndarray, clusters: Sequence[str], draws: int = DRAWS, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means of columns with their 95 % percentile intervals by bootstrap over clusters (Efron and Tibshirani 1993).

    Args:
        values: (tasks, columns).
        clusters: each task's image or sequence; whole clusters are drawn, as the tasks of one are not independent.
        draws: how often as many clusters as there are get drawn with replacement.
        seed: of the draws.

    Returns:
        Mean, lower and upper bound, each (columns,); the bounds are NaN if there is only one cluster.
    """
    values = np.asarray(values, dtype=float)
    names, member = np.unique(np.asarray(clusters), return_inverse=True)
    mean = values.mean(axis=0)
    if len(names) < 2:
        return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, member, values)
    sizes = np.bincount(member)
    times = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    means = times @ sums / (times @ sizes)[:, None]
    low, high = np.quantile(means, (0.025, 0.975), axis=0)
    return mean, low, high
