"""Formats of the field, each a file that writes finished objects, and a row of WRITERS; utils.formats reads them."""
from __future__ import annotations

from .base import Annotated, Writer
from .coco import CocoWriter
from .label_maps import LabelMapWriter
from .labelme import LabelmeWriter
from .voc import VocWriter
from .yolo import YoloWriter

WRITERS: dict[str, type[Writer]] = {
    "coco": CocoWriter, "png": LabelMapWriter, "labelme": LabelmeWriter, "yolo": YoloWriter, "voc": VocWriter}
FORMATS = tuple(WRITERS)

__all__ = ["FORMATS", "WRITERS", "Annotated", "Writer"]
