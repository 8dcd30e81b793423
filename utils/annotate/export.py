"""What was annotated, in the formats of the field: COCO JSON, label maps, labelme JSON, YOLO segmentation.

Only finished objects are exported. What an earlier export into the same folder wrote and this one doesn't is removed,
so that no label of a deleted object lives on; files of others are left alone.

Polygons run along the edges of pixels. The formats know no holes: a polygon with holes (and for YOLO, which has one
polygon an object, with several parts) is cut open along seams of no width.
"""
from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .document import Target
from .errors import AnnotationError
from .masks import FAST, bounding_box, encode_mask, outline
from .pictures import Picture
from .project import Project
from .session import Session, write_whole

FORMATS = ("coco", "png", "labelme", "yolo")
MANIFEST = ".exported"  # in the folder of an export: the names of its files
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Annotated:
    """A picture with its finished objects."""

    project: Project
    picture: Picture
    session: Session
    stem: str  # of the files that are written for it, unique in the project

    @property
    def objects(self) -> tuple[Target, ...]:
        """The finished objects, by id; where masks overlap the later one lies on top."""
        return self.session.document.objects

    def mask(self, target: Target) -> np.ndarray:
        """Mask bool (H, W) of an object."""
        return self.project.mask(self.picture, target.mask)

    @cached_property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.session.height, self.session.width


def annotated_pictures(project: Project, only_done: bool = False) -> list[Annotated]:
    """The pictures that have finished objects, or are done (which says that nothing is on them)."""
    stems = Counter(picture.path.stem for picture in project.pictures.values())
    result = []
    for picture in project.pictures.values():
        session = project.read_session(picture)
        if session and (session.status == "done" or (session.document.objects and not only_done)):
            stem = picture.path.stem if stems[picture.path.stem] == 1 else picture.name
            result.append(Annotated(project, picture, session, stem))
    return result


def export(
    project: Project,
    to: Path,
    kind: str,
    only_done: bool = False,
    polygons: bool = False,
    progress: Progress = lambda done, total: None,
) -> int:
    """Writes the finished objects of a project into a folder.

    Args:
        project: the project.
        to: folder, made if missing; the files of an earlier export are replaced or removed.
        kind: one of FORMATS.
        only_done: leave out the pictures that aren't marked as done.
        polygons: COCO segmentations as polygons instead of RLE.
        progress: told (pictures done, all pictures).

    Returns:
        Number of pictures written.

    Raises:
        AnnotationError: nothing has been annotated, or a file can't be written.
    """
    pictures = annotated_pictures(project, only_done)
    if not pictures:
        raise AnnotationError("There is nothing to export yet: finish an object first.")
    labels = _labels(project, pictures)
    writer = {"coco": _CocoWriter, "png": _PngWriter, "labelme": _LabelmeWriter, "yolo": _YoloWriter}[kind](to, labels)
    if polygons and kind == "coco":
        writer.as_polygons = True
    try:
        for done, picture in enumerate(pictures):
            progress(done, len(pictures))
            writer.add(picture)
        writer.close()
        writer.remove_old()
    except OSError as error:
        raise AnnotationError(f"{to} can't be written: {error.strerror}.") from error
    progress(len(pictures), len(pictures))
    return len(pictures)


def counted(pictures: int) -> str:
    """A number of pictures in words."""
    return f"{pictures} picture" + ("" if pictures == 1 else "s")


def _labels(project: Project, pictures: Sequence[Annotated]) -> dict[str, int]:
    """Classes by name, numbered from 1: the project's in its order, then others that objects have."""
    names = [label.name for label in project.labels]
    names += [target.label for picture in pictures for target in picture.objects]
    return {name: number for number, name in enumerate(dict.fromkeys(names), start=1)}


