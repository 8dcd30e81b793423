"""What assisted annotation and its study share: when a concept model is trained, how a proposal is corrected."""
from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

FIRST_TRAINING, GROWTH = 5, 1.5  # finished pictures; by how much they grow from one training to the next


def needed(trained_on: int) -> int:
    """With how many finished pictures the next training is due; trained_on is 0 before the first one."""
    return max(FIRST_TRAINING, round(trained_on * GROWTH + 1e-9))


def merged(mask: np.ndarray, answer: np.ndarray, clicks: Sequence[tuple[int, int, bool]]) -> np.ndarray:
    """A mask with the connected change under each click alone: progressive merge (Chen et al., FocalClick, 2022).

    Args:
        mask: bool (H, W), before the clicks.
        answer: bool (H, W), what the model makes of them.
        clicks: (y, x, is_positive): what positive ones lie on is added, what negative ones lie on is taken away.
    """
    for y, x, is_positive in clicks:
        changed = answer & ~mask if is_positive else mask & ~answer
        if changed[y, x]:
            part = changed.view(np.uint8)
            cv2.floodFill(part, None, (x, y), 2, flags=8)
            mask = mask ^ (part == 2)
    return mask
