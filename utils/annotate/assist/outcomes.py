"""What proposals cost and were worth: a record for each finished picture and label, and what is learnt from them.

A cost is counted in clicks: each prompt, brush stroke and region, and one for a rejection. The IoU is that of what was
proposed, before any correction, with what the person made of the picture.
"""
from __future__ import annotations

import contextlib
import json
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from utils.files import UserError, read_text
from utils.metrics import iou

from ..document import Document
from ..mask_store import MaskStore
from ..operations import apply
from ..session import Session
from .guesses import Guesses

EFFORTS = ("click", "box", "stroke", "lasso", "brush", "region")
CHECK = 1.0  # clicks that looking at a proposal costs
FEWEST = 8  # proposals that the gate is learnt from
WINDOW = 40  # the last ones count
SHOWN_IOUS = 20


@dataclass(frozen=True)
class Outcome:
    """A label on a finished picture.

    Attributes:
        cost: in clicks.
        model: digest of the model that had an opinion; empty if none had.
        sure: how sure it was.
        is_shown: its proposal was there to be seen.
        iou: of its proposal with the result; None if it proposed nothing.
    """

    cost: float
    model: str = ""
    sure: float = 0.0
    is_shown: bool = False
    iou: float | None = None


def outcomes_of(session: Session, guesses: Guesses, store: MaskStore) -> dict[str, Outcome]:
    """What a picture came to, by the key of the label."""
    document, shape = session.document, (session.height, session.width)
    costs = _costs(session, guesses)
    found = {}
    for label in {*costs, *guesses.opinions, *(target.label for target in document.objects)}:
        opinion = guesses.opinions.get(label)
        if opinion is None:
            found[label] = Outcome(costs[label])
            continue
        proposed, result = guesses.union(label, shape), np.zeros(shape, bool)
        for target in document.objects:
            if target.label == label and target.mask:
                result |= store.mask(target.mask)
        is_there = bool(proposed.any())
        agreement = iou(proposed, result) if is_there else None
        found[label] = Outcome(costs[label], opinion.model, opinion.sure, is_there and not opinion.is_hidden, agreement)
    return found


def _costs(session: Session, guesses: Guesses) -> Counter[str]:
    costs: Counter[str] = Counter()
    document = Document()
    for step in session.steps[: session.position]:
        document = apply(document, step)
        if step["op"] in EFFORTS and document.active:
            costs[document.active.label] += 1
        elif step["op"] == "reject proposals":
            costs.update({guesses.objects[number].label for number in step["rejected"] if number in guesses.objects})
    return costs


class Outcomes:
    """The outcomes of a project, in a file with a line for each finished picture; the last one of a picture counts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, Outcome]] = {}
        for line in _lines(path):
            with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):  # half a line, of a crash
                entry = json.loads(line)
                self._known.pop(entry["picture"], None)
                self._known[entry["picture"]] = {key: Outcome(**value) for key, value in entry["labels"].items()}

    def __contains__(self, picture: str) -> bool:
        return picture in self._known

    def add(self, picture: str, found: dict[str, Outcome]) -> None:
        """A picture was finished, for the first time or again."""
        line = json.dumps({"picture": picture, "labels": {key: asdict(value) for key, value in found.items()}})
        with self._lock:
            if self._known.get(picture) == found:
                return
            self._known = {**{key: value for key, value in self._known.items() if key != picture}, picture: found}
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"\n{line}\n")

    def drop(self, picture: str) -> None:
        """A picture is in work again."""
        with self._lock:
            self._known = {key: value for key, value in self._known.items() if key != picture}

    def of(self, labels: Sequence[str]) -> list[Outcome]:
        """Of labels that are one class, the oldest first."""
        return [found[label] for found in self._known.values() for label in labels if label in found]


def _lines(path: Path) -> list[str]:
    try:
        return read_text(path).splitlines()
    except UserError:
        return []


def least_sure(outcomes: Sequence[Outcome], models: Sequence[str]) -> float:
    """The sureness from which on showing proposals of the last models would have saved most; 0 while little is known.

    Those of a model that was trained since say nothing: each training gives proposals a new chance.
    """
    known = [(each.sure, each.cost + CHECK) for each in outcomes if each.is_shown and each.model in models][-WINDOW:]
    alone = [each.cost for each in outcomes if not each.is_shown and each.cost > 0][-WINDOW:]
    if len(known) < FEWEST or not alone:
        return 0.0
    savings = {least: sum(fmean(alone) - cost for sure, cost in known if sure >= least)
               for least in (0.0, *(sure for sure, _ in known), 1.01)}
    return max(savings, key=lambda least: (savings[least], -least))


def figures(outcomes: Sequence[Outcome], trainings: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """For the panel: {"ious", "iou", "with", "without", "curve"}."""
    ious = [round(each.iou, 4) for each in outcomes if each.is_shown and each.iou is not None][-SHOWN_IOUS:]
    groups = {name: [each.cost for each in outcomes if each.is_shown == is_shown and (each.cost or each.is_shown)]
              for name, is_shown in (("with", True), ("without", False))}
    curve = []
    for training in trainings:
        own = [each.iou for each in outcomes if each.model == training["model"] and each.is_shown]
        curve.append({"trained_on": training["done"], "held_out": training["held_out"], "iou": _mean(own)})
    costs = {name: {"pictures": len(group), "clicks": _mean(group)} for name, group in groups.items()}
    return {"ious": ious, "iou": _mean(ious), **costs, "curve": curve}


def _mean(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return round(fmean(found), 4) if found else None
