"""The bird assignment's grader: its protocol and its mark, on folders NN_name_input and NN_name_gt.

A submission is a folder with segmentation.py and segmentation_model.pth, as a user uploads it. Each test runs in a
process of its own with nothing of this project on its path, so that what passes here passes there.
"""
from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from utils.files import PathLike, UserError, existing_folder

MARKS = ((0.85, 10), (0.80, 9), (0.75, 8), (0.70, 7), (0.60, 6), (0.50, 5), (0.40, 4), (0.30, 3), (0.20, 2))

# What the grader does with an upload; it never calls eval() or no_grad() itself.
RUNNER = """
import sys
from glob import glob
from os.path import basename, join, splitext
import cv2, torch
submission, data, output, trains = sys.argv[1:]
sys.path.insert(0, submission)
from segmentation import get_model, predict, train_model
if trains == "train":
    train_model(join(data, "train"))
model = get_model()
model.load_state_dict(torch.load(join(submission, "segmentation_model.pth"), map_location="cpu"))
for path in sorted(glob(join(data, "test", "images", "*", "*.jpg"))):
    mask = (predict(model, path) > 0.5).astype("uint8") * 255
    cv2.imwrite(join(output, splitext(basename(path))[0] + ".png"), mask)
"""


class TestResult(NamedTuple):
    """One test: "Ok", "Runtime error" or "Checker error", its mean IoU, and what went wrong."""

    name: str
    status: str
    iou: float
    message: str = ""

    def __str__(self) -> str:
        return f"{self.name}: Ok, IoU {self.iou:.4f}" if self.status == "Ok" else f"{self.name}: {self.status}"


class CheckerError(Exception):
    """The output can't be compared with the truth."""


def grade(tests: PathLike, submission: PathLike, trains: bool = False) -> list[TestResult]:
    """Runs every test of a folder; the masks lie in NN_name_check/output afterwards.

    Args:
        tests: holds NN_name_input/{train/{images,gt},test/images}/CLASS/* and NN_name_gt/CLASS/*.
        submission: holds segmentation.py and segmentation_model.pth.
        trains: call train_model first, which writes the weights anew.

    Raises:
        UserError: there is no test, or the submission lacks a file.
    """
    inputs = sorted(path for path in existing_folder(tests).glob("*_input") if re.match(r"[0-9]{2}_", path.name))
    if not inputs:
        raise UserError(f"{tests} has no test: a test is a folder NN_name_input (NN two digits) beside NN_name_gt")
    for name in ("segmentation.py", *(() if trains else ("segmentation_model.pth",))):
        if not (existing_folder(submission) / name).is_file():
            raise UserError(f"{submission} has no {name}; name the folder that is to be uploaded")
    return [_run_test(path, Path(submission), trains) for path in inputs]


def mark(results: list[TestResult]) -> int:
    """The mark of the last test: 10 from IoU .85 on, 1 below .20, 0 if it failed."""
    last = results[-1]
    if last.status != "Ok":
        return 0
    return next((points for least, points in MARKS if last.iou >= least), 1)


def _run_test(data: Path, submission: Path, trains: bool) -> TestResult:
    name = data.name.removesuffix("_input")
    output = data.with_name(f"{name}_check") / "output"
    output.mkdir(parents=True, exist_ok=True)
    for old in output.glob("*.png"):
        old.unlink()
    arguments = [str(Path(submission).resolve()), str(data.resolve()), str(output.resolve()), "train" if trains else ""]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", RUNNER, *arguments], cwd=output, env=environment,
                          stderr=subprocess.PIPE, text=True, errors="replace")
    if done.returncode:
        return TestResult(name, "Runtime error", 0.0, done.stderr)
    try:
        return TestResult(name, "Ok", check(data.with_name(f"{name}_gt"), output))
    except CheckerError as error:
        return TestResult(name, "Checker error", 0.0, str(error))


def check(truth: Path, output: Path) -> float:
    """Mean IoU of the masks in `output` over the truth's files, as the grader has it.

    A missing file makes it 0 for all. Two empty masks count 1; the grader's own division gives NaN there.

    Raises:
        CheckerError: a mask has another size than its truth, or can't be read, or there is no truth.
    """
    paths = sorted(truth.glob("*/*.png"))
    if not paths:
        raise CheckerError(f"{truth} holds no CLASS/*.png; put the true masks there")
    if not all((output / path.name).is_file() for path in paths):
        return 0.0
    return float(np.mean([_iou(_read(path), _read(output / path.name), path) for path in paths]))


def _read(path: Path) -> np.ndarray:
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise CheckerError(f"{path} can't be read as a picture")
    return grey > 127


def _iou(truth: np.ndarray, mask: np.ndarray, path: Path) -> float:
    if truth.shape != mask.shape:
        raise CheckerError(f"the mask of {path.name} is {mask.shape}, its truth {truth.shape}")
    union = np.count_nonzero(truth | mask)
    return np.count_nonzero(truth & mask) / union if union else 1.0
