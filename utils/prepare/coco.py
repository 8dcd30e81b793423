"""COCO's annotations (instances, panoptic) and LVIS's, alone or joined, as pictures to write."""
from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from utils.prepare.files import PrepareError, WrongCall, inside
from utils.prepare.jsonstream import members, read_member
from utils.prepare.masks import decode_segmentation, pycocotools_mask
from utils.prepare.photos import Photo, read_bytes, read_label_image, read_photo
from utils.prepare.regions import Region, join
from utils.prepare.writer import Picture

MAX_ID = 10**12  # photos are named by 12 digits
Span = tuple[int, int]  # start and length in bytes


@dataclass(frozen=True)
class ImageInfo:
    """What a JSON file says of a photo."""

    file_name: str
    size: tuple[int, int]
    license_id: int | None


class AnnotationFile:
    """Where in a JSON file of COCO's kind the annotations of each photo lie, learnt in one pass.

    Args:
        path: COCO instances, COCO panoptic or LVIS JSON, of any size.

    Raises:
        PrepareError: it is not of that kind.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.images: dict[int, ImageInfo] = {}
        self.categories: dict[int, tuple[str, bool]] = {}  # name, whether it is a thing rather than stuff
        owners, starts, lengths = array("q"), array("q"), array("q")
        for member in members(path):
            try:
                if member.key == "annotations":
                    owners.append(member.value["image_id"])
                    starts.append(member.start)
                    lengths.append(member.length)
                elif member.key == "images":
                    image_id = _image_id(member.value["id"])
                    self.images[image_id] = _image_info(member.value)
                elif member.key == "categories":
                    is_thing = bool(member.value.get("isthing", True))
                    self.categories[member.value["id"]] = str(member.value["name"]), is_thing
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                raise PrepareError(
                    f"{path} has a member of {member.key!r} at byte {member.start} that COCO's format does not allow "
                    f"({type(error).__name__}: {error})"
                ) from error
        if not self.images:
            raise PrepareError(f"{path} lists no photos; is it a JSON file of COCO's format?")
        self._index(np.array(owners, np.int64), np.array([starts, lengths], np.int64).T)

    def _index(self, owners: np.ndarray, spans: np.ndarray) -> None:
        order = np.argsort(owners, kind="stable")
        self._owners, self._spans = owners[order], spans[order]

    def spans(self, image_id: int) -> tuple[Span, ...]:
        """Where the annotations of a photo lie, in the file's order."""
        low, high = (np.searchsorted(self._owners, image_id, side) for side in ("left", "right"))
        return tuple((int(start), int(length)) for start, length in self._spans[low:high])


def _image_id(value: Any) -> int:
    if type(value) is not int or not 0 <= value < MAX_ID:
        raise ValueError(f"a photo's id must be a whole number of at most 12 digits, not {value!r}")
    return value


def _image_info(image: Mapping[str, Any]) -> ImageInfo:
    # LVIS has no file names, but COCO's address of the photo
    name = image.get("file_name") or image.get("coco_url", "").rsplit("/", 1)[-1] or f"{image['id']:012d}.jpg"
    return ImageInfo(str(name), (int(image["height"]), int(image["width"])), image.get("license"))


@dataclass(frozen=True)
class CocoTask:
    """A photo and, for each annotation file, where its annotations lie."""

    image_id: str
    info: ImageInfo
    photo: Path | None
    spans: Mapping[str, tuple[Span, ...]]


@dataclass
class CocoReader:
    """Makes a photo's Picture of its annotations in up to three files.

    Objects are LVIS's, and those of COCO that LVIS does not have (regions.join); COCO's are its instances or, without
    an instances file, the things of the panoptic one. Stuff is the panoptic file's. Regions of crowds are left out,
    because they are many objects in one.

    Args:
        files: annotation files by kind, "instances", "panoptic", "lvis".
        categories: of the same kinds, {id: (name, whether it is a thing)}.
        panoptic_masks: folder of the panoptic PNG files.
    """

    files: Mapping[str, Path]
    categories: Mapping[str, Mapping[int, tuple[str, bool]]]
    panoptic_masks: Path | None = None

    def __call__(self, task: CocoTask) -> Picture:
        if task.photo is None:
            raise PrepareError(f"{task.info.file_name} is in none of the photo folders; fetch it or add --skip-missing")
        photo = read_photo(task.photo, read_bytes(task.photo), "stored", task.info.size)
        instances, lvis = (self._instances(kind, task, photo) for kind in ("instances", "lvis"))
        things, stuff = self._panoptic(task, photo)
        coco = instances if "instances" in self.files else things
        return Picture(photo, join(lvis, coco), stuff, task.photo.name, task.info.license_id)

    def _annotations(self, kind: str, task: CocoTask) -> list[dict[str, Any]]:
        with self.files[kind].open("rb") as file:
            return [read_member(file, *span) for span in task.spans[kind]]

    def _instances(self, kind: str, task: CocoTask, photo: Photo) -> list[Region]:
        if kind not in self.files:
            return []
        regions = []
        for annotation in self._annotations(kind, task):
            if annotation.get("iscrowd"):
                continue
            try:
                mask = decode_segmentation(annotation.get("segmentation"), photo.size)
            except PrepareError as error:
                raise PrepareError(
                    f"{self.files[kind]}: annotation {annotation.get('id')} of {task.info.file_name} can't be drawn: "
                    f"{error}"
                ) from error
            regions.append(Region.of(self._category(kind, annotation)[0], mask))
        return [region for region in regions if region is not None]

    def _panoptic(self, task: CocoTask, photo: Photo) -> tuple[list[Region], list[Region]]:
        """Things and stuff of the panoptic file."""
        found: dict[bool, list[Region]] = {True: [], False: []}
        if "panoptic" not in self.files:
            return [], []
        for annotation in self._annotations("panoptic", task):
            ids = _panoptic_ids(self.panoptic_masks, str(annotation.get("file_name")), photo.size)
            for segment in annotation.get("segments_info", ()):
                if not isinstance(segment, dict) or type(segment.get("id")) is not int:
                    raise PrepareError(f"{self.files['panoptic']}: a segment of {task.info.file_name} has no number")
                name, is_thing = self._category("panoptic", segment)
                region = Region.of(name, ids == segment["id"])
                if region is not None and not segment.get("iscrowd"):
                    found[is_thing].append(region)
        return found[True], found[False]

    def _category(self, kind: str, annotation: Mapping[str, Any]) -> tuple[str, bool]:
        category = annotation.get("category_id")
        return self.categories[kind].get(category, (str(category), True))


