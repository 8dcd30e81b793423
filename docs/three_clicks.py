"""Draws docs/three_clicks.jpg: a picture, and the mask after each of three simulated clicks.

    PYTHONPATH=. python docs/three_clicks.py tests/00_sample_input fish
"""
from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import torch

from solution import ISModel, Predictor
from utils.clicker import Click
from utils.misc import contact_sheet, draw_with_blend_and_clicks

HERE = Path(__file__).resolve().parent
WIDTH = 360  # of a tile


def draw(folder: Path, name: str) -> np.ndarray:
    """A sheet, uint8 (H, W, 3) BGR, of one row: the picture and its masks after one, two and three clicks."""
    image = cv2.imread(str(next((folder / "imgs").glob(f"{name}.*"))))[..., ::-1]
    truth = cv2.imread(str(next((folder / "masks").glob(f"{name}.*"))), cv2.IMREAD_GRAYSCALE) > 0
    model = ISModel()
    model.restore_from_checkpoint(HERE.parent / "checkpoint.pth", torch.device("cpu"))
    played = Predictor(model.eval(), torch.device("cpu")).simulate(np.ascontiguousarray(image), truth)
    size = (WIDTH, round(WIDTH * image.shape[0] / image.shape[1]))
    row, labels = [cv2.resize(image, size, interpolation=cv2.INTER_AREA)], ["picture"]
    for count, (mask, iou) in enumerate(zip(played.masks, played.ious, strict=True), 1):
        clicks = [Click(positive, (y, x)) for y, x, positive in played.clicks[:count]]
        radius = max(image.shape) // 90
        shown = draw_with_blend_and_clicks(image, mask.astype(np.uint8), clicks_list=clicks, radius=radius)
        row.append(cv2.resize(shown, size, interpolation=cv2.INTER_AREA))
        labels.append(f"click {count}: IoU {iou:.2f}")
    return contact_sheet([row], labels)[..., ::-1]


if __name__ == "__main__":
    cv2.imwrite(str(HERE / "three_clicks.jpg"), draw(Path(sys.argv[1]), sys.argv[2]), [cv2.IMWRITE_JPEG_QUALITY, 88])
