"""The folders that the field's data sets are handed out in: an image's masks, and which frames belong together.

A layout finds a data set's photos by their names alone; nothing is decoded here.
"""
from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from utils.benchmark.annotations import DataError
from utils.safe_pickle import load_pickle

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif")
VOID_LABELS = (255, 220)  # PASCAL's void, as an index and as the grey value that OpenCV makes of its colour
DAVIS_FRAME = re.compile(r"(.+)_\d{5}")
COPY = re.compile(r"#\d+$")
ANY_FRAME = re.compile(r"(.*[^\d_-])[_-]?\d+")


@dataclass(frozen=True)
class Photo:
    """An image file and its annotation.

    `reader` names the function of utils.benchmark.annotations that reads `masks`, `ignore` its labels to leave out;
    `instances` limits the objects to the first so many; photos of one `cluster` are not independent of each other.
    """

    name: str
    image: Path
    masks: tuple[Path, ...]
    reader: str
    cluster: str
    ignore: tuple[int, ...] = ()
    instances: int | None = None
    as_stored: bool = False
    problem: str = ""


class Layout(NamedTuple):
    """A way to lay out a data set: how it looks, how to tell it, and its photos (folder, split, ignored labels)."""

    looks: str
    is_it: Callable[[Path], bool]
    photos: Callable[[Path, str | None, tuple[int, ...] | None], Iterator[Photo]]


def find_photos(
    data: str, split: str | None = None, ignore: tuple[int, ...] | None = None, cluster: str = "auto"
) -> tuple[str, list[Photo]]:
    """The photos of a data set, sorted by name.

    Args:
        data: a folder, or LAYOUT:FOLDER with a name of LAYOUTS.
        split: for the layouts that have splits; left out, all of the DAVIS tree and val of the others.
        ignore: labels to ignore in label maps; None for the layout's own (PASCAL's void).
        cluster: what bootstrap draws together: "image", "sequence" (names that differ in their final number), or
            "auto", the layout's own.

    Returns:
        The layout's name and the photos.

    Raises:
        DataError: there is no such folder, it is laid out in no known way, or has no photos.
    """
    name, folder = split_name(data)
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; give the folder of a data set")
    name = name or _recognise(folder)
    photos = sorted(LAYOUTS[name].photos(folder, split, ignore), key=lambda photo: photo.name)
    if not photos:
        raise DataError(f"{folder} has no photos in the layout {name} ({LAYOUTS[name].looks})")
    if cluster != "auto":
        names = [_photo(photo.name) for photo in photos]
        names = names if cluster == "image" else [_sequence(name, ANY_FRAME) for name in names]
        photos = [replace(photo, cluster=name) for photo, name in zip(photos, names, strict=True)]
    return name, photos


def split_name(data: str) -> tuple[str, Path]:
    """LAYOUT:FOLDER apart; the layout is empty where none is named."""
    name, colon, folder = data.partition(":")
    return (name, Path(folder)) if colon and name in LAYOUTS else ("", Path(data))


def _recognise(folder: Path) -> str:
    found = next((name for name, layout in LAYOUTS.items() if layout.is_it(folder)), None)
    if found is None:
        known = "; ".join(f"{name}: {layout.looks}" for name, layout in LAYOUTS.items())
        raise DataError(f"{folder} is laid out in no known way; name the layout (labels:{folder}) or use one: {known}")
    return found


# ---------------------------------------------------------------------------------------------- one object an image


def _run(folder: Path, split: str | None, ignore: tuple[int, ...] | None) -> Iterator[Photo]:
    images = sorted((folder / "imgs").glob("*.*"))
    masks = _by_stem((folder / "masks").glob("*.*"))
    for image in images:
        stem = image.name.split(".")[0]
        yield _pair(image, masks.get(stem, []), folder / "masks", cluster=_sequence(_photo(stem), DAVIS_FRAME))


