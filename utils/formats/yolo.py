"""YOLO's segmentation labels (a text file a picture, a line a polygon) to write, drawn as ultralytics draws them."""
from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from utils.files import UsageError, inside, read_text
from utils.folders import list_pictures, pair_trees
from utils.formats.picture import Picture, Plan, Reader, Task, tasks_of
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


def plan_yolo(labels: Path, images: Path, names: Sequence[str] = (), stuff: Sequence[str] = ()) -> Plan:
    """A task for each picture with a label file of its name, in the same subfolder (see utils.folders.pair_trees).

    Args:
        labels: folder of the label files.
        images: folder of the pictures.
        names: of the classes, see `class_names`; those without one are called by their number.
        stuff: classes that are stuff.

    Raises:
        UsageError: no picture has a label file.
    """
    listing = list_pictures(images, recursive=True)
    files = [path for path in sorted(labels.rglob("*.txt")) if inside(path, labels) and path.name != "classes.txt"]
    pairs = pair_trees(images, listing.pictures, labels, files)
    if not pairs.masks:
        raise UsageError(f"no picture of {images} has a label file in {labels}; name them alike")
    tasks = tasks_of(images, listing.pictures, {photo: (label,) for photo, label in pairs.masks.items()})
    unused = len(files) - len(pairs.masks)
    notes = [f"{labels}: {unused} files belong to no picture of {images}"] if unused else []
    return Plan(tasks, YoloReader(tuple(names), tuple(stuff)), pairs.problems, notes)


def class_names(labels: Path, path: Path | None = None) -> tuple[str, ...]:
    """The classes of a data.yaml or classes.txt, which is looked for in and above the labels if it isn't named.

    Raises:
        UsageError: there is none.
    """
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
