"""labelme's JSON files. Polygons run along the edges of pixels, as labelme itself draws them."""
from __future__ import annotations

import base64
import binascii
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from utils.files import UserError, read_json
from utils.images import read_labels

from ..pictures import Picture
from .base import Annotated, Found, Writer, files_in, match_stem, shown_name
from .polygons import edge_polygons, fill_edges


class LabelmeWriter(Writer):
    """A JSON file a picture with polygons; the parts of one object share a group_id."""

    title = "labelme JSON"
    description = "a file a picture, to go on in labelme; the pictures stay where they are"

    def add(self, picture: Annotated) -> None:
        """The picture's file."""
        height, width = picture.shape
        shapes = [
            {"label": picture.label(target), "points": polygon[:, ::-1].tolist(), "group_id": target.id,
             "description": "", "shape_type": "polygon", "flags": {}}
            for target in picture.objects for polygon in edge_polygons(picture.mask(target))
        ]
        folder = (self.to / picture.stem).parent.resolve()
        image_path = Path(os.path.relpath(picture.picture.path.resolve(), folder)).as_posix()
        self.write_json(f"{picture.stem}.json", {
            "version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": shown_name(image_path), "imageData": None,
            "imageHeight": height, "imageWidth": width})


def read_labelme(source: Path, pictures: list[Picture], shapes: Any, notes: list[str]) -> Any:
    """The objects of a folder of labelme files; see `read_coco`. Shapes with one group_id and label are one object."""
    for path in files_in(source, ".json"):
        try:
            content = read_json(path)
            stem = path.relative_to(source).with_suffix("").as_posix()
            wanted = str(content["imagePath"]).replace("\\", "/").rpartition("/")[2]
            picture = match_stem(pictures, stem) or match_stem(pictures, wanted)
            if picture is None:
                raise ValueError(f"{wanted} is not in the folder")
            shape = shapes(picture)
            if (content["imageHeight"], content["imageWidth"]) != shape:
                raise ValueError("it has another size there")
            yield from _objects(content["shapes"], picture, shape, notes)
        except (UserError, KeyError, TypeError, ValueError) as error:
            notes.append(f"{path.name} is left out ({error})")


def _objects(drawn: list[Any], picture: Picture, shape: tuple[int, int], notes: list[str]) -> Any:
    groups: dict[Any, np.ndarray] = defaultdict(lambda: np.zeros(shape, bool))
    for number, each in enumerate(drawn):
        try:
            group = each.get("group_id")
            key = (str(each["label"]), number if group is None else f"group {group}")
            groups[key] |= _mask(each, shape)
        except (KeyError, TypeError, ValueError, AttributeError, UserError) as error:
            notes.append(f"{picture.shown_name}: a shape is left out ({error})")
    for (label, _), mask in groups.items():
        yield Found(picture.name, label, mask)


def _mask(drawn: dict[str, Any], shape: tuple[int, int]) -> np.ndarray:
    kind, points = drawn.get("shape_type", "polygon"), np.array(drawn["points"], float).reshape(-1, 2)[:, ::-1]
    if kind == "rectangle":
        (top, left), (bottom, right) = points.min(axis=0), points.max(axis=0)
        points = np.array([[top, left], [top, right], [bottom, right], [bottom, left]])
    elif kind == "circle":
        turn = np.linspace(0, 2 * np.pi, 257)[:-1]
        points = points[0] + np.hypot(*(points[1] - points[0])) * np.stack([np.sin(turn), np.cos(turn)], axis=1)
    elif kind == "mask":
        return _drawn_mask(drawn["mask"], points, shape)
    elif kind not in ("polygon", "rotation"):
        raise ValueError(f"{kind} has no area")
    return fill_edges([points], shape)


def _drawn_mask(encoded: str, points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    try:
        part = read_labels(base64.b64decode(encoded), "a mask").values > 0
    except binascii.Error as error:
        raise ValueError("its mask is damaged") from error
    top, left = np.round(points.min(axis=0)).astype(int)
    mask = np.zeros(shape, bool)
    into = mask[max(top, 0) : top + part.shape[0], max(left, 0) : left + part.shape[1]]
    into[:] = part[max(-top, 0) :, max(-left, 0) :][: into.shape[0], : into.shape[1]]
    return mask
