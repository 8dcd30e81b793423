"""Files of the VGG Image Annotator, versions 1 and 2 (JSON project, JSON or CSV annotations), to write.

VIA shows pictures in a browser, upright. Its coordinates are in pixels of the picture, (0, 0) the upper left corner.
"""
from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils.files import UsageError, UserError, read_text, shown_name
from utils.formats.photos import PhotoFolders, stated_name
from utils.formats.picture import NO_AREA, Picture, Plan, Reader, Task, own_ids
from utils.formats.shapes import ellipse, polygon_mask, pycocotools_mask, rectangle

LINES = {"point", "polyline"}
UNNAMED = "object"


@dataclass(frozen=True)
class ViaReader(Reader):
    """Makes a Picture of a picture's regions, a JSON list of {"shape_attributes", "region_attributes"}.

    Args:
        attribute: the region attribute that holds an object's class; "" for none.
        stuff: classes that are stuff.
    """

    kind = "via"
    attribute: str = ""
    stuff: tuple[str, ...] = ()

    def __call__(self, task: Task) -> Picture:
        """See Reader."""
        picture = Picture(task.read_photo(), task.source, self.stuff)
        for number, region in enumerate(json.loads(task.content[0]), start=1):
            with picture.lost_alone(f"region {number}"):
                shape = region["shape_attributes"]
                if shape["name"] in LINES:
                    picture.counts[NO_AREA] += 1
                else:
                    picture.add(self._label(region), polygon_mask(_corners(shape), picture.photo.size))
        return picture

    def _label(self, region: dict[str, Any]) -> str:
        """A class: text, one choice, or the ticked boxes of several joined by +."""
        value = (region.get("region_attributes") or {}).get(self.attribute) or UNNAMED
        return "+".join(sorted(key for key in value if value[key])) if isinstance(value, dict) else str(value)


def _corners(shape: dict[str, Any]) -> np.ndarray:
    """Corners (N, 2) (x, y) of a shape with an area."""
    kind = shape["name"]
    if kind == "rect":
        first = np.array([shape["x"], shape["y"]], float)
        return rectangle(first, first + [shape["width"], shape["height"]])
    if kind == "circle":
        return ellipse((shape["cx"], shape["cy"]), (shape["r"], shape["r"]))
    if kind == "ellipse":
        return ellipse((shape["cx"], shape["cy"]), (shape["rx"], shape["ry"]), shape.get("theta", 0.0))
    if kind == "polygon":
        return np.stack([np.array(shape[key], float) for key in ("all_points_x", "all_points_y")], axis=1)
    raise ValueError(f"{kind!r} is no shape that VIA 1 or 2 draws")


def plan_via(paths: Sequence[Path], images: Sequence[Path], attribute: str | None = None, stuff: Sequence[str] = (),
             skip_missing: bool = False) -> Plan:
    """A task for each picture of the files that is there.

    Args:
        paths: VIA's files.
        images: folders of the pictures.
        attribute: the region attribute that holds the class; None for the only one there is.
        stuff: classes that are stuff.
        skip_missing: leaves out pictures that are in no folder; else each is a problem.

    Raises:
        UsageError: pycocotools is not installed, no picture is found, or the attribute must be named.
        UserError: a file is not VIA's.
    """
    pycocotools_mask()
    regions: dict[str, list[dict[str, Any]]] = {}
    problems: list[str] = []
    for path in paths:
        for name, found in _entries(path):
            if name in regions and found != regions[name]:
                problems.append(f"{path} lists {shown_name(name)} again with other regions, which were left out")
            regions.setdefault(name, found)
    places, ids = PhotoFolders(images, regions, skip_missing), own_ids(regions)
    tasks = []
    for name, found in sorted(regions.items()):
        photo, why = places.find(name)
        if photo is not None:
            tasks.append(Task(ids[name], name, photo, (json.dumps(found).encode(),)))
        elif why:
            problems.append(why)
    if not tasks:
        raise UsageError(f"none of the {len(regions)} pictures of {paths[0]} is in "
                         f"{' or '.join(map(str, images))}; name the folder that holds them with --images")
    return Plan(tasks, ViaReader(_attribute(attribute, regions), tuple(stuff)), problems, places.notes())


def _attribute(wanted: str | None, regions: dict[str, list[dict[str, Any]]]) -> str:
    stated = (region.get("region_attributes") for found in regions.values() for region in found
              if isinstance(region, dict))
    used = Counter(key for each in stated if isinstance(each, dict) for key, value in each.items() if value)
    if wanted is not None and wanted not in used or wanted is None and len(used) > 1:
        raise UsageError(f"name the attribute that holds the class with --attribute: {', '.join(used) or 'none'}")
    return wanted or next(iter(used), "")


def _entries(path: Path) -> Iterator[tuple[str, list[Any]]]:
    """Picture names and their regions."""
    text = read_text(path)
    try:
        if text.lstrip().startswith("{"):
            yield from _json_entries(json.loads(text))
        else:
            yield from _csv_entries(text)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, csv.Error) as error:
        raise UserError(f"{path} is no file of VIA 1 or 2 ({type(error).__name__}: {error}); save it there as project "
                        "or export its annotations as JSON or CSV") from error


def _json_entries(content: dict[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    for entry in content.get("_via_img_metadata", content).values():
        regions = entry["regions"]  # a list in version 2, numbered in version 1
        yield stated_name(entry["filename"]), list(regions.values() if isinstance(regions, dict) else regions)


def _csv_entries(text: str) -> Iterator[tuple[str, list[Any]]]:
    found: dict[str, list[Any]] = {}
    for row in csv.DictReader(io.StringIO(text.lstrip("#"))):
        regions = found.setdefault(row["filename"], [])
        if int(row["region_count"]):
            regions.append({"shape_attributes": json.loads(row["region_shape_attributes"]),
                            "region_attributes": json.loads(row["region_attributes"])})
    if not found:
        raise ValueError("it lists no pictures")
    yield from found.items()
