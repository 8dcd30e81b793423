"""A folder of pictures and one of masks (binary masks, label maps, or a folder of masks a picture) to write."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils.files import UsageError, UserError, is_system_file, shown_name
from utils.folders import list_pictures, pair_by_name
from utils.images import COLOUR, PICTURE_SUFFIXES, Frame, ImageError, LabelImage, read_labels
from utils.labels import blurred_pixels, object_values, refuse_soft_mask, value_name
from utils.prepare.convert import Picture, Plan, Task, own_ids
from utils.prepare.photos import framed_photo
from utils.prepare.regions import Region


@dataclass(frozen=True)
class FolderTask(Task):
    """A photo and its masks: a label map or a binary mask, or several files of one object each."""

    photo: Path
    masks: tuple[Path, ...]


@dataclass(frozen=True)
class FolderReader:
    """Makes a Picture of a photo and its masks.

    Args:
        binary: None: every value but 0 (in a colour image every colour but black) is an object of its own. A number:
            all pixels above it are one object.
        ignore: values that are no object; None for what utils.labels takes for void.
        stuff: values that are stuff.
        frame: whether masks lie on photos as viewers show them or as they are stored, where sizes don't say.
    """

    binary: int | None = None
    ignore: tuple[int, ...] | None = None
    stuff: tuple[int, ...] = ()
    frame: Frame = "upright"

    @property
    def settings(self) -> dict[str, Any]:
        """See convert.Reader."""
        return {"command": "convert folder", "binary": self.binary, "ignore": self.ignore, "stuff": self.stuff,
                "frame": self.frame}

    def inputs(self, task: FolderTask) -> list[Path | bytes]:
        """See convert.Reader."""
        return [task.photo, *task.masks, *(path.name.encode("utf-8", "surrogateescape") for path in task.masks)]

    def __call__(self, task: FolderTask) -> Picture:
        """See convert.Reader."""
        labels = {path: read_labels(path, frame=self.frame) for path in task.masks}
        sizes = {label.values.shape for label in labels.values()}
        if len(sizes) > 1:
            raise UserError(f"the masks in {task.masks[0].parent} differ in size; they must be of the photo's size")
        photo = framed_photo(task.photo, str(task.photo), sizes.pop(), self.frame)
        counts: dict[str, int] = {}
        regions = [found for path, label in labels.items() for found in self._regions(path, label, counts)]
        return Picture(photo, [region for value, region in regions if value not in self.stuff],
                       [region for value, region in regions if value in self.stuff], counts=counts)

    def _regions(self, path: Path, label: LabelImage, counts: dict[str, int]) -> list[tuple[int, Region]]:
        """The regions of a mask with their values."""
        if self.binary is not None:
            values = _brightness(label.values)
            if label.is_lossy and (blurred := blurred_pixels(values, self.binary)):
                counts[f"pixels of {shown_name(path)} are uncertain, since JPEG has blurred it"] = blurred
            region = Region.of("object", values > self.binary)
            return [] if region is None else [(-1, region)]
        half = 32767 if 255 < label.values.max() < COLOUR else 127
        if label.is_lossy:
            raise ImageError(f"{path} is a JPEG, which blurs labels; store PNG files or add --binary {half}")
        refuse_soft_mask(label.values, str(path), f"--binary {half}")
        found = [(value, Region.of(value_name(value), label.values == value))
                 for value in object_values(label.values, self.ignore)]
        return [(value, region) for value, region in found if region is not None]


def _brightness(values: np.ndarray) -> np.ndarray:
    """Values of a label image as grey: of a colour its largest channel."""
    colour = values - COLOUR
    largest = np.max([colour >> 16, colour >> 8 & 255, colour & 255], axis=0)
    return np.where(values >= COLOUR, largest, values)


def plan_folder(images: Path, masks: Path, reader: FolderReader, skip_missing: bool = False) -> Plan:
    """A task for each photo with a mask, by utils.folders.pair_by_name; a mask may be a folder of masks.

    Args:
        images: folder of the photos.
        masks: folder of the masks.
        reader: of them.
        skip_missing: leaves out photos without a mask; else each is a problem.

    Raises:
        UsageError: no photo, or none with a mask.
    """
    listing, mask_listing = list_pictures(images), list_pictures(masks)
    if not listing.pictures:
        raise UsageError(f"{images} holds no pictures ({', '.join(sorted(PICTURE_SUFFIXES))}); {listing.remark()}")
    folders = [path for path in sorted(masks.iterdir()) if path.is_dir() and not is_system_file(path.name)]
    pairs = pair_by_name(listing.pictures, [*mask_listing.pictures, *folders])
    problems = list(pairs.problems)
    if not skip_missing:
        problems += [f"{shown_name(photo)} has no mask; put {shown_name(photo.stem)}.png there or add --skip-missing"
                     for photo in pairs.unpaired]
    ids = own_ids(photo.name for photo in listing.pictures)
    tasks = []
    for photo, mask in sorted(pairs.masks.items()):
        files: Sequence[Path] = list_pictures(mask).pictures if mask.is_dir() else (mask,)
        if files:
            tasks.append(FolderTask(ids[photo.name], photo.name, photo, tuple(files)))
        else:
            problems.append(f"{shown_name(mask)} holds no masks for {shown_name(photo.name)}")
    if not tasks:
        raise UsageError(f"no picture of {images} has a mask in {masks} that is its alone; name them alike, as "
                         f"{shown_name(listing.pictures[0].stem)}.png {' '.join(pairs.problems[:1])}".rstrip())
    notes = [f"{folder}: {each.remark()}" for folder, each in ((images, listing), (masks, mask_listing))
             if each.remark() and not (each is mask_listing and each.left_out.keys() == {"subfolders"})]
    return Plan(tasks, reader, problems, notes)
