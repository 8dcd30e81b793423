"""A folder of pictures and one of masks (binary masks, label maps, or a folder of masks a picture) to write."""
from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from utils.prepare.files import PrepareError, WrongCall
from utils.prepare.photos import read_bytes, read_label_image, read_photo
from utils.prepare.regions import Region
from utils.prepare.writer import Picture

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}
LOSSY_SUFFIXES = {".jpg", ".jpeg"}
FEW_LABELS = 8  # up to so many, a label map is believed whatever it looks like


@dataclass(frozen=True)
class FolderTask:
    """A photo and its masks: a label map or a binary mask, or several files of one object each."""

    image_id: str
    photo: Path
    masks: tuple[Path, ...]


@dataclass(frozen=True)
class FolderReader:
    """Makes a Picture of a photo and its masks, which are taken to lie on the photo as viewers show it (EXIF applied).

    Args:
        binary_above: None: every value but 0 (in a colour image every colour but black) is an object of its own. A
            number: all pixels above it are one object.
        ignored: values that are no object, as "255" or "#e0e0c0".
        stuff: values that are stuff.
    """

    binary_above: int | None = None
    ignored: Collection[str] = ()
    stuff: Collection[str] = ()

    def __call__(self, task: FolderTask) -> Picture:
        if not task.masks:
            raise PrepareError(f"{task.photo} has no mask; put {task.photo.stem}.png there or add --skip-missing")
        values = [_values(path) for path in task.masks]
        sizes = {labels.shape for labels in values}
        if len(sizes) > 1:
            raise PrepareError(f"the masks in {task.masks[0].parent} differ in size; they must be of the photo's size")
        photo = read_photo(task.photo, read_bytes(task.photo), "upright", sizes.pop())
        regions = [r for path, labels in zip(task.masks, values, strict=True) for r in self._regions(path, labels)]
        objects = [region for region in regions if region.name not in self.stuff]
        stuff = [region for region in regions if region.name in self.stuff]
        return Picture(photo, objects, stuff, task.photo.name)

    def _regions(self, path: Path, labels: np.ndarray) -> list[Region]:
        if self.binary_above is not None:
            region = Region.of("object", labels > self.binary_above)
            return [region] if region is not None else []
        _refuse_soft_edges(path, labels)
        named = {_name(value): int(value) for value in np.unique(labels) if value != 0}
        return [Region.of(name, labels == value) for name, value in named.items() if name not in self.ignored]


COLOUR = 1 << 24  # added to a colour's red, green and blue, so that it can't be taken for a label


def _values(path: Path) -> np.ndarray:
    """A mask image as integers (H, W): grey values as they are, colours but black as COLOUR + 0xrrggbb."""
    image = read_label_image(path)
    if image.dtype not in (np.uint8, np.uint16):
        raise PrepareError(f"{path} holds {image.dtype} values; store masks as 8-bit or 16-bit images")
    if image.ndim == 2:
        return image.astype(np.int32)
    blue, green, red = (image[:, :, channel].astype(np.int32) for channel in range(3))
    visible = image[:, :, 3] > 0 if image.shape[2] == 4 else np.True_
    if np.array_equal(red, green) and np.array_equal(green, blue):
        return red * visible
    if image.dtype != np.uint8:
        raise PrepareError(f"{path} is a 16-bit colour image; store masks as grey or 8-bit colour images")
    colour = red * 65536 + green * 256 + blue
    return np.where(colour, colour + COLOUR, 0) * visible


def _name(value: int) -> str:
    return f"#{value - COLOUR:06x}" if value >= COLOUR else str(value)


def _refuse_soft_edges(path: Path, labels: np.ndarray) -> None:
    """Labels are exact values; a JPEG or a smoothed mask has many that lie along outlines only."""
    if path.suffix.lower() in LOSSY_SUFFIXES:
        raise PrepareError(f"{path} is a JPEG, which blurs labels; store PNG files or add --binary 127")
    found = np.unique(labels)
    if len(found) <= FEW_LABELS:
        return
    window, plane = np.ones((3, 3), np.uint8), labels.astype(np.float32)
    inner = np.unique(labels[cv2.erode(plane, window) == cv2.dilate(plane, window)])
    if len(inner) < len(found) / 2:
        raise PrepareError(
            f"{path} has {len(found)} values, most of them along outlines only: it is a mask with soft edges and no "
            "label map; add --binary 127"
        )


def plan_folder(images: Path, masks: Path, skip_missing: bool) -> list[FolderTask]:
    """A task for each photo, in the order of names.

    A photo's mask is the file of its name without suffix in the masks' folder, or all files of a folder of that name.

    Raises:
        WrongCall: no photo, or none with a mask.
    """
    photos = image_files(images)
    by_stem = {path.stem: (path,) for path in image_files(masks)}
    by_stem.update((path.name, tuple(image_files(path))) for path in sorted(masks.iterdir()) if path.is_dir())
    if not photos:
        raise WrongCall(f"{images} holds no pictures ({', '.join(sorted(IMAGE_SUFFIXES))})")
    names = ((photo.name, photo.stem, photo.name.split(".")[0]) for photo in photos)
    found = [next((by_stem[name] for name in candidates if name in by_stem), ()) for candidates in names]
    if not any(found):
        raise WrongCall(f"no picture of {images} has a mask in {masks}; name them alike, as {photos[0].stem}.png")
    ids = assign_ids([photo.stem for photo in photos])
    tasks = [FolderTask(*task) for task in zip(ids, photos, found, strict=True)]
    return [task for task in tasks if task.masks] if skip_missing else tasks


def image_files(folder: Path) -> list[Path]:
    """The pictures in a folder by name; hidden files and other kinds of file are none."""
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )


def assign_ids(stems: Sequence[str]) -> list[str]:
    """Twelve digits for each picture: its name where all names are such numbers, else its place in the list from 1."""
    numbers = [stem.zfill(12) for stem in stems if stem.isascii() and stem.isdigit() and len(stem) <= 12]
    if len(set(numbers)) == len(stems):
        return numbers
    return [f"{i:012d}" for i in range(1, len(stems) + 1)]
