"""Looks at a COCO_LVIS folder: counts, sizes, what is missing or broken, and a contact sheet of overlays."""
from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from utils.coco_lvis import ANNOTATIONS, find_splits, load, read_sample
from utils.files import UsageError, UserError, write_json, write_whole
from utils.images import encode_jpeg
from utils.pool import Lost, each_done

AREA_BOUNDS = (1, 16, 64, 256, 1024, 4096, 16384, 65536, 262144)  # pixels; a bar of the histogram begins at each
BAR = 40  # characters of the longest bar
SHEET_PHOTOS, SHEET_COLUMNS = 24, 4
TILE = (300, 400)  # height, width in pixels
CAPTION = 24  # pixels of a tile's lower edge
TILE_GROUND = 232  # grey behind photos that don't fill their tile
STUFF_COLOUR = (150, 150, 150)
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class PhotoFacts:
    """What was found of an annotated photo.

    Args:
        image_id: its name.
        size: (H, W), zeros if the photo can't be read.
        areas: pixels of each object.
        stuff_areas: pixels of each stuff region.
        levels: depth of each object in its tree, 0 for one without relations.
        problem: the sentence that says what is broken, "" if nothing is.
    """

    image_id: str
    size: tuple[int, int] = (0, 0)
    areas: tuple[int, ...] = ()
    stuff_areas: tuple[int, ...] = ()
    levels: tuple[int, ...] = ()
    problem: str = ""


@dataclass
class SplitReport:
    """A split's facts, as text by str() and as plain containers by `as_dict`."""

    split: Path
    facts: list[PhotoFacts]
    without_annotation: int
    without_photo: int
    checked_of: int

    @property
    def problems(self) -> list[str]:
        """What is broken, a sentence for each photo."""
        return [facts.problem for facts in self.facts if facts.problem]

    def as_dict(self) -> dict[str, Any]:
        """Counts, quartiles, histogram and problems."""
        areas = [area for facts in self.facts for area in facts.areas]
        levels = [level for facts in self.facts for level in facts.levels]
        good = [facts for facts in self.facts if not facts.problem]
        histogram, _ = np.histogram(areas, bins=[*AREA_BOUNDS, np.inf])
        return {
            "split": str(self.split),
            "annotated_photos": self.checked_of,
            "checked_photos": len(self.facts),
            "photos_without_annotation": self.without_annotation,
            "masks_without_annotation": self.without_photo,
            "objects": len(areas),
            "parts": sum(level > 0 for level in levels),
            "deepest_level": max(levels, default=0),
            "empty_objects": areas.count(0),
            "stuff_regions": sum(len(facts.stuff_areas) for facts in self.facts),
            "objects_a_photo": _spread([len(facts.areas) for facts in good]),
            "long_side": _spread([max(facts.size) for facts in good]),
            "short_side": _spread([min(facts.size) for facts in good]),
            "area_histogram": dict(zip(map(str, AREA_BOUNDS), histogram.tolist(), strict=True)),
            "problems": self.problems,
        }

    def __str__(self) -> str:
        counts = self.as_dict()
        lines = [
            str(self.split),
            f"  annotated photos   {counts['annotated_photos']:>9,}  ({counts['checked_photos']:,} looked at, "
            f"{len(self.problems):,} broken)",
            f"  photos without     {self.without_annotation:>9,}  (no fault: the full archive has about 19,000)",
            f"  objects            {counts['objects']:>9,}  ({counts['parts']:,} are parts of others, "
            f"down to level {counts['deepest_level']}; {counts['empty_objects']:,} have no pixel)",
            f"  stuff regions      {counts['stuff_regions']:>9,}",
            f"  objects a photo    {_spread_text(counts['objects_a_photo'])}",
            f"  long side          {_spread_text(counts['long_side'])} pixels",
            f"  short side         {_spread_text(counts['short_side'])} pixels",
            "  area of objects, pixels",
            *_bars(counts["area_histogram"]),
        ]
        if self.without_photo:
            lines.append(f"  {self.without_photo:,} files in masks/ belong to no annotated photo; they are never read")
        return "\n".join(lines)


