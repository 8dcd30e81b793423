"""Settings and small files that the tests of utils/segment share."""
from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from utils.segment.segmentation import Recipe, Settings

SCENES = ("apple", "balloon", "bird", "cone", "mug", "vase")
SMALL = Settings(network="unet", size=64, hypercolumns=False)
QUICK = Recipe(epochs=2, batch_size=2, lr=3e-3, seed=1)


def write(path: Path, image: np.ndarray) -> Path:
    """An image as OpenCV writes it; gives the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path
