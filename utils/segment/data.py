"""Folders of photos with masks of one concept, as samples that training and evaluation read one by one.

A format is a row of FORMATS: what it looks like, how it is recognised and what lists its samples.
"""
from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np

from utils.coco_lvis import ANNOTATIONS, find_splits, read_annotations, read_layers
from utils.coco_lvis import read_photo as read_stored_photo
from utils.files import PathLike, UserError, read_json, read_text
from utils.folders import list_pictures
from utils.images import COLOUR, read_labels, read_photo, size_of
from utils.labels import ignored_values, object_values, soft_values
from utils.segment.segmentation import IGNORED, LAYOUTS, check_sizes, find_samples

PROJECT, PROJECT_FORMAT = "project.json", "click annotation project 1"  # of utils.annotate
SESSION_FORMAT = "click annotations 1"
FINISHED = ("done", "approved")  # pictures on which nothing is missing
WHOLE, CLOSE_UP = 1.3, 0.6  # of crops: times the box of the object
SMALLEST_CROP = 128  # pixels of its shorter side
MARGIN = 0.25  # of an object's box: around it a photo counts whose other objects may not be annotated


class PhotoWithMask(Protocol):
    """What segmentation.Sample is: a photo and its mask, not yet read."""

    @property
    def name(self) -> str:
        """By which it is known, unique among the samples."""

    def shape(self) -> tuple[int, int]:
        """(H, W) of the photo."""

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """The photo uint8 (H, W, 3) RGB and its mask uint8 (H, W) of 0, 1 and IGNORED."""


@dataclass(frozen=True)
class Request:
    """What is wanted of a folder: the objects of these labels (all if there are none), of this split.

    `negatives` is how many photos come besides that show none of them, as a part of those that do.
    """

    folder: Path
    labels: tuple[str, ...] = ()
    split: str = "train"
    negatives: float = 0.0


class Format(NamedTuple):
    """A kind of folder."""

    description: str
    matches: Callable[[Path], bool]
    samples: Callable[[Request], Sequence[PhotoWithMask]]


def open_data(folder: PathLike, labels: Sequence[str] = (), split: str = "train",
              negatives: float = 0.0) -> list[PhotoWithMask]:
    """The photos of a folder with their masks.

    Args:
        folder: of one of FORMATS.
        labels: the classes that are the concept, where a format has classes; all objects if left out.
        split: of a COCO_LVIS folder.
        negatives: of a COCO_LVIS folder with labels: how many photos come besides on which everything is annotated and
            none of the labels is, as a part of the others.

    Raises:
        UserError, SegmentationError: the folder is of no known kind, is empty, or lacks a mask or a label.
    """
    request = Request(Path(folder), tuple(labels), split, negatives)
    for kind in FORMATS:
        if kind.matches(request.folder):
            return list(kind.samples(request))
    known = "; ".join(kind.description for kind in FORMATS)
    raise UserError(f"{folder} has no photos with masks; a folder may be one of these: {known}")


# ---------------------------------------------------------------------------------------------- mask files


@dataclass(frozen=True)
class FileSample:
    """A photo and a mask file; every value of a label map but void is the object."""

    name: str
    photo: Path
    mask: Path
    is_vote: bool = False  # the mask's grey levels say how many people saw the object

    def shape(self) -> tuple[int, int]:
        """(H, W), upright."""
        return size_of(self.photo)

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """See PhotoWithMask."""
        photo, labels = read_photo(self.photo).pixels, read_labels(self.mask)
        mask = mask_of(labels.values, self.is_vote or labels.is_lossy)
        check_sizes(self.photo, photo, self.mask, mask)
        return photo, mask


def mask_of(values: np.ndarray, is_vote: bool = False) -> np.ndarray:
    """A mask uint8 (H, W) of 0, 1 and IGNORED of a label image's values.

    Grey levels that are votes or soft edges, and masks of 0 and 255, count from 128 on; all else is a label map.
    """
    if is_vote or soft_values(values)[0]:
        grey = _brightness(values)
        return (grey > 127).astype(np.uint8)
    mask = np.isin(values, object_values(values)).astype(np.uint8)
    mask[np.isin(values, ignored_values(values))] = IGNORED
    return mask


def _brightness(values: np.ndarray) -> np.ndarray:
    colour = np.maximum(values - COLOUR, 0)
    weighted = 0.299 * (colour >> 16) + 0.587 * (colour >> 8 & 255) + 0.114 * (colour & 255)
    grey = np.where(values >= COLOUR, weighted, values)
    return grey if grey.max() > 1 else 255 * grey


def _file_samples(request: Request) -> list[FileSample]:
    _refuse_labels(request)
    is_vote = (request.folder / "gt").is_dir()
    return [FileSample(sample.name, sample.photo, sample.mask, is_vote) for sample in find_samples(request.folder)]


