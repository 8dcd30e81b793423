"""A picture's history, and the JSON file that keeps it."""
from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from .document import Document, Step, Target
from .errors import AnnotationError, UnreadableError
from .operations import OPERATIONS, apply, replay

FORMAT = "click annotations 1"
MASK_NAME = re.compile(r"[0-9a-f]{20}\.png")
KEPT_CHANGES = 100  # of whose ids a repeated request is recognised
MAX_SIDE = 2**20
MAX_COUNT = 2**53


@dataclass(frozen=True)
class Session:
    """Everything that happened to a picture. Sessions are values: a change makes a new one.

    Attributes:
        picture: the picture's file name.
        width, height: its size in pixels.
        steps: all steps, the undone ones at the end.
        position: how many of them are not undone.
        revision: grows with every change, undo and redo included.
        changes: the ids that the page gave to the last changes, so that a repeated request is recognised.
        checkpoint: {"file", "sha256"} of the model that answered last.
    """

    picture: str
    width: int
    height: int
    steps: tuple[Step, ...] = ()
    position: int = 0
    revision: int = 0
    changes: tuple[str, ...] = ()
    checkpoint: dict[str, str] | None = field(default=None)

    @cached_property
    def document(self) -> Document:
        """The annotation as the steps up to the position made it."""
        return replay(self.steps[: self.position])

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """The steps as they stand in the file."""
        return tuple(map(_dump, self.steps))

    @property
    def status(self) -> str:
        """untouched, in work, done, approved or sent back."""
        if self.document.review:
            return self.document.review
        if self.document.is_done:
            return "done"
        return "in work" if self.position else "untouched"

    def with_step(self, step: Step, change_id: str, checkpoint: dict[str, str] | None = None) -> Session:
        """One step further; what had been undone is gone for good."""
        steps = (*self.steps[: self.position], step)
        after = replace(self, steps=steps, position=len(steps), revision=self.revision + 1,
                        changes=self._with(change_id), checkpoint=checkpoint or self.checkpoint)
        # A long history is not worked out and written anew for one step more.
        vars(after).update(document=apply(self.document, step), lines=(*self.lines[: self.position], _dump(step)))
        return after

    def moved(self, by: int, change_id: str) -> Session:
        """Undone (by = -1) or redone (by = 1).

        Raises:
            AnnotationError: there is nothing to undo or redo.
        """
        position = self.position + by
        if not 0 <= position <= len(self.steps):
            raise AnnotationError(f"There is nothing to {'undo' if by < 0 else 'redo'}.",
                                  "nothing_to_undo" if by < 0 else "nothing_to_redo")
        after = replace(self, position=position, revision=self.revision + 1, changes=self._with(change_id))
        vars(after).update(lines=self.lines)
        return after

    def _with(self, change_id: str) -> tuple[str, ...]:
        return (*self.changes, change_id)[-KEPT_CHANGES:]

    def mask_files(self) -> set[str]:
        """All files that the history needs, undone steps included."""
        names: set[str] = set()
        for step in self.steps:
            for part in (step, *step.get("proposals", ())):
                names |= {part[key] for key in ("mask", "edits", "initial") if part.get(key)}
        return names

    def beginning_of(self, target: Target) -> str | None:
        """The mask with which an object began that was a proposal; None for any other object."""
        if target.proposal is None:
            return None
        for step in reversed(self.steps[: self.position]):
            parts = step.get("proposals", (step,))
            found = next((part for part in parts if part.get("proposal") == target.proposal), None)
            if found:
                return found.get("initial") or found["mask"]
        return None


# ---------------------------------------------------------------------------------------------- the file


def to_json(session: Session) -> str:
    """The session file: what is there now on top, then the history with a line for each step."""
    document = session.document
    head = {
        "format": FORMAT,
        "picture": session.picture,
        "width": session.width,
        "height": session.height,
        "status": session.status,
        "note": document.note,
        "clicks_spent": document.spent,
        "objects": [_object_summary(target) for target in document.objects],
        "in_work": _object_summary(document.active) if document.active else None,
        "checkpoint": session.checkpoint,
        "revision": session.revision,
        "changes": list(session.changes),
        "position": session.position,
    }
    lines = [f" {_dump(key)}: {_dump(value)}" for key, value in head.items()]
    steps = ",\n".join("  " + line for line in session.lines)
    return "{\n" + ",\n".join(lines) + ',\n "steps": [' + (f"\n{steps}\n " if steps else "") + "]\n}\n"


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _object_summary(target: Target) -> dict[str, Any]:
    clicks = [prompt for prompt in target.prompts if prompt.kind == "click"]
    others = [{"kind": prompt.kind, "points": prompt.points, "positive": prompt.is_positive}
              for prompt in target.prompts if prompt.kind != "click"]
    return {
        "id": target.id,
        "label": target.label,
        "mask": target.mask,
        "clicks": [[*click.points[0], "+" if click.is_positive else "-"] for click in clicks],
        **({"prompts": others} if others else {}),
        "settings": target.settings.given(),
    }


