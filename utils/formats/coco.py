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
from utils.formats.photos import PhotoFolders, plain, stated_name
from utils.formats.picture import Picture, Plan, Reader, Task, own_ids
from utils.formats.regions import Region, join
from utils.formats.shapes import ShapeError, decode_segmentation, pycocotools_mask
from utils.formats.stream import members
from utils.images import Frame, read_photo

MAX_ID = 10**12
# COCO's own crowds are many objects in one; other tools mark every painted mask so
OFFICIAL = "COCO 20"
CROWDS = {"object": "crowd regions (iscrowd) were taken as objects (--crowd skip leaves them out)",
          "skip": "crowd regions (iscrowd) were left out (--crowd object takes them)"}


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
        self.info: dict[str, Any] = {}
        self._categories: dict[Any, tuple[str, bool] | None] = {}  # name, whether it is a thing; None for a clash
        self._spool = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as this object)
        self._spans: dict[int, list[tuple[int, int]]] = defaultdict(list)
        add = {"info": self._add_info, "categories.item": self._add_category, "images.item": self._add_image,
               "annotations.item": self._add_annotation}
        for number, (prefix, value) in enumerate(members(path, *add)):
            try:
                add[prefix](value)
            except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
                key = prefix.partition(".")[0]
                raise UserError(f"{path} has a member of {key!r} (number {number + 1} of all) that COCO's format does "
                                f"not allow ({type(error).__name__}: {error})") from error
        if not self.images:
            raise UserError(f"{path} lists no photos; is it a JSON file of COCO's format?")

    def _add_info(self, value: Any) -> None:
        self.info = value if isinstance(value, dict) else {}

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
        address = value.get("file_name") or value.get("coco_url", "").rsplit("/", 1)[-1]
        name = stated_name(address or f"{number:012d}.jpg")
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

    @property
    def is_official(self) -> bool:
        """Whether the COCO consortium wrote it."""
        return str(self.info.get("description", "")).startswith(OFFICIAL)

    def notes(self) -> list[str]:
        """How many annotations belong to nothing, if any do."""
        lost = sum(len(spans) for number, spans in self._spans.items() if number not in self.images)
        return [f"{self.path}: {lost} annotations belong to no photo that it lists"] if lost else []

    def annotations(self, image_id: int) -> bytes:
        """The annotations of a photo, a JSON list in the file's order."""
        parts = []
        for start, length in self._spans.get(image_id, ()):
            self._spool.seek(start)
            parts.append(self._spool.read(length))
        return b"[" + b",".join(parts) + b"]"


