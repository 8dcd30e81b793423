"""Objects of another tool or model, as finished objects or as proposals; utils.formats reads them."""
from __future__ import annotations

import csv
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from utils.files import UsageError, UserError, shown_name, write_whole
from utils.formats.coco import plan_coco
from utils.formats.folder import FolderReader, plan_folder
from utils.formats.labelme import LabelmeReader, plan_labelme
from utils.formats.picture import Plan, Task
from utils.formats.regions import Region
from utils.formats.via import plan_via
from utils.formats.voc import plan_voc
from utils.formats.yolo import class_names, plan_yolo
from utils.images import encode_png, size_of

from .errors import AnnotationError
from .export import counted
from .pictures import Picture
from .project import Project
from .session import Session

KINDS = ("objects", "proposals")
NOTES = 5  # that are printed
Size = tuple[int, int]


@dataclass(frozen=True)
class _MapReader(FolderReader):
    remedy: ClassVar[str] = "it as a proposal, by starting the page with --masks"


def _plan_maps(source: Path, images: Path) -> Plan:
    maps = source / "instances" if (source / "instances").is_dir() else source
    return plan_folder(images, maps, _MapReader(), skip_missing=True, recursive=True)


def _plan_yolo(source: Path, images: Path) -> Plan:
    labels = source / "labels" if (source / "labels").is_dir() else source
    try:
        return plan_yolo(labels, images, class_names(labels))
    except UsageError:  # without classes they are called by their numbers
        return plan_yolo(labels, images)


# Each makes a plan of a source and the folder of pictures.
PLANS: dict[str, Callable[[Path, Path], Plan]] = {
    "coco": lambda source, images: plan_coco([images], {"instances": source}, skip_missing=True, crowd="object",
                                             frame="upright"),
    "png": _plan_maps,
    "labelme": lambda source, images: plan_labelme(source, images, LabelmeReader()),
    "yolo": _plan_yolo,
    "voc": lambda source, images: plan_voc(source, images=images),
    "via": lambda source, images: plan_via([source], [images], skip_missing=True),
}


class Imported(NamedTuple):
    """What was taken in; as a text, for the terminal.

    Attributes:
        objects, pictures: how many, and on how many.
        text: both in words.
        hint: what to do with it, if anything.
        notes: what was left out, in words.
    """

    objects: int
    pictures: int
    text: str
    hint: str
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([f"{self.text}{self.hint}", *self.notes])


def import_objects(project: Project, source: Path, format_name: str, kind: str = "objects") -> Imported:
    """Takes what a format holds into a project.

    Finished objects become a step each of the picture's history, which can be undone. Proposals become label maps in
    the folder proposals/ of the project, for --masks; later ones lie on top.

    Args:
        project: locked by this process.
        source: file or folder of the format.
        format_name: a key of PLANS.
        kind: one of KINDS.

    Raises:
        AnnotationError: nothing could be taken.
    """
    if not source.exists():
        raise AnnotationError(f"{source} doesn't exist.")
    try:
        plan = PLANS[format_name](source, project.images)
    except UserError as error:
        raise AnnotationError(f"{error}.") from error
    notes = [*plan.problems, *plan.notes]
    labels = _labels_of(source / "objects.csv") if format_name == "png" else None
    pictures = {picture.path.resolve(): picture for picture in project.pictures.values()}
    counts = Counter[str]()
    written = objects = 0
    for task in plan.tasks:
        try:
            picture = _picture_of(task, pictures)
            size = size_of(picture.read(), picture.shown_name)
            regions = _read(plan, task, size, notes, counts)
            take = _as_objects if kind == "objects" else _as_proposals
            take(project, picture, size, [(_label(region, picture, labels), region.drawn(size)) for region in regions])
        except UserError as error:
            notes.append(str(error))
            continue
        written += bool(regions)
        objects += len(regions)
    notes += [f"{count} {text.partition(' (--')[0]}" for text, count in counts.items()]
    if not objects:
        raise AnnotationError(" ".join([f"{source} holds no object for a picture of this project.", *notes[:NOTES]]))
    hint = f" (start with --masks {project.out / 'proposals'})" if kind == "proposals" else ""
    more = [f"... and {len(notes) - NOTES} more"] if len(notes) > NOTES else []
    return Imported(objects, written, f"{objects} {kind} on {counted(written)}", hint, (*notes[:NOTES], *more))


def _picture_of(task: Task, pictures: dict[Path, Picture]) -> Picture:
    picture = None if task.photo is None else pictures.get(task.photo.resolve())
    if picture is None:
        raise UserError(f"{shown_name(task.source)} is left out: its picture is not in the project's folder")
    return picture


def _read(plan: Plan, task: Task, size: Size, notes: list[str], counts: Counter[str]) -> Sequence[Region]:
    """The regions of a task; what was lost is added to the notes, what was done to the counts."""
    found = plan.reader(plan.load(task))
    notes += found.problems
    counts.update(found.counts)
    if found.photo.size != size:
        raise UserError(f"{shown_name(task.source)} is left out: it was annotated as the camera stored it, not upright")
    return [*found.objects, *found.stuff]


def _labels_of(table: Path) -> dict[tuple[str, str], str]:
    """The labels by picture and number of the page's own label maps; those of others have none."""
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            return {(row["picture"], row["object"]): row["label"] for row in csv.DictReader(file)}
    except (OSError, KeyError, ValueError):
        return {}


def _label(region: Region, picture: Picture, labels: dict[tuple[str, str], str] | None) -> str:
    return region.name if labels is None else labels.get((picture.shown_name, region.name), "object")


def _as_objects(project: Project, picture: Picture, size: Size, found: list[tuple[str, np.ndarray]]) -> None:
    session = project.read_session(picture) or Session(picture.name, size[1], size[0])
    if (session.height, session.width) != size:
        raise AnnotationError(f"{picture.shown_name} was annotated at another size; nothing is taken in for it.")
    masks, by_label = project.masks(picture), defaultdict(list)
    for label, mask in found:
        by_label[project.label_key(label[:60])].append({"proposal": None, "mask": masks.put(mask)})
    stamp = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    for label, proposals in by_label.items():
        step = {"op": "import", "label": label, "proposals": proposals, "time": stamp}
        session = session.with_step(step, uuid.uuid4().hex)
    if found:
        project.write_session(picture, session)


def _as_proposals(project: Project, picture: Picture, size: Size, found: list[tuple[str, np.ndarray]]) -> None:
    labels = np.zeros(size, np.uint16)
    for number, (_, mask) in enumerate(found, start=1):
        labels[mask] = number if number < 255 else number + 1  # 255 would be pixels that count neither way
    if found:
        write_whole(project.out / "proposals" / f"{picture.name}.png", encode_png(labels))
