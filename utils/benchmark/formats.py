"""The formats that the field's data sets are handed out in: an image's masks, and which frames belong together.

A format finds a data set's photos by their names alone; nothing is decoded here.
"""
from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from utils.benchmark.annotations import DataError
from utils.coco_lvis import ANNOTATIONS, SampleError, full_id, read_annotations
from utils.files import read_text, shown_name
from utils.folders import list_pictures, pair_by_name
from utils.images import Frame
from utils.labels import VOID

GREY_VOID = 220  # the grey value that OpenCV makes of PASCAL's colour for void
DAVIS_FRAME = re.compile(r"(.+)_\d{5}")
COPY = re.compile(r"#\d+$")
ANY_FRAME = re.compile(r"(.*[^\d_-])[_-]?\d+")


@dataclass(frozen=True)
class Photo:
    """An image file and its annotation.

    `reader` names the function of utils.benchmark.annotations that reads `masks`, `ignore` its labels to leave out
    (None for the reader's own); `instances` limits the objects to the first so many; photos of one `cluster` are not
    independent of each other; `frame` is which way up image and masks are read.
    """

    name: str
    image: Path
    masks: tuple[Path, ...]
    reader: str
    cluster: str
    ignore: tuple[int, ...] | None = None
    instances: int | None = None
    frame: Frame = "upright"
    problem: str = ""


@dataclass
class Request:
    """What is looked for: a folder, one of its splits, labels to ignore; `notes` is for what the user should know."""

    folder: Path
    split: str | None = None
    ignore: tuple[int, ...] | None = None
    notes: list[str] = field(default_factory=list)


class DatasetFormat(NamedTuple):
    """A way to lay out a data set: what it looks like, whether a folder is of it, and the photos of a folder."""

    description: str
    matches: Callable[[Path], bool]
    photos: Callable[[Request], Iterator[Photo]]


class Found(NamedTuple):
    """The photos of a data set, sorted by name, the name of its format, and what was left out, in sentences."""

    format: str
    photos: list[Photo]
    notes: tuple[str, ...]


def find_photos(
    data: str, split: str | None = None, ignore: tuple[int, ...] | None = None, cluster: str = "auto"
) -> Found:
    """The photos of a data set.

    Args:
        data: a folder, or FORMAT:FOLDER with a name of DATASET_FORMATS.
        split: for the formats that have splits; left out, all of the DAVIS tree and val of the others.
        ignore: labels to ignore in label maps; None for the format's own (PASCAL's void).
        cluster: what bootstrap draws together: "image", "sequence" (names that differ in their final number), or
            "auto", the format's own.

    Raises:
        DataError: there is no such folder, it is of no known format, or has no photos.
    """
    name, folder = split_name(data)
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; give the folder of a data set")
    name = name or _recognise(folder)
    request = Request(folder, split, ignore)
    photos = sorted(DATASET_FORMATS[name].photos(request), key=lambda photo: photo.name)
    if not photos:
        raise DataError(f"{folder} has no photos in the format {name} ({DATASET_FORMATS[name].description})")
    if cluster != "auto":
        names = [_photo(photo.name) for photo in photos]
        names = names if cluster == "image" else [_sequence(name, ANY_FRAME) for name in names]
        photos = [replace(photo, cluster=name) for photo, name in zip(photos, names, strict=True)]
    return Found(name, photos, tuple(request.notes))


def split_name(data: str) -> tuple[str, Path]:
    """FORMAT:FOLDER apart; the format is empty where none is named."""
    name, colon, folder = data.partition(":")
    return (name, Path(folder)) if colon and name in DATASET_FORMATS else ("", Path(data))


def _recognise(folder: Path) -> str:
    found = next((name for name, known in DATASET_FORMATS.items() if known.matches(folder)), None)
    if found is None:
        known = "; ".join(f"{name}: {known.description}" for name, known in DATASET_FORMATS.items())
        raise DataError(f"{folder} is of no known format; name the format (labels:{folder}) or use one: {known}")
    return found


# ---------------------------------------------------------------------------------------------- one object an image


def _run(request: Request) -> Iterator[Photo]:
    for photo in _pairs(request, request.folder / "imgs", request.folder / "masks"):
        yield replace(photo, cluster=_sequence(_photo(photo.name), DAVIS_FRAME))


def _davis(request: Request) -> Iterator[Photo]:
    for photo in _pairs(request, request.folder / "img", request.folder / "gt"):
        yield replace(photo, cluster=_sequence(photo.name, ANY_FRAME))


def _grabcut(request: Request) -> Iterator[Photo]:
    yield from _pairs(request, request.folder / "data_GT", request.folder / "boundary_GT", "trimaps")


