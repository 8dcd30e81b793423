"""COCO's annotations (instances, panoptic) and LVIS's, alone or joined, as pictures to write."""
from __future__ import annotations

import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from utils.files import UsageError, UserError, inside, shown_name
from utils.images import Frame, read_photo
from utils.prepare.convert import Picture, Plan, Task, own_ids
from utils.prepare.photos import PhotoFolders, framed_photo, plain
from utils.prepare.regions import Region, join
from utils.prepare.shapes import NoOutlineError, ShapeError, decode_segmentation, pycocotools_mask
from utils.prepare.stream import members, value_of

MAX_ID = 10**12
# COCO's own crowds are many objects in one; other tools mark every painted mask so
OFFICIAL = "COCO 20"
CROWDS = {"object": "crowd regions (iscrowd) were taken as objects (--crowd skip leaves them out)",
          "skip": "crowd regions (iscrowd) were left out (--crowd object takes them)"}
BOXES = "annotations have a box and no outline and were left out"


@dataclass(frozen=True)
class ImageInfo:
    """What a JSON file says of a photo."""

    file_name: str
    size: tuple[int, int]
    license_id: int | None


class AnnotationFile:
    """A JSON file of COCO's kind, read in one pass; its annotations lie by photo in a temporary file, not in memory.

    Args:
        path: COCO instances, COCO panoptic or LVIS JSON, of any size.

    Raises:
        UserError: it is not of that kind.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.images: dict[int, ImageInfo] = {}
        self.clashes: dict[int, str] = {}  # by image id, why a photo can't be told
        info = value_of(path, "info")
        self.info: dict[str, Any] = info if isinstance(info, dict) else {}
        self._categories: dict[Any, tuple[str, bool] | None] = {}  # name, whether it is a thing; None for a clash
        self._spool = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as this object)
        self._spans: dict[int, list[tuple[int, int]]] = defaultdict(list)
        add = {"categories": self._add_category, "images": self._add_image, "annotations": self._add_annotation}
        for number, (key, value) in enumerate(members(path, *add)):
            try:
                add[key](value)
            except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
                raise UserError(f"{path} has a member of {key!r} (number {number + 1} of all) that COCO's format does "
                                f"not allow ({type(error).__name__}: {error})") from error
        if not self.images:
            raise UserError(f"{path} lists no photos; is it a JSON file of COCO's format?")

    def _add_category(self, value: Mapping[str, Any]) -> None:
        category = str(value["name"]), bool(value.get("isthing", True))
        known = self._categories.setdefault(value["id"], category)
        if known != category:
            self._categories[value["id"]] = None

    def _add_image(self, value: Mapping[str, Any]) -> None:
        number = value["id"]
        if type(number) is not int or not 0 <= number < MAX_ID:
            raise ValueError(f"a photo's id must be a whole number of at most 12 digits, not {number!r}")
        # LVIS has no file names, but COCO's address of the photo
        name = str(value.get("file_name") or value.get("coco_url", "").rsplit("/", 1)[-1] or f"{number:012d}.jpg")
        found = ImageInfo(name, (int(value["height"]), int(value["width"])), value.get("license"))
        known = self.images.setdefault(number, found)
        if known != found:
            self.clashes[number] = (f"{self.path}: the id {number} is given to {shown_name(known.file_name)} and to "
                                    f"{shown_name(name)}, so their annotations can't be told apart")

    def _add_annotation(self, value: Mapping[str, Any]) -> None:
        kept = {key: value[key] for key in ("id", "segmentation", "iscrowd", "file_name", "segments_info")
                if key in value}
        if "segments_info" in value:
            kept["segments_info"] = [{**segment, "category": self._category(segment)}
                                     for segment in value["segments_info"]]
        else:
            kept["category"] = self._category(value)
        content = json.dumps(kept).encode()
        self._spans[value["image_id"]].append((self._spool.tell(), len(content)))
        self._spool.write(content)

    def _category(self, value: Mapping[str, Any]) -> tuple[str, bool] | None:
        number = value.get("category_id")
        return self._categories.get(number, (str(number), True))

    def annotations(self, image_id: int) -> bytes:
        """The annotations of a photo, a JSON list in the file's order."""
        parts = []
        for start, length in self._spans.get(image_id, ()):
            self._spool.seek(start)
            parts.append(self._spool.read(length))
        return b"[" + b",".join(parts) + b"]"