def inspect_split(split: Path, jobs: int = 1, limit: int | None = None) -> SplitReport:
    """Reads every annotated photo of a split with its masks.

    Args:
        split: the folder with images/, masks/ and hannotation.pickle.
        jobs: processes.
        limit: looks at so many photos, a fixed random choice, instead of all.

    Raises:
        UserError: the annotations can't be read.
    """
    annotations = annotations_of(split)
    chosen = sorted(annotations) if limit is None else sorted(fixed_order(annotations)[:limit])
    work = [(split, image_id, annotations[image_id]) for image_id in chosen]
    facts = sorted(measure(work, jobs, split.name), key=lambda facts: facts.image_id)
    photos, masks = ({path.stem for path in (split / name).glob("*.*")} for name in ("images", "masks"))
    return SplitReport(
        split, facts, len(photos - annotations.keys()), len(masks - annotations.keys()), len(annotations)
    )


def measure(work: Sequence[tuple[Path, str, Any]], jobs: int, title: str) -> Iterator[PhotoFacts]:
    """Facts of every photo (see `measure_photo`), in any order."""
    results = each_done(measure_photo, work, jobs)
    for result in tqdm(results, total=len(work), desc=title, unit="photo", disable=None, leave=False):
        if isinstance(result, Lost):
            result = PhotoFacts(result.task[1], problem=f"{result.task[1]}: reading it ended its process "
                                f"({result.death}); give the same command with fewer --jobs")
        yield result


def splits_of(folder: Path) -> list[Path]:
    """The splits of a COCO_LVIS folder; the folder itself, if it is a split.

    Raises:
        UsageError: it is neither.
    """
    splits = find_splits(folder)
    if not splits:
        raise UsageError(f"{folder} is no COCO_LVIS folder: neither it nor a folder in it has {ANNOTATIONS}")
    return splits


def annotations_of(split: Path) -> dict[str, Any]:
    """A split's annotations by photo, which may be anything.

    Raises:
        UserError: they can't be read.
    """
    annotations = load(split / ANNOTATIONS)
    if not isinstance(annotations, dict):
        raise UserError(f"{split / ANNOTATIONS} holds a {type(annotations).__name__}, not the annotations by photo")
    return {str(image_id): annotation for image_id, annotation in annotations.items()}


def fixed_order(image_ids: Sequence[str] | Mapping[str, Any], seed: int = 0) -> list[str]:
    """Ids in a random order that depends on nothing but the seed: each id has its place by a digest.

    The first n of them are the same whatever order they come in, and stay if photos are added behind.
    """
    return sorted(image_ids, key=lambda image_id: hashlib.sha256(f"{seed} {image_id}".encode()).digest())


def measure_photo(work: tuple[Path, str, Mapping[str, Any]]) -> PhotoFacts:
    """Reads the photo and masks of (split, id, annotation); what is broken becomes the facts' problem."""
    split, image_id, annotation = work
    try:
        image, layers, mapping = read_sample(split, image_id)
        count, hierarchy = annotation["num_instance_masks"], annotation["hierarchy"]
        areas = _areas(layers, mapping)
        _check_hierarchy(count, len(mapping), hierarchy)
        levels = tuple((node or {}).get("node_level", 0) for node in hierarchy.values())
    except UserError as error:
        return PhotoFacts(image_id, problem=str(error))
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        problem = f"{split / 'masks' / image_id}.pickle does not fit its annotation ({error!r}); fetch both again"
        return PhotoFacts(image_id, problem=problem)
    return PhotoFacts(image_id, image.shape[:2], areas[:count], areas[count:], levels)


