"""Label maps as PNG: the number of a pixel is its class or its object. Pixels are pixels; there are no corners."""
from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from utils.files import UserError
from utils.folders import pair_by_name
from utils.images import encode_png, read_labels
from utils.labels import object_values, refuse_soft_mask, value_name

from ..masks import encode_mask
from ..pictures import Picture, list_pictures
from .base import Annotated, Found, Writer


class LabelMapWriter(Writer):
    """labels/ (pixel = class), instances/ (pixel = object), objects/ (a mask an object), objects.csv, classes.json."""

    title = "PNG masks"
    description = "label maps of classes and of objects, and a mask an object"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.rows: list[list[Any]] = []

    def add(self, picture: Annotated) -> None:
        """The picture's maps."""
        classes, instances = np.zeros((2, *picture.shape), np.uint16)
        for target in picture.objects:
            mask = picture.mask(target)
            classes[mask], instances[mask] = self.labels[picture.label(target)], target.id
            name = f"objects/{picture.stem}/{target.id:03d}.png"
            self.write(name, encode_mask(mask))
            self.rows.append([picture.picture.shown_name, target.id, picture.label(target), name,
                              np.count_nonzero(mask)])
        for folder, values in (("labels", classes), ("instances", instances)):
            # 255 would be taken for pixels that count neither way
            self.write(f"{folder}/{picture.stem}.png", encode_png(values.astype(np.uint8) if values.max() < 255
                                                                  else values))

    def close(self) -> None:
        """The tables."""
        table = io.StringIO()
        csv.writer(table).writerows([["picture", "object", "label", "file", "pixels"], *self.rows])
        self.write("objects.csv", table.getvalue().encode("utf-8", "replace"))
        self.write_json("classes.json", self.labels)


def read_label_maps(source: Path, pictures: list[Picture], shapes: Any, notes: list[str]) -> Any:
    """The objects of a folder of label maps, one value an object; see `read_coco`.

    Objects of the page's own export (instances/ beside objects.csv) get their labels back, others are "object".
    """
    source = source / "instances" if (source / "instances").is_dir() else source
    labels = _labels_of(source.parent / "objects.csv")
    by_path = {Path(picture.name): picture for picture in pictures}
    pairs = pair_by_name(list(by_path), list_pictures(source, recursive=True).pictures)
    notes += pairs.problems
    for path, mask_path in pairs.masks.items():
        picture = by_path[path]
        try:
            values = read_labels(mask_path).values
            if values.shape != shapes(picture):
                raise UserError(f"{mask_path.name} has another size than its picture")
            refuse_soft_mask(values, mask_path.name, "--as proposals")
        except UserError as error:
            notes.append(f"{error}")
            continue
        for value in object_values(values):
            label = labels.get((picture.shown_name, value_name(value)), "object")
            yield Found(picture.name, label, values == value)


def _labels_of(table: Path) -> dict[tuple[str, str], str]:
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            return {(row["picture"], row["object"]): row["label"] for row in csv.DictReader(file)}
    except (OSError, KeyError, ValueError):
        return {}
