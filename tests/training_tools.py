"""What the tests of training share: a tiny recipe, short trainings, comparisons."""
from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import torch
from small_coco_lvis import ANNOTATION, write_photo

import solution
from solution import Recipe
from utils.encoders import LITE, Stage

CPU = torch.device("cpu")
PROJECT = Path(solution.__file__).resolve().parent
CHECKPOINT = PROJECT / "checkpoint.pth"
SCENES = Path(__file__).with_name("00_sample_input")
VAL_IDS = ("000000000101", "000000000102")
# An encoder of a few layers: what trainings do with their runs, files and phases does not depend on the network.
LITE["tiny"] = (Stage(8, 1, 3, 1, 1), Stage(8, 1, 3, 2, 2), Stage(8, 1, 3, 2, 2), Stage(8, 1, 3, 2, 2),
                Stage(8, 1, 3, 1, 2), Stage(16, 1, 3, 2, 2), Stage(16, 1, 3, 1, 2))  # fmt: skip
TINY = Recipe(samples=24, batch_size=4, resolutions=((0, 32),), min_area=500, working_size=32, rounds=(0.6, 0.4),
              backbone="tiny")  # fmt: skip
TWO_PHASES = (TINY, dataclasses.replace(TINY, samples=8, seed=7))


def add_val_split(coco_lvis: Path) -> Path:
    """The small COCO_LVIS folder, with a split to validate on."""
    split = coco_lvis / "val"
    for part in ("images", "masks"):
        (split / part).mkdir(parents=True)
    for image_id in VAL_IDS:
        write_photo(split, image_id)
    (split / "hannotation.pickle").write_bytes(pickle.dumps(dict.fromkeys(VAL_IDS, ANNOTATION)))
    return coco_lvis


def train(folder: Path, out: Path, recipe: Any = TINY, **changes: Any) -> Path:
    """A short training from random weights, in this process alone."""
    options = {"data": "all", "pretrained": False, "device": "cpu", "workers": 0, "validation_objects": 1,
               "epoch_samples": 10_000, "patience": 0, **changes}
    return solution.train_segmentation(folder, out, recipe, **options)


def same(one: Any, other: Any) -> bool:
    """Whether two nested containers hold the same, tensors bit by bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def learnt(out: Path) -> dict[str, Any]:
    """What a run has learnt, of its state on disk."""
    state = torch.load(out / "state.pth", weights_only=True)
    return {name: state[name] for name in ("model", "ema_model", "optimizer", "batch")}
