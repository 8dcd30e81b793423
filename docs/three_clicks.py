"""Draws docs/three_clicks.jpg: a picture, and the mask after each of three simulated clicks.

Called as `PYTHONPATH=. python docs/three_clicks.py tests/00_sample_input fish`.
"""
from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from solution import Predictor
from utils.clicker import Click
from utils.misc import contact_sheet, draw_with_blend_and_clicks

HERE = Path(__file__).resolve().parent
WIDTH = 360  # of a tile


def draw(folder: Path, name: str) -> np.ndarray:
    """A sheet, uint8 (H, W, 3) BGR, of one row: the picture and its masks after one, two and three clicks."""
    image, truth = (_read(next((folder / part).glob(f"{name}.*"))) for part in ("imgs", "masks"))
    played = Predictor.from_checkpoint(HERE.parent / "checkpoint.pth").simulate(image, truth.max(2))
    size = (WIDTH, round(WIDTH * image.shape[0] / image.shape[1]))
    row, labels = [cv2.resize(image, size, interpolation=cv2.INTER_AREA)], ["picture"]
    for count, (mask, iou) in enumerate(zip(played.masks, played.ious, strict=True), 1):
        clicks = [Click(positive, (y, x)) for y, x, positive in played.clicks[:count]]
        radius = max(image.shape) // 90
        shown = draw_with_blend_and_clicks(image, mask.astype(np.uint8), clicks_list=clicks, radius=radius)
        row.append(cv2.resize(shown, size, interpolation=cv2.INTER_AREA))
        labels.append(f"click {count}: IoU {iou:.2f}")
    return contact_sheet([row], labels)[..., ::-1]


def _read(path: Path) -> np.ndarray:
    """A picture as RGB uint8 (H, W, 3)."""
    return cv2.cvtColor(np.asarray(cv2.imread(str(path))), cv2.COLOR_BGR2RGB)


if __name__ == "__main__":
    cv2.imwrite(str(HERE / "three_clicks.jpg"), draw(Path(sys.argv[1]), sys.argv[2]), [cv2.IMWRITE_JPEG_QUALITY, 88])
