"""Masks that annotation starts from: a folder with one label map, or a model's output, for each photo."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from utils.files import shown_name
from utils.folders import pair_by_name
from utils.images import COLOUR, ImageError, read_labels
from utils.labels import object_values, soft_values

from .cache import ByteCache
from .errors import AnnotationError, NotFoundError
from .pictures import MAX_PIXELS, Picture, list_pictures

KINDS = ("auto", "labels", "probabilities")
MAX_COLOURS = 1000  # objects of a coloured picture
CACHE_BYTES = 64 * 2**20

Shape = tuple[int, int]
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Labels:
    """What a file proposes.

    Attributes:
        values: uint8 or uint16 (H, W).
        boxes: of each object, by its value: (top, left, bottom, right), the last two beyond it.
    """

    values: np.ndarray
    boxes: dict[int, Box]


class Proposals:
    """Masks to propose, from a folder.

    The mask of photo.jpg is photo.png (or photo.jpg.png). Each value above 0, each entry of a palette but the first or
    each colour but black is one proposed object. A grey map whose values lie along outlines is a model's probability
    map, or has soft edges: 255 (65,535 with 16 bits, 1 in a float TIFF) for certainty; it proposes what is above one
    half.

    Args:
        folder: of the masks; None for no proposals.
        kind: "labels" or "probabilities" where the rule above would take one for the other.

    Raises:
        AnnotationError: it is not a folder.
    """

    def __init__(self, folder: Path | None = None, kind: str = "auto") -> None:
        if folder is not None and not folder.is_dir():
            raise AnnotationError(f"The folder of masks {shown_name(folder)} doesn't exist.")
        self.folder = folder
        self._kind = kind
        self._masks: dict[str, Path] = {}
        self._maps: ByteCache[Labels] = ByteCache(CACHE_BYTES, size=lambda labels: labels.values.nbytes)

    def pair(self, pictures: Iterable[Picture]) -> tuple[str, ...]:
        """Finds the mask of each picture; gives a sentence for each that can't be told."""
        if self.folder is None:
            return ()
        found = pair_by_name([Path(picture.name) for picture in pictures], list_pictures(self.folder).pictures)
        self._masks = {name.as_posix(): path for name, path in found.masks.items()}
        return found.problems

    def numbers(self, picture: Picture, shape: Shape) -> Iterable[int]:
        """Which proposals a picture has, in order.

        Raises:
            AnnotationError: its mask can't be read or is not of the picture's shape (H, W).
        """
        labels = self._labels(picture, shape)
        return labels.boxes if labels else ()

    def mask(self, picture: Picture, number: int, shape: Shape) -> np.ndarray:
        """A proposed mask, bool (H, W).

        Raises:
            NotFoundError: there is no such proposal.
        """
        part, (top, left, bottom, right) = self.part(picture, number, shape)
        mask = np.zeros(shape, bool)
        mask[top:bottom, left:right] = part
        return mask

    def part(self, picture: Picture, number: int, shape: Shape) -> tuple[np.ndarray, Box]:
        """A proposed mask in its box: bool (bottom - top, right - left), (top, left, bottom, right).

        Raises:
            NotFoundError: there is no such proposal.
        """
        labels = self._labels(picture, shape)
        if labels is None or number not in labels.boxes:
            raise NotFoundError("There is no such proposal (any more).", "no_proposal")
        top, left, bottom, right = labels.boxes[number]
        return labels.values[top:bottom, left:right] == number, labels.boxes[number]

    def _labels(self, picture: Picture, shape: Shape) -> Labels | None:
        path = self._masks.get(picture.name)
        if path is None:
            return None
        name = shown_name(path.name)
        try:
            version = path.stat().st_mtime_ns
            labels = self._maps.get((path, version), lambda: _read(path, name, self._kind))
        except (ImageError, OSError) as error:
            raise AnnotationError(f"The mask can't be used: {error}.", "unusable_mask", mask=name) from error
        if labels.values.shape != shape:
            sizes = "{}x{}, its picture {}x{}".format(*labels.values.shape[::-1], *shape[::-1])
            raise AnnotationError(f"The mask {name} is {sizes}; they must agree.", "mask_of_other_size", mask=name)
        return labels


def _read(path: Path, name: str, kind: str) -> Labels:
    fractions = None if kind == "labels" else _fractions(path)
    values = fractions if fractions is not None else read_labels(path, name, max_pixels=MAX_PIXELS).values
    colours = np.unique(values[values >= COLOUR]) if fractions is None else ()
    if len(colours) > MAX_COLOURS:
        raise ImageError(f"{name} has {len(colours)} colours; a mask has one for each object")
    if fractions is not None or (not len(colours) and kind != "labels" and _is_soft(values, kind)):
        half = 0.5 if fractions is not None else 127 if values.max() < 256 else 32_767
        values = (values > half).view(np.uint8)
    objects = object_values(values)
    if len(colours):  # as numbers from 1 on
        values = (np.searchsorted(objects, values) + 1) * np.isin(values, objects)
        objects = list(range(1, len(objects) + 1))
    compact = values.astype(np.uint8 if values.max(initial=0) < 256 else np.uint16)
    return Labels(compact, _boxes(compact, objects))


def _fractions(path: Path) -> np.ndarray | None:
    """A float TIFF, a model's output as it came: float32 (H, W) from 0 to 1; None for any other file."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        return None
    values = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    return values if values is not None and values.dtype.kind == "f" and values.ndim == 2 else None


def _is_soft(values: np.ndarray, kind: str) -> bool:
    """Whether a grey map holds probabilities and no labels."""
    if kind == "probabilities":
        return True
    soft, hard = soft_values(values)
    return bool(soft) and len(soft) >= len(hard)


def _boxes(values: np.ndarray, objects: Iterable[int]) -> dict[int, Box]:
    """The boxes of all objects at once: with thousands of them, one after the other would take minutes."""
    wanted = np.isin(np.arange(int(values.max(initial=0)) + 1), list(objects))
    ys, xs = np.nonzero(wanted[values])
    if not len(ys):
        return {}
    order = np.argsort(values[ys, xs], kind="stable")
    found, begins = np.unique(values[ys, xs][order], return_index=True)
    lows = [np.minimum.reduceat(along[order], begins) for along in (ys, xs)]
    highs = [np.maximum.reduceat(along[order], begins) + 1 for along in (ys, xs)]
    boxes = np.stack([*lows, *highs], axis=1).tolist()
    return {number: tuple(box) for number, box in zip(found.tolist(), boxes, strict=True)}