def _pairs(request: Request, images: Path, masks: Path, reader: str = "masks") -> Iterator[Photo]:
    """Each image with its one mask; with none or several, the photo says what is wrong when it is read."""
    listing = list_pictures(images)
    if listing.left_out:
        request.notes.append(f"{shown_name(images)}: {listing.remark()}")
    pairing = pair_by_name(listing.pictures, list_pictures(masks).pictures)
    for image, name in _unique_names(listing.pictures).items():
        mask, problem = pairing.masks.get(image), ""
        if image in pairing.unpaired:
            problem = f"{shown_name(image)} has no mask: put {name}.png into {shown_name(masks)}"
        elif mask is None:
            problem = next(text for text in pairing.problems if shown_name(image.name) in text)
        yield Photo(name, image, (mask,) if mask else (), reader, name, request.ignore, problem=problem)


def _unique_names(images: Sequence[Path]) -> dict[Path, str]:
    """The images' names up to the first dot, or as much more of them as tells them apart."""
    names = {image: shown_name(image.name.split(".")[0]) for image in images}
    for longer in (lambda image: image.stem, lambda image: image.name):
        counts = Counter(names.values())
        names = {i: name if counts[name] == 1 else shown_name(longer(i)) for i, name in names.items()}
    return names


def _davis_tree(request: Request) -> Iterator[Photo]:
    folder = request.folder
    resolution = next((name for name in ("480p", "Full-Resolution") if (folder / "JPEGImages" / name).is_dir()), "")
    images, masks = (folder / part / resolution for part in ("JPEGImages", "Annotations"))
    wanted = _davis_split(folder, request.split) if request.split else None
    for sequence in sorted(path for path in masks.iterdir() if path.is_dir()):
        if wanted is not None and sequence.name not in wanted:
            continue
        frames = {path.stem: path for path in _pictures(images / sequence.name)}
        for mask in _pictures(sequence):
            image = frames.get(mask.stem, images / sequence.name / f"{mask.stem}.jpg")
            name = shown_name(f"{sequence.name}_{mask.stem}")
            yield Photo(name, image, (mask,), "foreground", shown_name(sequence.name), request.ignore)


def _davis_split(folder: Path, split: str) -> set[str]:
    """The sequences of ImageSets/<year or resolution>/<split>.txt."""
    lists = sorted((folder / "ImageSets").glob(f"*/{split}.txt"))
    if not lists:
        raise DataError(f"{folder / 'ImageSets'} has no list {split}.txt; leave --split out to use all sequences")
    # a line of the 2016 list is "/JPEGImages/480p/SEQUENCE/00000.jpg /Annotations/...", of the 2017 list a sequence
    lines = [line.split()[0] for line in read_text(lists[0]).splitlines() if line.strip()]
    return {Path(line).parent.name or line for line in lines}


# ---------------------------------------------------------------------------------------------- several objects


def _berkeley(request: Request) -> Iterator[Photo]:
    images, folder = _pictures(request.folder / "images"), request.folder / "masks"
    stems = {image.stem for image in images}
    masks: dict[str, list[Path]] = {}
    for mask in _pictures(folder):
        owner = mask.stem if mask.stem in stems else re.sub(r"[#_.-]\d+$", "", mask.stem)
        masks.setdefault(owner, []).append(mask)
    for image in images:
        name, found = shown_name(image.stem), masks.get(image.stem, [])
        problem = "" if found else f"{shown_name(image)} has no mask: put {name}.png into {shown_name(folder)}"
        yield Photo(name, image, tuple(found), "masks", _photo(name), problem=problem)


def _sbd(request: Request) -> Iterator[Photo]:
    root = _sbd_root(request.folder)
    for name in _listed(root / f"{request.split or 'val'}.txt"):
        mask = root / "inst" / f"{name}.mat"
        image = root / "img" / f"{name}.jpg"
        yield Photo(name, image, (mask,), "sbd", name, _or_void(request.ignore), frame="stored")


def _voc(request: Request) -> Iterator[Photo]:
    root = _voc_root(request.folder)
    for name in _listed(root / "ImageSets" / "Segmentation" / f"{request.split or 'val'}.txt"):
        image, mask = root / "JPEGImages" / f"{name}.jpg", root / "SegmentationObject" / f"{name}.png"
        yield Photo(name, image, (mask,), "label map", name, _or_void(request.ignore), frame="stored")


def _coco_lvis(request: Request) -> Iterator[Photo]:
    root = _coco_lvis_root(request.folder, request.split or "val")
    try:
        annotations = read_annotations(root / ANNOTATIONS)
    except SampleError as error:
        raise DataError(str(error)) from error
    for number, annotation in annotations.items():
        name = full_id(number)
        image, masks = root / "images" / f"{name}.jpg", (root / "masks" / f"{name}.pickle",)
        count = int(annotation["num_instance_masks"])
        yield Photo(name, image, masks, "coco_lvis", name, instances=count, frame="stored")


