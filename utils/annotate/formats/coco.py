"""COCO's instances.json. Polygons run along the edges of pixels, which pycocotools draws back exactly.

Width, height and masks are of the upright picture, as viewers show it; `info.frame` says so, since for a square or
half-turned picture the size can't.
"""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from utils.files import UserError, read_json

from ..errors import AnnotationError
from ..masks import box_of
from ..pictures import Picture
from .base import Annotated, Found, Writer, match_stem
from .polygons import edge_polygons, fill_edges


class CocoWriter(Writer):
    """instances.json with uncompressed RLE, which holds every mask exactly, or with polygons."""

    title = "COCO JSON"
    description = "one file for all pictures; for pycocotools, detectron2, mmdetection and this project's training"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
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


def read_coco(source: Path, pictures: list[Picture], shapes: Any, notes: list[str]) -> Any:
    """The objects of an instances.json for these pictures.

    Args:
        source: the file.
        pictures: of the project.
        shapes: gives the (H, W) of a picture.
        notes: gets a sentence for each annotation or image that can't be read.

    Yields:
        Found, image by image.

    Raises:
        AnnotationError: the file is no COCO JSON.
    """
    try:
        content = read_json(source)
        names = {each["id"]: str(each["name"]) for each in content["categories"]}
        images = {each["id"]: each for each in content["images"]}
        annotations = sorted(content["annotations"], key=lambda each: str(each["image_id"]))
    except (UserError, KeyError, TypeError) as error:
        raise AnnotationError(f"{source} is no COCO file of instances ({error}).") from error
    for annotation in annotations:
        try:
            image = images[annotation["image_id"]]
            picture = _picture_of(image, pictures)
            shape = shapes(picture)
            if (image["height"], image["width"]) != shape:
                raise ValueError(f"it is {image['width']}x{image['height']} there")
            yield Found(picture.name, names[annotation["category_id"]], _decode(annotation["segmentation"], shape))
        except (KeyError, TypeError, ValueError, IndexError, UserError) as error:
            notes.append(f"annotation {annotation.get('id')} is left out ({error})")


def _picture_of(image: dict[str, Any], pictures: list[Picture]) -> Picture:
    name = str(image["file_name"]).replace("\\", "/")
    exact = [picture for picture in pictures if picture.shown_name == name]
    picture = exact[0] if exact else match_stem(pictures, name.rpartition("/")[2])
    if picture is None:
        raise ValueError(f"{name} is not in the folder")
    return picture


def _decode(segmentation: Any, shape: tuple[int, int]) -> np.ndarray:
    if isinstance(segmentation, list):
        return fill_edges([np.array(polygon, float).reshape(-1, 2)[:, ::-1] for polygon in segmentation], shape)
    if list(segmentation["size"]) != list(shape):
        raise ValueError("its RLE has another size")
    counts = segmentation["counts"]
    counts = _uncompressed(counts) if isinstance(counts, str) else counts
    if sum(counts) != shape[0] * shape[1] or min(counts, default=0) < 0:
        raise ValueError("its RLE is damaged")
    values = np.arange(len(counts)) % 2 == 1
    return np.ascontiguousarray(np.repeat(values, counts).reshape(shape[::-1]).T)


def _uncompressed(text: str) -> list[int]:
    """COCO's compressed counts: numbers of 5 bits a letter, from the third on as difference to the one before last."""
    counts: list[int] = []
    value = shift = 0
    for letter in text.encode("ascii"):
        bits = letter - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            value -= (1 << shift) if bits & 0x10 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts
