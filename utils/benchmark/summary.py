"""From records to figures: means with intervals for each data set, model and user, and paired differences."""
from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from utils.benchmark.protocol import EXACT
from utils.benchmark.records import Record
from utils.metrics import (
    HURT,
    TARGETS,
    Estimate,
    area_under_curve,
    caps,
    estimates,
    is_failure,
    losses,
    number_of_clicks,
)


@dataclass(frozen=True)
class Result:
    """A data set, a model and a user: every figure by its name (see `figures`), and what the time went into.

    Times are in seconds (mean and 95th percentile of a click, mean of an image's preparation), `harness_part` is the
    part of the time that was not the model's, memory is in bytes.
    """

    data: str
    model: str
    user: str
    tasks: int
    clusters: int
    figures: dict[str, Estimate]
    failures: dict[str, int]
    largest_drop: float
    click_seconds: float
    click_seconds_95: float
    prepare_seconds: float
    harness_part: float
    peak_bytes: int


@dataclass(frozen=True)
class Pair:
    """Mean differences, task by task, of one record set minus another."""

    data: str
    minuend: str
    subtrahend: str
    tasks: int
    clusters: int
    figures: dict[str, Estimate]


def percent(target: float) -> int:
    """0.85 -> 85."""
    return round(100 * target)


def figures(record: Record) -> dict[str, float]:
    """All figures of a task.

    IoU@k and BIoU@k (Boundary IoU), 0 being the initial mask; NoC<cap>@<percent> and its indicator
    NoF<cap>@<percent>; NoI<cap>@<percent>, the same count on Boundary IoU; AuC; Miss<percent>@k, 1 while the target has
    not been reached in k clicks; Hurt, the part of the interactions that lowered the IoU by more than .05; Drop, the
    largest loss by one.
    """
    ious, boundary_ious = record.ious, record.boundary_ious
    lost = losses(ious, record.initial_iou)
    result = {"IoU@0": record.initial_iou, "AuC": area_under_curve(ious)}
    result |= {"Hurt": float(np.mean(lost > HURT)), "Drop": float(lost.max())}
    result |= {f"IoU@{k}": iou for k, iou in enumerate(ious, 1)}
    result |= {f"BIoU@{k}": iou for k, iou in enumerate(boundary_ious, 1)}
    for cap in caps(len(ious)):
        for target in TARGETS:
            result[f"NoC{cap}@{percent(target)}"] = number_of_clicks(ious, target, cap)
            result[f"NoF{cap}@{percent(target)}"] = float(is_failure(ious, target, cap))
            result[f"NoI{cap}@{percent(target)}"] = number_of_clicks(boundary_ious, target, cap)
    best = np.maximum.accumulate(ious)
    for target in TARGETS:
        result |= {f"Miss{percent(target)}@{k}": float(iou < target) for k, iou in enumerate(best, 1)}
    return result


def summarise(records: Sequence[Record]) -> Result:
    """The figures of one data set, model and user; `records` are its tasks that did not fail, one at least."""
    first = records[0]
    seconds = np.concatenate([record.click_seconds for record in records])
    prepare = np.array([record.prepare_seconds for record in records])
    harness = sum(record.harness_seconds for record in records)
    rows = [figures(record) for record in records]
    means = estimates(rows, [record.cluster for record in records])
    counts = {name: round(e.mean * len(records)) for name, e in means.items() if name.startswith("NoF")}
    return Result(
        first.data, first.model, first.user, len(records), len({record.cluster for record in records}), means,
        counts, max(row["Drop"] for row in rows), float(seconds.mean()), float(np.quantile(seconds, 0.95)),
        float(prepare.mean()),
        harness / (harness + seconds.sum() + prepare.sum()), max(record.peak_bytes for record in records),
    )


def compare(minuend: Sequence[Record], subtrahend: Sequence[Record]) -> Pair | None:
    """The differences on the tasks that both have; None if there are none."""
    others = {record.task: record for record in subtrahend}
    both = [(record, others[record.task]) for record in minuend if record.task in others]
    if not both:
        return None
    differences = []
    for one, other in both:
        a, b = figures(one), figures(other)
        differences.append({name: a[name] - b[name] for name in a if name in b})
    records = [one for one, _ in both]
    return Pair(
        records[0].data, f"{records[0].model}, {records[0].user}", f"{both[0][1].model}, {both[0][1].user}",
        len(both), len({record.cluster for record in records}),
        estimates(differences, [record.cluster for record in records]),
    )


@dataclass(frozen=True)
class Summary:
    """All results of a run, the paired differences between models, and what users' noise costs."""

    results: list[Result]
    pairs: list[Pair]
    robustness: list[Pair]

    def as_json(self) -> dict[str, Any]:
        """Plain containers."""
        return asdict(self)


def summarise_run(records: Sequence[Record], models: Sequence[str]) -> Summary:
    """All figures of a run; failed records are left out, models come in the given order and unknown ones after them.

    Every model is compared with the first one of its data set and user, every user with the exact one.
    """
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        if not record.error:
            groups.setdefault((record.data, record.model, record.user), []).append(record)
    place = {name: i for i, name in enumerate(models)}
    keys = sorted(groups, key=lambda key: place.get(key[1], len(place)))
    first = {(data, user): (data, model, user) for data, model, user in reversed(keys)}
    bases = [(key, first[key[0], key[2]]) for key in keys if first[key[0], key[2]] != key]
    exact = [(key, (*key[:2], EXACT)) for key in keys if key[2] != EXACT and (*key[:2], EXACT) in groups]
    pairs, robustness = ([compare(groups[a], groups[b]) for a, b in chosen] for chosen in (bases, exact))
    results = [summarise(groups[key]) for key in keys]
    return Summary(results, *([pair for pair in found if pair is not None] for found in (pairs, robustness)))


def tasks_csv(records: Sequence[Record], clicks: int) -> str:
    """A row an object: its task, how it ended, the figures after every click in six decimals, NoC and NoI, times."""
    names = [f"IoU@{k}" for k in range(clicks + 1)] + [f"BIoU@{k}" for k in range(1, clicks + 1)]
    names += ["AuC", "Hurt", "Drop"]
    names += [f"{count}{cap}@{percent(t)}" for count in ("NoC", "NoI") for cap in caps(clicks) for t in TARGETS]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    about = ["data", "task", "cluster", "model", "user", "error", "height", "width", "area"]
    writer.writerow([*about, *names, "prepare_seconds", "seconds_per_click", "image"])
    for record in records:
        row = [getattr(record, name) for name in about]
        if record.error:
            writer.writerow([*row, *[""] * (len(names) + 2), record.image])
            continue
        found = figures(record)
        cells = [f"{found[name]:.6f}" if not name.startswith("No") else f"{found[name]:.0f}" for name in names]
        pace = f"{record.prepare_seconds:.4f}", f"{np.mean(record.click_seconds):.4f}"
        writer.writerow([*row, *cells, *pace, record.image])
    return text.getvalue()
