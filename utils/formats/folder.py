"""A folder of pictures and one of masks (binary masks, label maps, or a folder of masks a picture) to write."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from utils.files import UsageError, UserError, is_system_file, shown_name
from utils.folders import list_pictures, pair_trees
from utils.formats.picture import Picture, Plan, Reader, Task, tasks_of
from utils.images import COLOUR, PICTURE_SUFFIXES, Frame, ImageError, LabelImage, read_labels
from utils.labels import blurred_pixels, object_values, refuse_soft_mask, value_name


@dataclass(frozen=True)
class FolderReader(Reader):
    """Makes a Picture of a photo and its masks: a label map or a binary mask, or several files of one object each.

    Args:
        binary: None: every value but 0 (in a colour image every colour but black) is an object of its own. A number:
            all pixels above it are one object.
        ignore: values that are no object; None for what utils.labels takes for void.
        stuff: values that are stuff.
        frame: whether masks lie on photos as viewers show them or as they are stored, where sizes don't say.
    """

    kind = "folder"
    remedy: ClassVar[str] = "--binary {}"
    binary: int | None = None
    ignore: tuple[int, ...] | None = None
    stuff: tuple[int, ...] = ()
    frame: Frame = "upright"

    def __call__(self, task: Task) -> Picture:
        """See Reader."""
        labels = {path: read_labels(path, frame=self.frame) for path in task.content}
        sizes = {label.values.shape for label in labels.values()}
        if len(sizes) > 1:
            raise UserError(f"the masks of {task.photo} differ in size; they must be of the photo's size")
        stuff = {value_name(value) for value in self.stuff}
        picture = Picture(task.read_photo(sizes.pop(), self.frame), task.source, stuff)
        for path, label in labels.items():
            self._add(picture, path, label)
        return picture

    def _add(self, picture: Picture, path: Path, label: LabelImage) -> None:
        """Adds the objects of a mask."""
        if self.binary is not None:
            values = _brightness(label.values)
            if label.is_lossy and (blurred := blurred_pixels(values, self.binary)):
                picture.counts[f"pixels of {shown_name(path)} are uncertain, since JPEG has blurred it"] = blurred
            if (values > self.binary).any():
                picture.objects += picture.region("object", values > self.binary)
            return
        half = 32767 if 255 < label.values.max() < COLOUR else 127
        if label.is_lossy:
            raise ImageError(f"{path} is a JPEG, which blurs labels; store PNG files or use {self.remedy.format(half)}")
        refuse_soft_mask(label.values, str(path), self.remedy.format(half))
        for value in object_values(label.values, self.ignore):
            picture.add(value_name(value), label.values == value)


def _brightness(values: np.ndarray) -> np.ndarray:
    """Values of a label image as grey: of a colour its largest channel."""
    colour = values - COLOUR
    largest = np.max([colour >> 16, colour >> 8 & 255, colour & 255], axis=0)
    return np.where(values >= COLOUR, largest, values)


def plan_folder(images: Path, masks: Path, reader: FolderReader, skip_missing: bool = False,
                recursive: bool = False) -> Plan:
    """A task for each photo with a mask, by utils.folders.pair_trees; a mask may be a folder of masks.

    Args:
        images: folder of the photos.
        masks: folder of the masks.
        reader: of them.
        skip_missing: leaves out photos without a mask; else each is a problem.
        recursive: both are trees, and a mask is a file.

    Raises:
        UsageError: no photo, or none with a mask.
    """
    listing, mask_listing = list_pictures(images, recursive), list_pictures(masks, recursive)
    if not listing.pictures:
        raise UsageError(f"{images} holds no pictures ({', '.join(sorted(PICTURE_SUFFIXES))}); {listing.remark()}")
    folders = [] if recursive else [path for path in sorted(masks.iterdir())
                                    if path.is_dir() and not is_system_file(path.name)]
    pairs = pair_trees(images, listing.pictures, masks, [*mask_listing.pictures, *folders])
    problems = list(pairs.problems)
    if not skip_missing:
        problems += [f"{shown_name(photo)} has no mask; put {shown_name(photo.stem)}.png there or add --skip-missing"
                     for photo in pairs.unpaired]
    found = {photo: list_pictures(mask).pictures if mask.is_dir() else (mask,) for photo, mask in pairs.masks.items()}
    problems += [f"{shown_name(pairs.masks[photo])} holds no masks for {shown_name(photo.name)}"
                 for photo, files in sorted(found.items()) if not files]
    tasks = tasks_of(images, listing.pictures, {photo: files for photo, files in found.items() if files})
    if not tasks:
        raise UsageError(f"no picture of {images} has a mask in {masks} that is its alone; name them alike, as "
                         f"{shown_name(listing.pictures[0].stem)}.png {' '.join(pairs.problems[:1])}".rstrip())
    notes = [f"{folder}: {each.remark()}" for folder, each in ((images, listing), (masks, mask_listing))
             if each.remark() and not (each is mask_listing and each.left_out.keys() == {"subfolders"})]
    return Plan(tasks, reader, problems, notes)
