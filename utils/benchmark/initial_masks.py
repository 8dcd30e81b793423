"""Initial masks: the perturbed ground truth, as in FocalClick's DAVIS-585 (Chen et al. 2022), or a folder of masks."""
from __future__ import annotations

import zlib
from pathlib import Path

import cv2
import numpy as np

from utils.benchmark.annotations import DataError, read_masks
from utils.benchmark.tasks import Task

PERTURBED_IOU = (0.75, 0.85)  # what DAVIS-585's initial masks have
PERTURBATIONS = ("erosion", "dilation", "part removal")
SUFFIXES = (".png", ".bmp", ".jpg")


def perturb(truth: np.ndarray, seed: int, task: str) -> np.ndarray:
    """The object of a ground truth (H, W) of 1, 0 and -1 after an erosion, a dilation or the loss of a part.

    One of the three is drawn, and the IoU of the perturbed mask, between 0.75 and 0.85, which it then has up to a
    pixel; an object that leaves no space to grow is eroded instead. Ignored pixels that a dilation runs over belong to
    the mask but not to its IoU. The draws depend on seed and task alone.

    Returns:
        bool (H, W).
    """
    random = np.random.default_rng((seed, zlib.crc32(f"start {task}".encode())))
    is_object = truth == 1
    target, kind = random.uniform(*PERTURBED_IOU), PERTURBATIONS[random.integers(len(PERTURBATIONS))]
    rows, columns = np.nonzero(is_object)
    if len(rows) == 0:
        return is_object
    centre = random.integers(len(rows))
    surplus = round(len(rows) / target) - len(rows)
    if kind == "dilation" and surplus <= np.count_nonzero(truth == 0):
        distance = _distance(~is_object)
        grown = _nearest(distance, truth == 0, surplus)
        reach = distance[grown].max(initial=0)
        return is_object | grown | ((truth == -1) & (distance <= reach))
    if kind == "part removal":
        rank = np.hypot(*(axis - at for axis, at in zip(np.indices(truth.shape), (rows[centre], columns[centre]),
                                                        strict=True)))
    else:
        rank = _distance(np.pad(is_object, 1))[1:-1, 1:-1]
    return is_object & ~_nearest(rank, is_object, len(rows) - round(len(rows) * target))


def read_initial_mask(folder: Path, task: Task, shape: tuple[int, int]) -> np.ndarray:
    """A task's initial mask in a folder, bool (H, W): a file named as the task, with `#` or `_` before the object.

    Raises:
        DataError: there is none, it can't be read, or has another size.
    """
    path = find_initial_mask(folder, task)
    mask = read_masks([path]).layers[:, :, 0] > 0
    if mask.shape != shape:
        raise DataError(f"{path} is {mask.shape[1]}x{mask.shape[0]} pixels, its image {shape[1]}x{shape[0]}")
    return mask


def find_initial_mask(folder: Path, task: Task) -> Path:
    """The file of a task's initial mask.

    Raises:
        DataError: there is none.
    """
    names = (task.name, task.name.replace("#", "_"))
    path = next((p for name in names for s in SUFFIXES if (p := folder / f"{name}{s}").is_file()), None)
    if path is None:
        raise DataError(f"{folder} has no initial mask of {task.name}: put {names[-1]}.png there")
    return path


def _distance(region: np.ndarray) -> np.ndarray:
    return cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def _nearest(rank: np.ndarray, region: np.ndarray, count: int) -> np.ndarray:
    """The `count` pixels of a region that rank lowest, the first in row-major order among equals."""
    pixels = np.flatnonzero(region)
    chosen = pixels[np.argsort(rank.flat[pixels], kind="stable")[:count]]
    result = np.zeros(region.shape, dtype=bool)
    result.flat[chosen] = True
    return result
