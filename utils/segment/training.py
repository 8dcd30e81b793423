"""A training with its comforts: log, curves, contact sheets, a state to go on from, several processes."""
from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from utils.files import PathLike, UsageError, UserError, folder_lock, read_json, write_json, write_whole
from utils.misc import draw_probmap, draw_with_blend_and_clicks
from utils.segment.data import CLOSE_UP, WHOLE, Crop, PhotoWithMask, open_data
from utils.segment.models import model_path
from utils.segment.segmentation import (
    MODEL_FILE,
    ConceptModel,
    Recipe,
    SegmentationError,
    Settings,
    Training,
    Weights,
    canvas,
    load_model,
    model_bytes,
    nearest_ratio,
    probabilities,
    resize,
    resize_mask,
    sample_iou,
    split_samples,
)
from utils.training import StopRequest, TrainingLog, load_state, save_state

STATE, HELD_OUT = "state.pth", "held_out.json"
EVALUATIONS = 12  # of a training
MOST_EVALUATED = 200  # held-out photos
MOST_KEPT = 512 * 2**20  # bytes of reduced photos that are kept in memory
SECONDS_BETWEEN_STATES = 60.0
SHOWN = 4  # held-out photos on a contact sheet
HEADINGS = ("photo", "mask", "prediction", "probability")


@dataclass(frozen=True)
class TrainingResult:
    """What a training came to.

    Attributes:
        model: file of the weights that were best on the held-out photos.
        iou: their mean IoU a photo there, with plain prediction.
        held_out: names of the held-out photos.
        photos: how many were trained on.
        is_finished: False if it was stopped; the same call goes on.
        seconds: of training.
    """

    model: Path
    iou: float
    held_out: tuple[str, ...]
    photos: int
    is_finished: bool
    seconds: float


