"""Which dialogues a run consists of, how one is played, and how its record is kept."""
from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np

from utils.benchmark.annotations import DataError
from utils.benchmark.dialogue import converse
from utils.benchmark.models import LoadedModel, ModelSpec
from utils.benchmark.robots import ExactRobot, LoggedClick, Noise, NoisyRobot, ReplayRobot, Robot
from utils.benchmark.starts import damage, find_start, read_start
from utils.benchmark.tasks import Task, read_task

EXACT, NOISY, REPLAY = "exact", "noisy", "replay"
NOTHING, DAMAGED = "nothing", "damaged"


@dataclass(frozen=True)
class Protocol:
    """What is the same for all dialogues of a run.

    Args:
        clicks: of a dialogue.
        robots: by name, with the noise of each; None is the exact robot.
        start: "nothing", "damaged" (the ground truth, by the seed) or a folder of masks.
        seed: of the noise and the damage.
    """

    clicks: int = 20
    robots: tuple[tuple[str, Noise | None], ...] = ((EXACT, None),)
    start: str = NOTHING
    seed: int = 0


@dataclass(frozen=True)
class Job:
    """A dialogue to be played; `key` is a digest of everything that its figures depend on."""

    task: Task
    model: ModelSpec
    robot: str
    noise: Noise | None
    protocol: Protocol
    key: str
    log: tuple[LoggedClick, ...] | None = None


@dataclass
class Record:
    """What came of a job: an error, or a dialogue's figures (see Dialogue) and the process's peak memory in bytes.

    `harness_seconds` is all that was not the model's, from decoding the image to writing the mask.
    """

    key: str
    data: str
    task: str
    cluster: str
    image: str
    files: str
    model: str
    robot: str
    start: str
    start_digest: str = ""
    error: str = ""
    height: int = 0
    width: int = 0
    area: int = 0
    start_iou: float = 0.0
    ious: list[float] = field(default_factory=list)
    boundary_ious: list[float] = field(default_factory=list)
    clicks: list[LoggedClick] = field(default_factory=list)
    prepare_seconds: float = 0.0
    click_seconds: list[float] = field(default_factory=list)
    harness_seconds: float = 0.0
    peak_bytes: int = 0

    def mask_file(self, out: Path) -> Path:
        """Where the mask after the shown click is kept."""
        return out / "masks" / f"{self.key}.png"


def plan_jobs(
    tasks: Iterable[Task],
    model: ModelSpec,
    model_digests: Mapping[str, str],
    protocol: Protocol,
    logs: Mapping[tuple[str, str], Sequence[LoggedClick]] | None = None,
) -> list[Job]:
    """A job for each task and robot; with logged clicks by (data, task), one that repeats them instead."""
    jobs = []
    for task in tasks:
        if logs is not None:
            log = tuple((y, x, is_positive) for y, x, is_positive in logs[task.data, task.name][: protocol.clicks])
            jobs.append(Job(task, model, REPLAY, None, protocol, _key(task, model, model_digests, protocol, log), log))
            continue
        for robot, noise in protocol.robots:
            jobs.append(Job(task, model, robot, noise, protocol, _key(task, model, model_digests, protocol, noise)))
    return jobs


def _key(
    task: Task, model: ModelSpec, model_digests: Mapping[str, str], protocol: Protocol, robot: object
) -> str:
    robot = asdict(robot) if isinstance(robot, Noise) else robot
    # one module's file may hold several models; a checkpoint may be moved or called otherwise
    attribute = model.source if model.kind == "object" else ""
    models = [*sorted(model_digests.values()), attribute, model.device]
    start = start_digest(task, protocol)
    parts = [task.data, task.name, task.files, models, protocol.clicks, start, protocol.seed, robot]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def start_digest(task: Task, protocol: Protocol) -> str:
    """What a task's starting mask depends on: equal for equal masks."""
    if protocol.start == NOTHING:
        return NOTHING
    if protocol.start == DAMAGED:
        return f"{DAMAGED} by seed {protocol.seed}"
    try:
        return hashlib.sha256(find_start(Path(protocol.start), task).read_bytes()).hexdigest()
    except (DataError, OSError):
        return "missing"  # the job will say so


