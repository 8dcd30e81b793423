"""Objects of another tool or model, as finished objects or as proposals."""
from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from utils.files import write_whole
from utils.images import encode_png, size_of

from .errors import AnnotationError
from .export import counted
from .formats import READERS, Found
from .pictures import Picture
from .project import Project
from .session import Session

KINDS = ("objects", "proposals")
NOTES = 5  # that are printed


def import_objects(project: Project, source: Path, format_name: str, kind: str = "objects") -> str:
    """Takes what a format holds into a project.

    Finished objects become a step each of the picture's history, which can be undone. Proposals become label maps in
    the folder proposals/ of the project, for --masks; later ones lie on top.

    Args:
        project: locked by this process.
        source: file or folder of the format.
        format_name: a key of formats.READERS.
        kind: one of KINDS.

    Returns:
        What was done, and what was left out, in words.

    Raises:
        AnnotationError: nothing could be taken.
    """
    if not source.exists():
        raise AnnotationError(f"{source} doesn't exist.")
    pictures = {picture.name: picture for picture in project.pictures.values()}
    notes: list[str] = []
    shapes = _Shapes()
    groups: dict[str, list[Found]] = defaultdict(list)
    written = objects = 0
    for found in READERS[format_name](source, list(pictures.values()), shapes, notes):
        if not found.mask.any():
            notes.append(f"{found.picture}: an object without pixels is left out")
            continue
        groups[found.picture].append(Found(found.picture, found.label, np.packbits(found.mask)))
        objects += 1
    for name, group in groups.items():
        take = _as_objects if kind == "objects" else _as_proposals
        take(project, pictures[name], shapes(pictures[name]), _unpacked(group, shapes(pictures[name])))
        written += 1
    if not objects:
        raise AnnotationError(" ".join([f"{source} holds no object for a picture of this project.", *notes[:NOTES]]))
    hint = f" (start with --masks {project.out / 'proposals'})" if kind == "proposals" else ""
    more = [f"... and {len(notes) - NOTES} more"] if len(notes) > NOTES else []
    return "\n".join([f"{objects} {kind} on {counted(written)}{hint}", *notes[:NOTES], *more])


class _Shapes:
    """(H, W) of pictures, read once each."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int]] = {}

    def __call__(self, picture: Picture) -> tuple[int, int]:
        if picture.id not in self._known:
            self._known[picture.id] = size_of(picture.read(), picture.shown_name)
        return self._known[picture.id]


def _unpacked(group: Iterable[Found], shape: tuple[int, int]) -> list[Found]:
    count = shape[0] * shape[1]
    return [Found(each.picture, each.label, np.unpackbits(each.mask, count=count).reshape(shape).view(bool))
            for each in group]


def _as_objects(project: Project, picture: Picture, shape: tuple[int, int], group: list[Found]) -> None:
    session = project.read_session(picture) or Session(picture.name, shape[1], shape[0])
    if (session.height, session.width) != shape:
        raise AnnotationError(f"{picture.shown_name} was annotated at another size; nothing is taken in for it.")
    masks, by_label = project.masks(picture), defaultdict(list)
    for each in group:
        by_label[project.label_key(each.label[:60])].append({"proposal": None, "mask": masks.put(each.mask)})
    stamp = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    for label, proposals in by_label.items():
        step = {"op": "import", "label": label, "proposals": proposals, "time": stamp}
        session = session.with_step(step, uuid.uuid4().hex)
    project.write_session(picture, session)


def _as_proposals(project: Project, picture: Picture, shape: tuple[int, int], group: list[Found]) -> None:
    labels = np.zeros(shape, np.uint16)
    for number, each in enumerate(group, start=1):
        labels[each.mask] = number if number < 255 else number + 1  # 255 would be pixels that count neither way
    write_whole(project.out / "proposals" / f"{picture.name}.png", encode_png(labels))
