"""What tests share: fixed random streams, a small COCO_LVIS folder, the real data where they are at hand."""
import os
import pickle
import random
import signal
from pathlib import Path

import cv2
import hypothesis
import numpy as np
import pytest
import torch

hypothesis.settings.register_profile("fixed", deadline=None, derandomize=True)
hypothesis.settings.load_profile("fixed")

# A shell starts background jobs with Ctrl-C ignored, and their children inherit that; tests need it heard.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def fixed_random_streams():
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (albumentations and loader workers may still draw from it)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data that IS_SHARED_DATA names; tests that ask for it are skipped without."""
    if "IS_SHARED_DATA" not in os.environ:
        pytest.skip("IS_SHARED_DATA does not name the folder of real data")
    return Path(os.environ["IS_SHARED_DATA"])


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


@pytest.fixture
def coco_lvis(tmp_path: Path) -> Path:
    """A COCO_LVIS folder of one split, train, with three photos of the same objects."""
    split = tmp_path / "COCO_LVIS" / "train"
    for folder in ("images", "masks"):
        (split / folder).mkdir(parents=True)
    for image_id in COCO_IDS:
        write_photo(split, image_id)
    annotations = dict.fromkeys(reversed(COCO_IDS), ANNOTATION)
    (split / "hannotation.pickle").write_bytes(pickle.dumps(annotations))
    return split.parent
