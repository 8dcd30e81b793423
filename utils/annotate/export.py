"""What was annotated, in the formats of the field (see formats/).

Only finished objects are exported. What an earlier export into the same folder wrote and this one doesn't is removed,
so that no label of a deleted object lives on; files of others are left alone. The folder of pictures is only read.
"""
from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.files import os_error_sentence, shown_name
from utils.images import ImageError, size_of

from .errors import AnnotationError
from .formats import FORMATS, WRITERS, Annotated, Writer
from .formats.base import manifest_of, unique_stems
from .pictures import Picture
from .project import Project
from .session import Session

Progress = Callable[[int, int], None]
ONLY = ("all", "done", "approved")
NAMED = 3  # names that a note spells out

__all__ = ["FORMATS", "Result", "counted", "export"]


@dataclass(frozen=True)
class Result:
    """What an export wrote: how many pictures and objects, and sentences about what it didn't."""

    pictures: int
    objects: int
    notes: tuple[str, ...] = ()

    def text(self, to: Path) -> str:
        """For a person."""
        return " ".join([f"{counted(self.pictures)} written to {shown_name(to)}", *self.notes])


def export(
    project: Project,
    to: Path,
    kind: str,
    only: str = "all",
    polygons: bool = False,
    link: bool = False,
    progress: Progress = lambda done, total: None,
) -> Result:
    """Writes the finished objects of a project, as they are now, into a folder.

    Args:
        project: the project; another thread may go on changing its sessions.
        to: folder, made if missing; the files of an earlier export are replaced or removed.
        kind: one of FORMATS.
        only: "done" leaves out pictures that aren't marked as done, "approved" those that weren't approved.
        polygons: COCO segmentations as polygons instead of RLE.
        link: formats with pictures get hard links to them in place of copies.
        progress: told (pictures done, all pictures).

    Raises:
        AnnotationError: nothing has been annotated, or a file can't be written.
    """
    notes: list[str] = []
    pictures = _annotated(project, only, notes)
    if not pictures and not manifest_of(to):
        raise AnnotationError(" ".join(["There is nothing to export yet: finish an object first.", *notes]))
    try:
        writer = WRITERS[kind](to, _labels(project, pictures), polygons=polygons, link=link)
        written = objects = 0
        for done, picture in enumerate(pictures):
            progress(done, len(pictures))
            if _add(writer, picture, notes):
                written, objects = written + 1, objects + len(picture.objects)
        writer.close()
        removed = writer.remove_old()
    except OSError as error:
        sentence = f"The export to {shown_name(to)} can't be written: {os_error_sentence(error)}."
        raise AnnotationError(sentence) from error
    progress(len(pictures), len(pictures))
    if removed:
        notes.append(f"{removed} files of an earlier export were removed.")
    return Result(written, objects, (*writer.notes, *notes))


def _add(writer: Writer, picture: Annotated, notes: list[str]) -> bool:
    """Writes a picture; whether it could be. One that can't loses itself alone."""
    files, said = len(writer.names), len(writer.notes)
    try:
        writer.add(picture)
    except AnnotationError as error:
        notes.append(f"{picture.picture.shown_name} is left out: {error}")
        del writer.names[files:]  # what was written of it is removed with the rest
        return False
    return len(writer.notes) == said


def _annotated(project: Project, only: str, notes: list[str]) -> list[Annotated]:
    """The pictures that have finished objects, or are done (which says that nothing is on them)."""
    names = {key: project.label_name(key) for key in {label.key for label in project.labels}}
    stems = unique_stems(list(project.pictures.values()))
    result = []
    for picture in project.pictures.values():
        try:
            session = project.read_session(picture)
            if session is None or not _is_wanted(session, only):
                continue
            names |= {target.label: project.label_name(target.label) for target in session.document.objects}
            _check_size(picture, session)
            result.append(Annotated(picture, session, project.masks(picture), names, stems[picture.id]))
        except AnnotationError as error:
            notes.append(f"{picture.shown_name} is left out: {error}")
    notes += _strangers(project)
    return result


def _is_wanted(session: Session, only: str) -> bool:
    if only == "approved":
        return session.status == "approved"
    is_done = session.document.is_done
    return is_done or (only == "all" and bool(session.document.objects))


def _check_size(picture: Picture, session: Session) -> None:
    try:
        found = size_of(picture.read(), picture.shown_name)
    except ImageError as error:
        raise AnnotationError(f"{error}.") from error
    if found != (session.height, session.width):
        raise AnnotationError(f"it is {found[1]}x{found[0]} now, but {session.width}x{session.height} when it was "
                              "annotated.")


def _strangers(project: Project) -> list[str]:
    """A sentence about sessions whose pictures are no longer in the folder."""
    known = {project.session_path(picture).name for picture in project.pictures.values()}
    names = []
    for path in sorted((project.out / "sessions").glob("*.json")):
        if path.name not in known:
            names.append(_picture_name(path))
    if not names:
        return []
    shown = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    return [f"{counted(len(names))} with annotation no longer in the folder and left out: {shown}."]


def _picture_name(path: Path) -> str:
    try:
        return shown_name(json.loads(path.read_text("utf-8", "surrogateescape"))["picture"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return shown_name(path.name.removesuffix(".json"))


def _labels(project: Project, pictures: Sequence[Annotated]) -> dict[str, int]:
    """Classes by name, numbered from 1: the project's in its order, then others that objects have."""
    names = [label.name for label in project.labels]
    names += [picture.label(target) for picture in pictures for target in picture.objects]
    return {name: number for number, name in enumerate(dict.fromkeys(names), start=1)}


def counted(pictures: int) -> str:
    """A number of pictures in words."""
    return f"{pictures} picture" + ("" if pictures == 1 else "s")
