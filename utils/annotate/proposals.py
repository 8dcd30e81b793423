"""Masks that annotation starts from: a folder with one picture of labels, or a model's output, for each photo."""
from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from .cache import ByteCache
from .errors import AnnotationError, NotFoundError
from .pictures import PILLOW_FORMATS, Picture, read_bytes

SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
KINDS = ("auto", "labels", "probabilities")
MAX_LABELS = 64  # a grey map of more values that reaches above one half holds probabilities
MAX_COLOURS = 1000  # objects of a coloured picture
CACHE_BYTES = 64 * 2**20


class Proposals:
    """Masks to propose, from a folder.

    The mask of photo.jpg is photo.png (or photo.jpg.png). Each value above 0, each entry of a palette but the first or
    each colour but black is one proposed object. A grey map of more than 64 values that reaches above one half is a
    model's probability map, 255 (65,535 with 16 bits, 1 in a float TIFF) for certainty, and proposes what is above one
    half.

    Args:
        folder: of the masks; None for no proposals.
        kind: "labels" or "probabilities" where the rule above would take one for the other.

    Raises:
        AnnotationError: it is not a folder.
    """

    def __init__(self, folder: Path | None = None, kind: str = "auto") -> None:
        if folder is not None and not folder.is_dir():
            raise AnnotationError(f"The folder of masks {folder} doesn't exist.")
        self._folder = folder
        self._kind = kind
        self._maps = ByteCache(CACHE_BYTES, size=lambda entry: entry[0].nbytes)

    def numbers(self, picture: Picture, height: int, width: int) -> Sequence[int]:
        """Which proposals a picture has.

        Raises:
            AnnotationError: its mask can't be read or is not (height, width).
        """
        path = self._path(picture)
        return () if path is None else self._read(path, height, width)[1]

    def mask(self, picture: Picture, number: int, height: int, width: int) -> np.ndarray:
        """A proposed mask, bool (H, W).

        Raises:
            NotFoundError: there is no such proposal.
        """
        path = self._path(picture)
        labels, numbers = (None, ()) if path is None else self._read(path, height, width)
        if number not in numbers:
            raise NotFoundError("There is no such proposal.")
        return labels == number

    def _path(self, picture: Picture) -> Path | None:
        if self._folder is None:
            return None
        names = (stem + suffix for stem in (picture.name, picture.path.stem) for suffix in SUFFIXES)
        return next((self._folder / name for name in names if (self._folder / name).is_file()), None)

    def _read(self, path: Path, height: int, width: int) -> tuple[np.ndarray, tuple[int, ...]]:
        """The labels of a file and the numbers of its objects; both are asked for at every step."""
        labels, numbers = self._maps.get((path, path.stat().st_mtime_ns), lambda: _read_labels(path, self._kind))
        if labels.shape != (height, width):
            size = f"{labels.shape[1]}x{labels.shape[0]}"
            raise AnnotationError(f"The mask {path.name} is {size}, its picture {width}x{height}; they must agree.")
        return labels, numbers


def _read_labels(path: Path, kind: str) -> tuple[np.ndarray, tuple[int, ...]]:
    """The labels of a mask file, uint8 or uint16 (H, W), and which of them are objects."""
    content = read_bytes(path)
    labels = _palette_indices(content, path)
    is_grey = labels is None
    if labels is None:
        labels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if labels is None:
            raise _damaged(path)
        if labels.ndim == 3:
            labels, is_grey = _of_colours(labels[..., :3], path)
    is_float = labels.dtype.kind == "f"  # a model's output as it came, 0 to 1
    half = 0.5 if is_float else np.iinfo(labels.dtype).max // 2
    values = np.unique(labels)
    looks_so = is_grey and len(values) > MAX_LABELS and values[-1] > half
    if is_float or kind == "probabilities" or (kind == "auto" and looks_so):
        labels = (labels > half).view(np.uint8)
        values = np.unique(labels)
    return labels, tuple(value for value in values.tolist() if value > 0)


def _damaged(path: Path) -> AnnotationError:
    return AnnotationError(f"The mask {path.name} is damaged; replace it or take it away.")


def _palette_indices(content: bytes, path: Path) -> np.ndarray | None:
    """The indices of a picture with a palette of colours (DAVIS, VOC), which OpenCV doesn't give; None for another."""
    try:
        with Image.open(io.BytesIO(content), formats=PILLOW_FORMATS) as image:
            if image.mode != "P":
                return None
            indices, palette = np.array(image), image.getpalette()
    except Exception as error:  # Pillow's readers raise many kinds for damaged files
        raise _damaged(path) from error
    colours = np.array([*palette, *[0] * 768])[:768].reshape(256, 3)[np.unique(indices)]
    is_grey = (colours == colours[:, :1]).all()  # then a program made the file smaller, and the greys are the labels
    return None if is_grey else indices


def _of_colours(colours: np.ndarray, path: Path) -> tuple[np.ndarray, bool]:
    """Labels of a picture of three channels, and whether it is grey: else each colour but black is an object."""
    first = colours[..., 0]
    if (colours == first[..., None]).all():
        return np.ascontiguousarray(first), True
    if colours.dtype != np.uint8:
        raise AnnotationError(f"The mask {path.name} has 16-bit colours; save it with 8 bits, or as labels.")
    codes = colours.astype(np.uint32) @ np.array([1, 2**8, 2**16], np.uint32)
    values, labels = np.unique(codes, return_inverse=True)
    if len(values) > MAX_COLOURS:
        raise AnnotationError(f"The mask {path.name} has {len(values)} colours; a mask has one for each object.")
    has_ground = values[0] == 0  # black
    return (labels.reshape(codes.shape) + (0 if has_ground else 1)).astype(np.uint16), False