class _Writer:
    """A folder of exported files, which remembers what it wrote."""

    def __init__(self, to: Path, labels: dict[str, int]) -> None:
        self.to, self.labels = to, labels
        self.names: list[str] = []

    def write(self, name: str, content: bytes) -> None:
        """A file of the folder; name may have subfolders."""
        write_whole(self.to / name, content)
        self.names.append(name)

    def write_json(self, name: str, content: Any) -> None:
        """As `write`, as JSON for people to read."""
        self.write(name, _encoded(json.dumps(content, ensure_ascii=False, indent=1)))

    def add(self, picture: Annotated) -> None:
        """Writes one picture."""
        raise NotImplementedError

    def close(self) -> None:
        """Writes what belongs to all pictures."""

    def remove_old(self) -> None:
        """Removes what an earlier export wrote and this one didn't."""
        manifest = self.to / MANIFEST
        home = self.to.resolve()
        for name in sorted(_listed(manifest) - set(self.names)):
            path = self.to / name
            if home in path.parent.resolve().parents or home == path.parent.resolve():
                path.unlink(missing_ok=True)
        write_whole(manifest, _encoded(json.dumps(sorted(self.names), ensure_ascii=False, indent=0)))


def _listed(manifest: Path) -> set[str]:
    """The file names of an earlier export; none if there was none or its list is damaged."""
    try:
        names = json.loads(manifest.read_text("utf-8", "surrogateescape"))
    except (OSError, ValueError):
        return set()
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


# ---------------------------------------------------------------------------------------------- polygons


def part_polygons(mask: np.ndarray) -> list[np.ndarray]:
    """One closed polygon, corners int (N, 2) (y, x), for each connected part of a mask, cut open to its holes."""
    count, numbers, boxes, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4)
    result = []
    for number, (left, top, width, height) in zip(range(1, count), boxes[1:, :4].tolist(), strict=True):
        part = numbers[top : top + height, left : left + width] == number
        result.append(joined(outline(part)) + (top, left))
    return result


def joined(polygons: Sequence[np.ndarray]) -> np.ndarray:
    """Several closed polygons (N, 2) as one, by seams that are gone along twice."""
    whole = polygons[0]
    for polygon in polygons[1:]:
        leave = _nearest(whole, polygon[0])
        enter = _nearest(polygon, whole[leave])
        detour = np.concatenate([polygon[enter:], polygon[: enter + 1]])
        whole = np.concatenate([whole[: leave + 1], detour, whole[leave:]])
    return whole


def _nearest(polygon: np.ndarray, point: np.ndarray) -> int:
    return int(((polygon - point) ** 2).sum(axis=1).argmin())


# ---------------------------------------------------------------------------------------------- COCO


class _CocoWriter(_Writer):
    """instances.json with uncompressed RLE, which holds every mask exactly, or with polygons."""

    as_polygons = False

    def __init__(self, to: Path, labels: dict[str, int]) -> None:
        super().__init__(to, labels)
        self.images: list[dict] = []
        self.annotations: list[str] = []  # as JSON: numbers of Python take many times the room

    def add(self, picture: Annotated) -> None:
        image_id = len(self.images) + 1
        height, width = picture.shape
        self.images.append({"id": image_id, "file_name": picture.picture.name, "width": width, "height": height})
        for target in picture.objects:
            mask = picture.mask(target)
            top, left, bottom, right = bounding_box(mask)
            self.annotations.append(json.dumps({
                "id": len(self.annotations) + 1,
                "image_id": image_id,
                "category_id": self.labels[target.label],
                "segmentation": self._segmentation(mask),
                "area": int(np.count_nonzero(mask)),
                "bbox": [left, top, right - left, bottom - top],
                "iscrowd": 0,
            }))

    def _segmentation(self, mask: np.ndarray) -> Any:
        if self.as_polygons:
            return [polygon[:, ::-1].ravel().tolist() for polygon in part_polygons(mask)]
        return {"size": list(mask.shape), "counts": run_lengths(mask)}

    def close(self) -> None:
        categories = [{"id": number, "name": name, "supercategory": ""} for name, number in self.labels.items()]
        info = {"description": "Annotated by clicks", "version": "1.0"}
        head = json.dumps({"info": info, "licenses": []}, ensure_ascii=False)[:-1]
        parts = {"images": map(_dump, self.images), "categories": map(_dump, categories),
                 "annotations": self.annotations}
        lists = (f'"{name}": [\n' + ",\n".join(lines) + "\n]" for name, lines in parts.items())
        self.write("instances.json", _encoded(",\n".join([head, *lists]) + "}\n"))


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def run_lengths(mask: np.ndarray) -> list[int]:
    """COCO's uncompressed RLE: lengths of runs of 0 and 1 in turn, down the columns, beginning with 0."""
    pixels = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(pixels)) + 1
    edges = np.concatenate([[0], changes, [pixels.size]])
    counts = np.diff(edges).tolist()
    return [0, *counts] if pixels[0] else counts


