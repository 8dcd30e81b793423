"""SAIC-IS's protocol of mixed interactions: every combination of kinds over the first three steps, then clicks.

The published measure is the mean IoU over steps, objects and all 27 combinations of clicks, strokes and contours, and
the standard deviation of the combinations' means.
"""
from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.benchmark.records import Record
from utils.interactions import KINDS, Interaction, from_plain
from utils.metrics import number_of_clicks

MIXED_STEPS = 3
STEPS = 10  # of SAIC-IS's protocol
TARGETS = (0.85, 0.90, 0.95)
ALONE = " alone"


def combinations(kinds: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The kinds of each step by name, the last one repeating: all combinations of MIXED_STEPS, and each kind alone."""
    mixed = {"-".join(one): (*one, KINDS[0]) for one in itertools.product(kinds, repeat=MIXED_STEPS)}
    return {**mixed, **{kind + ALONE: (kind,) for kind in kinds}}


class ReplayDrawings:
    """Repeats the interactions of a log, whatever the model answers."""

    def __init__(self, plain: Sequence[Mapping[str, Any]]) -> None:
        self.interactions: list[Interaction] = []
        self._left: Iterator[Interaction] = (from_plain(dict(one)) for one in plain)

    def interact(self, mask: np.ndarray) -> Interaction:
        """Adds the next interaction, and returns it."""
        self.interactions.append(next(self._left))
        return self.interactions[-1]


@dataclass(frozen=True)
class Mixture:
    """The measure of one data set and model: means over combinations and the deviation over them.

    `iou` and `boundary_iou` are means over steps; `ious` by the number of steps; `noi` (number of interactions until
    the IoU is reached, at most all) by target in per cent; `by_user` holds the same means for each combination and for
    each kind alone. A deviation is None where there is only one combination.
    """

    data: str
    model: str
    steps: int
    combinations: int
    iou: float
    iou_deviation: float | None
    boundary_iou: float
    boundary_iou_deviation: float | None
    ious: list[float]
    noi: dict[str, float]
    by_user: dict[str, dict[str, float]]
    as_clicks: bool


def summarise_mixtures(records: Sequence[Record]) -> list[Mixture]:
    """The measure of each data set and model that was evaluated by drawing users."""
    groups: dict[tuple[str, str], dict[str, list[Record]]] = {}
    for record in records:
        if not record.error and record.interactions:
            groups.setdefault((record.data, record.model), {}).setdefault(record.user, []).append(record)
    return [_mixture(data, model, users) for (data, model), users in groups.items()]


def _mixture(data: str, model: str, users: Mapping[str, Sequence[Record]]) -> Mixture:
    rows = {user: _means(records) for user, records in users.items()}
    mixed = [row for user, row in rows.items() if not user.endswith(ALONE)] or list(rows.values())
    ious, boundary = ([row[name] for row in mixed] for name in ("IoU", "BIoU"))
    steps = len(next(iter(users.values()))[0].ious)
    noi = {name: float(np.mean([row[name] for row in mixed])) for name in mixed[0] if name.startswith("NoI")}
    over_steps = [float(np.mean([row[f"IoU@{k}"] for row in mixed])) for k in range(1, steps + 1)]
    as_clicks = any(record.as_clicks for records in users.values() for record in records)
    return Mixture(data, model, steps, len(mixed), float(np.mean(ious)), _deviation(ious), float(np.mean(boundary)),
                   _deviation(boundary), over_steps, noi, rows, as_clicks)


def _means(records: Sequence[Record]) -> dict[str, float]:
    ious = np.array([record.ious for record in records])
    boundary = np.array([record.boundary_ious for record in records])
    row = {"tasks": float(len(records)), "IoU": float(ious.mean()), "BIoU": float(boundary.mean())}
    row |= {f"IoU@{k}": float(value) for k, value in enumerate(ious.mean(axis=0), 1)}
    for target in TARGETS:
        counts = [number_of_clicks(record.ious, target, len(record.ious)) for record in records]
        row[f"NoI@{round(100 * target)}"] = float(np.mean(counts))
    return row


def _deviation(values: Sequence[float]) -> float | None:
    return float(np.std(values)) if len(values) > 1 else None


def describe(mixtures: Sequence[Mixture]) -> str:
    """A line each, for the terminal."""
    lines = []
    for m in mixtures:
        parts = [f"{name} {value:.2f}" for name, value in m.noi.items()]
        lines.append(f"{m.data}  {m.model}: {m.combinations} combinations, IoU over {m.steps} steps "
                     f"{_with_deviation(m.iou, m.iou_deviation)}, Boundary IoU "
                     f"{_with_deviation(m.boundary_iou, m.boundary_iou_deviation)}, {', '.join(parts)}")
    return "\n".join(lines)


def _with_deviation(value: float, deviation: float | None) -> str:
    return f"{100 * value:.2f}" + ("" if deviation is None else f" +- {100 * deviation:.2f}")
