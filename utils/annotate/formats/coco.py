"""COCO's instances.json. Polygons run along the edges of pixels, which pycocotools draws back exactly.

Width, height and masks are of the upright picture, as viewers show it; `info.frame` says so, since for a square or
half-turned picture the size can't.
"""
from __future__ import annotations

import json
from typing import Any

import numpy as np

from ..masks import box_of
from .base import Annotated, Writer
from .polygons import edge_polygons


class CocoWriter(Writer):
    """instances.json with uncompressed RLE, which holds every mask exactly, or with polygons."""

    title = "COCO JSON"
    description = "one file for all pictures; for pycocotools, detectron2, mmdetection and this project's training"

    def begin(self) -> None:
        """No entries yet."""
        self.images: list[dict[str, Any]] = []
        self.annotations: list[str] = []  # as JSON: numbers of Python take many times the room

    def add(self, picture: Annotated) -> None:
        """An image and its annotations."""
        image_id, (height, width) = len(self.images) + 1, picture.shape
        self.images.append({"id": image_id, "file_name": picture.picture.shown_name, "width": width, "height": height})
        for target in picture.objects:
            mask = picture.mask(target)
            top, left, bottom, right = box_of(mask)
            self.annotations.append(json.dumps({
                "id": len(self.annotations) + 1,
                "image_id": image_id,
                "category_id": self.labels[picture.label(target)],
                "segmentation": self._segmentation(mask),
                "area": int(np.count_nonzero(mask)),
                "bbox": [left, top, right - left, bottom - top],
                "iscrowd": 0,
            }))

    def _segmentation(self, mask: np.ndarray) -> Any:
        if self.polygons:
            return [polygon[:, ::-1].ravel().tolist() for polygon in edge_polygons(mask)]
        return {"size": list(mask.shape), "counts": run_lengths(mask)}

    def close(self) -> None:
        """The file, a line an entry."""
        categories = [{"id": number, "name": name, "supercategory": ""} for name, number in self.labels.items()]
        info = {"description": "Annotated by clicks", "version": "1.0", "frame": "upright"}
        head = json.dumps({"info": info, "licenses": []}, ensure_ascii=False)[:-1]
        parts = {"images": map(_dump, self.images), "categories": map(_dump, categories),
                 "annotations": self.annotations}
        lists = (f'"{name}": [\n' + ",\n".join(lines) + "\n]" for name, lines in parts.items())
        self.write("instances.json", (",\n".join([head, *lists]) + "}\n").encode("utf-8", "replace"))


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def run_lengths(mask: np.ndarray) -> list[int]:
    """COCO's uncompressed RLE: lengths of runs of 0 and 1 in turn, down the columns, beginning with 0."""
    pixels = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(pixels)) + 1
    edges = np.concatenate([[0], changes, [pixels.size]])
    counts = np.diff(edges).tolist()
    return [0, *counts] if pixels[0] else counts
