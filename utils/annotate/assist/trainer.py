"""The process that trains concept models and proposes masks: `python -m utils.annotate.assist.trainer OUT`.

The server starts it with the lowest priority and keeps its stdin open: when that closes, the server is gone and so is
this process, wherever it is. Between two steps of the interpreter it stops as long as clicks are being answered.
"""
from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from utils.assisted import needed
from utils.files import UserError, file_digest, folder_lock, read_json, write_json, write_whole
from utils.models import OBJECT, model_digests, open_attribute

from ..errors import AnnotationError
from ..pictures import Picture, read_picture
from ..project import Project
from .folder import FINISHED, AssistFolder, LabelFolder, Mark

START = "people"  # the shipped model; its weights are a better beginning than none, whatever the concept
THRESHOLD = 0.5
SMALLEST_PART = 0.02  # of the largest component; smaller ones, and holes, are mended
POLL_SECONDS = 0.3
PAUSE_SECONDS = 0.02
SECONDS_TO_END = 10.0  # of a trainer that was there before
SECONDS_BETWEEN_MARKS = 2.0
HOPELESS, NO_MEMORY = 3, 4  # exit status: the same would happen again; it may go well next time

Predict = Callable[[np.ndarray], np.ndarray]  # photo uint8 (H, W, 3) RGB -> probabilities float (H, W)


class Concept(NamedTuple):
    """A model that is ready: its digest and what predicts."""

    digest: str
    predict: Predict


