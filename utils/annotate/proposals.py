"""Masks that annotation starts from: a folder with one picture of labels, or a model's output, for each photo."""
from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from .cache import ByteCache
from .errors import AnnotationError, NotFoundError
from .pictures import Picture, read_bytes

SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
MAX_LABELS = 64  # a map of more values holds grey levels, that is probabilities
CACHE_BYTES = 64 * 2**20


class Proposals:
    """Masks to propose, from a folder.

    The mask of photo.jpg is photo.png (or photo.jpg.png). Each value above 0 is one proposed object; a grey map of more
    than 64 values is a model's probability map, 255 for certainty, and proposes what is above one half.

    Args:
        folder: of the masks; None for no proposals.

    Raises:
        AnnotationError: it is not a folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        if folder is not None and not folder.is_dir():
            raise AnnotationError(f"The folder of masks {folder} doesn't exist.")
        self._folder = folder
        self._maps = ByteCache(CACHE_BYTES, size=lambda labels: labels.nbytes)

    def numbers(self, picture: Picture, height: int, width: int) -> list[int]:
        """Which proposals a picture has.

        Raises:
            AnnotationError: its mask can't be read or is not (height, width).
        """
        path = self._path(picture)
        return [] if path is None else [n for n in np.unique(self._read(path, height, width)).tolist() if n > 0]

    def mask(self, picture: Picture, number: int, height: int, width: int) -> np.ndarray:
        """A proposed mask, bool (H, W).

        Raises:
            NotFoundError: there is no such proposal.
        """
        path = self._path(picture)
        mask = None if path is None or number < 1 else self._read(path, height, width) == number
        if mask is None or not mask.any():
            raise NotFoundError("There is no such proposal.")
        return mask

    def _path(self, picture: Picture) -> Path | None:
        if self._folder is None:
            return None
        names = (stem + suffix for stem in (picture.name, picture.path.stem) for suffix in SUFFIXES)
        return next((self._folder / name for name in names if (self._folder / name).is_file()), None)

    def _read(self, path: Path, height: int, width: int) -> np.ndarray:
        labels = self._maps.get(path, lambda: _read_labels(path))
        if labels.shape != (height, width):
            size = f"{labels.shape[1]}x{labels.shape[0]}"
            raise AnnotationError(f"The mask {path.name} is {size}, its picture {width}x{height}; they must agree.")
        return labels


def _read_labels(path: Path) -> np.ndarray:
    """The labels of a mask file: uint8 or uint16 (H, W)."""
    labels = cv2.imdecode(np.frombuffer(read_bytes(path), np.uint8), cv2.IMREAD_UNCHANGED)
    if labels is None:
        raise AnnotationError(f"The mask {path.name} is damaged; replace it or take it away.")
    if labels.ndim == 3:
        labels = labels[..., :3].max(axis=2)
    if len(np.unique(labels)) > MAX_LABELS:
        labels = (labels > np.iinfo(labels.dtype).max / 2).astype(np.uint8)
    return labels
