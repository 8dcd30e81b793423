"""What the photos of the small COCO_LVIS folder hold (the fixture coco_lvis of conftest.py)."""
import pickle
from pathlib import Path

import cv2
import numpy as np

COCO_IDS = ("000000000009", "000000000025", "000000000030")
PHOTO_SIZE = (96, 128)  # height, width


def rectangle(top: int, bottom: int, left: int, right: int) -> tuple[slice, slice]:
    """The pixels of rows top to bottom - 1 and columns left to right - 1."""
    return slice(top, bottom), slice(left, right)


# The objects of every photo of the small folder: 0 with its part 1, 2 alone, and 3, which is stuff.
REGIONS = [rectangle(10, 60, 10, 60), rectangle(20, 40, 20, 40), rectangle(10, 50, 70, 120), rectangle(70, 96, 0, 128)]
MAPPING = [(0, 1), (1, 1), (0, 2), (0, 3)]
ANNOTATION = {
    "num_instance_masks": 3,
    "hierarchy": {
        0: {"children": [1], "parent": None, "node_level": 0},
        1: {"children": [], "parent": 0, "node_level": 1},
        2: None,
    },
}


def write_photo(split: Path, image_id: str) -> None:
    """A JPEG of coloured regions, and their masks."""
    image = np.full((*PHOTO_SIZE, 3), 200, np.uint8)
    layers = np.zeros((2, *PHOTO_SIZE), np.uint8)
    for region, (layer, label), colour in zip(REGIONS, MAPPING, ((255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)),
                                              strict=True):
        image[region] = colour
        layers[layer][region] = label
    cv2.imwrite(str(split / "images" / f"{image_id}.jpg"), image[:, :, ::-1])
    encoded = [cv2.imencode(".png", layer)[1] for layer in layers]
    (split / "masks" / f"{image_id}.pickle").write_bytes(pickle.dumps((encoded, MAPPING)))
