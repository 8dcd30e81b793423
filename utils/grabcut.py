"""OpenCV's GrabCut behind the interface of a click model: the floor of every table."""
from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from utils.clicker import Click


class GrabCut:
    """GrabCut (Rother et al. 2004) started from the clicks, without any training.

    Clicks are certain in a small disk. The surroundings of a positive click that lies off the last mask are taken for
    probable object, and the last mask decides all else; colour models of both sides do the rest.
    """

    LONG_SIDE = 240  # pixels that it works at
    ITERATIONS = 2
    CERTAIN = 0.01  # radius of a click's disk, as a part of the longer side
    PROBABLE = 0.15  # radius of a new positive click's surroundings

    def __init__(self) -> None:
        self._image: np.ndarray | None = None
        self._start: np.ndarray = np.zeros((0, 0), bool)
        self._mask: np.ndarray = self._start
        self._owner: list[Click] = []
        self._seen: list[Click] = []

    def set_input_image(self, image: np.ndarray) -> None:
        """Begins with an image uint8 (H, W, 3)."""
        self._shape = image.shape[:2]
        self._scale = min(1.0, self.LONG_SIDE / max(self._shape))
        size = [max(1, round(side * self._scale)) for side in self._shape[::-1]]
        self._image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        self._begin(np.zeros(self._image.shape[:2], bool), [])

    def get_prediction(self, clicker: Any, prev_mask: np.ndarray | None = None) -> np.ndarray:
        """float32 (H, W) in [0, 1] from the clicks and the mask before the last one, `prev_mask` if that is given.

        Raises:
            RuntimeError: no image is set.
        """
        if self._image is None:
            raise RuntimeError("no image to predict for: call set_input_image(image) first")
        clicks = clicker.get_clicks()
        if prev_mask is not None:
            size = self._image.shape[1::-1]
            small = cv2.resize(np.asarray(prev_mask, np.float32), size, interpolation=cv2.INTER_AREA)
            self._begin(small > 0.5, list(clicks))
        elif list(clicks[: len(self._owner)]) != self._owner:  # another object: the starting mask was not meant for it
            self._begin(np.zeros(self._image.shape[:2], bool), [])
        elif list(clicks[: len(self._seen)]) != self._seen:
            self._begin(self._start, self._owner)
        for count in range(len(self._seen) + 1, len(clicks) + 1):
            self._mask = self._step(self._mask, clicks[:count])
        self._seen = list(clicks)
        return cv2.resize(self._mask.astype(np.float32), self._shape[::-1], interpolation=cv2.INTER_LINEAR)

    def _begin(self, start: np.ndarray, owner: list[Click]) -> None:
        """Goes on from a mask before the last click of `owner`, the click list that the mask came with."""
        self._start = self._mask = start
        self._owner, self._seen = owner, owner[:-1]

    def _step(self, mask: np.ndarray, clicks: list[Click]) -> np.ndarray:
        """The mask after one more click."""
        if not mask.any() and not any(click.is_positive for click in clicks):
            return mask
        marks = np.where(mask, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
        if clicks[-1].is_positive and not mask[self._at(clicks[-1])]:
            self._disk(marks, clicks[-1], self.PROBABLE, cv2.GC_PR_FGD)
        for click in clicks:
            self._disk(marks, click, self.CERTAIN, cv2.GC_FGD if click.is_positive else cv2.GC_BGD)
        is_object = (marks & 1) == 1  # GC_FGD and GC_PR_FGD are odd
        if is_object.all() or not is_object.any():
            return is_object
        cv2.setRNGSeed(0)  # the colour models start from random centres
        cv2.grabCut(self._image, marks, None, np.zeros((1, 65)), np.zeros((1, 65)), self.ITERATIONS,
                    cv2.GC_INIT_WITH_MASK)
        return (marks & 1) == 1

    def _disk(self, marks: np.ndarray, click: Click, radius: float, value: int) -> None:
        y, x = self._at(click)
        cv2.circle(marks, (x, y), max(1, round(radius * max(marks.shape))), int(value), -1)

    def _at(self, click: Click) -> tuple[int, int]:
        y, x = ((np.asarray(click.coords) + 0.5) * self._scale).astype(int)
        height, width = self._mask.shape
        return min(int(y), height - 1), min(int(x), width - 1)
