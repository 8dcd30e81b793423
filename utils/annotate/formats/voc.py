"""PASCAL VOC: JPEGImages, Annotations, SegmentationClass and SegmentationObject with VOC's palette.

Boxes are counted from 1 and include their last pixel. Masks are exact; 255 is left to pixels that count neither way.
"""
from __future__ import annotations

import io
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

from utils.misc import get_palette

from ..errors import AnnotationError
from ..masks import box_of
from .base import Annotated, Writer

MAX_NUMBER = 254


class VocWriter(Writer):
    """The folders of VOC2012, with labelmap.txt for the classes."""

    title = "PASCAL VOC"
    description = "palette masks of classes and objects, XML with boxes, copies of the pictures"

    def begin(self) -> None:
        """Checks the number of classes."""
        self._stems: list[str] = []
        if len(self.labels) > MAX_NUMBER:
            raise AnnotationError(f"VOC has {MAX_NUMBER} classes at most; export as coco or png.")

    def add(self, picture: Annotated) -> None:
        """The picture's four files."""
        if len(picture.objects) > MAX_NUMBER:
            self.notes.append(f"{picture.picture.shown_name} has more than {MAX_NUMBER} objects, which VOC can't tell "
                              "apart; it is left out.")
            return
        classes, objects = np.zeros((2, *picture.shape), np.uint8)
        boxes = []
        for number, target in enumerate(picture.objects, start=1):
            mask = picture.mask(target)
            classes[mask], objects[mask] = self.labels[picture.label(target)], number
            boxes.append(_box(picture.label(target), box_of(mask)))
        for folder, values in (("SegmentationClass", classes), ("SegmentationObject", objects)):
            self.write(f"{folder}/{picture.stem}.png", _palette_png(values))
        image = f"{picture.stem}{picture.picture.path.suffix}"
        height, width = picture.shape
        self.write(f"Annotations/{picture.stem}.xml", (
            f"<annotation>\n <filename>{escape(image)}</filename>\n <size><width>{width}</width><height>{height}"
            f"</height><depth>3</depth></size>\n <segmented>1</segmented>\n{''.join(boxes)}</annotation>\n"
        ).encode("utf-8", "replace"))
        self.copy(picture.picture.path, f"JPEGImages/{image}")
        self._stems.append(picture.stem)

    def close(self) -> None:
        """The lists of pictures and classes."""
        self.write("ImageSets/Segmentation/train.txt", "".join(f"{stem}\n" for stem in self._stems).encode())
        names = ["background", *self.labels]
        rows = (f"{name}:{','.join(map(str, colour))}::\n"
                for name, colour in zip(names, get_palette(len(names)).tolist(), strict=True))
        self.write("labelmap.txt", ("# label:color_rgb:parts:actions\n" + "".join(rows)).encode("utf-8", "replace"))


def _box(label: str, box: tuple[int, int, int, int]) -> str:
    top, left, bottom, right = box
    corners = f"<xmin>{left + 1}</xmin><ymin>{top + 1}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax>"
    return f" <object><name>{escape(label)}</name><bndbox>{corners}</bndbox></object>\n"


def _palette_png(values: np.ndarray) -> bytes:
    image = Image.fromarray(values)
    image.putpalette(get_palette(256).ravel().tolist())
    content = io.BytesIO()
    image.save(content, "PNG", compress_level=1)
    return content.getvalue()
