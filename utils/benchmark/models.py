"""What is measured: a checkpoint of solution.py, OpenCV's GrabCut as a floor, or anything that predicts from clicks."""
from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from utils.clicker import Click

GRABCUT = "grabcut"
OBJECT = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
NAME = re.compile(r"[^=/\\]+")


class ModelError(Exception):
    """A model can't be had; the message says which, why and what to do."""


@dataclass(frozen=True)
class ModelSpec:
    """A model by name: `source` is a checkpoint's path, "grabcut" or "module:attribute"."""

    name: str
    source: str
    device: str = "cpu"

    @property
    def kind(self) -> str:
        """"grabcut", "object" or "checkpoint"."""
        if self.source == GRABCUT:
            return GRABCUT
        return "object" if OBJECT.fullmatch(self.source) else "checkpoint"


@dataclass(frozen=True)
class LoadedModel:
    """Something with set_input_image and get_prediction, and the probability above which a pixel is the object."""

    predictor: Any
    threshold: float


def parse_model(text: str, device: str = "cpu") -> ModelSpec:
    """Reads SOURCE or NAME=SOURCE; the name is else the file's or the attribute's."""
    name, equals, source = text.partition("=")
    if not (equals and NAME.fullmatch(name)):
        name, source = "", text
    spec = ModelSpec(name, source, device)
    short = {GRABCUT: "GrabCut", "object": source.rpartition(":")[2], "checkpoint": Path(source).stem}[spec.kind]
    return ModelSpec(name or short, source, device)


def digests(spec: ModelSpec) -> dict[str, str]:
    """SHA-256 of the files that make the model: the checkpoint and solution.py, or the module's file.

    Raises:
        ModelError: a file is missing.
    """
    if spec.kind == "checkpoint":
        paths = [Path(spec.source), Path(_find_file("solution", spec))]
    else:
        paths = [Path(__file__ if spec.kind == GRABCUT else _find_file(spec.source.partition(":")[0], spec))]
    for path in paths:
        if not path.is_file():
            raise ModelError(f"{path} is missing; give a checkpoint, grabcut or module:attribute by --model")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def load_model(spec: ModelSpec) -> LoadedModel:
    """Makes the model, ready to predict.

    Raises:
        ModelError: the checkpoint can't be restored, or the module has no such attribute or it can't predict.
    """
    if spec.kind == GRABCUT:
        return LoadedModel(GrabCutPredictor(), 0.5)
    try:
        return _load_checkpoint(spec) if spec.kind == "checkpoint" else _load_object(spec)
    except ModelError:
        raise
    except Exception as error:  # foreign code and foreign files may raise anything
        raise ModelError(f"{spec.source} can't be loaded: {error}") from error


def _load_checkpoint(spec: ModelSpec) -> LoadedModel:
    import torch

    from solution import ISModel, Predictor

    torch.use_deterministic_algorithms(True, warn_only=True)
    device = torch.device(spec.device)
    model = ISModel()
    model.restore_from_checkpoint(spec.source, device)
    model = model.eval()
    return LoadedModel(Predictor(model, device), float(getattr(model, "pred_thr", 0.5)))


def _load_object(spec: ModelSpec) -> LoadedModel:
    """The attribute itself if it predicts, else what it returns: a class or a function without arguments."""
    module, _, attribute = spec.source.partition(":")
    found: Any = importlib.import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    predictor = found() if inspect.isclass(found) or not hasattr(found, "get_prediction") else found
    for verb in ("set_input_image", "get_prediction"):
        if not callable(getattr(predictor, verb, None)):
            raise ModelError(f"{spec.source} has no {verb}(); give an object, or what makes one, that has it")
    return LoadedModel(predictor, float(getattr(predictor, "pred_thr", 0.5)))


def _find_file(module: str, spec: ModelSpec) -> str:
    try:
        found = importlib.util.find_spec(module)
    except ImportError as error:
        raise ModelError(f"{spec.source}: {error}; run from the folder that the module is in") from error
    if found is None or not found.origin:
        raise ModelError(f"{spec.source}: there is no module {module}; run from the folder that it is in")
    return found.origin


