"""Concept models for the study of proposals: what they learn from, when, and where else probabilities come from."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils.assisted import needed
from utils.files import UserError
from utils.images import read_labels
from utils.models import OBJECT, open_attribute
from utils.segment import open_concept_model, probabilities

THRESHOLD = 0.5


@dataclass
class AcceptedSample:
    """A photo with the mask that the annotator accepted, as utils.segment trains on it."""

    name: str
    sample: Any
    mask: Path

    def shape(self) -> tuple[int, int]:
        """(H, W) of the photo."""
        return self.sample.shape()

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """The photo uint8 (H, W, 3) RGB and its mask uint8 (H, W) of 0 and 1."""
        return self.sample.read()[0], (read_labels(self.mask, frame="stored").values > 0).astype(np.uint8)


Concept = Callable[[Any, np.ndarray], np.ndarray]  # sample, photo -> probabilities float (H, W)


def given_concept(source: str) -> Concept:
    """Probabilities of a model that is not trained here.

    Raises:
        UserError: it can't be had.
    """
    if Path(source).is_dir() and any(Path(source).glob("*.png")):
        return lambda sample, photo: read_ready_mask(Path(source), sample.name)
    if OBJECT.fullmatch(source):
        predict = open_attribute(source)
        return lambda sample, photo: np.asarray(predict(photo), np.float32)
    model = open_concept_model(source)
    return lambda sample, photo: probabilities(model, photo)


def read_ready_mask(folder: Path, name: str) -> np.ndarray:
    """Probabilities (H, W) from a PNG named as the photo, its values from 0 to 255."""
    path = next((p for p in (folder / f"{name}.png", folder / f"{Path(name).stem}.png") if p.is_file()), None)
    if path is None:
        raise UserError(f"{folder} has no mask of {name}: put {Path(name).stem}.png there")
    return read_labels(path).values.astype(np.float32) / 255


def trainings(count: int) -> list[int]:
    """After how many pictures the concept model is trained: 5, 8, 12, 18, ... up to `count`."""
    due = [needed(0)]
    while due[-1] < count:
        due.append(needed(due[-1]))
    return [number for number in due if number < count]


def confidence_of(probability: np.ndarray) -> float:
    """How sure a model is of its object: the mean probability inside its mask, 0 where that is empty."""
    inside = probability > THRESHOLD
    return float(probability[inside].mean()) if inside.any() else 0.0
