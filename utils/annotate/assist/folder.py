"""What lies where in OUT/assist/: the server and the trainer know of each other by these files alone.

control.json and next.json are the server's, status.json the trainer's; `busy` is there while clicks are being answered.
A label has its model in LABEL.pth and the rest in labels/LABEL/: masks/ with what the model makes of each picture,
marks.json with how sure it is, history.json with its trainings, held_out.json with the pictures that are never trained
on. All files are written beside and renamed; a missing or damaged one counts as empty.
"""
from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from utils.files import UserError, digest, read_json, write_json, write_whole

from .. import masks
from ..pictures import Picture

FINISHED = ("done", "approved")  # states of pictures that are learnt from
SAFE_NAME = re.compile(r"\w[\w -]{0,58}\w|\w")


class Mark(NamedTuple):
    """How sure a model is of a picture.

    Attributes:
        sure: mean probability of the object inside its mask; of background at the likeliest pixel if that is empty.
        is_empty: it sees no object.
        model: digest of the model.
    """

    sure: float | None
    is_empty: bool
    model: str


class LabelFolder:
    """The files of one label."""

    def __init__(self, root: Path, key: str) -> None:
        self.name = key if SAFE_NAME.fullmatch(key) else f"label-{digest(key.encode('utf-8', 'surrogateescape'))[:12]}"
        self.model = root / f"{self.name}.pth"
        folder = root / "labels" / self.name
        self.training, self.masks = folder / "training", folder / "masks"
        self.marks_file, self._history, self._held_out = (
            folder / f"{name}.json" for name in ("marks", "history", "held_out"))

    def marks(self) -> dict[str, Mark]:
        """By the picture's id."""
        found = _read(self.marks_file, {})
        return {picture: Mark(*mark) for picture, mark in found.items() if isinstance(mark, list) and len(mark) == 3}

    def write_marks(self, marks: dict[str, Mark]) -> None:
        """Replaces them."""
        write_json(self.marks_file, marks)

    def mask(self, picture: Picture) -> np.ndarray | None:
        """What the model makes of a picture, bool (H, W)."""
        try:
            content = masks.decode_map(self.mask_file(picture).read_bytes())
        except OSError:
            return None
        return None if content is None else content > 0

    def mask_file(self, picture: Picture) -> Path:
        """A PNG of one bit a pixel."""
        return self.masks / f"{picture.key}.png"

    def write_mask(self, picture: Picture, mask: np.ndarray) -> None:
        """Keeps what the model makes of a picture."""
        write_whole(self.mask_file(picture), masks.encode_mask(mask))

    def history(self) -> list[dict[str, Any]]:
        """The trainings: [{"model", "done", "request", "photos", "held_out", "seconds"}], oldest first."""
        return _read(self._history, [])

    def remember(self, training: dict[str, Any]) -> None:
        """One training more."""
        write_json(self._history, [*self.history(), training], indent=1)

    def held_out(self) -> list[str]:
        """The names of the pictures that no model of this label was ever trained on."""
        return _read(self._held_out, [])

    def hold_out(self, names: tuple[str, ...]) -> None:
        """Adds to them."""
        write_json(self._held_out, sorted({*self.held_out(), *names}), indent=1)


class AssistFolder:
    """OUT/assist/ of the project in OUT."""

    def __init__(self, out: Path) -> None:
        self.out, self.root = Path(out), Path(out) / "assist"
        self.busy, self.log, self.shown = (self.root / name for name in ("busy", "trainer.log", "shown"))
        self.control_file, self.next_file, self.status_file = (
            self.root / f"{name}.json" for name in ("control", "next", "status"))

    def label(self, key: str) -> LabelFolder:
        """The files of a label."""
        return LabelFolder(self.root, key)

    def control(self) -> dict[str, Any]:
        """{"gate": bool, "pictures": n, "labels": {key: {"name", "done", "stopped", "request"}}}."""
        return _read(self.control_file, {})

    def next(self) -> list[str]:
        """Ids of the pictures that will be opened next."""
        return _read(self.next_file, [])

    def status(self) -> dict[str, Any]:
        """{"process", "state", "label", "since", "problem", "failed"} as the trainer wrote it last."""
        return _read(self.status_file, {})


def _read(path: Path, empty: Any) -> Any:
    try:
        found = read_json(path)
    except UserError:
        return empty
    return found if isinstance(found, type(empty)) else empty