# ---------------------------------------------------------------------------------------------- label maps


class _PngWriter(_Writer):
    """labels/ (pixel = class), instances/ (pixel = object), objects/ (a mask an object), objects.csv, classes.json."""

    def __init__(self, to: Path, labels: dict[str, int]) -> None:
        super().__init__(to, labels)
        self.rows: list[list[Any]] = []

    def add(self, picture: Annotated) -> None:
        classes, instances = np.zeros((2, *picture.shape), np.uint16)
        for target in picture.objects:
            mask = picture.mask(target)
            classes[mask], instances[mask] = self.labels[target.label], target.id
            name = f"objects/{picture.stem}/{target.id:03d}.png"
            self.write(name, encode_mask(mask))
            self.rows.append([picture.picture.shown_name, target.id, target.label, name, np.count_nonzero(mask)])
        for folder, values in (("labels", classes), ("instances", instances)):
            small = values.astype(np.uint8) if values.max() < 256 else values
            png = cv2.imencode(".png", small, FAST)[1].tobytes()
            self.write(f"{folder}/{picture.stem}.png", png)

    def close(self) -> None:
        table = io.StringIO()
        csv.writer(table).writerows([["picture", "object", "label", "file", "pixels"], *self.rows])
        self.write("objects.csv", _encoded(table.getvalue()))
        self.write_json("classes.json", self.labels)


# ---------------------------------------------------------------------------------------------- labelme


class _LabelmeWriter(_Writer):
    """A JSON file a picture with polygons; the parts of one object share a group_id."""

    def add(self, picture: Annotated) -> None:
        height, width = picture.shape
        shapes = [
            {"label": target.label, "points": polygon[:, ::-1].tolist(), "group_id": target.id, "description": "",
             "shape_type": "polygon", "flags": {}}
            for target in picture.objects for polygon in part_polygons(picture.mask(target))
        ]
        image_path = os.path.relpath(picture.picture.path.resolve(), self.to.resolve())
        self.write_json(f"{picture.stem}.json", {
            "version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": image_path, "imageData": None,
            "imageHeight": height, "imageWidth": width})


# ---------------------------------------------------------------------------------------------- YOLO


class _YoloWriter(_Writer):
    """labels/*.txt with a line an object, images/ beside it (linked where the disk can), data.yaml."""

    def add(self, picture: Annotated) -> None:
        height, width = picture.shape
        lines = []
        for target in picture.objects:
            polygon = joined(part_polygons(picture.mask(target)))
            points = " ".join(f"{value:.6g}" for value in (polygon / (height, width))[:, ::-1].ravel())
            lines.append(f"{self.labels[target.label] - 1} {points}\n")
        self.write(f"labels/{picture.stem}.txt", "".join(lines).encode())
        image = f"images/{picture.stem}{picture.picture.path.suffix}"
        _link(picture.picture.path, self.to / image)
        self.names.append(image)

    def close(self) -> None:
        names = [f"  {number - 1}: {json.dumps(name, ensure_ascii=False)}" for name, number in self.labels.items()]
        text = "\n".join(["train: images", "val: images", "names:", *names, ""])
        self.write("data.yaml", text.encode("utf-8"))


def _link(source: Path, target: Path) -> None:
    """The same file under another name, or a copy where that can't be."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        os.link(source.resolve(), target)
        return
    shutil.copyfile(source, target)
