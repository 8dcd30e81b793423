"""labelme's JSON files (one a picture) to write."""
from __future__ import annotations

import base64
import binascii
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils.files import UsageError, UserError, inside, read_json, shown_name
from utils.formats.photos import plain, stated_name
from utils.formats.picture import NO_AREA, Picture, Plan, Reader, Task, own_ids
from utils.formats.shapes import Size, ellipse, polygon_mask, pycocotools_mask, rectangle
from utils.images import PICTURE_SUFFIXES, read_labels

LINES = {"point", "points", "line", "linestrip"}
NO_OBJECTS = {"_background_", "__ignore__"}  # labels by which labelme's own tools mean no object


@dataclass(frozen=True)
class LabelmeReader(Reader):
    """Makes a Picture of a labelme file: a shape is an object, shapes of one label and group id are one together.

    labelme shows photos turned by their EXIF data, so that is how the shapes lie.

    Args:
        stuff: labels that are stuff.
    """

    kind = "labelme"
    stuff: tuple[str, ...] = ()

    def __call__(self, task: Task) -> Picture:
        """See Reader."""
        (path,) = task.content
        document = _read(path)
        height, width = document.get("imageHeight"), document.get("imageWidth")
        size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
        content = _decoded(document.get("imageData")) if task.photo is None else b""
        picture = Picture(task.read_photo(size, content=content), task.source, self.stuff)
        for (label, _), mask in _masks(document["shapes"], picture).items():
            picture.add(label, mask)
        return picture


def _read(path: Path) -> dict[str, Any]:
    document = read_json(path)
    if not isinstance(document, dict) or not isinstance(document.get("shapes"), list):
        raise UserError(f"{path} is no labelme file: it has no list of shapes")
    return document


def _decoded(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise UserError(f"its image data are not base64 text ({error})") from error


def _masks(shapes: list[Any], picture: Picture) -> dict[tuple[str, str], np.ndarray]:
    """The masks of objects by label and group; a shape without a group id is an object of its own."""
    groups: dict[tuple[str, str], np.ndarray] = defaultdict(lambda: np.zeros(picture.photo.size, bool))
    for number, shape in enumerate(shapes, start=1):
        with picture.lost_alone(f"shape {number}"):
            label, group, kind = str(shape["label"]), shape.get("group_id"), shape.get("shape_type") or "polygon"
            if kind in LINES:
                picture.counts[NO_AREA] += 1
            elif label not in NO_OBJECTS:
                key = label, f"shape {number}" if group is None else f"group {group}"
                groups[key] |= _draw(kind, shape, picture.photo.size)
    return {key: mask for key, mask in groups.items() if mask.any()}


def _draw(kind: str, shape: dict[str, Any], size: Size) -> np.ndarray:
    points = np.array(shape["points"], dtype=float).reshape(-1, 2)
    if kind == "mask":
        return _placed_mask(_decoded(shape["mask"]), points, size)
    if kind == "rectangle":
        points = rectangle(points.min(axis=0), points.max(axis=0))
    elif kind == "circle":
        centre, edge = points
        points = ellipse(centre, [np.hypot(*(edge - centre))] * 2)
    elif kind not in ("polygon", "rotation"):
        raise ValueError(f"{kind!r} is no shape that has an area")
    return polygon_mask(points, size)


def _placed_mask(png: bytes, points: np.ndarray, size: Size) -> np.ndarray:
    """A mask shape: an image of its box, the first point of which is the box's top left pixel."""
    crop = read_labels(png, "its mask").values > 0
    left, top = (int(value) for value in points[0])
    mask = np.zeros(size, bool)
    target = mask[top : top + crop.shape[0], left : left + crop.shape[1]]
    if min(top, left) < 0 or target.shape != crop.shape:
        raise ValueError("its mask leaves the picture")
    target[:] = crop
    return mask


def plan_labelme(folder: Path, images: Path | None, reader: LabelmeReader) -> Plan:
    """A task for each JSON file of a folder and the folders in it that has its picture.

    The picture is `imagePath` in `images` (as much of the path as is the same there, its name at least), or from the
    file's folder on, wherever that leads, or beside the file, else the copy inside the file.

    Raises:
        UsageError: there is no JSON file, or pycocotools is not installed.
    """
    pycocotools_mask()
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.json"))}
    if not paths:
        raise UsageError(f"{folder} holds no JSON files; name the folder in which labelme saved")
    ids, tasks, problems = own_ids(paths), [], []
    owners: dict[Path, str] = {}
    for name, path in paths.items():
        try:
            photo = _find_photo(path, images)
        except UserError as error:
            problems.append(str(error))
            continue
        owner = owners.setdefault(photo.resolve(), name) if photo else name
        if owner != name:
            problems.append(f"{shown_name(name)} annotates {photo}, as {shown_name(owner)} does; keep one of them")
        else:
            tasks.append(Task(ids[name], name, photo, (path,)))
    return Plan(tasks, reader, problems)


def _find_photo(path: Path, images: Path | None) -> Path | None:
    """The picture's file; None for the copy inside. Raises UserError if there is neither."""
    document = _read(path)
    image_path = plain(stated_name(document.get("imagePath") or ""))
    parts = image_path.split("/")
    places = [] if images is None else [images / "/".join(parts[i:]) for i in range(len(parts))]
    inner = [place for place in places if inside(place, images or Path())]
    for place in (*inner, path.parent / image_path, path.parent / parts[-1]):
        if place.suffix.lower() in PICTURE_SUFFIXES and place.is_file():
            return place
    if not document.get("imageData"):
        advice = f"is neither in {images} nor there" if images else "is not there; name its folder with --images"
        raise UserError(f"{path}: its picture {shown_name(image_path)!r} {advice}")
    return None
