"""What tests share: fixed random streams, a small COCO_LVIS folder, the real data where they are at hand."""
import os
import pickle
import random
import signal
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch
from small_coco_lvis import ANNOTATION, COCO_IDS, write_photo

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
