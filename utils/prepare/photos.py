"""The photo as training reads it: a JPEG, the pixels of which lie as the masks were drawn."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from utils.prepare.files import PrepareError

JPEG_QUALITY = 95
EXIF_WITHIN = 65536  # bytes of a JPEG in which its EXIF block begins, if it has one

Frame = Literal["stored", "upright"]


@dataclass(frozen=True)
class Photo:
    """A JPEG without an orientation of its own, and its height and width in pixels."""

    jpeg: bytes
    size: tuple[int, int]


def read_photo(name: str | Path, content: bytes, frame: Frame, size: tuple[int, int] | None = None) -> Photo:
    """Brings a photo of any format that OpenCV reads into the frame of its masks.

    A JPEG that needs no change keeps its bytes; a PNG is encoded anew, and so is a JPEG that its EXIF data turn,
    because readers differ in whether they turn it.

    Args:
        name: of the file, for errors.
        content: its bytes.
        frame: whether the masks' author saw the pixels as they are stored or turned upright by EXIF.
        size: (H, W) of the masks; where it fits the other frame only, that one is taken.

    Raises:
        PrepareError: it is no image, or its size is another.
    """
    stored = _decode(name, content, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    turned = b"Exif" in content[:EXIF_WITHIN]
    upright = _decode(name, content, cv2.IMREAD_COLOR) if turned else stored
    turned = turned and not np.array_equal(stored, upright)
    first, second = (stored, upright) if frame == "stored" else (upright, stored)
    image = second if size is not None and size == second.shape[:2] != first.shape[:2] else first
    if size is not None and image.shape[:2] != tuple(size):
        (height, width), (mask_height, mask_width) = image.shape[:2], size
        raise PrepareError(
            f"{name} is {width}x{height} pixels, but its annotation {mask_width}x{mask_height}; they must be equal"
        )
    if turned or not content.startswith(b"\xff\xd8"):
        content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
    return Photo(content, image.shape[:2])


def _decode(name: str | Path, content: bytes, flags: int) -> np.ndarray:
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    except cv2.error as error:  # larger than OpenCV allows, for example
        raise PrepareError(f"{name} can't be decoded ({error.err}); fetch it again or leave it out") from error
    if image is None:
        raise PrepareError(f"{name} is truncated or no image that OpenCV reads; fetch it again or leave it out")
    return image


def read_bytes(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        PrepareError: it can't be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise PrepareError(f"{path} can't be read ({error.strerror}); fetch it again or leave it out") from error


def read_label_image(path: Path) -> np.ndarray:
    """A mask image as it is stored, any depth and number of channels (BGR order), (H, W) or (H, W, C).

    Raises:
        PrepareError: it can't be read.
    """
    return _decode(path, read_bytes(path), cv2.IMREAD_UNCHANGED)
