"""Label maps as PNG: the number of a pixel is its class or its object. Pixels are pixels; there are no corners."""
from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np

from utils.images import encode_png

from ..masks import encode_mask
from .base import Annotated, Writer


class LabelMapWriter(Writer):
    """labels/ (pixel = class), instances/ (pixel = object), objects/ (a mask an object), objects.csv, classes.json."""

    title = "PNG masks"
    description = "label maps of classes and of objects, and a mask an object"

    def begin(self) -> None:
        """An empty table."""
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
