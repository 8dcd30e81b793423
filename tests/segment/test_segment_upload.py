"""segmentation.py and segmentation_model.pth on the grading machine: alone, offline, in old syntax, on odd photos."""
from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from segment_helpers import SCENES, write

from utils.segment import grade as grading
from utils.segment import segmentation
from utils.segment.segmentation import Settings, get_model, predict, probabilities, read_mask, read_photo, save_model

SOURCE = Path(segmentation.__file__)

# No connection can be made, and nothing of this project can be imported.
GUARD = """
import socket, sys

def refuse(*_, **__):
    raise OSError("the grading machine has no network")

socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refuse
sys.modules.update(dict.fromkeys(["utils", "solution"]))
"""


@pytest.fixture
def birds(scenes, tmp_path) -> Path:
    """The rendered scenes as the bird grader has them: two classes, votes of five people as grey levels."""
    tests = tmp_path / "tests"
    for number, name in enumerate(SCENES):
        kind = f"{number % 2:03}.Class"
        photo = cv2.imread(str(scenes / "imgs" / f"{name}.jpg"))
        truth = cv2.imread(str(scenes / "masks" / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
        votes = np.where(truth > 127, 204, 51).astype(np.uint8)
        for part in ("train", "test"):
            write(tests / "00_birds_input" / part / "images" / kind / f"{name}.jpg", photo)
        write(tests / "00_birds_input" / "train" / "gt" / kind / f"{name}.png", votes)
        write(tests / "00_birds_gt" / kind / f"{name}.png", votes)
    return tests


@pytest.fixture
def upload(tmp_path) -> Path:
    """An empty folder with a copy of segmentation.py, whose training takes seconds."""
    text = SOURCE.read_text(encoding="utf-8")
    for usual, quick in (("epochs: float = 0 ", "epochs: float = 25 "), ("size: int = 256 ", "size: int = 64 ")):
        assert text.count(usual) == 1
        text = text.replace(usual, quick)
    (tmp_path / "upload").mkdir()
    (tmp_path / "upload" / "segmentation.py").write_text(text, encoding="utf-8")
    return tmp_path / "upload"


def test_the_grader_s_protocol_alone_and_offline(birds, upload, tmp_path):
    output = tmp_path / "output"
    output.mkdir()
    arguments = [upload, birds / "00_birds_input", output, "train"]
    done = subprocess.run([sys.executable, "-I", "-c", GUARD + grading.RUNNER, *map(str, arguments)], cwd=output,
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "can't be downloaded" in done.stderr and "held-out IoU" in done.stderr and not done.stdout
    assert {path.name for path in upload.iterdir()} - {"__pycache__"} == {"segmentation.py", "segmentation_model.pth"}
    assert 0 < grading.check(birds / "00_birds_gt", output) <= 1
    for name in SCENES:
        mask = cv2.imread(str(output / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        photo = cv2.imread(str(next(birds.glob(f"00_birds_input/test/images/*/{name}.jpg"))))
        assert mask.shape == photo.shape[:2] and set(np.unique(mask)) <= {0, 255}


def test_grade_marks_an_upload(birds, tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    shutil.copy(SOURCE, folder)
    model = get_model(Settings(network="unet", size=64))
    model.network.head[-1].bias.data.fill_(-50.0)  # sees nothing
    save_model(model, folder / "segmentation_model.pth")
    results = grading.grade(birds, folder)
    assert [str(result) for result in results] == ["00_birds: Ok, IoU 0.0000"] and grading.mark(results) == 1


def test_grade_tells_how_a_submission_fails(birds, tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    shutil.copy(SOURCE, folder)
    with pytest.raises(grading.UserError, match="has no segmentation_model.pth"):
        grading.grade(birds, folder)
    (folder / "segmentation_model.pth").write_text("nothing", encoding="utf-8")
    result, = grading.grade(birds, folder)
    assert result.status == "Runtime error" and "UnpicklingError" in result.message and grading.mark([result]) == 0


def test_the_checker_compares_as_the_grader_does(tmp_path):
    truth = np.zeros((4, 6), np.uint8)
    truth[:, :2], truth[:, 2:4] = 255, 128  # votes above 127 are the object
    truth[:, 4:] = 127
    write(tmp_path / "gt" / "a" / "x.png", truth)
    write(tmp_path / "gt" / "b" / "y.png", np.zeros((5, 5), np.uint8))
    half = np.zeros((4, 6), np.uint8)
    half[:, :2] = 255
    write(tmp_path / "out" / "x.png", half)
    assert grading.check(tmp_path / "gt", tmp_path / "out") == 0  # one is missing
    write(tmp_path / "out" / "y.png", np.zeros((5, 5), np.uint8))
    assert grading.check(tmp_path / "gt", tmp_path / "out") == pytest.approx((0.5 + 1) / 2)
    write(tmp_path / "out" / "y.png", np.zeros((5, 4), np.uint8))
    with pytest.raises(grading.CheckerError, match="y.png"):
        grading.check(tmp_path / "gt", tmp_path / "out")


@pytest.mark.parametrize("iou,points", [(0.85, 10), (0.8499, 9), (0.6, 6), (0.3, 3), (0.2, 2), (0.1999, 1), (0, 1)])
def test_marks(iou, points):
    assert grading.mark([grading.TestResult("00", "Ok", 0.9), grading.TestResult("01", "Ok", iou)]) == points


def test_it_is_python_3_8_and_imports_only_what_the_grader_has():
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"), feature_version=(3, 8))
    names = {alias.name.split(".")[0] for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module.split(".")[0] for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert names - set(sys.stdlib_module_names) == {"torch", "torchvision", "numpy", "cv2", "PIL"}


# ---------------------------------------------------------------------------------------------- odd photos


@pytest.fixture
def photo() -> np.ndarray:
    rows, columns = np.mgrid[:40, :60]
    return np.stack([rows * 5, columns * 4, 255 - rows * 3], axis=2).astype(np.uint8)


def odd_photos(folder: Path, photo: np.ndarray) -> dict[str, np.ndarray]:
    """Files of many kinds, and what each shows."""
    image = Image.fromarray(photo)
    grey = np.array(image.convert("L"))
    folder.mkdir(exist_ok=True)
    image.save(folder / "rgb.png")
    image.convert("L").save(folder / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "deep.png")
    image.convert("CMYK").save(folder / "cmyk.tif")
    image.convert("RGBA").save(folder / "rgba.png")
    clear = image.convert("RGBA")
    clear.putalpha(0)
    clear.save(folder / "clear.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(photo)).save(folder / "turned.png", exif=exif)
    grey_rgb = np.repeat(grey[..., None], 3, axis=2)
    return {"rgb.png": photo, "grey.png": grey_rgb, "deep.png": grey_rgb, "cmyk.tif": photo, "rgba.png": photo,
            "clear.png": np.full_like(photo, 255), "turned.png": photo}


def test_photos_of_every_kind_are_read_as_they_are_seen(photo, tmp_path, small_model):
    for name, expected in odd_photos(tmp_path, photo).items():
        assert np.abs(read_photo(tmp_path / name).astype(int) - expected).max() <= 1, name
        small_model.train()  # the grader calls neither eval nor no_grad
        probability = predict(small_model, str(tmp_path / name))
        assert probability.dtype == np.float32 and probability.shape == expected.shape[:2], name
        assert np.abs(probability - probabilities(small_model, expected)).max() < 0.02, name
    assert not small_model.training and torch.is_grad_enabled()


def test_a_damaged_photo_is_named(tmp_path, small_model):
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    with pytest.raises(segmentation.SegmentationError, match="torn.jpg"):
        predict(small_model, tmp_path / "torn.jpg")


@pytest.mark.parametrize("values,expected", [
    ([0, 51, 102, 153, 204, 255], [0, 0, 0, 1, 1, 1]), ([0, 1, 1, 0, 1, 0], [0, 1, 1, 0, 1, 0]), ([0] * 6, [0] * 6),
])
def test_masks_are_votes_or_ones(values, expected, tmp_path):
    row = np.array([values], np.uint8)
    for name, pixels in (("grey.png", row), ("colour.png", np.repeat(row[..., None], 3, axis=2)),
                         ("deep.png", row.astype(np.uint16) * (257 if max(values) > 1 else 1))):
        assert read_mask(write(tmp_path / name, pixels)).tolist() == [expected], name