class Trainer:
    """Trains and predicts, one small step after the other.

    Args:
        folder: where the server says what is wanted.
        minutes: longest time of a training.
        given: predicts in the place of trained models.
    """

    def __init__(self, folder: AssistFolder, minutes: float, given: Concept | None = None) -> None:
        self.folder, self._minutes, self._given = folder, minutes, given
        self._control: dict[str, Any] = {}
        self._concepts: dict[str, Concept] = {}
        self._marks: dict[str, dict[str, Mark]] = {}
        self._todo: dict[str, Picture] | None = None  # pictures that a model hasn't seen, by id
        self._failed: dict[str, tuple[int, int]] = {}  # what was there when a label couldn't be trained
        self._problems: dict[str, str] = {}
        self._changed: set[str] = set()  # labels whose marks aren't written yet
        self._flushed = 0.0

    def run(self) -> None:
        """Goes on for ever."""
        self.tell("idle")
        while True:
            if not self.step():
                time.sleep(POLL_SECONDS)

    def tell(self, state: str, **more: Any) -> None:
        """Says in status.json what goes on."""
        status = {"process": os.getpid(), "state": state, "since": time.time(), "failed": self._problems, **more}
        write_json(self.folder.status_file, status)

    def step(self) -> bool:
        """One training or one picture; False if there is nothing to do."""
        control = self.folder.control()
        if control != self._control:
            self._flush()
            self._control, self._todo = control, None
        due = next((key for key in self._labels() if self._given is None and self._is_due(key)), None)
        if due is not None:
            self._train(due)
            self._todo = None
            return True
        if self._todo is None:
            self._todo = self._list()
        return self._propose()

    def _labels(self) -> dict[str, dict[str, Any]]:
        return self._control.get("labels", {})

    # ------------------------------------------------------------------------------------------ training

    def _is_due(self, key: str) -> bool:
        wanted, history = self._labels()[key], self.folder.label(key).history()
        last = history[-1] if history else {"done": 0, "request": 0}
        if wanted["stopped"] or self._failed.get(key) == (wanted["done"], wanted["request"]):
            return False
        return wanted["request"] > last["request"] or wanted["done"] >= needed(last["done"])

    def _train(self, key: str) -> None:
        """Trains a label's model from its last weights; what was held out before stays held out."""
        from utils.segment.segmentation import SegmentationError

        label, wanted = self.folder.label(key), self._labels()[key]
        self.tell("training", label=key, seconds=60 * self._minutes)
        try:
            training = self._trained(label, wanted["name"])
        except (UserError, SegmentationError) as error:  # it may go well with further pictures
            self._failed[key] = wanted["done"], wanted["request"]
            self._problems[key] = str(error)
        else:
            self._problems.pop(key, None)
            self._concepts.pop(key, None)
            label.remember({**training, "done": wanted["done"], "request": wanted["request"]})
        self.tell("idle")

    def _trained(self, label: LabelFolder, name: str) -> dict[str, Any]:
        from utils.segment import Recipe, open_data, train

        shutil.rmtree(label.training, ignore_errors=True)  # of a process that was killed
        samples = open_data(self.folder.out, (name,))
        recipe = Recipe(minutes=self._minutes, batch_size=min(16, max(2, len(samples) - 1)))
        result = train(samples, label.training, recipe, start=label.model if label.model.is_file() else START,
                       held_out=label.held_out(), workers=0, quiet=True)
        label.hold_out(result.held_out)
        write_whole(label.model, result.model.read_bytes())
        shutil.rmtree(label.training, ignore_errors=True)
        return {"model": file_digest(label.model), "photos": result.photos, "held_out": round(result.iou, 4),
                "seconds": round(result.seconds, 1)}

    # ------------------------------------------------------------------------------------------ proposals

    def _concept(self, key: str) -> Concept | None:
        """The model of a label, None before its first training."""
        if self._given is not None:
            return self._given
        path = self.folder.label(key).model
        if key not in self._concepts and path.is_file():
            self._concepts[key] = open_concept(str(path))
        return self._concepts.get(key)

    def _list(self) -> dict[str, Picture]:
        """The pictures that a model hasn't seen yet, in the project's order from the one that is open."""
        concepts = {key: concept for key in self._labels() if (concept := self._concept(key))}
        if not concepts:
            return {}
        self._marks = {key: self.folder.label(key).marks() for key in concepts}
        pictures = Project(self.folder.out).pictures
        order, coming = list(pictures), self.folder.next()[:1]
        begin = order.index(coming[0]) if coming and coming[0] in pictures else 0
        unseen = {picture for picture in order for key, concept in concepts.items()
                  if picture not in self._marks[key] or self._marks[key][picture].model != concept.digest}
        return {picture: pictures[picture] for picture in order[begin:] + order[:begin] if picture in unseen}

    def _propose(self) -> bool:
        """Masks of one picture, of those that will be opened next before all others."""
        if not self._todo:
            return False
        coming = [picture for picture in self.folder.next() if picture in self._todo]
        picture = self._todo.pop(coming[0] if coming else next(iter(self._todo)))
        if _status(self.folder, picture) not in FINISHED:
            try:
                photo = read_picture(picture).pixels
            except AnnotationError:
                photo = None
            for key in self._marks:
                concept = self._concept(key)
                if concept is not None:
                    self._marks[key][picture.id] = self._mark(self.folder.label(key), concept, picture, photo)
                    self._changed.add(key)
        if coming or not self._todo or time.monotonic() - self._flushed > SECONDS_BETWEEN_MARKS:
            self._flush()
        return True

    @staticmethod
    def _mark(label: LabelFolder, concept: Concept, picture: Picture, photo: np.ndarray | None) -> Mark:
        if photo is None:
            return Mark(None, False, concept.digest)
        probability = concept.predict(photo)
        mask = probability > THRESHOLD
        label.write_mask(picture, mask)
        is_empty = not mask.any()
        sure = 1 - float(probability.max()) if is_empty else float(probability[mask].mean())
        return Mark(round(sure, 4), is_empty, concept.digest)

    def _flush(self) -> None:
        for key in self._changed:
            self.folder.label(key).write_marks(self._marks[key])
        self._changed.clear()
        self._flushed = time.monotonic()


def _status(folder: AssistFolder, picture: Picture) -> str:
    try:
        return str(read_json(folder.out / "sessions" / f"{picture.key}.json")["status"])
    except (UserError, KeyError, TypeError):
        return "untouched"


