"""How quick the harness itself is: its part of a click's time, and what further processes bring."""
from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from utils.benchmark.evaluation import evaluate_object
from utils.benchmark.protocol import Job, Protocol, model_content, parse_model, plan_jobs
from utils.benchmark.records import Record
from utils.benchmark.runner import run_jobs
from utils.benchmark.tasks import list_tasks
from utils.benchmark.users import ExactUser
from utils.models import Model


def measure(
    data: str, model: str = "checkpoint.pth", tasks: int = 16, clicks: int = 5, jobs: int = 2
) -> dict[str, Any]:
    """Evaluates tasks in one process and in several, each of one thread.

    Args:
        data: a data set as `python -m utils.benchmark` takes it; its images should be of the size of interest.
        model: likewise.
        tasks: number of tasks.
        clicks: of each.
        jobs: number of processes to compare one with.

    Returns:
        "image_sizes" (those found, "WIDTHxHEIGHT"), "model_ms_per_click", "harness_ms_per_click" (everything but the
        model, from the image's decoding to the writing of the mask), "harness_part" of their sum, "tasks_per_second" by
        number of processes (once their models are loaded), and "scaling", how many times as many tasks `jobs`
        processes do as one.

    Raises:
        DataError, ModelError: the data or the model can't be used.
        RuntimeError: a task failed.
    """
    found = list_tasks(data, limit=tasks).tasks
    spec = parse_model(model)
    plan = plan_jobs(found, spec, model_content(spec), Protocol(clicks))
    rates = {}
    for processes in (1, jobs):
        records, seconds = _play(plan, processes)
        _, start_seconds = _play(plan[:processes], processes)  # loading, and a task each
        rates[processes] = (len(plan) - processes) / (seconds - start_seconds)
        if processes == 1:
            alone = records
    of_model = sum(sum(record.click_seconds) for record in alone)
    of_harness = sum(record.harness_seconds for record in alone)
    count = clicks * len(alone)
    return {
        "image_sizes": sorted({f"{record.width}x{record.height}" for record in alone}),
        "model_ms_per_click": 1000 * of_model / count,
        "harness_ms_per_click": 1000 * of_harness / count,
        "harness_part": of_harness / (of_model + of_harness),
        "tasks_per_second": rates,
        "scaling": rates[jobs] / rates[1],
    }


def harness_milliseconds(height: int = 480, width: int = 854, clicks: int = 20) -> float:
    """Milliseconds of harness a click on a drawn object, with a model that takes no time of its own."""
    rows, columns = np.ogrid[:height, :width]
    distance = np.hypot((rows - height / 2) / (height / 3), (columns - width / 2) / (width / 4))
    truth = (distance < 1).astype(np.int8)
    model = Model(_Growing(distance))
    image = np.zeros((height, width, 3), np.uint8)
    results = [evaluate_object(model, image, truth, ExactUser(truth), clicks) for _ in range(3)]
    return 1000 * min(result.harness_seconds for result in results) / clicks


class _Growing:
    """Answers with a mask that grows from click to click; all are drawn beforehand."""

    def __init__(self, distance: np.ndarray) -> None:
        self._answers = [np.clip(1.5 - distance * (1 + 1 / k), 0, 1).astype(np.float32) for k in range(1, 21)]

    def set_input_image(self, image: np.ndarray) -> None:
        """Nothing to prepare."""

    def get_prediction(self, clicker: Any) -> np.ndarray:
        return self._answers[(len(clicker) - 1) % len(self._answers)]


def _play(plan: Sequence[Job], processes: int) -> tuple[list[Record], float]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "masks").mkdir()
        begun = perf_counter()
        records = list(run_jobs(plan, Path(folder), processes))
        seconds = perf_counter() - begun
    failed = [record for record in records if record.error]
    if failed:
        raise RuntimeError(f"{failed[0].task} failed: {failed[0].error}")
    return records, seconds