def from_json(text: str, path: Path) -> Session:
    """The session of a file, every value of which has been checked.

    Raises:
        UnreadableError: the text is not a session of this version; the message names the file.
    """
    try:
        session = _checked(json.loads(text, parse_constant=_no_number))
        _ = session.document, session.lines  # every step is understood
        return session
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, OverflowError,
            AnnotationError) as error:
        reason = str(error) if isinstance(error, (_WrongError, AnnotationError)) else type(error).__name__
        advice = "put the last good one back on the page, or move it away"
        sentence = f"{path} is not a readable session ({reason}); {advice}."
        raise UnreadableError(sentence, "damaged_session", file=path.name) from error


class _WrongError(ValueError):
    """A value that no session has."""


def _no_number(name: str) -> None:
    raise _WrongError(f"it holds {name}")


def _checked(content: Any) -> Session:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else None
        raise _WrongError(f"its format is {str(found)[:40]!r}, this version reads {FORMAT!r}")
    changes = content.get("changes", [content["last_change"]] if content.get("last_change") else [])
    head = {name: content[name] for name in ("picture", "width", "height", "position", "revision", "checkpoint")}
    for name, value in {**head, "changes": changes}.items():
        if not _HEAD[name](value):
            raise _WrongError(f"its {name} is {str(value)[:40]!r}")
    if not isinstance(content["steps"], list) or head["position"] > len(content["steps"]):
        raise _WrongError("its position is beyond its steps")
    shape = head["height"], head["width"]
    steps = tuple(_checked_step(number, step, shape) for number, step in enumerate(content["steps"], start=1))
    return Session(steps=steps, changes=tuple(changes), **head)


def _checked_step(number: int, step: Any, shape: tuple[int, int]) -> Step:
    if isinstance(step, dict) and "hand" in step:  # as manual edits were called before
        step = {**{name: value for name, value in step.items() if name != "hand"}, "edits": step["hand"]}
    if not isinstance(step, dict) or step.get("op") not in list(OPERATIONS):
        raise _WrongError(f"step {number} is none")
    for name, value in step.items():
        if name in ("y", "x"):
            is_right = _whole(value) and value < shape["yx".index(name)]
        else:
            is_right = _FIELDS.get(name, lambda value: True)(value)
        if not is_right:
            raise _WrongError(f"{name} of step {number} is {str(value)[:40]!r}")
    return step


def _whole(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_COUNT


def _side(value: Any) -> bool:
    return _whole(value) and 0 < value <= MAX_SIDE


def _number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= MAX_COUNT


def _number_or_none(value: Any) -> bool:
    return value is None or _whole(value)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _file(value: Any) -> bool:
    return value is None or (isinstance(value, str) and MASK_NAME.fullmatch(value) is not None)


def _points(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(
        isinstance(point, list) and len(point) == 2 and all(map(_number, point)) for point in value)


def _settings(value: Any) -> bool:
    return isinstance(value, dict) and all(_flag(v) if name == "zoom_in" else _number(v) for name, v in value.items())


def _proposals(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(part, dict) and _number_or_none(part.get("proposal")) and part.get("mask") and _file(part["mask"])
        and _text(part.get("label", "")) for part in value)


_HEAD: dict[str, Callable[[Any], bool]] = {
    "picture": _text, "width": _side, "height": _side, "position": _whole, "revision": _whole,
    "checkpoint": lambda value: value is None or isinstance(value, dict),
    "changes": lambda value: isinstance(value, list) and all(map(_text, value)),
}
_FIELDS: dict[str, Callable[[Any], bool]] = {
    "positive": _flag, "adds": _flag, "on": _flag, "done": _flag, "label": _text, "note": _text, "state": _text,
    "mask": _file, "edits": _file, "initial": _file, "index": _whole, "object": _whole, "proposal": _whole,
    "radius": _number,
    "points": _points, "settings": _settings, "proposals": _proposals,
    "rejected": lambda value: isinstance(value, list) and all(map(_whole, value)),
    "box": lambda value: isinstance(value, list) and len(value) == 4 and all(map(_number, value)),
}
