"""What a study of proposals does: a simulated user annotates from nothing and from proposals, in several orders."""
from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from utils.assisted import merged
from utils.benchmark.concepts import THRESHOLD, AcceptedSample, Concept, confidence_of, given_concept, trainings
from utils.clicker import Clicker
from utils.files import UserError, shown_name, write_whole
from utils.images import encode_png, read_labels
from utils.metrics import Scorer
from utils.models import CHECKPOINT_PATH, Model, open_model
from utils.pool import Lost, each_done
from utils.segment import PhotoWithMask, Recipe, Settings, open_concept_model, open_data, probabilities, train

ACCEPTED_IOU = 0.90  # at which the annotator goes on to the next picture
HIGHEST_TARGET = 0.95  # clicks go on up to it, for NoC, if nothing else is chosen
IGNORED = 255  # in the masks of utils.segment
GIVEN = -1  # what a model learnt from that was not trained here


@dataclass(frozen=True)
class Plan:
    """What the study depends on, and where it goes.

    Attributes:
        data, labels, split: what utils.segment.open_data takes.
        limit: pictures, spread evenly; 0 for all.
        model: what clicks, as utils.models takes it.
        concept: "trained", a concept model, "module:attribute" giving probabilities, or a folder of masks.
        clicks: at most on a picture.
        target: IoU up to which clicks go on; NoC of higher ones is not told.
        orders: random orders; in blocks of `block` pictures that stay together (for frames of a sequence).
        merge: of an answer only the connected change under the click is applied.
        minutes: of each training at most; network, size, pretrained: see utils.segment.
        photos: that each training sees, the same one many times, so that figures don't depend on how fast the machine
            is; 0: as many as fit into the minutes.
    """

    data: str
    out: Path
    labels: tuple[str, ...] = ()
    split: str = "train"
    limit: int = 0
    model: str = str(CHECKPOINT_PATH)
    concept: str = "trained"
    clicks: int = 20
    target: float = HIGHEST_TARGET
    orders: int = 5
    block: int = 1
    merge: bool = False
    minutes: float = 0.5
    photos: int = 0
    network: str = Settings.network
    size: int = Settings.size
    pretrained: str = ""
    seed: int = 0

    def samples(self) -> list[Any]:
        """The pictures that have the concept's object, in their folder's order."""
        found = open_data(self.data, self.labels, self.split)
        if self.limit:
            found = [found[i * len(found) // self.limit] for i in range(min(self.limit, len(found)))]
        return found

    def order(self, number: int, count: int) -> list[int]:
        """The pictures' numbers in the order in which they are annotated."""
        blocks = [range(begin, min(begin + self.block, count)) for begin in range(0, count, self.block)]
        shuffled = np.random.default_rng((self.seed, number)).permutation(len(blocks))
        return [i for block in shuffled for i in blocks[block]]


@dataclass
class Annotated:
    """A picture after annotating it: the IoUs of the initial mask and after each click, and the accepted mask."""

    ious: list[float]
    mask: np.ndarray


@dataclass
class Outcome:
    """A picture in an order: `ious` from nothing; `proposal_ious` from the proposal, if there was one.

    `learnt` is how many pictures the concept model was trained on (0: none yet; GIVEN), `confidence` its own
    estimate in [0, 1], `seconds` the wall time of the training that came right before.
    """

    name: str
    order: int
    place: int
    ious: list[float]
    learnt: int = 0
    confidence: float = 0.0
    proposal_ious: list[float] = field(default_factory=list)
    seconds: float = 0.0


# ---------------------------------------------------------------------------------------------- annotating


def annotate(
    model: Model, image: np.ndarray, truth: np.ndarray, clicks: int, initial: np.ndarray | None = None,
    merge: bool = False, target: float = HIGHEST_TARGET,
) -> Annotated:
    """Clicks exactly until the IoU is `target`, and keeps the mask that reached ACCEPTED_IOU.

    Args:
        image: uint8 (H, W, 3) RGB.
        truth: int8 (H, W) of 1, 0 and -1 (ignored).
        clicks: at most.
        initial: mask bool (H, W) to correct.
        merge: of each answer only the connected change under the click is applied.
    """
    scorer, clicker = Scorer(truth), Clicker(gt_mask=truth)
    mask = np.zeros(truth.shape, bool) if initial is None else initial
    ious = [scorer.score(mask)[0]]
    accepted = mask if ious[0] >= ACCEPTED_IOU else None
    while len(ious) <= clicks and ious[-1] < target:
        if len(ious) == 1:
            model.predictor.set_input_image(image)
        clicker.make_next_click(mask)
        starts = merge or (len(ious) == 1 and initial is not None)
        given = {"prev_mask": mask.astype(np.float32)} if starts else {}
        answer = model.predictor.get_prediction(clicker, **given) > model.threshold
        last = clicker.get_clicks()[-1]
        y, x = map(int, last.coords)
        mask = merged(mask, answer, [(y, x, last.is_positive)]) if merge else answer
        ious.append(scorer.score(mask)[0])
        if accepted is None and ious[-1] >= ACCEPTED_IOU:
            accepted = mask
    return Annotated(ious, mask if accepted is None else accepted)


def read_picture(sample: Any) -> tuple[np.ndarray, np.ndarray]:
    """The photo uint8 (H, W, 3) RGB and the truth int8 (H, W) of 1, 0 and -1."""
    photo, mask = sample.read()
    return photo, np.where(mask == IGNORED, -1, mask).astype(np.int8)


# ---------------------------------------------------------------------------------------------- the study


class FromNothing:
    """Annotates pictures from nothing; a task is a picture's number."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def start(self) -> None:
        """Loads the click model and lists the pictures."""
        self._model, self._samples = open_model(self._plan.model), self._plan.samples()

    def __call__(self, number: int) -> dict[str, Any]:
        """What a picture took; no IoUs where the concept is not on it."""
        sample = self._samples[number]
        path = nothing_mask(self._plan.out, number)
        photo, truth = read_picture(sample)
        if not (truth == 1).any():
            return {"number": number, "name": sample.name, "ious": []}
        found = annotate(self._model, photo, truth, self._plan.clicks, target=self._plan.target)
        write_mask(path, found.mask)
        return {"number": number, "name": sample.name, "ious": found.ious}


class FromProposals:
    """Annotates all pictures in an order, which is a task, from proposals of a model that learns from earlier ones."""

    def __init__(self, plan: Plan, nothing: Sequence[dict[str, Any]]) -> None:
        self._plan, self._nothing = plan, nothing

    def start(self) -> None:
        """Loads the click model and lists the pictures."""
        self._model, self._samples = open_model(self._plan.model), self._plan.samples()

    def __call__(self, order: int) -> list[dict[str, Any]]:
        """The Outcomes of an order, as plain containers; those of an earlier run are taken over."""
        folder = self._plan.out / f"order_{order + 1}"
        log = folder / "outcomes.jsonl"
        done = {entry["place"]: entry for entry in read_lines(log)}
        usable = [entry for entry in self._nothing if entry["ious"]]
        places = [usable[i] for i in self._plan.order(order, len(usable))]
        is_trained = self._plan.concept == "trained"
        due = trainings(len(places)) if is_trained else [0]
        concept: Concept | None = None
        learnt, seconds = 0, 0.0
        for place, entry in enumerate(places):
            is_due = place in due
            learnt = place if is_trained and is_due else learnt
            if place in done:
                continue
            if is_due or concept is None and (learnt or not is_trained):
                begun = time.perf_counter()
                concept = self._concept(folder, places[:learnt], learnt)
                seconds = time.perf_counter() - begun if is_due and is_trained else 0.0
            outcome = Outcome(entry["name"], order, place, entry["ious"])
            self._propose(folder, outcome, entry["number"], concept)
            outcome.learnt = learnt if is_trained else GIVEN
            outcome.seconds, seconds = seconds, 0.0
            append_line(log, dataclasses.asdict(outcome))
            done[place] = dataclasses.asdict(outcome)
        return [done[place] for place in range(len(places))]

    def _concept(self, folder: Path, earlier: Sequence[dict[str, Any]], learnt: int) -> Concept:
        """The model after `learnt` pictures; it goes on from the weights of the training before."""
        plan = self._plan
        if plan.concept != "trained":
            return given_concept(plan.concept)
        samples: list[PhotoWithMask] = [
            AcceptedSample(entry["name"], self._samples[entry["number"]], folder / "masks" / f"{entry['number']}.png")
            for entry in earlier
        ]
        before = [number for number in trainings(len(self._nothing)) if number < learnt]
        start = folder / f"model_{before[-1]}" if before else None
        recipe = Recipe(minutes=plan.minutes, epochs=plan.photos / learnt, batch_size=min(16, learnt - 1))
        settings = None if start else Settings(network=plan.network, size=plan.size)
        result = train(samples, folder / f"model_{learnt}", recipe, settings, plan.pretrained or None, start,
                       workers=0, quiet=True)
        model = open_concept_model(result.model)
        return lambda sample, photo: probabilities(model, photo)

    def _propose(self, folder: Path, outcome: Outcome, number: int, concept: Concept | None) -> None:
        """Annotates a picture from its proposal, if there is one, and keeps the mask that is accepted."""
        accepted = read_labels(nothing_mask(self._plan.out, number)).values > 0
        if concept is not None:
            photo, truth = read_picture(self._samples[number])
            probability = concept(self._samples[number], photo)
            if probability.shape != truth.shape:
                raise UserError(f"the proposal for {outcome.name} is of another size than its photo; make it anew")
            outcome.confidence = confidence_of(probability)
            if outcome.confidence > 0:  # an empty proposal is none
                initial = probability > THRESHOLD
                found = annotate(self._model, photo, truth, self._plan.clicks, initial, self._plan.merge,
                                 self._plan.target)
                outcome.proposal_ious, accepted = found.ious, found.mask
                write_mask(folder / "proposals" / f"{number}.png", initial)
        write_mask(folder / "masks" / f"{number}.png", accepted)


def nothing_mask(out: Path, number: int) -> Path:
    """Where the mask that was annotated from nothing is kept."""
    return out / "from_nothing" / f"{number}.png"


def write_mask(path: Path, mask: np.ndarray) -> None:
    """Writes a mask bool (H, W)."""
    write_whole(path, encode_png(mask.astype(np.uint8) * 255))


def append_line(path: Path, value: dict[str, Any]) -> None:
    """Adds a line of JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(value) + "\n")


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a log; one that a killed run left unfinished is cut off."""
    content = path.read_bytes() if path.is_file() else b""
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        write_whole(path, whole)
    yield from map(json.loads, whole.splitlines())


def study(plan: Plan, jobs: int = 1) -> list[Outcome]:
    """Carries out what is left of a study.

    Raises:
        UserError: it can't be carried out; what is done stays done.
    """
    log = plan.out / "from_nothing.jsonl"
    done = {entry["number"]: entry for entry in read_lines(log)}
    numbers = [number for number in range(len(plan.samples())) if number not in done]
    for entry in _shown(each_done(FromNothing(plan), numbers, jobs), len(numbers), "from nothing"):
        append_line(log, entry)
        done[entry["number"]] = entry
    nothing = [done[number] for number in sorted(done)]
    empty = [entry["name"] for entry in nothing if not entry["ious"]]
    if len(empty) == len(nothing):
        raise UserError(f"{plan.data} has no picture with an object; see --label")
    if empty:
        names = ", ".join(map(shown_name, empty[:5]))
        print(f"left out, as the concept is not on them: {len(empty)} pictures ({names})", file=sys.stderr)
    orders = range(plan.orders)
    found = _shown(each_done(FromProposals(plan, nothing), orders, jobs), plan.orders, "orders")
    return sorted((Outcome(**entry) for entries in found for entry in entries), key=lambda o: (o.order, o.place))


def _shown(results: Iterable[Any], total: int, name: str) -> Iterator[Any]:
    """Passes results on and shows how many there are.

    Raises:
        UserError: a process died.
    """
    for result in tqdm(results, total=total, desc=name, file=sys.stderr, dynamic_ncols=True):
        if isinstance(result, Lost):
            raise UserError(f"a process died ({result.death}) over {name} {result.task}; the same command goes on")
        yield result
