"""What tests share: fixed random streams, a small COCO_LVIS folder, the real data where they are at hand."""
import os
import pickle
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium under Playwright, one for all: a second Playwright in one thread is refused."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install -r tests/requirements.txt")
    if CHROMIUM is None and not os.environ.get("CI"):
        pytest.skip("there is no Chromium here")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield chromium
        chromium.close()