class GrabCutPredictor:
    """The floor of every table: OpenCV's GrabCut (Rother et al. 2004), started from the clicks, without any training.

    Clicks are certain in a small disk. The surroundings of a positive click that lies off the last mask are taken for
    probable object, and the last mask decides all else; colour models of both sides do the rest.
    """

    LONG_SIDE = 240  # pixels that it works at
    ITERATIONS = 2
    CERTAIN = 0.01  # radius of a click's disk, as a part of the longer side
    PROBABLE = 0.15  # radius of a new positive click's surroundings

    def __init__(self) -> None:
        self._image: np.ndarray | None = None

    def set_input_image(self, image: np.ndarray) -> None:
        """Begins with an image uint8 (H, W, 3)."""
        self._shape = image.shape[:2]
        self._scale = min(1.0, self.LONG_SIDE / max(self._shape))
        size = [max(1, round(side * self._scale)) for side in self._shape[::-1]]
        self._image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        self._forget(np.zeros(self._image.shape[:2], bool))

    def get_prediction(self, clicker: Any, prev_mask: np.ndarray | None = None) -> np.ndarray:
        """float32 (H, W) in [0, 1] from the clicks and the mask before the last one, `prev_mask` if that is given.

        Raises:
            RuntimeError: no image is set.
        """
        if self._image is None:
            raise RuntimeError("no image to predict for: call set_input_image(image) first")
        clicks = clicker.get_clicks()
        if prev_mask is not None:
            size = self._image.shape[1::-1]
            small = cv2.resize(np.asarray(prev_mask, np.float32), size, interpolation=cv2.INTER_AREA)
            self._forget(small > 0.5)
            self._seen = list(clicks[:-1])
        elif list(clicks[: len(self._seen)]) != self._seen:
            self._forget(self._start)
        for count in range(len(self._seen) + 1, len(clicks) + 1):
            self._mask = self._step(self._mask, clicks[:count])
        self._seen = list(clicks)
        return cv2.resize(self._mask.astype(np.float32), self._shape[::-1], interpolation=cv2.INTER_LINEAR)

    def _forget(self, start: np.ndarray) -> None:
        self._start = self._mask = start
        self._seen: list[Click] = []

    def _step(self, mask: np.ndarray, clicks: list[Click]) -> np.ndarray:
        """The mask after one more click."""
        if not mask.any() and not any(click.is_positive for click in clicks):
            return mask
        marks = np.where(mask, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
        if clicks[-1].is_positive and not mask[self._at(clicks[-1])]:
            self._disk(marks, clicks[-1], self.PROBABLE, cv2.GC_PR_FGD)
        for click in clicks:
            self._disk(marks, click, self.CERTAIN, cv2.GC_FGD if click.is_positive else cv2.GC_BGD)
        is_object = (marks & 1) == 1  # GC_FGD and GC_PR_FGD are odd
        if is_object.all() or not is_object.any():
            return is_object
        cv2.setRNGSeed(0)  # the colour models start from random centres
        cv2.grabCut(self._image, marks, None, np.zeros((1, 65)), np.zeros((1, 65)), self.ITERATIONS,
                    cv2.GC_INIT_WITH_MASK)
        return (marks & 1) == 1

    def _disk(self, marks: np.ndarray, click: Click, radius: float, value: int) -> None:
        y, x = self._at(click)
        cv2.circle(marks, (x, y), max(1, round(radius * max(marks.shape))), int(value), -1)

    def _at(self, click: Click) -> tuple[int, int]:
        y, x = ((np.asarray(click.coords) + 0.5) * self._scale).astype(int)
        return min(int(y), self._image.shape[0] - 1), min(int(x), self._image.shape[1] - 1)


def takes_start(predictor: Any) -> bool:
    """Whether get_prediction has an argument prev_mask, so that work can begin from a mask."""
    get_prediction: Callable[..., Any] = predictor.get_prediction
    parameters = inspect.signature(get_prediction).parameters.values()
    return any(p.name == "prev_mask" or p.kind is p.VAR_KEYWORD for p in parameters)