def _labels(request: Request) -> Iterator[Photo]:
    folder = request.folder
    yield from _pairs(request, _folder_of(folder, IMAGE_FOLDERS), _folder_of(folder, MAP_FOLDERS), "label map")


def _or_void(ignore: tuple[int, ...] | None) -> tuple[int, ...]:
    return (VOID, GREY_VOID) if ignore is None else ignore


def _listed(path: Path) -> list[str]:
    if not path.is_file():
        splits = ", ".join(sorted(other.stem for other in path.parent.glob("*.txt"))) or "none"
        raise DataError(f"{path} is missing; choose a split that has a list ({splits}) by --split")
    return read_text(path).split()


# ---------------------------------------------------------------------------------------------- telling them apart

IMAGE_FOLDERS = ("images", "imgs", "img", "JPEGImages")
LABEL_FOLDERS = ("labels", "label_maps", "labelmaps", "instances")
MAP_FOLDERS = (*LABEL_FOLDERS, "masks", "gt", "annotations")


def _has(*names: str) -> Callable[[Path], bool]:
    return lambda folder: all((folder / name).is_dir() for name in names)


def _folder_of(folder: Path, names: Iterable[str]) -> Path:
    found = next((folder / name for name in names if (folder / name).is_dir()), None)
    if found is None:
        raise DataError(f"{folder} has none of the folders {', '.join(names)}")
    return found


def _sbd_root(folder: Path) -> Path:
    choices = (folder, folder / "dataset", folder / "benchmark_RELEASE" / "dataset")
    return next((root for root in choices if (root / "inst").is_dir()), folder)


def _voc_root(folder: Path) -> Path:
    choices = (folder, *sorted(folder.glob("VOC2*")), *sorted(folder.glob("VOCdevkit/VOC2*")))
    return next((root for root in choices if (root / "SegmentationObject").is_dir()), folder)


def _coco_lvis_root(folder: Path, split: str) -> Path:
    root = folder if (folder / "hannotation.pickle").is_file() else folder / split
    if not (root / "hannotation.pickle").is_file():
        raise DataError(f"{root / 'hannotation.pickle'} is missing; is {folder} a COCO_LVIS folder or a split of one?")
    return root


def _is_davis_tree(folder: Path) -> bool:
    return _has("JPEGImages", "Annotations")(folder) and any(p.is_dir() for p in (folder / "Annotations").iterdir())


def _is_labels(folder: Path) -> bool:
    return all(any((folder / name).is_dir() for name in names) for names in (IMAGE_FOLDERS, LABEL_FOLDERS))


# The first that fits is taken: COCO_LVIS has the folders of Berkeley, and more.
DATASET_FORMATS: dict[str, DatasetFormat] = {
    "run": DatasetFormat("imgs and masks, as run.py reads them", _has("imgs", "masks"), _run),
    "davis": DatasetFormat("img and gt", _has("img", "gt"), _davis),
    "davis-tree": DatasetFormat("JPEGImages/480p/SEQUENCE and Annotations/480p/SEQUENCE", _is_davis_tree, _davis_tree),
    "grabcut": DatasetFormat("data_GT and boundary_GT", _has("data_GT", "boundary_GT"), _grabcut),
    "sbd": DatasetFormat("img, inst and val.txt", lambda folder: (_sbd_root(folder) / "inst").is_dir(), _sbd),
    "voc": DatasetFormat(
        "JPEGImages, SegmentationObject and ImageSets/Segmentation/val.txt",
        lambda folder: (_voc_root(folder) / "SegmentationObject").is_dir(),
        _voc,
    ),
    "cocolvis": DatasetFormat(
        "images, masks and hannotation.pickle, or the folder above",
        lambda folder: any((folder / name).is_file() for name in ("hannotation.pickle", "val/hannotation.pickle")),
        _coco_lvis,
    ),
    "berkeley": DatasetFormat(
        "images and masks, an object a file: NAME.png or NAME_1.png", _has("images", "masks"), _berkeley
    ),
    "labels": DatasetFormat("images and labels, an object a label", _is_labels, _labels),
}


def _pictures(folder: Path) -> tuple[Path, ...]:
    return list_pictures(folder).pictures if folder.is_dir() else ()


def _photo(name: str) -> str:
    """The name without the object's number: a photo with several objects may be there once for each, as 12003#002."""
    return COPY.sub("", name)


def _sequence(name: str, frame: re.Pattern[str]) -> str:
    """The name without its frame number, or all of it where it has none."""
    found = frame.fullmatch(name)
    return found[1] if found else name