def train(
    data: PathLike | Sequence[PhotoWithMask],
    out: PathLike,
    recipe: Recipe = Recipe(),  # noqa: B008 (frozen)
    settings: Settings | None = None,
    pretrained: Weights = "download",
    start: PathLike | None = None,
    held_out: Sequence[str] = (),
    crops: bool = False,
    device: str | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> TrainingResult:
    """Trains a concept model, or goes on with a training that was stopped.

    Args:
        data: a folder (see data.FORMATS), or samples.
        out: gets segmentation_model.pth (the best weights so far), metrics.csv, vis/ and state.pth.
        recipe: how it is trained.
        settings: of the network; those of `start` if there is one.
        pretrained: ImageNet weights of the encoder: "download", a file, or None for random ones.
        start: a concept model from whose weights training begins; what it held out stays held out.
        held_out: names of photos that are not to be trained on, besides those that their hash holds out.
        crops: train on two crops besides each photo, around the object and a close-up of its upper end, where objects
            are often small.
        device: as torch names it; a GPU if there is one.
        workers: processes that read photos.
        quiet: no progress bar, no charts.

    Raises:
        SegmentationError, UserError: a file can't be used, or `out` holds another training.
    """
    samples = open_data(data) if isinstance(data, (str, os.PathLike)) else list(data)
    out = Path(out)
    with contextlib.ExitStack() as stack:
        group = stack.enter_context(_group(device))
        if group.rank == 0:
            stack.enter_context(folder_lock(out, "training"))
        kept = (*held_out, *_held_before(out), *(_held_before(model_path(start).parent) if start else ()))
        photos, others = split_samples(samples, kept)
        photos += [Crop(sample, scale) for scale in (WHOLE, CLOSE_UP) for sample in photos] if crops else []
        run = _Run(out, photos, others, recipe, group, quiet)
        run.begin(settings, pretrained, start)
        run.train(_workers(group.device) if workers is None else workers)
        return run.result()


def _held_before(folder: Path) -> list[str]:
    path = folder / HELD_OUT
    names = read_json(path) if path.is_file() else []
    if not isinstance(names, list):
        raise UserError(f"{path} is no list of names; remove it")
    return names


def _workers(device: torch.device) -> int:
    """Reading takes a few milliseconds a photo, which only a GPU would have to wait for."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, cores - 1) if device.type == "cuda" else 0


class _Run:
    """One call of `train`."""

    def __init__(self, out: Path, photos: list[Any], others: list[Any], recipe: Recipe, group: _Group,
                 quiet: bool) -> None:
        self.out, self.photos, self.recipe, self.group = out, photos, recipe, group
        self.held_out = [sample.name for sample in others]
        self.others = others[:: -(-len(others) // MOST_EVALUATED)]
        self.is_quiet = quiet or group.rank > 0
        self.best, self.history, self.losses = -1.0, [], []  # type: float, list[dict[str, float]], list[Any]
        self.evaluated = 0.0

    # ------------------------------------------------------------------------------------------ begin

    def begin(self, settings: Settings | None, pretrained: Weights, start: PathLike | None) -> None:
        """Builds the model, or takes the state of a stopped training."""
        state = load_state(self.out / STATE)
        if state is None:
            photos = reduced(self.photos, (settings or Settings()).size)
            model = self._model(settings, pretrained, start)
        else:
            self._check_same(state["about"], settings)
            model = ConceptModel(Settings(**state["about"]["settings"]))
            photos = reduced(self.photos, model.settings.size)
        torch.manual_seed(self.recipe.seed)
        self.training = Training(model, photos, self.recipe, self.group.device, self.group.rank, self.group.size)
        if state is not None:
            self.training.load_state(state["training"])
            self.best, self.history, self.losses = state["best"], state["history"], state["losses"]
            self.evaluated = self.training.progress
        elif self.group.rank == 0:
            write_json(self.out / HELD_OUT, self.held_out)
        self.training.wrapped = self.group.wrap(self.training.model)

    def _model(self, settings: Settings | None, pretrained: Weights, start: PathLike | None) -> ConceptModel:
        if start is None:
            torch.manual_seed(self.recipe.seed)
            return ConceptModel(settings or Settings(), pretrained)
        model = load_model(model_path(start))
        if settings is not None and settings != model.settings:
            raise UsageError(f"{start} has settings of its own; leave out those of the network")
        return model

    def _about(self) -> dict[str, Any]:
        """What a state belongs to."""
        plain = json.loads(json.dumps(dataclasses.asdict(self.recipe)))
        settings = dataclasses.asdict(self.training.model.settings)
        return {"recipe": plain, "settings": settings, "photos": [sample.name for sample in self.photos]}

    def _check_same(self, about: dict[str, Any], settings: Settings | None) -> None:
        mine = {**dataclasses.asdict(self.recipe), **(dataclasses.asdict(settings) if settings else {})}
        theirs = {**about["settings"], **about["recipe"]}
        changed = sorted(name for name, value in json.loads(json.dumps(mine)).items() if theirs.get(name) != value)
        if about["photos"] != [sample.name for sample in self.photos]:
            changed.append("photos")
        if changed:
            raise UsageError(f"{self.out} holds a training with other {', '.join(changed)}; choose another --out, and "
                             f"--start {self.out} to begin from its weights")

    # ------------------------------------------------------------------------------------------ train

    def train(self, workers: int) -> None:
        """Trains until the end or a request to stop; saves now and then."""
        saved = time.monotonic()
        with StopRequest(may_insist=self.group.size == 1) as stop, self._log() as log:
            for loss in self.training.run(workers):
                self.training.seconds, is_stopping = self.group.highest(self.training.seconds, stop.due)
                if log:
                    log.record(self._seen(), loss)
                if self.training.progress == 1 or self.training.progress - self.evaluated >= 1 / EVALUATIONS:
                    self._evaluate(loss, log)
                    saved = 0.0
                if is_stopping or time.monotonic() - saved > SECONDS_BETWEEN_STATES:
                    self._save()
                    saved = time.monotonic()
                if is_stopping:
                    break

    def _log(self) -> Any:
        if self.is_quiet:
            return contextlib.nullcontext()
        total = round(self.recipe.epochs * len(self.photos)) or round(60 * self.recipe.minutes)
        unit = "samples" if self.recipe.epochs else "seconds"
        return TrainingLog(self.out, total, self._seen(), self.history, self.losses, unit,
                           charts={"iou": "IoU of held-out photos"}, tiles=tiles, headings=HEADINGS)

    def _seen(self) -> int:
        """How far it is, as the log counts."""
        if self.recipe.epochs:
            return min(self.training.step * self.recipe.batch_size, round(self.recipe.epochs * len(self.photos)))
        return min(int(self.training.seconds), round(60 * self.recipe.minutes))

    def _evaluate(self, loss: float, log: TrainingLog | None) -> None:
        self.evaluated = self.training.progress
        if self.group.rank > 0:
            return
        model = self.training.average
        score = float(np.mean([sample_iou(model, sample) for sample in self.others]))
        if score > self.best:
            self.best = score
            write_whole(self.out / MODEL_FILE, model_bytes(model))
        if log:
            examples = [(*sample.read(), model) for sample in self.others[:SHOWN]]
            recent = float(np.mean([value for _, value in self.losses[-50:]]))
            log.flush({log.unit: self._seen(), "loss": recent, "iou": score}, examples)

    def _save(self) -> None:
        if self.group.rank == 0:
            save_state(self.out / STATE, {"about": self._about(), "training": self.training.state(), "best": self.best,
                                          "history": self.history, "losses": self.losses})

    def result(self) -> TrainingResult:
        """What it came to so far."""
        training = self.training
        return TrainingResult(self.out / MODEL_FILE, self.best, tuple(self.held_out), len(self.photos),
                              training.progress == 1, training.seconds)


def tiles(photo: np.ndarray, mask: np.ndarray, model: ConceptModel) -> list[np.ndarray]:
    """The pictures under HEADINGS, of a photo, its mask and a model."""
    probability = probabilities(model, photo)
    shown = [draw_with_blend_and_clicks(photo, mask=part.astype(np.uint8)) for part in (mask == 1, probability > 0.5)]
    return [photo, *shown, np.ascontiguousarray(draw_probmap(probability)[..., ::-1])]


# ---------------------------------------------------------------------------------------------- photos in memory


@dataclass(frozen=True)
class _Reduced:
    """A photo and its mask in the network's size, in memory."""

    name: str
    photo: np.ndarray
    mask: np.ndarray
    ratio: tuple[int, int]

    def shape(self) -> tuple[int, int]:
        return self.ratio

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        return self.photo, self.mask


def reduced(samples: Sequence[PhotoWithMask], size: int) -> list[PhotoWithMask]:
    """Samples in the network's size, read once and kept in memory while there is room; else they stay files.

    Raises:
        SegmentationError, UserError: one of those that were read can't be used, or none has an object.
    """
    kept: list[PhotoWithMask] = []
    room, has_object = MOST_KEPT, False
    for sample in samples:
        if room <= 0:
            kept.append(sample)
            continue
        photo, mask = sample.read()
        has_object = has_object or bool((mask == 1).any())
        shape = canvas(nearest_ratio(*mask.shape), size)
        small = _Reduced(sample.name, resize(photo, *shape), resize_mask(mask, *shape), mask.shape)
        room -= small.photo.nbytes + small.mask.nbytes
        kept.append(small)
    if not has_object and all(isinstance(sample, _Reduced) for sample in kept):
        raise SegmentationError(f"no mask shows an object, from {samples[0].name} to {samples[-1].name}; add one")
    return kept


# ---------------------------------------------------------------------------------------------- several processes


@dataclass(frozen=True)
class _Group:
    """The processes that train together (torchrun), or the only one."""

    rank: int
    size: int
    device: torch.device

    def highest(self, seconds: float, flag: bool) -> tuple[float, bool]:
        """The highest of all processes' figures, so that all of them stop after the same step."""
        if self.size == 1:
            return seconds, flag
        values = torch.tensor([seconds, float(flag)], dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(values, torch.distributed.ReduceOp.MAX)
        return float(values[0]), bool(values[1])

    def wrap(self, model: torch.nn.Module) -> torch.nn.Module:
        """The model, sharing its gradients with the other processes."""
        if self.size == 1:
            return model
        devices = [self.device] if self.device.type == "cuda" else None
        return torch.nn.parallel.DistributedDataParallel(model, device_ids=devices)


@contextlib.contextmanager
def _group(device: str | None) -> Iterator[_Group]:
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if size == 1:
        yield _Group(0, 1, chosen)
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(chosen)
    torch.distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield _Group(rank, size, chosen)
    finally:
        torch.distributed.destroy_process_group()