def _has_pairs(folder: Path) -> bool:
    return any((folder / photos).is_dir() and (folder / masks).is_dir() for photos, masks in LAYOUTS)


def _inner(request: Request) -> list[FileSample]:
    return _file_samples(Request(request.folder / request.split, request.labels))


def _refuse_labels(request: Request) -> None:
    if request.labels:
        raise UserError(f"{request.folder} holds masks without classes; leave out --label")


# ---------------------------------------------------------------------------------------------- COCO_LVIS


@dataclass(frozen=True)
class LayerSample:
    """A photo of a COCO_LVIS split and the numbers of those of its objects that are the concept.

    `is_complete` says that the photo has no further ones; else only the surroundings of the known ones count.
    """

    name: str
    split: Path
    objects: tuple[int, ...]
    is_complete: bool = True

    @property
    def photo(self) -> Path:
        """The photo's file."""
        return self.split / "images" / f"{self.name}.jpg"

    def shape(self) -> tuple[int, int]:
        """(H, W), as stored."""
        return size_of(self.photo, frame="stored")

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """See PhotoWithMask."""
        path = self.split / "masks" / f"{self.name}.pickle"
        photo, (layers, mapping) = read_stored_photo(self.photo), read_layers(path)
        if self.objects and max(self.objects) >= len(mapping):
            raise UserError(f"{path} lacks objects that the annotations name; fetch it again")
        mask = np.zeros(layers.shape[1:], np.uint8)
        for layer, label in (mapping[number] for number in self.objects):
            mask[layers[layer] == label] = 1
        check_sizes(self.photo, photo, path, mask)
        return photo, mask if self.is_complete else _only_surroundings(mask)


def _only_surroundings(mask: np.ndarray) -> np.ndarray:
    """The mask, IGNORED outside the enlarged boxes of its parts."""
    result = np.full_like(mask, IGNORED)
    for left, top, width, height, _ in cv2.connectedComponentsWithStats(mask, connectivity=8)[2][1:].tolist():
        dy, dx = round(MARGIN * height), round(MARGIN * width)
        box = slice(max(0, top - dy), top + height + dy), slice(max(0, left - dx), left + width + dx)
        result[box] = mask[box]
    return result


def _layer_samples(request: Request) -> list[LayerSample]:
    split = _split_of(request)
    annotations = read_annotations(split / ANNOTATIONS)
    categories, incomplete = _categories(split) if request.labels else ({}, set())
    _refuse_unknown(request, {name for names in categories.values() for name in names})
    samples, others = list[LayerSample](), list[LayerSample]()
    for image_id, annotation in sorted(annotations.items(), key=lambda item: str(item[0])):
        name = str(image_id)
        numbers = list(range(int(annotation["num_instance_masks"])))
        if request.labels:
            names = categories.get(name, ())
            numbers = [i for i in numbers if i < len(names) and names[i] in request.labels]
        chosen = samples if numbers or not request.labels else others
        chosen.append(LayerSample(name, split, tuple(numbers), name not in incomplete))
    return samples + _spread([sample for sample in others if sample.is_complete], request.negatives * len(samples))


def _spread(samples: Sequence[LayerSample], count: float) -> list[LayerSample]:
    """So many of the samples, from all over, or all of them."""
    step = max(1.0, len(samples) / max(count, 1e-9))
    return [samples[int(i * step)] for i in range(min(len(samples), int(count)))]


def _split_of(request: Request) -> Path:
    splits = find_splits(request.folder)
    chosen = [split for split in splits if split in (request.folder, request.folder / request.split)]
    if not chosen:
        names = ", ".join(split.name for split in splits)
        raise UserError(f"{request.folder} has no split {request.split}; choose one of {names} by --split")
    return chosen[0]


def _categories(split: Path) -> tuple[dict[str, list[str]], set[str]]:
    """The classes of each photo's objects, and the photos that have objects beyond these.

    They stand in objects.jsonl, which utils.prepare writes, or in subset.json beside the splits.
    """
    lists = split / "objects.jsonl", split.parent / "subset.json"
    if lists[0].is_file():
        entries = [json.loads(line) for line in read_text(lists[0]).splitlines()[1:]]
        return {entry["id"]: entry["categories"] for entry in entries}, set()
    if lists[1].is_file():
        photos: dict[str, Any] = read_json(lists[1])
        incomplete = {name for name, photo in photos.items() if not photo.get("complete", True)}
        return {name: photo["categories"] for name, photo in photos.items() if photo["split"] == split.name}, incomplete
    raise UserError(f"{split} does not say what its objects are: it lacks {lists[0].name}; convert it by utils.prepare")


def _refuse_unknown(request: Request, known: Collection[str]) -> None:
    missing = [label for label in request.labels if label not in known]
    if missing:
        some = ", ".join(sorted(known)[:12]) or "none"
        raise UserError(f"{request.folder} has no objects of the label {missing[0]}; it has {some}")