@dataclass(frozen=True)
class CocoTask(Task):
    """A photo and, for each annotation file, its annotations as JSON."""

    number: int
    info: ImageInfo
    photo: Path
    annotations: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class CocoReader:
    """Makes a photo's Picture of its annotations in up to three files.

    Objects are LVIS's, and those of COCO that LVIS does not have (regions.join); COCO's are its instances or, without
    an instances file, the things of the panoptic one. Stuff is the panoptic file's. An annotation that can't be drawn
    is lost alone.

    Args:
        crowds: by kind of file ("instances", "lvis", "panoptic"), whether crowd regions are objects: "object", "skip".
        frame: in which photos are meant that EXIF data turn, where width and height don't say.
        panoptic_masks: folder of the panoptic PNG files.
    """

    crowds: Mapping[str, str]
    frame: Frame = "upright"
    panoptic_masks: Path | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """See convert.Reader."""
        return {"command": "convert coco", "crowds": dict(self.crowds), "frame": self.frame}

    def inputs(self, task: CocoTask) -> list[Path | bytes]:
        """See convert.Reader."""
        masks = [self._panoptic_path(each) for each in self._annotations("panoptic", task)]
        return [task.photo, *(task.annotations[kind] for kind in sorted(task.annotations)), *masks]

    def __call__(self, task: CocoTask) -> Picture:
        """See convert.Reader."""
        photo = framed_photo(task.photo, str(task.photo), task.info.size, self.frame)
        found = _Found(task.source)
        instances, lvis = (self._instances(kind, task, photo.size, found) for kind in ("instances", "lvis"))
        things, stuff = self._panoptic(task, photo.size, found)
        coco = instances if "instances" in task.annotations else things
        return Picture(photo, join(lvis, coco), stuff, task.info.license_id, found.problems, found.counts)

    def _annotations(self, kind: str, task: CocoTask) -> list[dict[str, Any]]:
        return json.loads(task.annotations.get(kind, b"[]"))

    def _instances(self, kind: str, task: CocoTask, size: tuple[int, int], found: _Found) -> list[Region]:
        regions = []
        for annotation in self._annotations(kind, task):
            if annotation.get("iscrowd") and not self._takes_crowd(kind, found):
                continue
            try:
                name, _ = _named(annotation)
                regions.append(found.region(name, decode_segmentation(annotation.get("segmentation"), size)))
            except NoOutlineError:
                found.counts[BOXES] += 1
            except ShapeError as error:
                found.problems.append(f"{found.name}: annotation {annotation.get('id')} ({kind}) was left out: {error}")
        return [region for region in regions if region is not None]

    def _panoptic(self, task: CocoTask, size: tuple[int, int], found: _Found) -> tuple[list[Region], list[Region]]:
        """Things and stuff of the panoptic file."""
        regions: dict[bool, list[Region]] = {True: [], False: []}
        for annotation in self._annotations("panoptic", task):
            ids = _panoptic_ids(self._panoptic_path(annotation), size)
            for segment in annotation.get("segments_info", ()):
                if segment.get("iscrowd") and not self._takes_crowd("panoptic", found):
                    continue
                try:
                    name, is_thing = _named(segment)
                    region = found.region(name, ids == _number(segment))
                except ShapeError as error:
                    found.problems.append(f"{found.name}: segment {segment.get('id')} was left out: {error}")
                    continue
                regions[is_thing] += [region] if region is not None else []
        return regions[True], regions[False]

    def _takes_crowd(self, kind: str, found: _Found) -> bool:
        found.counts[CROWDS[self.crowds[kind]]] += 1
        return self.crowds[kind] == "object"

    def _panoptic_path(self, annotation: Mapping[str, Any]) -> Path:
        folder = self.panoptic_masks or Path()
        path = folder / str(annotation.get("file_name"))
        if not inside(path, folder):
            raise UserError(f"the panoptic file names {str(path.name)!r}, which lies outside {folder}")
        return path


@dataclass
class _Found:
    """What is to be said of a photo's annotations."""

    source: str
    problems: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def name(self) -> str:
        return shown_name(self.source)

    def region(self, name: str, mask: np.ndarray) -> Region | None:
        """A mask as a region; an empty one is counted."""
        region = Region.of(name, mask)
        if region is None:
            self.counts["annotations have no pixel in their photo and were left out"] += 1
        return region


