"""What the tests of utils/segment share: small rendered scenes with masks, and a network that is quick to train."""
from __future__ import annotations

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from segment_helpers import SCENES, SMALL, write

from render_scenes import SAMPLE_FOLDER
from utils.segment.segmentation import ConceptModel


@pytest.fixture(autouse=True)
def one_thread():
    """Tests share the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def scene_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six rendered scenes of 128 px in imgs and masks; copy it before writing into it."""
    folder = tmp_path_factory.mktemp("scenes")
    for name in SCENES:
        image, mask = (cv2.imread(str(SAMPLE_FOLDER / kind)) for kind in (f"imgs/{name}.jpg", f"masks/{name}.png"))
        scale = 128 / max(image.shape[:2])
        size = round(image.shape[1] * scale), round(image.shape[0] * scale)
        write(folder / "imgs" / f"{name}.jpg", cv2.resize(image, size, interpolation=cv2.INTER_AREA))
        grey = cv2.resize((mask.max(2) > 0).astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5
        write(folder / "masks" / f"{name}.png", 255 * grey.astype(np.uint8))
    return folder


@pytest.fixture
def scenes(scene_folder: Path, tmp_path: Path) -> Path:
    """A copy of scene_folder."""
    return Path(shutil.copytree(scene_folder, tmp_path / "scenes"))


@pytest.fixture
def small_model() -> ConceptModel:
    """A network with random weights."""
    torch.manual_seed(0)
    return ConceptModel(SMALL).eval()


@pytest.fixture
def annotate_stub(monkeypatch: pytest.MonkeyPatch):
    """The annotation package's stand-in for a click model."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "annotate")
    import stub

    yield stub
    sys.modules.pop("stub", None)