@dataclass(frozen=True)
class CocoTask(Task):
    """A photo; its content is the annotations of each file, JSON by kind, and the panoptic PNG files."""

    number: int = 0
    info: ImageInfo = ImageInfo("", (0, 0), None)
    kinds: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class CocoReader(Reader):
    """Makes a photo's Picture of its annotations in up to three files.

    Objects are LVIS's, and those of COCO that LVIS does not have (regions.join); COCO's are its instances or, without
    an instances file, the things of the panoptic one. Stuff is the panoptic file's. An annotation that can't be drawn
    is lost alone.

    Args:
        crowds: by kind of file ("instances", "lvis", "panoptic"), whether crowd regions are objects: "object", "skip".
        frame: in which photos are meant that EXIF data turn, where width and height don't say.
    """

    kind = "coco"
    crowds: Mapping[str, str] = field(default_factory=dict)
    frame: Frame = "upright"

    def __call__(self, task: CocoTask) -> Picture:
        """See Reader."""
        if task.problem:
            raise UserError(task.problem)
        picture = Picture(task.read_photo(task.info.size, self.frame), task.source, (), task.info.license_id)
        annotations = {kind: json.loads(content) for kind, content in zip(task.kinds, task.content, strict=False)}
        instances, lvis = (self._instances(kind, annotations.get(kind, ()), picture) for kind in ("instances", "lvis"))
        masks = task.content[len(task.kinds) :]
        things, picture.stuff = self._panoptic(annotations.get("panoptic", ()), masks, picture)
        picture.objects = join(lvis, instances if "instances" in annotations else things)
        return picture

    def _instances(self, kind: str, annotations: Sequence[Any], picture: Picture) -> list[Region]:
        regions: list[Region] = []
        for annotation in annotations:
            with picture.lost_alone(f"annotation {annotation.get('id')} ({kind})"):
                if self._is_taken(kind, annotation, picture):
                    mask = decode_segmentation(annotation.get("segmentation"), picture.photo.size)
                    regions += picture.region(_category(annotation)[0], mask)
        return regions

    def _panoptic(self, annotations: Sequence[Any], paths: Sequence[Any],
                  picture: Picture) -> tuple[list[Region], list[Region]]:
        """Things and stuff of the panoptic file."""
        regions: dict[bool, list[Region]] = {True: [], False: []}
        for annotation, path in zip(annotations, paths, strict=True):
            ids = _panoptic_ids(path, picture.photo.size)
            for segment in annotation.get("segments_info", ()):
                with picture.lost_alone(f"segment {segment.get('id')}"):
                    if self._is_taken("panoptic", segment, picture):
                        name, is_thing = _category(segment)
                        regions[is_thing] += picture.region(name, ids == int(segment["id"]))
        return regions[True], regions[False]

    def _is_taken(self, kind: str, annotation: Mapping[str, Any], picture: Picture) -> bool:
        """Whether an annotation is an object: a crowd is by the settings, and is counted."""
        if not annotation.get("iscrowd"):
            return True
        picture.counts[CROWDS[self.crowds[kind]]] += 1
        return self.crowds[kind] == "object"


def _category(annotation: Mapping[str, Any]) -> tuple[str, bool]:
    """Name, and whether it is a thing rather than stuff."""
    if annotation["category"] is None:
        raise ShapeError("its category's id has several names in the file")
    name, is_thing = annotation["category"]
    return name, is_thing


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
    places = PhotoFolders(photo_folders, {info.file_name for info in leading.images.values()}, skip_missing)
    tasks, problems = _tasks(leading, places)
    if not tasks:
        why = f"; the first of them: {problems[0]}" if problems else ""
        raise UsageError(f"none of the {len(leading.images)} photos of {leading.path} is in "
                         f"{' or '.join(map(str, photo_folders))}{why}")
    crowds = {kind: crowd or ("skip" if file.is_official else "object") for kind, file in files.items()}
    stated = leading.info.get("frame")
    reader = CocoReader(crowds, frame or (stated if stated in ("upright", "stored") else "upright"))
    notes = [*places.notes(), *(note for file in files.values() for note in file.notes())]
    return Plan(tasks, reader, problems, notes, lambda task: _loaded(task, files, panoptic_masks or Path()))


def _loaded(task: CocoTask, files: Mapping[str, AnnotationFile], panoptic_masks: Path) -> CocoTask:
    """The task with its annotations, and its panoptic masks unless they lie outside their folder."""
    content = {kind: file.annotations(task.number) for kind, file in files.items()}
    masks = [panoptic_masks / str(each.get("file_name")) for each in json.loads(content.get("panoptic", b"[]"))]
    outside = [shown_name(path.name) for path in masks if not inside(path, panoptic_masks)]
    problem = f"the panoptic file names {outside[0]}, which lies outside {panoptic_masks}" if outside else ""
    kept = () if outside else masks
    return replace(task, kinds=tuple(content), content=(*content.values(), *kept), problem=problem)


def _tasks(file: AnnotationFile, places: PhotoFolders) -> tuple[list[CocoTask], list[str]]:
    """A task for each photo that is there and can be told, and a sentence for each other one."""
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
            tasks.append(CocoTask(image_id, info.file_name, photo, (), number, info))
        elif why:
            problems.append(why)
    return tasks, problems
