"""Masks for the photos of a folder."""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.files import PathLike, UserError, shown_name, write_whole
from utils.images import encode_png, read_photo
from utils.segment.data import find_photos
from utils.segment.segmentation import ConceptModel, clean_up, probabilities


@dataclass(frozen=True)
class Inference:
    """How a mask is made of a photo.

    Attributes:
        flip: average with the prediction for the mirrored photo.
        clean: drop objects, and fill holes, below this part of the largest object; 0 leaves the mask as it is.
        threshold: probabilities above it are the object.
    """

    flip: bool = False
    clean: float = 0.0
    threshold: float = 0.5

    def mask(self, model: ConceptModel, image: np.ndarray) -> np.ndarray:
        """Mask bool (H, W) of a photo uint8 (H, W, 3) RGB."""
        return self.mask_of(probabilities(model, image, self.flip))

    def mask_of(self, probability: np.ndarray) -> np.ndarray:
        """Mask bool (H, W) of probabilities (H, W)."""
        mask = probability > self.threshold
        return clean_up(mask, self.clean) if self.clean else mask


def predict_folder(model: ConceptModel, images: PathLike, out: PathLike, inference: Inference = Inference(),  # noqa: B008
                   as_probabilities: bool = False) -> Iterator[str]:
    """Writes a PNG for each photo, under its name: 0 and 255, or probabilities from 0 to 255, on the upright photo.

    Yields:
        For each photo what went wrong, or nothing.

    Raises:
        UserError: there are no photos, or `out` is their folder.
    """
    photos, _ = find_photos(images)
    folder = Path(out)
    if folder.exists() and any(photo.parent.resolve() == folder.resolve() for photo in photos):
        raise UserError(f"{folder} holds the photos themselves; choose another --out")
    stems = Counter(photo.stem for photo in photos)
    for photo in photos:
        name = photo.stem if stems[photo.stem] == 1 else photo.name
        try:
            image = read_photo(photo).pixels
        except UserError as error:
            yield str(error)
            continue
        probability = probabilities(model, image, inference.flip)
        values = np.round(255 * probability) if as_probabilities else 255 * inference.mask_of(probability)
        write_whole(folder / f"{name}.png", encode_png(values.astype(np.uint8)))
        yield ""


def count_photos(images: PathLike) -> tuple[int, str]:
    """How many photos `predict_folder` finds, and what it leaves out in words."""
    photos, left_out = find_photos(images)
    return len(photos), f"{shown_name(images)}: {left_out}" if left_out else ""
