"""What a run consists of: models, users and tasks, and for each combination a job, with a digest of its inputs."""
from __future__ import annotations

import importlib.metadata
import json
import pickle
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Union

from utils.benchmark.initial_masks import find_initial_mask
from utils.benchmark.tasks import Task
from utils.files import UserError, digest, file_digest
from utils.interactions import Noise
from utils.models import OBJECT, model_digests, open_model, short_name

EXACT, NOISY, REPLAY = "exact", "noisy", "replay"
NOTHING, PERTURBED = "nothing", "perturbed"
NAME = re.compile(r"[^=/\\]+")
PACKAGES = ("torch", "numpy", "opencv-python-headless", "onnxruntime", "openvino")
HERE = Path(__file__).resolve().parent
# The code that the figures depend on; what shows them is left out.
HARNESS = (
    *(HERE / f"{name}.py"
      for name in ("annotations", "combinations", "evaluation", "initial_masks", "tasks")),
    *(HERE.parent / f"{name}.py"
      for name in ("clicker", "coco_lvis", "images", "interactions", "labels", "metrics", "scribbles")),
)


@dataclass(frozen=True)
class Drawing:
    """A user who draws: kinds of interactions for each step, the last one repeating, and the style of the strokes."""

    kinds: tuple[str, ...]
    style: str = "davis"


Manner = Union[Noise, Drawing, None]


@dataclass(frozen=True)
class Protocol:
    """What is the same for all objects of a run.

    Args:
        clicks: on an object.
        users: by name, with the noise or the drawing of each; None is the exact user.
        initial: mask to begin from: "nothing", "perturbed" (the ground truth with defects, by the seed) or a folder.
        seed: of the noise and the defects.
    """

    clicks: int = 20
    users: tuple[tuple[str, Manner], ...] = ((EXACT, None),)
    initial: str = NOTHING
    seed: int = 0


@dataclass(frozen=True)
class ModelSpec:
    """A model by name: `source` is what `open_model` takes."""

    name: str
    source: str
    device: str = "cpu"
    precision: str = "fp32"


def parse_model(text: str, device: str = "cpu", precision: str = "fp32") -> ModelSpec:
    """Reads SOURCE or NAME=SOURCE; the name is else the file's or the attribute's."""
    name, equals, source = text.partition("=")
    if not (equals and NAME.fullmatch(name)):
        name, source = "", text
    return ModelSpec(name or short_name(source), source, device, precision)


def model_content(spec: ModelSpec) -> dict[str, str]:
    """Digests by name of all that a model's answers are known to depend on.

    An object's state is the digest of its pickled form; one that can't be pickled has a state of "unknown".

    Raises:
        ModelError: it can't be had.
    """
    content = dict(model_digests(spec.source))
    if OBJECT.fullmatch(spec.source):
        predictor = open_model(spec.source, spec.device).predictor
        try:
            content["state"] = digest(pickle.dumps(predictor))
        except Exception:  # whatever foreign classes raise
            content["state"] = UNKNOWN
    return content


UNKNOWN = "unknown"


@dataclass(frozen=True)
class Job:
    """An object to be evaluated; `key` is a digest of everything that its figures depend on, if all that is known."""

    task: Task
    model: ModelSpec
    user: str
    manner: Manner
    protocol: Protocol
    key: str
    log: tuple[Any, ...] | None = None
    is_known: bool = True


def plan_jobs(
    tasks: Iterable[Task],
    model: ModelSpec,
    content: Mapping[str, str],
    protocol: Protocol,
    logs: Mapping[tuple[str, str], Sequence[Any]] | None = None,
) -> list[Job]:
    """A job for each task and user; with logged steps by (data, task), one that repeats them instead."""
    jobs = []
    is_known = UNKNOWN not in content.values()
    identity = [sorted(content.values()), model.source if "state" in content else "", model.device, model.precision]
    for task in tasks:
        if logs is not None:
            log = tuple(logs[task.data, task.name][: protocol.clicks])
            key = _key(task, identity, protocol, log)
            jobs.append(Job(task, model, REPLAY, None, protocol, key, log, is_known))
            continue
        for user, manner in protocol.users:
            key = _key(task, identity, protocol, asdict(manner) if manner else None)
            jobs.append(Job(task, model, user, manner, protocol, key, None, is_known))
    return jobs


def _key(task: Task, model: Sequence[object], protocol: Protocol, user: object) -> str:
    initial = initial_digest(task, protocol)
    parts = [task.data, task.name, task.content(), model, protocol.clicks, initial, protocol.seed, user, harness()]
    return digest(json.dumps(parts).encode())[:24]


@lru_cache(maxsize=1)
def harness() -> str:
    """A digest of the code that measures, and of the packages that compute."""
    return digest("\n".join([*map(file_digest, HARNESS), *map(version, PACKAGES)]).encode())


def version(package: str) -> str:
    """A package's version, as it is installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def initial_digest(task: Task, protocol: Protocol) -> str:
    """What a task's initial mask depends on: equal for equal masks."""
    if protocol.initial == NOTHING:
        return NOTHING
    if protocol.initial == PERTURBED:
        return f"{PERTURBED} by seed {protocol.seed}"
    try:
        return file_digest(find_initial_mask(Path(protocol.initial), task))
    except UserError:
        return "missing"  # the job will say so
