"""How fast a concept model is at batch 1, in torch and in every runtime that is installed, and how far masks differ.

The model is exported to ONNX for the purpose; nothing of it is kept.
"""
from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from utils.export import Options, export
from utils.runtimes import ENGINES, ExportedModel, Request, installed
from utils.segment.models import open_concept_model
from utils.segment.segmentation import ConceptModel, canvas, denormals_flushed, iou, nearest_ratio, resize

WARM_UP_RUNS = 5
Run = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Measurement:
    """A runtime's time for a photo: reducing it, the network, enlarging the probabilities.

    Attributes:
        mean, deviation: seconds.
        largest: difference of a probability from torch's, the greatest of all photos.
        mask_iou: of its masks with torch's, on average.
    """

    runtime: str
    mean: float
    deviation: float
    largest: float
    mask_iou: float


def measure(path: Path, photos: Sequence[np.ndarray], runs: int = 100, device: str = "cpu") -> Iterator[Measurement]:
    """Times all runtimes on photos uint8 (H, W, 3) of one size, in turn, so that a busy machine is so for all of them.

    Yields:
        torch first.

    Raises:
        UserError, SegmentationError: the model can't be read or exported.
    """
    height, width = photos[0].shape[:2]
    model = open_concept_model(path, device)
    shape = canvas(nearest_ratio(height, width), model.settings.size)
    runtimes = {"torch": _torch(model), **_exported(path, device)}
    seconds: dict[str, list[float]] = {name: [] for name in runtimes}
    found: dict[str, list[np.ndarray]] = {name: [] for name in runtimes}
    for number in range(-WARM_UP_RUNS, max(runs, len(photos))):
        for name, run in runtimes.items():
            begin = time.perf_counter()
            probability = _probability(run, photos[number % len(photos)], shape)
            if number >= 0:
                seconds[name].append(time.perf_counter() - begin)
            if 0 <= number < len(photos):
                found[name].append(probability)
    for name in runtimes:
        pairs = list(zip(found[name], found["torch"], strict=True))
        largest = max(float(np.abs(a - b).max()) for a, b in pairs)
        masks = float(np.mean([iou(b > 0.5, a > 0.5) for a, b in pairs]))
        yield Measurement(name, float(np.mean(seconds[name])), float(np.std(seconds[name])), largest, masks)


def _probability(run: Run, photo: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    pixels = resize(photo, *shape).transpose(2, 0, 1)[None].astype(np.float32) / 255
    logits = run(np.ascontiguousarray(pixels))[0, 0]
    return resize(1 / (1 + np.exp(-np.clip(logits, -80, 80))), *photo.shape[:2])


def _torch(model: ConceptModel) -> Run:
    def run(pixels: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), denormals_flushed():
            return model(torch.from_numpy(pixels).to(model.mean.device)).cpu().numpy()

    return run


def _exported(path: Path, device: str) -> dict[str, Run]:
    """The model in every runtime that can run it here; TensorRT where there is an NVIDIA GPU."""
    names = [name for name in ENGINES if installed(name) and (name != "tensorrt" or torch.cuda.is_available())]
    if not names:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        export(Options(path, file), say=lambda _: None)
        request = Request(file, "cpu", "fp32", torch.get_num_threads())
        return {name: ExportedModel(request, name).run for name in names}
