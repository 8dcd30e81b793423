"""Simulated users: who clicks. The grader's exact one, a noisy one, and one that repeats a log."""
from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from utils.clicker import Click, Clicker

LoggedClick = tuple[int, int, bool]  # y, x, is_positive
SLIP = 5  # pixels that a click outside the error region may be away from it, at least


@dataclass(frozen=True)
class Noise:
    """How a noisy user differs from the exact one.

    Args:
        spread: standard deviation of a click about the exact one, as a part of the exact one's distance to the
            edge of the error region.
        outside: rate of clicks that miss the error region.
        wrong_sign: rate of clicks of the other sign.
    """

    spread: float = 0.0
    outside: float = 0.0
    wrong_sign: float = 0.0


class User(Protocol):
    """Clicks on one task; `clicker` is what the model is asked with."""

    clicker: Clicker

    def click(self, mask: np.ndarray) -> None:
        """Adds the next click for a mask bool (H, W)."""


class ExactUser:
    """The grader's: into the middle of the largest error."""

    def __init__(self, truth: np.ndarray) -> None:
        self.clicker = Clicker(gt_mask=truth)

    def click(self, mask: np.ndarray) -> None:
        """Adds the next click for a mask bool (H, W)."""
        self.clicker.make_next_click(mask)


class NoisyUser:
    """Clicks where the exact user would, but not quite; with no error left it clicks as the exact one does.

    Args:
        truth: (H, W) of 1, 0 and -1.
        noise: what goes wrong, and how often.
        seed: of the draws; the task's name makes them different from task to task and alike from model to model.
        task: name of the task.
    """

    def __init__(self, truth: np.ndarray, noise: Noise, seed: int, task: str) -> None:
        self.clicker = Clicker(gt_mask=truth)
        self._truth = truth
        self._noise = noise
        self._random = np.random.default_rng((seed, zlib.crc32(task.encode())))

    def click(self, mask: np.ndarray) -> None:
        """Adds the next click for a mask bool (H, W)."""
        exact = self._exact_click(mask)
        slips, flips = self._random.random(2) < (self._noise.outside, self._noise.wrong_sign)
        region = mask != (self._truth == 1)
        region &= self._truth == (1 if exact.is_positive else 0)
        y, x = exact.coords
        if region[y, x]:
            y, x = self._miss(region, y, x) if slips else self._near(region, y, x)
        self.clicker.add_click(Click(exact.is_positive != flips, (y, x)))

    def _exact_click(self, mask: np.ndarray) -> Click:
        self.clicker.make_next_click(mask)
        click = self.clicker.get_clicks()[-1]
        self.clicker._remove_last_click()
        return click

    def _near(self, region: np.ndarray, y: int, x: int) -> tuple[int, int]:
        """A pixel of the region about (y, x), which has its largest distance to the edge."""
        sigma = self._noise.spread * _edge_distance(region, y, x)
        offsets = np.rint(self._random.normal(0, 1, size=(20, 2)) * sigma).astype(int)
        for row, column in offsets + (y, x):
            if 0 <= row < region.shape[0] and 0 <= column < region.shape[1] and region[row, column]:
                return int(row), int(column)
        return y, x

    def _miss(self, region: np.ndarray, y: int, x: int) -> tuple[int, int]:
        """A pixel outside the region, and as near to it as its middle is; (y, x) if there is none."""
        reach = max(SLIP, _edge_distance(region, y, x))
        distance = cv2.distanceTransform((~region).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        rows, columns = np.nonzero((distance > 0) & (distance <= reach) & (self._truth != -1))
        draw = self._random.random()
        if len(rows) == 0:
            return y, x
        chosen = int(draw * len(rows))
        return int(rows[chosen]), int(columns[chosen])


class ReplayUser:
    """Repeats the clicks of a log, whatever the model answers."""

    def __init__(self, clicks: Sequence[LoggedClick]) -> None:
        self.clicker = Clicker()
        self._left = iter(clicks)

    def click(self, mask: np.ndarray) -> None:
        """Adds the next click for a mask bool (H, W)."""
        y, x, is_positive = next(self._left)
        self.clicker.add_click(Click(is_positive, (y, x)))


def _edge_distance(region: np.ndarray, y: int, x: int) -> float:
    """Distance in pixels from (y, x) to the nearest pixel off the region, what lies outside the image included."""
    padded = np.pad(region.view(np.uint8), 1)
    return float(cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[y + 1, x + 1])
