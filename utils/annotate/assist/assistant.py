"""Assisted annotation for the server: what is proposed, what it was worth, and what the trainer is told."""
from __future__ import annotations

import contextlib
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from utils.assisted import needed
from utils.files import UserError, write_json

from ..errors import AnnotationError, NotFoundError
from ..pictures import Picture
from ..project import Project
from ..session import Session
from .folder import FINISHED, AssistFolder, LabelFolder, Mark
from .guesses import Guesses, Opinion, guesses_from, read_guesses, write_guesses
from .outcomes import Outcomes, figures, least_sure, outcomes_of
from .process import TrainerProcess

LOOK_AHEAD = 8  # pictures whose proposals are made before all others
JUDGED_MODELS = 2  # the last ones, whose proposals the gate is learnt from


class Assistant:
    """Proposals for a project.

    Its files may be missing or damaged at any time: then there is no proposal, and annotation goes on.

    Args:
        project: whose finished pictures are learnt from.
        labels: names of the classes that are learnt; all if there are none.
        minutes: longest time of a training.
        given: a concept model in the place of trained ones, see trainer.open_concept.
    """

    def __init__(self, project: Project, labels: Sequence[str] = (), minutes: float = 1.0, given: str = "") -> None:
        self.project, self._is_given = project, bool(given)
        self._wanted = {project.label_key(name) for name in labels}  # by key: they may be renamed
        self.folder = AssistFolder(project.out)
        self.folder.root.mkdir(parents=True, exist_ok=True)
        self.folder.busy.unlink(missing_ok=True)
        for half in self.folder.root.rglob(".part-*"):  # of processes that were killed
            half.unlink(missing_ok=True)
        self._outcomes = Outcomes(self.folder.root / "outcomes.jsonl")
        more = ["--given", given] if given else []
        self._process = TrainerProcess(self.folder, ["--minutes", str(minutes), *more])
        self._answering = 0
        self._version, self._seen = 1, ()  # type: int, tuple
        self._marks: dict[str, tuple[int, dict[str, Mark]]] = {}
        self._lock = threading.Lock()

    def start(self) -> None:
        """Starts the trainer, and looks at what was finished without an assistant."""
        self.renew()
        self._process.start()
        threading.Thread(target=self._catch_up, name="catch up", daemon=True).start()

    def close(self) -> None:
        """Ends the trainer."""
        self._process.close()

    @property
    def trainer(self) -> int | None:
        """The id of the trainer's process."""
        return self._process.pid

    # ------------------------------------------------------------------------------------------ what is learnt

    def keys(self) -> dict[str, str]:
        """The classes that are learnt: names by key."""
        return {label.key: label.name for label in self.project.labels
                if not self._wanted or label.key in self._wanted}

    def _same(self, key: str) -> list[str]:
        """The keys of the classes that were merged into one, and its own."""
        name = self.project.label_name(key)
        return [key, *(other for other in self.project.merged if self.project.label_name(other) == name)]

    def renew(self) -> None:
        """Tells the trainer what the project is like now: its pictures, labels and how many pictures are done."""
        done: Counter[str] = Counter()
        for picture in list(self.project.pictures.values()):
            summary = self.project.summary(picture)
            if summary.status in FINISHED:
                done.update({self.project.label_name(key) for key in summary.by_label})
        with self._lock:
            before = self.folder.control()
            old = before.get("labels", {})
            labels = {key: {"name": name, "done": done[name], "stopped": bool(old.get(key, {}).get("stopped")),
                            "request": int(old.get(key, {}).get("request", 0))} for key, name in self.keys().items()}
            self._write({"gate": before.get("gate", True), "pictures": len(self.project.pictures), "labels": labels})

    def _write(self, control: dict[str, Any]) -> None:
        if control != self.folder.control():
            with contextlib.suppress(OSError):  # a full disk stops the learning, not the annotation
                write_json(self.folder.control_file, control, indent=1)

    def _catch_up(self) -> None:
        for picture in list(self.project.pictures.values()):
            if picture.key not in self._outcomes and self.project.summary(picture).status in FINISHED:
                with contextlib.suppress(AnnotationError, OSError):
                    session = self.project.read_session(picture)
                    if session is not None:
                        self.changed(picture, session, read_guesses(self._shown(picture)) or Guesses(), tell=False)

    def changed(self, picture: Picture, session: Session, guesses: Guesses, tell: bool = True) -> None:
        """A step was made on a picture: if it is finished now, or no longer, that is learnt from."""
        is_finished = session.status in FINISHED
        if not is_finished and picture.key not in self._outcomes:
            return
        with contextlib.suppress(AnnotationError, OSError):
            if is_finished:
                self._outcomes.add(picture.key, outcomes_of(session, guesses, self.project.masks(picture)))
            else:
                self._outcomes.drop(picture.key)
        if tell:
            self.renew()

    def look_ahead(self, picture_id: str, coming: Sequence[str] = ()) -> None:
        """A picture was opened: those after it are the next ones, or those that the page names."""
        pictures = self.project.pictures
        order = list(pictures)
        begin = order.index(picture_id) if picture_id in pictures else 0
        wanted = dict.fromkeys([picture_id, *coming, *order[begin:], *order[:begin]])
        unfinished = (each for each in wanted
                      if each in pictures and self.project.summary(pictures[each]).status not in FINISHED)
        ahead = list(islice(unfinished, LOOK_AHEAD))
        if ahead != self.folder.next():
            with contextlib.suppress(OSError):
                write_json(self.folder.next_file, ahead)

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Meanwhile the trainer pauses. For one thread at a time, but may be nested by tasks of it."""
        self._answering += 1
        try:
            with contextlib.suppress(OSError):
                self.folder.busy.touch()
            yield
        finally:
            self._answering -= 1
            if not self._answering:
                with contextlib.suppress(OSError):
                    self.folder.busy.unlink(missing_ok=True)

    # ------------------------------------------------------------------------------------------ what is proposed

    def _shown(self, picture: Picture) -> Path:
        return self.folder.shown / f"{picture.key}.json"

    def guesses(self, picture: Picture, shape: tuple[int, int], is_untouched: bool) -> Guesses:
        """What is proposed on a picture of shape (H, W): on one that is untouched what the models say now."""
        path = self._shown(picture)
        shown = read_guesses(path) or Guesses()
        found = self._opinions(picture, shape) if is_untouched else {}
        now = {label: opinion for label, (_, opinion) in found.items()}
        if is_untouched and now != shown.opinions:
            shown = guesses_from(found, shown.next_number)
        elif shown.hidden and not self.has_gate:
            opinions = {label: Opinion(each.model, each.sure, False, each.is_separate)
                        for label, each in shown.opinions.items()}
            shown = Guesses(shown.objects, opinions, shown.next_number)
        else:
            return shown
        with contextlib.suppress(OSError):
            write_guesses(path, shown)
        return shown

    def _opinions(self, picture: Picture, shape: tuple[int, int]) -> dict[str, Any]:
        separate = {label.key: label.separate for label in self.project.labels}
        found = {}
        for key in self.keys():
            label, mark = self.folder.label(key), self._marks_of(key).get(picture.id)
            mask = label.mask(picture) if mark and mark.sure is not None else None
            if mark and mark.sure is not None and mask is not None and mask.shape == shape:
                is_hidden = self.has_gate and mark.sure < self._least_sure(key)
                found[key] = mask, Opinion(mark.model, mark.sure, is_hidden, separate[key])
        return found

    def _least_sure(self, key: str) -> float:
        models = [training["model"] for training in self.folder.label(key).history()][-JUDGED_MODELS:]
        if self._is_given:
            models = list({mark.model for mark in self._marks_of(key).values()})
        return least_sure(self._outcomes.of(self._same(key)), models)

    def _marks_of(self, key: str) -> dict[str, Mark]:
        """From the file, which is read again when it has changed."""
        label = self.folder.label(key)
        version = _version(label.marks_file)
        if key not in self._marks or self._marks[key][0] != version:
            self._marks[key] = version, label.marks()
        return self._marks[key][1]

    def mark(self, picture: Picture) -> dict[str, Any]:
        """{"sure", "empty"} for the list of pictures: the least sure label's, and whether none sees an object."""
        marks = [mark for key in self.keys() if (mark := self._marks_of(key).get(picture.id)) and mark.sure is not None]
        if not marks:
            return {"sure": None, "empty": False}
        return {"sure": min(mark.sure for mark in marks if mark.sure is not None),
                "empty": all(mark.is_empty for mark in marks)}

    # ------------------------------------------------------------------------------------------ for the page

    @property
    def has_gate(self) -> bool:
        """Whether proposals that are expected to cost more than they save are hidden."""
        return bool(self.folder.control().get("gate", True))

    def status(self) -> dict[str, Any]:
        """{"version", "gate", "problem", "labels"}: what the page asks for every now and then."""
        control, told = self.folder.control(), self.folder.status()
        labels = [self._label_status(key, wanted, told) for key, wanted in control.get("labels", {}).items()]
        files = [path for key in control.get("labels", {}) for path in (self.folder.label(key).marks_file,
                                                                       self.folder.label(key).model)]
        seen = (tuple(map(_version, files)), self.has_gate)
        if seen != self._seen:
            self._version, self._seen = self._version + 1, seen
        return {"version": self._version, "gate": self.has_gate, "problem": self._process.problem, "labels": labels}

    def _label_status(self, key: str, wanted: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
        history = self.folder.label(key).history()
        trained_on, reason, fraction = history[-1]["done"] if history else 0, told.get("failed", {}).get(key), None
        state = "ready" if history or self._is_given else "waiting"
        if told.get("state") == "training" and told.get("label") == key and self.trainer is not None:
            state, fraction = "training", min(0.99, max(0.0, (time.time() - told["since"]) / told["seconds"]))
        elif wanted["stopped"]:
            state = "stopped"
        elif reason:
            state = "failed"
        return {"label": wanted["name"], "state": state, "done": wanted["done"], "needed": needed(trained_on),
                "trained_on": trained_on, "fraction": fraction, "reason": reason if state == "failed" else None}

    def panel(self) -> dict[str, Any]:
        """What the models are worth, a label each."""
        return {"labels": [self._panel(key, name) for key, name in self.keys().items()]}

    def _panel(self, key: str, name: str) -> dict[str, Any]:
        label = self.folder.label(key)
        history, place = label.history(), "/api/assist/files/"
        return {
            "label": name, "trained_on": history[-1]["done"] if history else 0,
            **figures(self._outcomes.of(self._same(key)), history),
            "model": f"{place}{label.model.name}" if label.model.is_file() else None,
            "masks": f"{place}{label.name}.zip" if label.masks.is_dir() else None,
        }

    def command(self, given: Any) -> None:
        """{"do": "train" | "stop", "label"} or {"gate": bool}.

        Raises:
            AnnotationError: it is nothing of the kind.
        """
        control = self.folder.control()
        if isinstance(given, dict) and isinstance(given.get("gate"), bool):
            with self._lock:
                self._write({**control, "gate": given["gate"]})
            return
        key = next((key for key, wanted in control.get("labels", {}).items()
                    if isinstance(given, dict) and wanted["name"] == given.get("label")), None)
        if key is None or given.get("do") not in ("train", "stop"):
            raise AnnotationError("A model is told to train or to stop, by the name of its label.")
        if self._is_given:
            raise AnnotationError("The model was given by --assist-from; it isn't trained here.", "given_model")
        is_stop, wanted = given["do"] == "stop", control["labels"][key]
        is_under_way = self.folder.status().get("state") == "training" and self.folder.status().get("label") == key
        changed = {**wanted, "stopped": is_stop, "request": wanted["request"] + (not is_stop)}
        with self._lock:
            self._write({**control, "labels": {**control["labels"], key: changed}})
        if is_stop and is_under_way or not is_stop and self._process.problem:
            self._process.renew()

    def file(self, name: str) -> Path:
        """A model, or its masks as a zip file, made now.

        Raises:
            NotFoundError: there is none (yet).
        """
        for label in (self.folder.label(key) for key in self.keys()):
            if name == label.model.name and label.model.is_file():
                return label.model
            if name == f"{label.name}.zip" and label.masks.is_dir():
                return self._zipped(label)
        raise NotFoundError("There is no such model yet.", "no_model_yet")

    def _zipped(self, label: LabelFolder) -> Path:
        archive, part = (self.folder.root / f"{label.name}{ending}" for ending in (".zip", ".zip-part"))
        try:
            with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as file:  # PNGs don't get smaller
                for path in sorted(label.masks.glob("*.png")):
                    file.write(path, path.name.encode("utf-8", "replace").decode())
            part.replace(archive)
        except OSError as error:
            raise UserError(f"The masks can't be packed: {error.strerror or error}") from error
        return archive


def _version(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
