"""Tasks: one object of one image to be selected by interactions."""
from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from tqdm import tqdm

from utils.benchmark.annotations import ONE_OBJECT_A_FILE, READERS, Annotation, DataError, read_image
from utils.benchmark.formats import Photo, find_photos, split_name
from utils.files import UserError, digest, file_digest, shown_name

COCO_LVIS_MIN_AREA = 1000  # pixels, as in RITM's training and validation (Sofiiuk et al. 2021)


@dataclass(frozen=True)
class Task:
    """An object of a photo; `name` is unique in its data set, `files` a digest of the image's and the masks' bytes."""

    data: str
    name: str
    photo: Photo
    object_id: int
    files: str

    def content(self) -> list[object]:
        """What image and truth depend on, wherever the files lie and whatever they are called."""
        photo = self.photo
        return [self.files, self.object_id, photo.reader, photo.ignore, photo.instances, photo.frame]


@dataclass(frozen=True)
class DataSet:
    """The tasks of a folder.

    `broken` are photos that could not be read, each with the reason, `empty` the names of those whose annotation has no
    object, `notes` what else was left out, in sentences.
    """

    name: str
    folder: str
    format: str
    tasks: tuple[Task, ...]
    broken: tuple[tuple[str, str], ...] = ()
    empty: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the tasks' names and the bytes of their files."""
        return digest("\n".join(sorted(f"{task.name} {task.files}" for task in self.tasks)).encode())


def list_tasks(
    data: str,
    name: str = "",
    split: str | None = None,
    ignore: tuple[int, ...] | None = None,
    cluster: str = "auto",
    min_area: int | None = None,
    limit: int | None = None,
) -> DataSet:
    """Every object of a data set, in the order of the photos' names.

    Args:
        data: a folder, or FORMAT:FOLDER.
        name: what the report calls it; the folder's name if left out.
        split, ignore, cluster: as for `find_photos`.
        min_area: smaller objects are left out, pixels; None is 1000 for COCO_LVIS and 1 for the others.
        limit: this many tasks, spread evenly over the list.

    Raises:
        DataError: the folder or its lists can't be used, or no object is left.
    """
    found = find_photos(data, split, ignore, cluster)
    folder = split_name(data)[1].resolve()
    if min_area is None:
        min_area = COCO_LVIS_MIN_AREA if found.format == "cocolvis" else 1
    pairs: list[tuple[Photo, int]] = []
    broken: list[tuple[str, str]] = []
    empty: list[str] = []
    bar = tqdm(found.photos, desc=f"reading {shown_name(folder.name)}", file=sys.stderr, disable=None, leave=False,
               delay=2)
    for photo in bar:
        try:
            areas = object_areas(photo)
        except UserError as error:
            broken.append((photo.name, str(error)))
            continue
        empty += [_name(photo, i) for i, area in areas.items() if area == 0]
        if not areas and photo.instances is None:
            empty.append(photo.name)
        pairs += [(photo, i) for i, area in areas.items() if area >= max(1, min_area)]
    chosen = _spread(pairs, limit)
    if not chosen and not broken:
        raise DataError(f"{folder} has no object of {min_area} pixels; see --min-area and --ignore-label")
    digests, unread = _digest_photos({photo for photo, _ in chosen})
    tasks = _name_tasks(name or shown_name(folder.name), [pair for pair in chosen if pair[0] in digests], digests)
    return DataSet(name or shown_name(folder.name), shown_name(folder), found.format, tasks, (*broken, *unread),
                   tuple(empty), found.notes)


def object_areas(photo: Photo) -> dict[int, int]:
    """Pixels of each of a photo's objects, by id.

    Raises:
        UserError: the photo lacks its mask, or the annotation can't be read.
    """
    if photo.problem:
        raise DataError(photo.problem)
    for path in (photo.image, *photo.masks):
        if not path.is_file():
            raise DataError(f"{shown_name(path)} is missing; fetch the data set again")
    if photo.instances == 0:  # COCO_LVIS knows photos with stuff alone, or with nothing
        return {}
    return read_annotation(photo).areas()


def read_annotation(photo: Photo) -> Annotation:
    """The photo's label layers and its objects' regions, no more objects than its `instances`."""
    annotation = READERS[photo.reader](photo.masks, photo.ignore, photo.frame)
    if photo.instances is None:
        return annotation
    objects = {i: region for i, region in annotation.objects.items() if i < photo.instances}
    return Annotation(annotation.layers, objects, annotation.ignored)


@lru_cache(maxsize=1)
def _read_photo(photo: Photo, files: str) -> tuple[np.ndarray, Annotation]:
    """The image with its annotation; the last one is kept, because its other objects come next."""
    annotation = read_annotation(photo)
    image = read_image(photo.image, photo.frame)
    if image.shape[:2] != annotation.layers.shape[:2]:
        sizes = [f"{array.shape[1]}x{array.shape[0]}" for array in (image, annotation.layers)]
        names = [shown_name(path) for path in (photo.image, photo.masks[0])]
        raise DataError(f"{names[0]} is {sizes[0]} pixels, but {names[1]} is {sizes[1]}; they must be equal")
    return image, annotation


def read_task(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """The image uint8 (H, W, 3) RGB and the ground truth int8 (H, W): 1 on the object, 0 off it, -1 ignored.

    Raises:
        UserError: a file can't be read, or image and masks differ in size.
    """
    image, annotation = _read_photo(task.photo, task.files)
    return image, annotation.truth(task.object_id)


def _name(photo: Photo, object_id: int) -> str:
    """A task's name: the photo's, with the object's number where the photo may have several."""
    is_alone = photo.reader in ONE_OBJECT_A_FILE and len(photo.masks) == 1
    return photo.name if is_alone else f"{photo.name}#{object_id}"


def _spread(pairs: list[tuple[Photo, int]], limit: int | None) -> list[tuple[Photo, int]]:
    if limit is None or limit >= len(pairs):
        return pairs
    return [pairs[i * len(pairs) // limit] for i in range(limit)]


def _name_tasks(data: str, pairs: Sequence[tuple[Photo, int]], digests: dict[Photo, str]) -> tuple[Task, ...]:
    tasks: dict[str, Task] = {}
    for photo, object_id in pairs:
        name = _name(photo, object_id)
        if name in tasks:
            images = [shown_name(image) for image in (photo.image, tasks[name].photo.image)]
            raise DataError(f"{images[0]} and {images[1]} have the same name; rename one of them")
        tasks[name] = Task(data, name, photo, object_id, digests[photo])
    return tuple(tasks.values())


def _digest_photos(photos: Iterable[Photo]) -> tuple[dict[Photo, str], list[tuple[str, str]]]:
    """The digests of those whose files can be read, and of the others the name and the reason."""
    digests, unread = {}, []
    for photo in photos:
        try:
            parts = [file_digest(path) for path in (photo.image, *photo.masks)]
            digests[photo] = digest("\n".join(parts).encode())
        except UserError as error:
            unread.append((photo.name, str(error)))
    return digests, sorted(unread)