def play(job: Job, model: LoadedModel, out: Path) -> Record:
    """Plays a job in this process and keeps the shown mask under `out`/masks.

    Raises:
        DataError: the task can't be read.
        Exception: whatever the model raises.
    """
    begun = perf_counter()
    image, truth = read_task(job.task)
    dialogue = converse(model, image, truth, _robot(job, truth), job.protocol.clicks, _start(job, truth))
    record = record_of(job)
    record.height, record.width = truth.shape
    for name in [f.name for f in fields(dialogue) if f.name != "shown_mask"]:
        setattr(record, name, getattr(dialogue, name))
    record.peak_bytes = peak_memory(job.model.device)
    _write_mask(record.mask_file(out), dialogue.shown_mask)
    record.harness_seconds = perf_counter() - begun - record.prepare_seconds - sum(record.click_seconds)
    return record


def record_of(job: Job, error: str = "") -> Record:
    """An empty record of a job, or that of its failure."""
    task = job.task
    about = task.data, task.name, task.photo.cluster, str(task.photo.image), task.files
    start = job.protocol.start, start_digest(task, job.protocol)
    return Record(job.key, *about, job.model.name, job.robot, *start, error)


def peak_memory(device: str) -> int:
    """The most bytes that this process held at once; on a GPU, the most that torch had allocated there."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device)
    try:  # of this program alone: getrusage also knows the parent's size, which a child inherits
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError):
        import resource
        import sys

        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _robot(job: Job, truth: np.ndarray) -> Robot:
    if job.log is not None:
        return ReplayRobot(job.log)
    if job.noise is not None:
        return NoisyRobot(truth, job.noise, job.protocol.seed, job.task.name)
    return ExactRobot(truth)


def _start(job: Job, truth: np.ndarray) -> np.ndarray | None:
    start = job.protocol.start
    if start == NOTHING:
        return None
    if start == DAMAGED:
        return damage(truth, job.protocol.seed, job.task.name)
    return read_start(Path(start), job.task, truth.shape)


def _write_mask(path: Path, mask: np.ndarray) -> None:
    encoded = cv2.imencode(".png", mask.astype(np.uint8) * 255, [cv2.IMWRITE_PNG_BILEVEL, 1])[1]
    write_whole(path, encoded.tobytes())


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file beside its place and renames it, so that no reader ever sees half of it."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    beside.write_bytes(content)
    os.replace(beside, path)


def parse_record(line: str | bytes) -> Record:
    """A record from a line of JSON.

    Raises:
        ValueError, TypeError: the line is torn, or no record.
    """
    record = Record(**json.loads(line))
    record.clicks = [(y, x, is_positive) for y, x, is_positive in record.clicks]
    return record


class Journal:
    """Records in a file, a line each, appended as they come, so that a killed run goes on where it stopped.

    A record counts if its key is asked for and its mask is there; failures are tried again.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._path = out / "journal.jsonl"
        (out / "masks").mkdir(parents=True, exist_ok=True)

    def read(self) -> dict[str, Record]:
        """The usable records by key; a last line that a killed run left unfinished is dropped."""
        records: dict[str, Record] = {}
        lines = self._path.read_bytes().split(b"\n") if self._path.exists() else []
        for line in lines:
            try:
                record = parse_record(line)
            except (ValueError, TypeError):
                continue
            if not record.error and record.mask_file(self._out).is_file():
                records[record.key] = record
        return records

    def append(self, record: Record) -> None:
        """Adds a line, after the unfinished one of a killed run if there is such."""
        with self._path.open("ab+") as file:
            if file.tell() and not self._ends_with_newline(file):
                file.write(b"\n")
            file.write(json.dumps(asdict(record)).encode() + b"\n")

    @staticmethod
    def _ends_with_newline(file: object) -> bool:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"

    def clear(self) -> None:
        """Forgets all records."""
        self._path.unlink(missing_ok=True)
        for mask in (self._out / "masks").glob("*.png"):
            mask.unlink()