def _areas(layers: np.ndarray, mapping: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    counts = [np.bincount(layer.ravel(), minlength=256) for layer in layers]
    return tuple(int(counts[layer][label]) for layer, label in mapping)


def _check_hierarchy(count: int, regions: int, hierarchy: Mapping[int, Any]) -> None:
    if count > regions or not all(i in range(count) for i in hierarchy):
        raise ValueError(f"{count} objects with relations of {list(hierarchy)}, but {regions} regions")
    for i, node in hierarchy.items():
        related = [*node["children"], *([] if node["parent"] is None else [node["parent"]])] if node else []
        if not all(j in hierarchy and j != i for j in related):
            raise ValueError(f"object {i} is related to {related}")


def _bars(histogram: Mapping[str, int]) -> list[str]:
    longest = max(1, *histogram.values())
    bounds = [f"{low:,} to {high - 1:,}" for low, high in pairwise(AREA_BOUNDS)] + [f"{AREA_BOUNDS[-1]:,} and more"]
    return [f"  {bound:>18}  {'#' * round(BAR * count / longest):<{BAR}} {count:,}"
            for bound, count in zip(bounds, histogram.values(), strict=True)]


def _spread(values: Sequence[int]) -> dict[str, int]:
    shares = {"least": 0, "median": 50, "90 %": 90, "most": 100}
    return {name: int(np.percentile(values, share, method="lower")) if values else 0 for name, share in shares.items()}


def _spread_text(spread: Mapping[str, int]) -> str:
    return f"{spread['least']:>9,} to {spread['most']:,}, median {spread['median']:,}, 90 % up to {spread['90 %']:,}"


def write_report(report: SplitReport, out: Path) -> None:
    """Writes SPLIT.json with the counts and SPLIT.jpg with the contact sheet into a folder."""
    name = report.split.name
    write_json(out / f"{name}.json", report.as_dict(), indent=1)
    good = [facts.image_id for facts in report.facts if not facts.problem]
    if good:
        sheet = draw_sheet(report.split, fixed_order(good)[:SHEET_PHOTOS])
        write_whole(out / f"{name}.jpg", encode_jpeg(sheet))


def draw_sheet(split: Path, image_ids: Sequence[str]) -> np.ndarray:
    """Photos with their objects in colour, parts over wholes, and stuff in grey: uint8 (H, W, 3) RGB."""
    from utils.misc import contact_sheet  # it brings torch, which the converting processes can do without

    annotations = annotations_of(split)
    tiles = [_tile(split, image_id, annotations[image_id]["num_instance_masks"]) for image_id in image_ids]
    return contact_sheet([tiles[i : i + SHEET_COLUMNS] for i in range(0, len(tiles), SHEET_COLUMNS)])


def _tile(split: Path, image_id: str, count: int) -> np.ndarray:
    """A photo, fitted into a tile, with its regions; below it its id and how many they are."""
    image, layers, mapping = read_sample(split, image_id)
    height, width = image.shape[:2]
    scale = min((TILE[0] - CAPTION) / height, TILE[1] / width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    labels = [cv2.resize(layer, size, interpolation=cv2.INTER_NEAREST) for layer in layers]
    drawn = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    masks = [labels[layer] == label for layer, label in mapping]
    for mask in masks[count:]:
        _tint(drawn, mask, STUFF_COLOUR, (255, 255, 255))
    for i in sorted(range(count), key=lambda i: -np.count_nonzero(masks[i])):
        colour = _colour(i)
        _tint(drawn, masks[i], colour, colour)
    tile = np.full((*TILE, 3), TILE_GROUND, np.uint8)
    top, left = (TILE[0] - CAPTION - size[1]) // 2, (TILE[1] - size[0]) // 2
    tile[top : top + size[1], left : left + size[0]] = drawn
    caption = f"{image_id.lstrip('0') or image_id}   {count} objects, {len(mapping) - count} stuff"
    cv2.putText(tile, caption, (4, TILE[0] - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (50, 50, 50), 1, cv2.LINE_AA)
    return tile


def _tint(image: np.ndarray, mask: np.ndarray, colour: Colour, outline: Colour) -> None:
    image[mask] = image[mask] * 0.5 + np.array(colour) * 0.5
    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(image, contours, -1, outline, 1, cv2.LINE_AA)


def _colour(i: int) -> Colour:
    """Strong colours of which neighbours in the list differ much: hues a golden section apart from blue on, RGB."""
    red, green, blue = colorsys.hsv_to_rgb((0.58 + i * 0.618034) % 1, 0.9, 0.96)
    return round(255 * red), round(255 * green), round(255 * blue)