def _davis(folder: Path, split: str | None, ignore: tuple[int, ...] | None) -> Iterator[Photo]:
    masks = _by_stem(_pictures(folder / "gt"))
    for image in _pictures(folder / "img"):
        yield _pair(image, masks.get(image.stem, []), folder / "gt", cluster=_sequence(image.stem, ANY_FRAME))


def _davis_tree(folder: Path, split: str | None, ignore: tuple[int, ...] | None) -> Iterator[Photo]:
    resolution = next((name for name in ("480p", "Full-Resolution") if (folder / "JPEGImages" / name).is_dir()), "")
    images, masks = (folder / room / resolution for room in ("JPEGImages", "Annotations"))
    wanted = _davis_split(folder, split) if split else None
    for sequence in sorted(path for path in masks.iterdir() if path.is_dir()):
        if wanted is not None and sequence.name not in wanted:
            continue
        frames = _by_stem(_pictures(images / sequence.name))
        for mask in _pictures(sequence):
            image = frames.get(mask.stem, [images / sequence.name / f"{mask.stem}.jpg"])[0]
            yield Photo(f"{sequence.name}_{mask.stem}", image, (mask,), "foreground", sequence.name, ignore or ())


def _davis_split(folder: Path, split: str) -> set[str]:
    """The sequences of ImageSets/<year or resolution>/<split>.txt."""
    lists = sorted((folder / "ImageSets").glob(f"*/{split}.txt"))
    if not lists:
        raise DataError(f"{folder / 'ImageSets'} has no list {split}.txt; leave --split out to use all sequences")
    # a line of the 2016 list is "/JPEGImages/480p/SEQUENCE/00000.jpg /Annotations/...", of the 2017 list a sequence
    lines = [line.split()[0] for line in lists[0].read_text().splitlines() if line.strip()]
    return {Path(line).parent.name or line for line in lines}


def _grabcut(folder: Path, split: str | None, ignore: tuple[int, ...] | None) -> Iterator[Photo]:
    masks = _by_stem(_pictures(folder / "boundary_GT"))
    for image in _pictures(folder / "data_GT"):
        yield _pair(image, masks.get(image.stem, []), folder / "boundary_GT", reader="trimaps")


def _pair(image: Path, masks: list[Path], folder: Path, reader: str = "masks", cluster: str = "") -> Photo:
    """An image with its one mask; with none or several, the photo says what is wrong when it is read."""
    stem = image.name.split(".")[0]
    problem = ""
    if not masks:
        problem = f"{image} has no mask: put {stem}.png into {folder}"
    elif len(masks) > 1:
        problem = f"{image} has several masks, {', '.join(map(str, masks))}: delete all but one"
    return Photo(stem, image, tuple(masks[:1]), reader, cluster or stem, problem=problem)


# ---------------------------------------------------------------------------------------------- several objects


def _berkeley(folder: Path, split: str | None, ignore: tuple[int, ...] | None) -> Iterator[Photo]:
    images = _pictures(folder / "images")
    stems = {image.stem for image in images}
    masks: dict[str, list[Path]] = {}
    for mask in _pictures(folder / "masks"):
        owner = mask.stem if mask.stem in stems else re.sub(r"[#_.-]\d+$", "", mask.stem)
        masks.setdefault(owner, []).append(mask)
    for image in images:
        found = masks.get(image.stem, [])
        problem = "" if found else f"{image} has no mask: put {image.stem}.png into {folder / 'masks'}"
        yield Photo(image.stem, image, tuple(found), "masks", _photo(image.stem), problem=problem)


def _sbd(folder: Path, split: str | None, ignore: tuple[int, ...] | None) -> Iterator[Photo]:
    root = _sbd_root(folder)
    for name in _listed(root / f"{split or 'val'}.txt"):
        mask = root / "inst" / f"{name}.mat"
        yield Photo(name, root / "img" / f"{name}.jpg", (mask,), "sbd", name, _or_void(ignore), as_stored=True)


