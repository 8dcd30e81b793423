"""Evaluates jobs in processes of their own, so that neither a broken image nor a crash loses the others."""
from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from time import perf_counter

import numpy as np

from utils.benchmark.combinations import ReplayDrawings
from utils.benchmark.evaluation import evaluate_object
from utils.benchmark.initial_masks import perturb, read_initial_mask
from utils.benchmark.protocol import NOTHING, PERTURBED, Job, ModelSpec, Protocol, plan_jobs
from utils.benchmark.records import Record, record_of
from utils.benchmark.tasks import DataSet, Task, read_task
from utils.files import UserError, write_whole
from utils.images import encode_png
from utils.interactions import DrawingUser, ExactUser, Noise, NoisyUser, ReplayUser, User
from utils.models import Model, ModelError, open_model
from utils.pool import Lost, ProcessDied, each_done


@dataclass(frozen=True)
class Plan:
    """What a run consists of; `contents` are the models' digests by model name, `log` the clicks to repeat."""

    protocol: Protocol
    sets: Sequence[DataSet]
    models: Sequence[ModelSpec]
    contents: Mapping[str, Mapping[str, str]]
    tasks: Sequence[Task]
    log: Sequence[Record] | None = None

    def jobs(self) -> list[Job]:
        """Every model's, one model after another."""
        clicks = None if self.log is None else {(record.data, record.task): record.steps for record in self.log}
        return [job for spec in self.models
                for job in plan_jobs(self.tasks, spec, self.contents[spec.name], self.protocol, clicks)]


def run_jobs(jobs: Sequence[Job], out: Path, processes: int = 1, threads: int = 1) -> Iterator[Record]:
    """Evaluates the jobs of one model and yields their records as they come.

    Args:
        jobs: those of an image should stand together: a process keeps the image that it decoded last.
        out: folder with masks/.
        processes: how many; each loads the model.
        threads: of each process.

    Raises:
        ModelError: the model can't be loaded.
    """
    if not jobs:
        return
    model = jobs[0].model
    try:
        for result in each_done(Evaluate(model, out), jobs, processes, threads, isolated=True):
            if isinstance(result, Lost):
                result = record_of(result.task, f"the process died ({result.death}) over this task")
            yield result
    except ProcessDied as error:
        raise ModelError(f"{model.name}: {error}") from error


class Evaluate:
    """A process's work: it loads the model once, then evaluates one job after another."""

    def __init__(self, spec: ModelSpec, out: Path) -> None:
        self._spec, self._out = spec, out

    def start(self) -> None:
        """Loads the model.

        Raises:
            ModelError: it can't be had.
        """
        self._model = open_model(self._spec.source, self._spec.device, precision=self._spec.precision)
        if "torch" in sys.modules:
            torch = sys.modules["torch"]
            torch.set_grad_enabled(False)
            torch.use_deterministic_algorithms(True, warn_only=True)

    def __call__(self, job: Job) -> Record:
        """The record of a job, or of its failure."""
        try:
            return evaluate_job(job, self._model, self._out)
        except ModelError as error:
            raise ModelError(f"{self._spec.source}: {error}") from error
        except UserError as error:
            return record_of(job, str(error))
        except Exception as error:  # foreign code: whatever it raises is this task's failure, not the run's
            return record_of(job, f"{type(error).__name__}: {error}")


def evaluate_job(job: Job, model: Model, out: Path) -> Record:
    """Evaluates a job in this process and keeps the last mask under `out`/masks.

    Raises:
        UserError: the task can't be read.
        Exception: whatever the model raises.
    """
    begun = perf_counter()
    image, truth = read_task(job.task)
    result = evaluate_object(model, image, truth, _user(job, truth), job.protocol.clicks, _initial_mask(job, truth))
    record = record_of(job)
    record.height, record.width = truth.shape
    for name in [f.name for f in fields(result) if f.name != "mask"]:
        setattr(record, name, getattr(result, name))
    record.peak_bytes = peak_memory(job.model.device)
    write_whole(record.mask_file(out), encode_png(result.mask.astype(np.uint8) * 255))
    record.harness_seconds = perf_counter() - begun - record.prepare_seconds - sum(record.click_seconds)
    return record


def _user(job: Job, truth: np.ndarray) -> User | DrawingUser | ReplayDrawings:
    seed, manner = job.protocol.seed, job.manner
    if job.log is not None:
        return ReplayDrawings(job.log) if isinstance(job.log[0], dict) else ReplayUser(job.log)
    if isinstance(manner, Noise):
        return NoisyUser(truth, manner, seed, job.task.name)
    if manner is not None:
        return DrawingUser(truth, manner.kinds, manner.style, seed, job.task.name)
    return ExactUser(truth)


def _initial_mask(job: Job, truth: np.ndarray) -> np.ndarray | None:
    initial = job.protocol.initial
    if initial == NOTHING:
        return None
    if initial == PERTURBED:
        return perturb(truth, job.protocol.seed, job.task.name)
    return read_initial_mask(Path(initial), job.task, truth.shape)


def peak_memory(device: str) -> int:
    """The most bytes that this process held at once; on a GPU, the most that torch had allocated there."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device)
    try:  # of this program alone: getrusage also knows the parent's size, which a child inherits
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError):
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
