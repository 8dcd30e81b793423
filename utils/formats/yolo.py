"""YOLO's segmentation labels (a text file a picture, a line a polygon) to write, drawn as ultralytics draws them."""
from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from utils.files import UsageError, inside, read_text
from utils.folders import list_pictures, pair_by_name
from utils.formats.picture import Picture, Plan, Reader, Task, own_ids
from utils.formats.shapes import FAR_OUTSIDE, NoOutlineError, ShapeError, Size

VALUES_OF_A_BOX = 4


@dataclass(frozen=True)
class YoloReader(Reader):
    """Makes a Picture of a label file; coordinates are shares of the picture as viewers show it.

    Args:
        names: of the classes, by number.
        stuff: classes that are stuff.
    """

    kind = "yolo"
    names: tuple[str, ...] = ()
    stuff: tuple[str, ...] = ()

    def __call__(self, task: Task) -> Picture:
        """See Reader."""
        picture = Picture(task.read_photo(), task.source, self.stuff)
        for number, line in enumerate(read_text(task.content[0]).splitlines(), start=1):
            with picture.lost_alone(f"line {number}"):
                if line.strip():
                    category, *values = line.split()
                    picture.add(self._name(int(category)), _draw(np.array(values, float), picture.photo.size))
        return picture

    def _name(self, number: int) -> str:
        return self.names[number] if 0 <= number < len(self.names) else str(number)


def _draw(values: np.ndarray, size: Size) -> np.ndarray:
    """Mask bool (H, W): corners cut down to whole pixels, the outline included, as ultralytics' polygon2mask does."""
    if len(values) <= VALUES_OF_A_BOX:
        raise NoOutlineError("it has a box only")
    if len(values) < 6 or len(values) % 2:
        raise ShapeError("it is no class and polygon of three points or more")
    if not np.all(np.abs(values) <= FAR_OUTSIDE):  # NaN fails too
        raise ShapeError("its coordinates are no shares of the picture")
    corners = (values.reshape(-1, 2) * size[::-1]).astype(np.int32)
    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [corners], 1)
    return mask.astype(bool)


def plan_yolo(labels: Path, images: Path, names: Path | None = None, stuff: Sequence[str] = ()) -> Plan:
    """A task for each picture with a label file of its name, in the same subfolder.

    Args:
        labels: folder of the label files.
        images: folder of the pictures.
        names: data.yaml or classes.txt; found above or beside the labels if left out.
        stuff: classes that are stuff.

    Raises:
        UsageError: no picture has a label file, or the file of classes is missing.
    """
    listing = list_pictures(images, recursive=True)
    files = [path for path in sorted(labels.rglob("*.txt")) if inside(path, labels) and path.name != "classes.txt"]
    groups = {path.parent.relative_to(images) for path in listing.pictures}
    pairs = [pair_by_name([path for path in listing.pictures if path.parent == images / group],
                          [path for path in files if path.parent == labels / group]) for group in sorted(groups)]
    found = {photo: label for pair in pairs for photo, label in pair.masks.items()}
    if not found:
        raise UsageError(f"no picture of {images} has a label file in {labels}; name them alike")
    ids = own_ids(photo.relative_to(images).as_posix() for photo in listing.pictures)
    sources = {photo: photo.relative_to(images).as_posix() for photo in found}
    tasks = [Task(ids[sources[photo]], sources[photo], photo, (label,)) for photo, label in sorted(found.items())]
    problems = [problem for pair in pairs for problem in pair.problems]
    unused = len(set(files) - set(found.values()))
    notes = [f"{labels}: {unused} files belong to no picture of {images}"] if unused else []
    return Plan(tasks, YoloReader(_names(labels, names), tuple(stuff)), problems, notes)


def _names(labels: Path, path: Path | None) -> tuple[str, ...]:
    places = [folder / name for folder in (labels, labels.parent, labels.parent.parent)
              for name in ("data.yaml", "classes.txt")]
    path = path or next((place for place in places if place.is_file()), None)
    if path is None:
        raise UsageError(f"no data.yaml or classes.txt in or above {labels}; name the file of classes with --names")
    text = read_text(path)
    return tuple(text.split("\n")) if path.suffix == ".txt" else yaml_names(text)


def yaml_names(text: str) -> tuple[str, ...]:
    """The classes of a data.yaml, in each of the three ways in which tools write them: [a, b], - a, 0: a."""
    found = re.search(r"^names:[ \t]*(\[.*?\]|(?:\n[ \t]*(?:-|\d+:).*)+)", text, re.M | re.S)
    if found is None:
        return ()
    if found[1].startswith("["):
        return tuple(_unquoted(part) for part in found[1][1:-1].split(","))
    lines = re.findall(r"^[ \t]*(?:-|(\d+):)[ \t]*(.*)$", found[1], re.M)
    numbered = {int(number or place): _unquoted(name) for place, (number, name) in enumerate(lines)}
    return tuple(numbered.get(number, str(number)) for number in range(max(numbered) + 1))


def _unquoted(name: str) -> str:
    name = name.strip()
    return name[1:-1] if len(name) > 1 and name[0] == name[-1] and name[0] in "'\"" else name