def _voc(folder: Path, split: str | None, ignore: tuple[int, ...] | None) -> Iterator[Photo]:
    root = _voc_root(folder)
    for name in _listed(root / "ImageSets" / "Segmentation" / f"{split or 'val'}.txt"):
        image, mask = root / "JPEGImages" / f"{name}.jpg", root / "SegmentationObject" / f"{name}.png"
        yield Photo(name, image, (mask,), "label map", name, _or_void(ignore), as_stored=True)


def _coco_lvis(folder: Path, split: str | None, ignore: tuple[int, ...] | None) -> Iterator[Photo]:
    root = _coco_lvis_root(folder, split or "val")
    for number, count in _instance_counts(root / "hannotation.pickle").items():
        name = str(number).zfill(12)
        image, masks = root / "images" / f"{name}.jpg", (root / "masks" / f"{name}.pickle",)
        yield Photo(name, image, masks, "coco_lvis", name, instances=count, as_stored=True)


def _instance_counts(path: Path) -> dict[int | str, int]:
    """How many objects each annotated photo has, stuff left out."""
    try:
        return {number: int(annotation["num_instance_masks"]) for number, annotation in load_pickle(path).items()}
    except pickle.UnpicklingError as error:
        raise DataError(f"{error}; fetch it again") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} does not tell num_instance_masks of each photo ({error!r}); fetch it again") from error


def _labels(folder: Path, split: str | None, ignore: tuple[int, ...] | None) -> Iterator[Photo]:
    images, maps = _folder_of(folder, IMAGE_FOLDERS), _folder_of(folder, MAP_FOLDERS)
    by_stem = _by_stem(_pictures(maps))
    for image in _pictures(images):
        photo = _pair(image, by_stem.get(image.stem, []), maps, reader="label map")
        yield replace(photo, ignore=(255,) if ignore is None else ignore)


def _or_void(ignore: tuple[int, ...] | None) -> tuple[int, ...]:
    return VOID_LABELS if ignore is None else ignore


def _listed(path: Path) -> list[str]:
    if not path.is_file():
        splits = ", ".join(sorted(other.stem for other in path.parent.glob("*.txt"))) or "none"
        raise DataError(f"{path} is missing; choose a split that has a list ({splits}) by --split")
    return path.read_text().split()


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
LAYOUTS: dict[str, Layout] = {
    "run": Layout("imgs and masks, as run.py reads them", _has("imgs", "masks"), _run),
    "davis": Layout("img and gt", _has("img", "gt"), _davis),
    "davis-tree": Layout("JPEGImages/480p/SEQUENCE and Annotations/480p/SEQUENCE", _is_davis_tree, _davis_tree),
    "grabcut": Layout("data_GT and boundary_GT", _has("data_GT", "boundary_GT"), _grabcut),
    "sbd": Layout("img, inst and val.txt", lambda folder: (_sbd_root(folder) / "inst").is_dir(), _sbd),
    "voc": Layout(
        "JPEGImages, SegmentationObject and ImageSets/Segmentation/val.txt",
        lambda folder: (_voc_root(folder) / "SegmentationObject").is_dir(),
        _voc,
    ),
    "cocolvis": Layout(
        "images, masks and hannotation.pickle, or the folder above",
        lambda folder: any((folder / name).is_file() for name in ("hannotation.pickle", "val/hannotation.pickle")),
        _coco_lvis,
    ),
    "berkeley": Layout("images and masks, one a file: NAME.png or NAME_1.png", _has("images", "masks"), _berkeley),
    "labels": Layout("images and labels, an object a label", _is_labels, _labels),
}


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.*") if path.suffix.lower() in PICTURES and path.name[0] != ".")


def _by_stem(paths: Iterable[Path]) -> dict[str, list[Path]]:
    result: dict[str, list[Path]] = {}
    for path in sorted(paths):
        result.setdefault(path.stem, []).append(path)
    return result


def _photo(name: str) -> str:
    """The name without the object's number: a photo with several objects may be there once for each, as 12003#002."""
    return COPY.sub("", name)


def _sequence(name: str, frame: re.Pattern[str]) -> str:
    """The name without its frame number, or all of it where it has none."""
    found = frame.fullmatch(name)
    return found[1] if found else name
