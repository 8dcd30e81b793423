"""A picture's history, and the JSON file that keeps it."""
from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from .document import Document, Step, Target, apply, replay
from .errors import AnnotationError

FORMAT = "click annotations 1"


@dataclass(frozen=True)
class Session:
    """Everything that happened to a picture. Sessions are values: a change makes a new one.

    Attributes:
        picture: the picture's file name.
        width, height: its size in pixels.
        steps: all steps, the undone ones at the end.
        position: how many of them are not undone.
        revision: grows with every change, undo and redo included.
        last_change: the id that the page gave to the last change, so that a repeated request is recognised.
        checkpoint: {"file", "sha256"} of the model that answered last.
    """

    picture: str
    width: int
    height: int
    steps: tuple[Step, ...] = ()
    position: int = 0
    revision: int = 0
    last_change: str = ""
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
        """untouched, in work or done."""
        if self.document.is_done:
            return "done"
        return "in work" if self.position else "untouched"

    def with_step(self, step: Step, change_id: str, checkpoint: dict[str, str] | None = None) -> Session:
        """One step further; what had been undone is gone for good."""
        steps = (*self.steps[: self.position], step)
        after = replace(self, steps=steps, position=len(steps), revision=self.revision + 1, last_change=change_id,
                        checkpoint=checkpoint or self.checkpoint)
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
            raise AnnotationError(f"There is nothing to {'undo' if by < 0 else 'redo'}.")
        after = replace(self, position=position, revision=self.revision + 1, last_change=change_id)
        vars(after).update(lines=self.lines)
        return after

    def mask_files(self) -> set[str]:
        """All files that the history needs, undone steps included."""
        names: set[str] = set()
        for step in self.steps:
            for part in (step, *step.get("proposals", ())):
                names |= {part[key] for key in ("mask", "hand") if part.get(key)}
        return names


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
        "clicks_spent": document.spent,
        "objects": [_object_summary(target) for target in document.objects],
        "in_work": _object_summary(document.active) if document.active else None,
        "checkpoint": session.checkpoint,
        "revision": session.revision,
        "last_change": session.last_change,
        "position": session.position,
    }
    lines = [f" {_dump(key)}: {_dump(value)}" for key, value in head.items()]
    steps = ",\n".join("  " + line for line in session.lines)
    return "{\n" + ",\n".join(lines) + ',\n "steps": [' + (f"\n{steps}\n " if steps else "") + "]\n}\n"


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _object_summary(target: Target) -> dict[str, Any]:
    return {
        "id": target.id,
        "label": target.label,
        "mask": target.mask,
        "clicks": [[click.y, click.x, "+" if click.is_positive else "-"] for click in target.clicks],
        "settings": target.settings.given(),
    }


def from_json(text: str, path: Path) -> Session:
    """The session of a file.

    Raises:
        AnnotationError: the text is not a session of this version; the message names the file.
    """
    try:
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise AnnotationError(f"{path} has the format {content['format']!r}; this version reads {FORMAT!r}.")
        names = ("picture", "width", "height", "position", "revision", "last_change", "checkpoint")
        session = Session(steps=tuple(content["steps"]), **{name: content[name] for name in names})
        _ = session.document  # every step is understood
    except AnnotationError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise AnnotationError(f"{path} is not a readable session ({error!r}); mend it or move it away.") from error
    return session


def write_whole(path: Path, content: bytes) -> None:
    """Writes beside and renames; when this returns the content is on the disk, under its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".tmp")
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Makes new names in a folder outlive a power failure, where the system can (Windows opens no folders)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
