"""labelme's JSON files (one a picture) to write."""
from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from utils.prepare.files import PrepareError, WrongCall, inside
from utils.prepare.folder import assign_ids
from utils.prepare.masks import decode_segmentation, pycocotools_mask
from utils.prepare.photos import Photo, read_bytes, read_photo
from utils.prepare.regions import Region
from utils.prepare.writer import Picture

NO_REGIONS = {"point", "line", "linestrip"}  # shapes without an area
NO_OBJECTS = {"_background_", "__ignore__"}  # labels by which labelme's own tools mean no object
CIRCLE_CORNERS = 180


@dataclass(frozen=True)
class LabelmeTask:
    """A labelme file."""

    image_id: str
    path: Path


@dataclass(frozen=True)
class LabelmeReader:
    """Makes a Picture of a labelme file: a shape is an object, shapes of one label and group id are one together.

    The photo is `imagePath`, in the file's folder or by its name in `images`, else the copy inside the file. labelme
    shows photos turned by their EXIF data, so that is how the shapes lie.

    Args:
        labels_folder: all files lie in it; no photo outside it and `images` is read.
        images: folder of the photos, if it is another one.
        stuff: labels that are stuff.
    """

    labels_folder: Path
    images: Path | None = None
    stuff: Collection[str] = ()

    def __call__(self, task: LabelmeTask) -> Picture:
        document = _read(task.path)
        size = (document.get("imageHeight"), document.get("imageWidth"))
        stated = size if all(type(n) is int for n in size) else None
        name, photo = self._photo(task.path, document, stated)
        objects, stuff = [], []
        for label, shapes in _groups(task.path, document["shapes"]):
            region = Region.of(label, np.logical_or.reduce([_draw(task.path, shape, photo.size) for shape in shapes]))
            if region is not None:
                (stuff if label in self.stuff else objects).append(region)
        return Picture(photo, objects, stuff, name)

    def _photo(self, path: Path, document: dict[str, Any], size: tuple[int, int] | None) -> tuple[str, Photo]:
        image_path = str(document.get("imagePath") or "").replace("\\", "/")
        name = image_path.rsplit("/", 1)[-1]
        places = [(path.parent / image_path, self.labels_folder)]
        if self.images is not None:  # as much of the path as is the same there, its name at least
            parts = image_path.split("/")
            tails = ("/".join(parts[i:]) for i in range(len(parts)))
            places = [*((self.images / tail, self.images) for tail in tails), *places]
        for place, folder in places:
            if name and inside(place, folder) and place.is_file():
                return name, read_photo(place, read_bytes(place), "upright", size)
        if not document.get("imageData"):
            raise PrepareError(f"{path}: its picture {image_path!r} is not there; name its folder with --images")
        return name or path.stem, read_photo(path, _decoded(path, document["imageData"]), "upright", size)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(read_bytes(path).decode("utf-8-sig", "surrogateescape"))  # file names may be of any bytes
    except (ValueError, RecursionError) as error:
        raise PrepareError(f"{path} is no JSON or is truncated ({error}); save it again") from error
    if not isinstance(document, dict) or not isinstance(document.get("shapes"), list):
        raise PrepareError(f"{path} is no labelme file: it has no list of shapes")
    return document


def _decoded(path: Path, text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise PrepareError(f"{path} holds image data that are not base64 text ({error}); save it again") from error


def _groups(path: Path, shapes: list[Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    """The label and shapes of each object; a shape without a group id is an object of its own."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for i, shape in enumerate(shapes):
        if not isinstance(shape, dict) or "label" not in shape or "points" not in shape:
            raise PrepareError(f"{path}: shape {i + 1} has no label or no points; mend it in labelme")
        label, group = str(shape["label"]), shape.get("group_id")
        if shape.get("shape_type") not in NO_REGIONS and label not in NO_OBJECTS:
            groups.setdefault((label, f"shape {i}" if group is None else f"group {group}"), []).append(shape)
    return [(label, members) for (label, _), members in groups.items()]


def _draw(path: Path, shape: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    try:
        return _draw_shape(path, shape, size)
    except (PrepareError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise PrepareError(f"{path}: shape {shape['label']!r} can't be drawn ({error}); mend it there") from error


def _draw_shape(path: Path, shape: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    kind = shape.get("shape_type") or "polygon"
    points = np.array(shape["points"], dtype=float).reshape(-1, 2)
    if kind == "mask":
        return _placed_mask(_decoded(path, shape["mask"]), points, size)
    if kind == "rectangle":
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        points = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    elif kind == "circle":
        centre, edge = points
        angles = np.linspace(0, 2 * np.pi, CIRCLE_CORNERS, endpoint=False)
        points = centre + np.hypot(*(edge - centre)) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    elif kind != "polygon":
        raise ValueError(f"{kind!r} is no shape that has an area")
    return decode_segmentation([points.ravel().tolist()], size)


def _placed_mask(png: bytes, points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask shape: an image of its box, the first point of which is the box's top left pixel."""
    crop = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE) if png else None
    if crop is None:
        raise ValueError("its mask is no image")
    left, top = (int(value) for value in points[0])
    mask = np.zeros(size, bool)
    target = mask[top : top + crop.shape[0], left : left + crop.shape[1]]
    if min(top, left) < 0 or target.shape != crop.shape:
        raise ValueError("its mask leaves the picture")
    target[:] = crop > 0
    return mask


def plan_labelme(folder: Path) -> list[LabelmeTask]:
    """A task for each JSON file of a folder and the folders in it, in the order of names.

    Raises:
        WrongCall: there is none, or pycocotools is not installed.
    """
    pycocotools_mask()
    paths = sorted(folder.rglob("*.json"))
    if not paths:
        raise WrongCall(f"{folder} holds no JSON files; name the folder in which labelme saved")
    return [LabelmeTask(*task) for task in zip(assign_ids([path.stem for path in paths]), paths, strict=True)]
