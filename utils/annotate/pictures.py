"""The folder of pictures, and reading one of them without trusting it."""
from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from .errors import AnnotationError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
PILLOW_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")
MAX_FILE_BYTES = 256 * 2**20
MAX_PIXELS = 100_000_000
MAX_KEY_BYTES = 200  # file names may have 255, and ours get a suffix
THUMBNAIL_SIZE = (144, 96)  # at most so wide and high


@dataclass(frozen=True)
class Picture:
    """A file of the folder. `id` stands for it in addresses, so that no file name ever is part of one."""

    id: str
    path: Path

    @property
    def name(self) -> str:
        """The file name; bytes that are not UTF-8 are surrogates in it."""
        return self.path.name

    @property
    def shown_name(self) -> str:
        """The file name as text that can be sent."""
        return os.fsencode(self.name).decode("utf-8", "replace")

    def version(self) -> str:
        """Changes when the file does.

        Raises:
            AnnotationError: the file is gone.
        """
        try:
            stat = self.path.stat()
        except OSError as error:
            raise AnnotationError(f"{self.shown_name} can't be read: {error.strerror}.") from error
        return f"{stat.st_mtime_ns:x}-{stat.st_size:x}"

    @property
    def key(self) -> str:
        """The name of what belongs to the picture in the output folder: readable where that is safe."""
        is_plain = self.name == self.shown_name and len(os.fsencode(self.name)) <= MAX_KEY_BYTES
        return self.name if is_plain and self.name.isprintable() else f"picture-{self.id}"


def list_pictures(folder: Path) -> list[Picture]:
    """The pictures of a folder in natural order (2 before 10). Links that lead out of the folder are left out.

    Raises:
        AnnotationError: it is not a folder that can be read.
    """
    try:
        home = folder.resolve(strict=True)
        paths = [entry for entry in folder.iterdir() if entry.suffix.lower() in SUFFIXES and entry.is_file()]
    except OSError as error:
        raise AnnotationError(f"The pictures' folder {folder} can't be read: {error.strerror}.") from error
    inside = [path for path in paths if home in path.resolve().parents and not path.name.startswith(".")]
    return [Picture(_id(path.name), path) for path in sorted(inside, key=lambda path: _natural(path.name))]


def _id(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    parts = re.split(r"([0-9]+)", name.casefold())
    return [(int(part), "") if part.isdigit() and part.isascii() else (0, part) for part in parts], name


def read_bytes(path: Path) -> bytes:
    """The bytes of a picture that is small enough to be decoded.

    The size in pixels is read from the header alone: a small file may claim to be a huge picture.

    Raises:
        AnnotationError: the file is missing, no picture of a known kind, or too large.
    """
    shown = os.fsencode(path.name).decode("utf-8", "replace")
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise AnnotationError(f"{shown} has more than {MAX_FILE_BYTES >> 20} MiB; make it smaller first.")
        with Image.open(path, formats=PILLOW_FORMATS) as header:
            width, height = header.size
    except AnnotationError:
        raise
    except Image.DecompressionBombError as error:
        raise AnnotationError(f"{shown} claims to have far too many pixels; it is not opened.") from error
    except Exception as error:  # Pillow's readers raise many kinds for damaged headers
        raise AnnotationError(f"{shown} can't be read as a picture; replace the file or take it away.") from error
    if width * height > MAX_PIXELS:
        megapixels = f"{width * height / 1e6:.0f} megapixels, more than the {MAX_PIXELS / 1e6:.0f} allowed"
        raise AnnotationError(f"{shown} has {megapixels}; make it smaller first.")
    return path.read_bytes()


def read_picture(path: Path) -> np.ndarray:
    """A picture as uint8 (H, W, 3) RGB, turned as its camera says.

    Raises:
        AnnotationError: it can't be read, see `read_bytes`.
    """
    return cv2.cvtColor(_decode(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def _decode(path: Path, flags: int) -> np.ndarray:
    content = np.frombuffer(read_bytes(path), np.uint8)
    try:
        image = cv2.imdecode(content, flags)
    except cv2.error:
        image = None
    if image is None:
        raise AnnotationError(f"{Picture('', path).shown_name} is damaged and can't be decoded; replace the file.")
    return image


def thumbnail(path: Path) -> bytes:
    """A small JPEG of a picture."""
    image = _decode(path, cv2.IMREAD_REDUCED_COLOR_4 if path.stat().st_size > 500_000 else cv2.IMREAD_COLOR)
    scale = min(1.0, *(limit / side for limit, side in zip(THUMBNAIL_SIZE, image.shape[1::-1], strict=True)))
    size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    return as_jpeg(cv2.resize(image, size, interpolation=cv2.INTER_AREA)[..., ::-1], quality=80)


def as_jpeg(image: np.ndarray, quality: int = 93) -> bytes:
    """An image uint8 (H, W, 3) RGB for the page: what the model sees, pixel for pixel in the same place."""
    bgr = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