# ---------------------------------------------------------------------------------------------- utils.annotate


@dataclass(frozen=True)
class AnnotatedSample:
    """A picture of an annotation project and the mask files of its objects."""

    name: str
    photo: Path
    masks: tuple[Path, ...]

    def shape(self) -> tuple[int, int]:
        """(H, W), upright."""
        return size_of(self.photo)

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """See PhotoWithMask."""
        photo = read_photo(self.photo).pixels
        mask = np.zeros(photo.shape[:2], np.uint8)
        for path in self.masks:
            part = read_labels(path).values > 0
            check_sizes(self.photo, photo, path, part)
            mask |= part.astype(np.uint8)
        return photo, mask


def _annotated_samples(request: Request) -> list[AnnotatedSample]:
    """The pictures that are done: on any other an object may be missing."""
    project = _read_format(request.folder / PROJECT, PROJECT_FORMAT)
    names = {label.get("key", label["name"]): label["name"] for label in project["labels"]}
    merged = project.get("merged", {})
    _refuse_unknown(request, set(names.values()))
    images = request.folder / project["images"]
    samples = []
    for path in sorted((request.folder / "sessions").glob("*.json")):
        session = _read_format(path, SESSION_FORMAT)
        if session["status"] not in FINISHED:
            continue
        chosen = [target["mask"] for target in session["objects"]
                  if not request.labels or names.get(_final(target["label"], merged)) in request.labels]
        masks = tuple(request.folder / "masks" / path.stem / mask for mask in chosen if mask)
        samples.append(AnnotatedSample(session["picture"], images / session["picture"], masks))
    if not samples:
        raise UserError(f"{request.folder} has no picture that is done; mark some as done in utils.annotate first")
    return samples


def _final(key: str, merged: dict[str, str]) -> str:
    """The class that a class was merged into, perhaps over several steps."""
    for _ in range(len(merged)):
        key = merged.get(key, key)
    return key


def _read_format(path: Path, kind: str) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != kind:
        raise UserError(f"{path} is not of the format {kind!r}; open the project with this version of utils.annotate")
    return content


FORMATS = (
    Format("an output folder of utils.annotate", lambda folder: (folder / PROJECT).is_file(), _annotated_samples),
    Format("COCO_LVIS as utils.prepare makes it", lambda folder: bool(find_splits(folder)), _layer_samples),
    Format("folders imgs and masks, or images and gt, with classes as folders in them or not", _has_pairs,
           _file_samples),
    Format("a folder train (or --split NAME) of such folders",
           lambda folder: any(_has_pairs(split) for split in folder.glob("*")), _inner),
)


# ---------------------------------------------------------------------------------------------- crops


@dataclass(frozen=True)
class Crop:
    """A sample around the largest part of its object, in the photo's proportions; the whole photo if it has none.

    `scale` is its size, times the object's box; where it is smaller than the box, it shows the upper end, as portraits
    do.
    """

    whole: PhotoWithMask
    scale: float = WHOLE

    @property
    def name(self) -> str:
        """The photo's name."""
        return self.whole.name

    def shape(self) -> tuple[int, int]:
        """The photo's, whose proportions the crop has."""
        return self.whole.shape()

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """See PhotoWithMask."""
        photo, mask = self.whole.read()
        _, _, stats, _ = cv2.connectedComponentsWithStats((mask == 1).astype(np.uint8), connectivity=8)
        if len(stats) < 2:
            return photo, mask
        left, top, width, height, _ = stats[1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())].tolist()
        part = max(self.scale * height / mask.shape[0], self.scale * width / mask.shape[1],
                   SMALLEST_CROP / min(mask.shape))
        size = [round(min(1.0, part) * side) for side in mask.shape]
        above = (WHOLE - 1) / 2 * min(height, size[0])  # what a crop shows beyond the object's upper end
        middle = min(top + height / 2, top - above + size[0] / 2) if size[0] < height else top + height / 2
        rows, columns = (_window(centre, length, side) for centre, length, side in
                         zip((middle, left + width / 2), size, mask.shape, strict=True))
        return photo[rows, columns], mask[rows, columns]


def _window(centre: float, length: int, side: int) -> slice:
    """So many pixels about a centre, moved into [0, side)."""
    begin = min(max(0, round(centre - length / 2)), side - length)
    return slice(begin, begin + length)


# ---------------------------------------------------------------------------------------------- photos alone


def find_photos(folder: PathLike) -> tuple[list[Path], str]:
    """The pictures of a folder and what was left out in words, or one picture.

    Raises:
        UserError: there are none.
    """
    folder = Path(folder)
    if folder.is_file():
        return [folder], ""
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist; name a picture or a folder of pictures")
    listing = list_pictures(folder)
    if not listing.pictures:
        raise UserError(f"{folder} has no pictures; name a folder of pictures, or one picture")
    return list(listing.pictures), listing.remark()
