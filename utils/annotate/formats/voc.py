"""PASCAL VOC: JPEGImages, Annotations, SegmentationClass and SegmentationObject with VOC's palette.

Boxes are counted from 1 and include their last pixel. Masks are exact; 255 is left to pixels that count neither way.
"""
from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

from utils.files import UserError
from utils.images import read_labels
from utils.labels import object_values

from ..errors import AnnotationError
from ..masks import box_of
from ..pictures import Picture
from .base import Annotated, Found, Writer, files_in, match_stem, read_text

MAX_NUMBER = 254


class VocWriter(Writer):
    """The folders of VOC2012, with labelmap.txt for the classes."""

    title = "PASCAL VOC"
    description = "palette masks of classes and objects, XML with boxes, copies of the pictures"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
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
        colours = palette().reshape(-1, 3)
        names = ["background", *self.labels]
        rows = (f"{name}:{','.join(map(str, colours[number]))}::\n" for number, name in enumerate(names))
        self.write("labelmap.txt", ("# label:color_rgb:parts:actions\n" + "".join(rows)).encode("utf-8", "replace"))


def _box(label: str, box: tuple[int, int, int, int]) -> str:
    top, left, bottom, right = box
    corners = f"<xmin>{left + 1}</xmin><ymin>{top + 1}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax>"
    return f" <object><name>{escape(label)}</name><bndbox>{corners}</bndbox></object>\n"


def palette() -> np.ndarray:
    """VOC's colours, uint8 (768,): the bits of a number, three by three, from the top of red, green and blue."""
    numbers = np.arange(256)
    colours = np.zeros((256, 3), np.int64)
    for bit in range(8):
        colours |= (numbers[:, None] >> (3 * bit + np.arange(3)) & 1) << (7 - bit)
    return colours.astype(np.uint8).ravel()


def _palette_png(values: np.ndarray) -> bytes:
    image = Image.fromarray(values)
    image.putpalette(palette().tolist())
    content = io.BytesIO()
    image.save(content, "PNG", compress_level=1)
    return content.getvalue()


def read_voc(source: Path, pictures: list[Picture], shapes: Any, notes: list[str]) -> Any:
    """The objects of SegmentationObject, with the classes that SegmentationClass shows under them; see `read_coco`."""
    names = _class_names(source / "labelmap.txt")
    for path in files_in(source / "SegmentationObject", ".png"):
        stem = path.relative_to(source / "SegmentationObject").with_suffix("").as_posix()
        picture = match_stem(pictures, stem) or match_stem(pictures, stem.rpartition("/")[2])
        try:
            if picture is None:
                raise UserError("it fits no picture, or several")
            objects = read_labels(path).values
            classes = read_labels(source / "SegmentationClass" / path.relative_to(source / "SegmentationObject")).values
            if not objects.shape == classes.shape == shapes(picture):
                raise UserError("its maps and its picture have different sizes")
        except UserError as error:
            notes.append(f"{path.name} is left out ({error})")
            continue
        for value in object_values(objects):
            mask = objects == value
            number = int(np.bincount(classes[mask]).argmax())
            yield Found(picture.name, names.get(number, f"class {number}"), mask)


VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor")


def _class_names(path: Path) -> dict[int, str]:
    """By number: of a labelmap.txt, else VOC's own."""
    if not path.is_file():
        return dict(enumerate(VOC_CLASSES, start=1))
    lines = [line for line in read_text(path).splitlines() if line and not line.startswith("#")]
    return {number: line.rsplit(":", 3)[0] for number, line in enumerate(lines)}
