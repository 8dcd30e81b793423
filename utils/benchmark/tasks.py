"""Tasks: one object of one image to be clicked out."""
from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from tqdm import tqdm

from utils.benchmark.annotations import ONE_OBJECT_A_FILE, READERS, Annotation, DataError, read_image
from utils.benchmark.layouts import Photo, find_photos, split_name
from utils.sample import DSample

COCO_LVIS_MIN_AREA = 1000  # pixels, as in RITM's training and validation (Sofiiuk et al. 2021)


@dataclass(frozen=True)
class Task:
    """An object of a photo; `name` is unique in its data set, `files` a digest of the image's and the masks' bytes."""

    data: str
    name: str
    photo: Photo
    object_id: int
    files: str


@dataclass(frozen=True)
class DataSet:
    """The tasks of a folder and the photos that could not be read, each with the reason."""

    name: str
    folder: str
    layout: str
    tasks: tuple[Task, ...]
    broken: tuple[tuple[str, str], ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the tasks' names and the bytes of their files."""
        lines = sorted(f"{task.name} {task.files}" for task in self.tasks)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


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
        data: a folder, or LAYOUT:FOLDER.
        name: what the report calls it; the folder's name if left out.
        split, ignore, cluster: as for `find_photos`.
        min_area: smaller objects are left out, pixels; None is 1000 for COCO_LVIS and 1 for the others. Layouts with a
            mask file for each object keep all of them.
        limit: this many tasks, spread evenly over the list.

    Raises:
        DataError: the folder or its lists can't be used, or nothing is left to click on.
    """
    layout, photos = find_photos(data, split, ignore, cluster)
    folder = split_name(data)[1].resolve()
    if min_area is None:
        min_area = COCO_LVIS_MIN_AREA if layout == "cocolvis" else 1
    pairs: list[tuple[Photo, int]] = []
    broken: list[tuple[str, str]] = []
    for photo in tqdm(photos, desc=f"reading {folder.name}", file=sys.stderr, disable=None, leave=False, delay=2):
        try:
            pairs += [(photo, object_id) for object_id in object_ids(photo, min_area)]
        except DataError as error:
            broken.append((photo.name, str(error)))
    chosen = _spread(pairs, limit)
    if not chosen and not broken:
        raise DataError(f"{folder} has no object of {min_area} pixels; see --min-area and --ignore-label")
    digests, unread = _digest_photos({photo for photo, _ in chosen})
    chosen, broken = [pair for pair in chosen if pair[0] in digests], [*broken, *unread]
    several = {photo.name for photo, _ in pairs if _has_parts(photo)}
    tasks = _name_tasks(name or folder.name, chosen, several, digests)
    return DataSet(name or folder.name, str(folder), layout, tasks, tuple(broken))


def object_ids(photo: Photo, min_area: int) -> list[int]:
    """The ids of a photo's objects of at least so many pixels; files of one object each are not opened for that.

    Raises:
        DataError: the photo lacks its mask, or the annotation can't be read.
    """
    if photo.problem:
        raise DataError(photo.problem)
    for path in (photo.image, *photo.masks):
        if not path.is_file():
            raise DataError(f"{path} is missing; fetch the data set again")
    if photo.reader in ONE_OBJECT_A_FILE:
        return list(range(1, len(photo.masks) + 1))
    if photo.instances == 0:  # COCO_LVIS knows photos with stuff alone, or with nothing
        return []
    annotation = read_annotation(photo)
    areas = _areas(annotation)
    return [i for i in annotation.objects if areas[i] >= min_area]


def read_annotation(photo: Photo) -> Annotation:
    """The photo's label layers and its objects' regions, no more objects than its `instances`."""
    annotation = READERS[photo.reader](photo.masks, photo.ignore)
    if photo.instances is None:
        return annotation
    objects = {i: region for i, region in annotation.objects.items() if i < photo.instances}
    return Annotation(annotation.layers, objects, annotation.ignored)


@lru_cache(maxsize=1)
def _read_sample(photo: Photo, files: str) -> DSample:
    """The image with its objects; the last one is kept, because its other objects come next."""
    annotation = read_annotation(photo)
    image = read_image(photo.image, photo.as_stored)
    if image.shape[:2] != annotation.layers.shape[:2]:
        sizes = [f"{array.shape[1]}x{array.shape[0]}" for array in (image, annotation.layers)]
        raise DataError(f"{photo.image} is {sizes[0]} pixels, but {photo.masks[0]} is {sizes[1]}; they must be equal")
    objects = {i: {"mapping": region} for i, region in annotation.objects.items()}
    return DSample(image, annotation.layers, objects, ignore_ids=annotation.ignored, imname=photo.image.name)


def read_task(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """The image uint8 (H, W, 3) RGB and the ground truth int8 (H, W): 1 on the object, 0 off it, -1 ignored.

    Raises:
        DataError: a file can't be read, or image and masks differ in size.
    """
    sample = _read_sample(task.photo, task.files)
    return sample.image, sample.get_object_mask(task.object_id).astype(np.int8)


def _areas(annotation: Annotation) -> dict[int, int]:
    """Pixels of each object; each layer is counted once for all its objects."""
    counts = {}
    for layer in {layer for layer, _ in annotation.objects.values()}:
        labels, sizes = _count_labels(annotation.layers[:, :, layer])
        counts[layer] = dict(zip(labels.tolist(), sizes.tolist(), strict=True))
    return {i: counts[layer].get(label, 0) for i, (layer, label) in annotation.objects.items()}


def _count_labels(layer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The labels of a layer and their numbers of pixels; bincount is quicker, but not with labels made from colours."""
    if layer.max() > np.iinfo(np.uint16).max:
        return np.unique(layer, return_counts=True)
    sizes = np.bincount(layer.ravel())
    labels = np.flatnonzero(sizes)
    return labels, sizes[labels]


def _has_parts(photo: Photo) -> bool:
    """Whether the photo may have several objects, so that a task's name needs the object's number."""
    return photo.reader not in ONE_OBJECT_A_FILE or len(photo.masks) > 1


def _spread(pairs: list[tuple[Photo, int]], limit: int | None) -> list[tuple[Photo, int]]:
    if limit is None or limit >= len(pairs):
        return pairs
    return [pairs[i * len(pairs) // limit] for i in range(limit)]


def _name_tasks(
    data: str, pairs: Sequence[tuple[Photo, int]], several: set[str], digests: dict[Photo, str]
) -> tuple[Task, ...]:
    tasks: dict[str, Task] = {}
    for photo, object_id in pairs:
        name = f"{photo.name}#{object_id}" if photo.name in several else photo.name
        if name in tasks:
            raise DataError(f"{photo.image} and {tasks[name].photo.image} have the same name; rename one of them")
        tasks[name] = Task(data, name, photo, object_id, digests[photo])
    return tuple(tasks.values())


def _digest_photos(photos: Iterable[Photo]) -> tuple[dict[Photo, str], list[tuple[str, str]]]:
    """The digests of those whose files can be read, and of the others the name and the reason."""
    digests, unread = {}, []
    for photo in photos:
        try:
            digests[photo] = _digest_of_files(photo)
        except OSError as error:
            reason = f"{error.filename or photo.image} can't be read ({error.strerror}); fetch it again or remove it"
            unread.append((photo.name, reason))
    return digests, sorted(unread)


def _digest_of_files(photo: Photo) -> str:
    """SHA-256 of the bytes of the image and its masks."""
    digest = hashlib.sha256()
    for path in (photo.image, *photo.masks):
        content = path.read_bytes()
        digest.update(f"{len(content)}\n".encode() + content)
    return digest.hexdigest()