def _panoptic_ids(folder: Path | None, name: str, size: tuple[int, int]) -> np.ndarray:
    """Segment ids (H, W): red + 256 green + 65536 blue, as COCO panoptic (Kirillov et al., 2019) stores them."""
    path = folder / name
    if not inside(path, folder):
        raise PrepareError(f"the panoptic file names {name!r}, which lies outside {folder}")
    image = read_label_image(path)
    if image.ndim != 3 or image.shape[:2] != size or image.dtype != np.uint8:
        raise PrepareError(f"{path} is no 8-bit colour image of {size[1]}x{size[0]} pixels; fetch it again")
    blue, green, red = (image[:, :, channel].astype(np.int32) for channel in range(3))
    return red + 256 * green + 65536 * blue


@dataclass
class PhotoFolders:
    """Finds photos by the names in annotation files, in folders that are listed once."""

    folders: Sequence[Path]
    _listed: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for folder in self.folders:
            for path in sorted(folder.iterdir()):
                self._listed.setdefault(path.name, path)

    def find(self, name: str) -> Path | None:
        """The photo of this name or relative path, if a folder has it; never anything outside the folders."""
        for folder in self.folders:
            if "/" in name and inside(folder / name, folder) and (folder / name).is_file():
                return folder / name
        return self._listed.get(name.replace("\\", "/").rsplit("/", 1)[-1])


def plan_coco(
    photo_folders: Sequence[Path], files: Mapping[str, Path], panoptic_masks: Path | None, skip_missing: bool
) -> tuple[list[CocoTask], CocoReader]:
    """What to convert, and the reader of it.

    The photos are those that LVIS lists, if it is given, else the instances file's, else the panoptic file's: as with
    RITM's joined data, a photo that LVIS did not look at is not among them.

    Args:
        photo_folders: where the photos lie.
        files: by kind, "instances", "panoptic", "lvis"; at least one.
        panoptic_masks: folder of PNG files; beside the panoptic file, under its name, if left out.
        skip_missing: leaves out photos that are in no folder; else each is a failure.

    Raises:
        WrongCall: no file, no folder of panoptic masks, or no photo found.
        PrepareError: a file is not of its kind.
    """
    if not files:
        raise WrongCall("name at least one of --instances, --panoptic and --lvis")
    if "panoptic" in files:
        panoptic_masks = panoptic_masks or files["panoptic"].with_suffix("")
        if not panoptic_masks.is_dir():
            raise WrongCall(f"{panoptic_masks} is no folder of panoptic PNG files; name it with --panoptic-masks")
    if files.keys() != {"panoptic"}:
        pycocotools_mask()
    read = {kind: AnnotationFile(path) for kind, path in files.items()}
    leading = next(read[kind] for kind in ("lvis", "instances", "panoptic") if kind in read)
    folders = PhotoFolders(photo_folders)
    tasks = [
        CocoTask(f"{i:012d}", info, folders.find(info.file_name), {kind: read[kind].spans(i) for kind in read})
        for i, info in sorted(leading.images.items())
    ]
    if all(task.photo is None for task in tasks):
        raise WrongCall(f"none of the {len(tasks)} photos of {leading.path} is in {_listing(photo_folders)}")
    if skip_missing:
        tasks = [task for task in tasks if task.photo is not None]
    return tasks, CocoReader(dict(files), {kind: file.categories for kind, file in read.items()}, panoptic_masks)


def _listing(folders: Iterable[Path]) -> str:
    return " or ".join(str(folder) for folder in folders)
