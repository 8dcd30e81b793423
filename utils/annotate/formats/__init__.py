"""Formats of the field, each a file that writes finished objects and reads them again, and a row of FORMATS."""
from __future__ import annotations

from .base import Annotated, Found, Writer
from .coco import CocoWriter, read_coco
from .label_maps import LabelMapWriter, read_label_maps
from .labelme import LabelmeWriter, read_labelme
from .voc import VocWriter, read_voc
from .yolo import YoloWriter, read_yolo

WRITERS: dict[str, type[Writer]] = {
    "coco": CocoWriter, "png": LabelMapWriter, "labelme": LabelmeWriter, "yolo": YoloWriter, "voc": VocWriter}
READERS = {"coco": read_coco, "png": read_label_maps, "labelme": read_labelme, "yolo": read_yolo, "voc": read_voc}
FORMATS = tuple(WRITERS)

__all__ = ["FORMATS", "READERS", "WRITERS", "Annotated", "Found", "Writer"]
