"""PASCAL VOC's segmentations (a palette image of objects and one of classes) to write."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.files import UsageError, UserError, read_text, shown_name
from utils.folders import list_pictures, pair_trees
from utils.formats.picture import Picture, Plan, Reader, Task, tasks_of
from utils.images import COLOUR, read_labels
from utils.labels import object_values, value_name

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)
OBJECTS, CLASS_MAPS, PHOTOS, LABELS = "SegmentationObject", "SegmentationClass", "JPEGImages", "labelmap.txt"


@dataclass(frozen=True)
class VocReader(Reader):
    """Makes a Picture of the two maps of a picture as viewers show it; 255 counts neither way.

    Args:
        names: of the classes, by their value in the map (a number, or COLOUR + 0xrrggbb).
        stuff: classes that are stuff.
    """

    kind = "voc"
    names: tuple[tuple[int, str], ...] = ()
    stuff: tuple[str, ...] = ()

    def __call__(self, task: Task) -> Picture:
        """See Reader."""
        objects, classes = (read_labels(path).values for path in task.content)
        if objects.shape != classes.shape:
            raise UserError(f"{task.content[0]} and {task.content[1]} differ in size; both must be of the photo's")
        picture, names = Picture(task.read_photo(objects.shape), task.source, self.stuff), dict(self.names)
        for value in object_values(objects):
            mask = objects == value
            found, counts = np.unique(classes[mask], return_counts=True)
            category = int(found[counts.argmax()])
            picture.add(names.get(category, value_name(category)), mask)
        return picture


def plan_voc(folder: Path, stuff: Sequence[str] = (), images: Path | None = None) -> Plan:
    """A task for each picture that has a map of objects and one of classes.

    Args:
        folder: with JPEGImages, SegmentationObject, SegmentationClass and perhaps labelmap.txt.
        stuff: classes that are stuff.
        images: folder of the pictures, in place of JPEGImages.

    Raises:
        UsageError: a folder is missing, or no picture has both maps.
    """
    images = images or folder / PHOTOS
    for place in (images, folder / OBJECTS, folder / CLASS_MAPS):
        if not place.is_dir():
            raise UsageError(f"{folder} is no VOC folder of segmentations: it has no {place.name}")
    photos = list_pictures(images, recursive=True).pictures
    objects, classes = (pair_trees(images, photos, folder / name, list_pictures(folder / name, recursive=True).pictures)
                        for name in (OBJECTS, CLASS_MAPS))
    both = objects.masks.keys() & classes.masks.keys()
    if not both:
        raise UsageError(f"no picture of {images} has a map in both {OBJECTS} and {CLASS_MAPS}")
    tasks = tasks_of(images, photos, {photo: (objects.masks[photo], classes.masks[photo]) for photo in both})
    half = sorted(objects.masks.keys() ^ classes.masks.keys())
    problems = [*objects.problems, *(f"{shown_name(photo)} has only one of its two maps" for photo in half)]
    boxes = len(photos) - len(both) - len(half)
    notes = [f"{folder}: {boxes} pictures have no segmentation and were left out"] if boxes else []
    return Plan(tasks, VocReader(_class_names(folder / LABELS), tuple(stuff)), problems, notes)


def _class_names(path: Path) -> tuple[tuple[int, str], ...]:
    """Of a labelmap.txt ("name:red,green,blue:parts:actions"), else VOC's own; by number and, where stated, colour."""
    if not path.is_file():
        return tuple(enumerate(CLASSES))
    names: list[tuple[int, str]] = []
    lines = [line for line in read_text(path).splitlines() if line.strip() and not line.startswith("#")]
    for number, line in enumerate(lines):
        name, colour, *_ = [*line.rsplit(":", 3), ""]
        parts = [int(part) for part in colour.split(",") if part.strip().isdecimal()]
        rgb = [COLOUR + (parts[0] << 16 | parts[1] << 8 | parts[2])] if len(parts) == 3 else []
        names += [(value, name) for value in (number, *rgb)]
    return tuple(names)