def _named(annotation: Mapping[str, Any]) -> tuple[str, bool]:
    category = annotation.get("category")
    if category is None:
        raise ShapeError("its category's id has several names in the file")
    return category[0], category[1]


def _number(segment: Mapping[str, Any]) -> int:
    if type(segment.get("id")) is not int:
        raise ShapeError("it has no number")
    return segment["id"]


def _panoptic_ids(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Segment ids (H, W): red + 256 green + 65536 blue, as COCO panoptic (Kirillov et al., 2019) stores them."""
    rgb = read_photo(path, frame="stored").pixels.astype(np.int32)
    if rgb.shape[:2] != size:
        raise UserError(f"{path} is not of {size[1]}x{size[0]} pixels, as its photo is; fetch it again")
    return rgb @ np.array([1, 256, 65536], np.int32)


def plan_coco(
    photo_folders: Sequence[Path], paths: Mapping[str, Path], panoptic_masks: Path | None = None,
    skip_missing: bool = False, crowd: str | None = None, frame: Frame | None = None,
) -> Plan:
    """What to convert.

    The photos are those that LVIS lists, if it is given, else the instances file's, else the panoptic file's: as with
    RITM's joined data, a photo that LVIS did not look at is not among them. Photos that are called as COCO calls them
    keep their ids.

    Args:
        photo_folders: where the photos lie.
        paths: of the files by kind, "instances", "panoptic", "lvis"; at least one.
        panoptic_masks: folder of PNG files; beside the panoptic file, under its name, if left out.
        skip_missing: leaves out photos that are in no folder; else each is a problem.
        crowd: "object" or "skip" for crowd regions; None to skip them in the COCO consortium's own files alone.
        frame: see CocoReader; None for what the leading file's `info` states, else "upright".

    Raises:
        UsageError: no file, no folder of panoptic masks, or no photo found.
        UserError: a file is not of its kind.
    """
    if not paths:
        raise UsageError("name at least one of --instances, --panoptic and --lvis")
    if "panoptic" in paths:
        panoptic_masks = panoptic_masks or paths["panoptic"].with_suffix("")
        if not panoptic_masks.is_dir():
            raise UsageError(f"{panoptic_masks} is no folder of panoptic PNG files; name it with --panoptic-masks")
    if paths.keys() != {"panoptic"}:
        pycocotools_mask()
    files = {kind: AnnotationFile(path) for kind, path in paths.items()}
    leading = next(files[kind] for kind in ("lvis", "instances", "panoptic") if kind in files)
    tasks, problems = _tasks(leading, photo_folders, skip_missing)
    if not tasks:
        raise UsageError(f"none of the {len(leading.images)} photos of {leading.path} is in "
                         f"{' or '.join(map(str, photo_folders))}; the first of them: {(problems or [''])[0]}")
    crowds = {kind: crowd or ("skip" if _is_official(file) else "object") for kind, file in files.items()}
    stated = leading.info.get("frame")
    reader = CocoReader(crowds, frame or (stated if stated in ("upright", "stored") else "upright"), panoptic_masks)

    def load(task: CocoTask) -> CocoTask:
        return replace(task, annotations={kind: file.annotations(task.number) for kind, file in files.items()})

    return Plan(tasks, reader, problems, load=load)


def _is_official(file: AnnotationFile) -> bool:
    return str(file.info.get("description", "")).startswith(OFFICIAL)


def _tasks(file: AnnotationFile, folders: Sequence[Path], skip_missing: bool) -> tuple[list[CocoTask], list[str]]:
    """A task for each photo that is there and can be told, and a sentence for each other one."""
    places = PhotoFolders(folders, [info.file_name for info in file.images.values()])
    ids = own_ids({info.file_name for info in file.images.values()})
    names = Counter(plain(info.file_name) for info in file.images.values())
    tasks, problems = [], list(file.clashes.values())
    for number, info in sorted(file.images.items()):
        photo, why = places.find(info.file_name)
        if names[plain(info.file_name)] > 1:
            problems.append(f"{file.path}: {shown_name(info.file_name)} is listed under several ids, {number} is one")
        elif photo is not None and number not in file.clashes:
            is_coco = Path(info.file_name).name == f"{number:012d}.jpg"
            image_id = f"{number:012d}" if is_coco else ids[info.file_name]
            tasks.append(CocoTask(image_id, info.file_name, number, info, photo))
        elif photo is None and not (skip_missing and why.endswith("--skip-missing")):
            problems.append(why)
    return tasks, problems