def open_concept(source: str) -> Concept:
    """A concept model by the name of a shipped one, its file, or as "module:attribute", called with a photo.

    Raises:
        UserError: it can't be had, or gives no probabilities.
    """
    if OBJECT.fullmatch(source):
        try:
            predict = open_attribute(source)
        except Exception as error:  # foreign code may raise anything
            raise UserError(f"{source} can't be loaded: {error or type(error).__name__}") from error
        return Concept(" ".join(model_digests(source).values()), lambda photo: _checked(predict(photo), photo, source))
    from utils.segment import clean_up, open_concept_model, probabilities
    from utils.segment.models import model_path
    from utils.segment.segmentation import SegmentationError

    try:
        model = open_concept_model(source)
    except SegmentationError as error:
        raise UserError(str(error)) from error

    def predict_mended(photo: np.ndarray) -> np.ndarray:
        probability = probabilities(model, photo)
        mended = clean_up(probability > THRESHOLD, SMALLEST_PART)
        return np.where(mended, np.maximum(probability, THRESHOLD + 0.01), np.minimum(probability, THRESHOLD))

    return Concept(file_digest(model_path(source)), predict_mended)


def _checked(answer: Any, photo: np.ndarray, source: str) -> np.ndarray:
    probability = np.asarray(answer, np.float32)
    if probability.shape != photo.shape[:2] or not ((probability >= 0) & (probability <= 1)).all():
        raise UserError(f"{source} must give probabilities from 0 to 1 for each pixel of the photo")
    return probability


# ---------------------------------------------------------------------------------------------- the process


def stand_back() -> None:
    """The lowest priority; and where memory runs out, the first to be killed."""
    if hasattr(os, "nice"):
        os.nice(19)
    with contextlib.suppress(OSError):  # elsewhere than on Linux
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="utf-8")


def end_with_server() -> None:
    """Ends this process when its stdin closes, in the middle of anything."""
    def follow() -> None:
        with contextlib.suppress(OSError, ValueError):
            while os.read(0, 1):
                pass
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


@contextlib.contextmanager
def pausing_while(busy: Path) -> Iterator[None]:
    """Meanwhile the main thread stops between two steps of the interpreter while a file is there (not on Windows)."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def look(*_: Any) -> None:
        while busy.exists():
            time.sleep(PAUSE_SECONDS)
        signal.setitimer(signal.ITIMER_REAL, PAUSE_SECONDS)

    signal.signal(signal.SIGALRM, look)
    signal.siginterrupt(signal.SIGALRM, False)
    look()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextlib.contextmanager
def lock_soon(root: Path) -> Iterator[None]:
    """The folder for this process alone; one whose server was killed just now lets go of it in a moment.

    Raises:
        UserError: another process keeps it.
    """
    until = time.monotonic() + SECONDS_TO_END
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(folder_lock(root, "trainer"))
                break
            except UserError:
                if time.monotonic() > until:
                    raise
                time.sleep(PAUSE_SECONDS)
        yield


def main(arguments: Sequence[str]) -> int:
    """Runs until it is killed or can't go on; gives the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--given", default="")
    options = parser.parse_args(arguments)
    folder = AssistFolder(options.out)
    stand_back()
    end_with_server()
    trainer = Trainer(folder, options.minutes)
    try:
        with lock_soon(folder.root), pausing_while(folder.busy):
            Trainer(folder, options.minutes, _ready(options.given)).run()
    except ImportError as error:
        return _give_up(trainer, HOPELESS, "no_torch", f"Proposals need PyTorch ({error}); everything else works "
                        "without.", error)
    except UserError as error:
        return _give_up(trainer, HOPELESS, "assist_model", f"There are no proposals: {error}.", error)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error).lower():
            raise
        return _give_up(trainer, NO_MEMORY, "no_memory", "There was too little memory to train; it is tried again.",
                        error)
    return 0


def _ready(given: str) -> Concept | None:
    """The given model; without one, a look whether training is possible."""
    if not OBJECT.fullmatch(given):
        import torch

        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    return open_concept(given) if given else None


def _give_up(trainer: Trainer, status: int, code: str, sentence: str, error: BaseException) -> int:
    trainer.tell("failed", problem={"error": sentence, "code": code, "values": {"reason": str(error)}})
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
