"""The one reading of photos and label images, by Pillow: orientation, palettes, 16 bits, transparency, damage.

Only run.py's own mode reads otherwise, because the grader does (cv2.imread), and the training data, which are JPEGs in
their stored frame by definition. Two frames of a file: *stored*, the rows as they lie in it, and *upright*, as viewers
show it, turned by its EXIF orientation (1 to 8, 1 for none).
"""
from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from utils.files import UserError, read_bytes, shown_name

Frame = Literal["stored", "upright"]

# Suffix to Pillow's name of the format; the first file's bytes decide, whatever the suffix says.
PICTURE_FORMATS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".png": "PNG", ".bmp": "BMP", ".webp": "WEBP",
    ".tif": "TIFF", ".tiff": "TIFF", ".gif": "GIF", ".avif": "AVIF", ".heic": "HEIF", ".heif": "HEIF",
}
PICTURE_SUFFIXES = frozenset(PICTURE_FORMATS)
FORMATS = ("JPEG", "MPO", "PNG", "BMP", "DIB", "WEBP", "TIFF", "GIF", "AVIF", "HEIF", "PPM")

MAX_FILE_BYTES = 512 * 2**20
MAX_PIXELS = 200_000_000
MAX_LOST_ROWS = 1 / 16  # of a JPEG whose end is missing
GROUNDS = (255, 128, 0)  # under transparency, the first that sets off the drawing
ORIENTATION = 0x0112  # EXIF's tag

Image.init()  # all of Pillow's readers, so that `formats` can name them
Image.MAX_IMAGE_PIXELS = None  # the limit is `max_pixels`, checked before anything is decoded


class ImageError(UserError):
    """A picture or label image can't be read; the message names it and says what to do."""


@dataclass(frozen=True)
class Photo:
    """A photo as RGB.

    Attributes:
        pixels: uint8 (H, W, 3) in the frame asked for.
        orientation: EXIF's, 1 to 8, as the file states it.
        is_plain_jpeg: the file is a whole 8-bit JPEG, whose bytes any reader understands alike but for orientation.
        notes: what a person should be told, as "page 1 of 3 is shown".
    """

    pixels: np.ndarray
    orientation: int = 1
    is_plain_jpeg: bool = False
    notes: tuple[str, ...] = ()


def read_photo(source: str | os.PathLike[str] | bytes, name: str = "", frame: Frame = "upright",
               max_pixels: int = MAX_PIXELS) -> Photo:
    """Reads a photo of any kind that Pillow knows.

    16-bit and float pixels are brought to 8 bits by the range in use (see `to_8_bits`), transparency is laid on a
    ground on which the drawing can be seen, of several pages the first is read.

    Args:
        source: a path, or the file's bytes.
        name: of the file, for errors; the path's if left out.
        frame: which way up.
        max_pixels: a larger one is refused before it is decoded.

    Raises:
        ImageError: missing, no picture, too large, or damaged beyond its last rows.
    """
    name, content = _content(source, name)
    with _opened(name, content, max_pixels) as image:
        notes = _page_notes(image)
        orientation = _orientation(image)
        is_plain = image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB")
        lost = _load(image, name)
        if lost:
            notes += [f"the end of the file is missing: {lost} of {image.height} rows at the bottom are black"]
        pixels, stretched = _as_rgb(image, content)
        pixels = _framed(pixels, image, orientation, frame)
    return Photo(pixels, orientation, is_plain and not lost, (*notes, *stretched))


@dataclass(frozen=True)
class LabelImage:
    """A label image by the numbers that are stored, never by the colours in which they are shown.

    Attributes:
        values: int32 (H, W) in the frame asked for: grey values and palette indices as they are, 0 where transparent;
            colours but black as COLOUR + 0xrrggbb.
        orientation: EXIF's, 1 to 8.
        is_lossy: a JPEG, whose values are not exact.
    """

    values: np.ndarray
    orientation: int = 1
    is_lossy: bool = False


COLOUR = 1 << 24  # added to a colour's red, green and blue, so that it can't be taken for a label


def read_labels(source: str | os.PathLike[str] | bytes, name: str = "", frame: Frame = "upright",
                max_pixels: int = MAX_PIXELS) -> LabelImage:
    """Reads a mask or label map; arguments as for `read_photo`.

    Raises:
        ImageError: missing, no picture, damaged, too large, or of values that are no labels (fractions, negative).
    """
    name, content = _content(source, name)
    with _opened(name, content, max_pixels) as image:
        orientation = _orientation(image)
        divisor = _grey_scale(image, content)
        is_lossy = image.format in ("JPEG", "MPO")
        if _load(image, name):
            raise ImageError(f"{name} is truncated; fetch it again or leave it out")
        values = _label_values(image, content, name) // divisor
        return LabelImage(_framed(values, image, orientation, frame), orientation, is_lossy)


def size_of(source: str | os.PathLike[str] | bytes, name: str = "", frame: Frame = "upright") -> tuple[int, int]:
    """(H, W) from a picture's header alone.

    Raises:
        ImageError: missing or no picture.
    """
    name, content = _content(source, name)
    with _opened(name, content, MAX_PIXELS) as image:
        orientation = _orientation(image)
        height, width = image.height, image.width
        if image.format == "TIFF" and orientation > 4:  # Pillow states the upright size
            height, width = width, height
        return (width, height) if frame == "upright" and orientation > 4 else (height, width)


# ---------------------------------------------------------------------------------------------- opening


def _content(source: str | os.PathLike[str] | bytes, name: str) -> tuple[str, bytes]:
    if isinstance(source, bytes):
        return name or "the picture", source
    name = name or shown_name(source)
    path = Path(source)
    try:
        is_regular, size = path.is_file(), path.stat().st_size
    except OSError as error:
        raise ImageError(f"{name} can't be read ({error.strerror}); fetch it again or leave it out") from error
    if not is_regular:
        raise ImageError(f"{name} is no file; replace it or leave it out")
    if size > MAX_FILE_BYTES:
        raise ImageError(f"{name} has more than {MAX_FILE_BYTES >> 20} MiB; make it smaller first")
    try:
        return name, read_bytes(path)
    except UserError as error:
        raise ImageError(str(error)) from error


@contextmanager
def _opened(name: str, content: bytes, max_pixels: int) -> Iterator[Image.Image]:
    """A picture whose header has been read and checked; whatever its damage makes Pillow raise is an ImageError."""
    register_heif()
    formats = [kind for kind in FORMATS if kind in Image.OPEN]
    try:
        with Image.open(io.BytesIO(content), formats=formats) as image:
            _refuse_size(image, name, max_pixels)
            yield image
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is damaged or no picture that can be read{_heif_hint(content)}; fetch it again or "
                         "leave it out") from error
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError(f"{name} needs more memory than there is; make it smaller first") from error
    except Exception as error:  # Pillow's readers raise many kinds for damaged files
        raise ImageError(f"{name} is damaged ({error}); fetch it again or leave it out") from error


def _refuse_size(image: Image.Image, name: str, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise ImageError(f"{name} has {image.width * image.height / 1e6:.0f} megapixels, more than the "
                         f"{max_pixels / 1e6:.0f} allowed; make it smaller first")
    if image.width * image.height == 0:
        raise ImageError(f"{name} has no pixels; replace it or leave it out")


def register_heif() -> bool:
    """Whether HEIC files can be read: by pillow-heif, an optional package."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _heif_hint(content: bytes) -> str:
    is_heif = content[4:8] == b"ftyp" and content[8:12] in (b"heic", b"heix", b"mif1", b"hevc")
    return " (HEIC needs pip install pillow-heif)" if is_heif else ""


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation wherever it stands; what XMP says is left out, as viewers do."""
    if image.format == "TIFF":
        value = image.tag_v2.get(ORIENTATION, 1)  # type: ignore[attr-defined]
    else:
        for key in ("xmp", "XML:com.adobe.xmp"):
            image.info.pop(key, None)
        try:
            value = image.getexif().get(ORIENTATION, 1)
        except Exception:  # damaged EXIF data turn nothing
            value = 1
    return value if value in range(1, 9) else 1


def _page_notes(image: Image.Image) -> list[str]:
    if image.format not in ("TIFF", "GIF", "WEBP"):
        return []
    try:
        pages = getattr(image, "n_frames", 1)
    except Exception:  # counting reads on, perhaps into damage
        return ["pages behind the first one can't be read"]
    return [f"page 1 of {pages} is shown"] if pages > 1 else []


def _load(image: Image.Image, name: str) -> int:
    """Decodes; gives how many rows at the bottom are missing because a JPEG's end is."""
    try:
        image.load()
        return 0
    except OSError as error:
        if image.format not in ("JPEG", "MPO") or "truncated" not in str(error):
            raise
    image.tile = []  # type: ignore[attr-defined]  # what has been decoded so far stays
    filled = np.flatnonzero(np.asarray(image).reshape(image.height, -1).any(1))
    lost = image.height - 1 - (int(filled[-1]) if len(filled) else -1)
    if lost > MAX_LOST_ROWS * image.height:
        raise ImageError(f"{name} is truncated: {lost} of {image.height} rows are missing; fetch it again or leave it "
                         "out")
    return max(lost, 1)


# ---------------------------------------------------------------------------------------------- which way up


def turn(stored: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels (H, W[, C]) as stored, turned upright as an EXIF orientation says."""
    if orientation in (5, 6, 7, 8):
        stored = stored.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        stored = stored[::-1]
    if orientation in (2, 3, 6, 7):
        stored = stored[:, ::-1]
    return np.ascontiguousarray(stored)


def turn_back(upright: np.ndarray, orientation: int) -> np.ndarray:
    """The inverse of `turn`."""
    return turn(upright, {6: 8, 8: 6}.get(orientation, orientation))


def _framed(pixels: np.ndarray, image: Image.Image, orientation: int, frame: Frame) -> np.ndarray:
    # Pillow turns a TIFF when it decodes it, and then forgets the tag
    is_upright = image.format == "TIFF" and image.getexif().get(ORIENTATION, 1) == 1
    if frame == "upright":
        return pixels if is_upright else turn(pixels, orientation)
    return turn_back(pixels, orientation) if is_upright else pixels


# ---------------------------------------------------------------------------------------------- pixels


def _as_rgb(image: Image.Image, content: bytes) -> tuple[np.ndarray, list[str]]:
    """uint8 (H, W, 3), and a note if values were stretched."""
    deep = _deep_colours(image, content)
    if deep is not None:
        return to_8_bits(deep)
    if image.mode in ("F", "I") or image.mode.startswith("I;16"):
        grey, notes = to_8_bits(np.asarray(image))
        return np.repeat(grey[..., None], 3, axis=2), notes
    if image.has_transparency_data:
        return _on_ground(np.asarray(image.convert("RGBA"))), []
    return np.array(image.convert("RGB")), []


def _deep_colours(image: Image.Image, content: bytes) -> np.ndarray | None:
    """uint16 (H, W, 3) of a colour image of 16 bits, of which Pillow keeps 8; None for any other."""
    if image.format not in ("PNG", "TIFF") or image.mode not in ("RGB", "RGBA", "RGBX"):
        return None
    bits = (content[24],) if image.format == "PNG" else image.tag_v2.get(258, ())  # type: ignore[attr-defined]
    if 16 not in bits:
        return None
    deep = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if deep is None or deep.dtype != np.uint16 or deep.ndim != 3:
        return None
    deep = deep[..., 2::-1]
    return deep if deep.shape[:2] == (image.height, image.width) else turn(deep, _orientation(image))


def to_8_bits(values: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Numbers of any type as uint8 of the same shape, and a note if they don't fill their type's range.

    Whole numbers are scaled by the number of bits in use (12-bit values by 255 / 4095), so that a picture of 16 bits
    that uses them all keeps its contrast; fractions and negative numbers by their range. NaN becomes 0.
    """
    values = np.asarray(values)
    if values.dtype == np.uint8:
        return values, []
    finite = np.nan_to_num(values.astype(np.float64 if values.dtype.kind != "f" else np.float32), posinf=0, neginf=0)
    low, high = float(finite.min()), float(finite.max())
    if values.dtype.kind == "f" or low < 0:
        scaled = (finite - low) * (255 / (high - low) if high > low else 0)
        return np.round(scaled).astype(np.uint8), [f"values from {low:g} to {high:g} are shown from black to white"]
    bits = max(8, int(high).bit_length())
    notes = [] if bits in (8, 16) else [f"values of {bits} bits are stretched to the range from black to white"]
    return np.round(finite * (255 / (2**bits - 1))).astype(np.uint8), notes


def _on_ground(rgba: np.ndarray) -> np.ndarray:
    """RGBA uint8 (H, W, 4) over the first of GROUNDS from which most of the drawing differs."""
    alpha = rgba[..., 3:].astype(np.float32) / 255
    visible = rgba[rgba[..., 3] > 127] if (rgba[..., 3] > 127).any() else rgba[rgba[..., 3] > 0]
    ground = GROUNDS[0]
    if len(visible):
        light = visible[:, :3] @ np.array([0.299, 0.587, 0.114], np.float32)
        contrast = [np.percentile(np.abs(light - ground), 10) for ground in GROUNDS]
        ground = next((g for g, c in zip(GROUNDS, contrast, strict=True) if c > 40), GROUNDS[int(np.argmax(contrast))])
    return np.round(rgba[..., :3] * alpha + ground * (1 - alpha)).astype(np.uint8)


def _grey_scale(image: Image.Image, content: bytes) -> int:
    """What Pillow multiplies the values of a grey image of 2 or 4 bits by, to fill 8."""
    if image.mode != "L":
        return 1
    bits = 8
    if image.format == "PNG":
        bits = content[24]
    elif image.format == "TIFF":
        bits = image.tag_v2.get(258, (8,))[0]  # type: ignore[attr-defined]
    return {2: 85, 4: 17}.get(bits, 1)


def _label_values(image: Image.Image, content: bytes, name: str) -> np.ndarray:
    """int32 (H, W), see LabelImage."""
    deep = _deep_colours(image, content)
    if deep is not None:
        if not (deep == deep[..., :1]).all():
            raise ImageError(f"{name} is a 16-bit colour image; store labels as grey or 8-bit colour images")
        return deep[..., 0].astype(np.int32)
    if image.mode in ("1", "L", "P", "I", "F") or image.mode.startswith("I;16"):
        return _whole_numbers(np.asarray(image), name)
    if image.mode in ("LA", "PA"):
        return np.asarray(image.getchannel(0)).astype(np.int32) * (np.asarray(image.getchannel(1)) > 0)
    rgba = np.asarray(image.convert("RGBA"))
    red, green, blue = (rgba[..., channel].astype(np.int32) for channel in range(3))
    visible = rgba[..., 3] > 0
    if (red == green)[visible].all() and (green == blue)[visible].all():
        return red * visible
    colour = red << 16 | green << 8 | blue
    return np.where(colour, colour + COLOUR, 0) * visible


def _whole_numbers(values: np.ndarray, name: str) -> np.ndarray:
    whole = values.astype(np.int32)
    if values.dtype.kind == "f" and not np.array_equal(whole, values) or whole.min() < 0:
        raise ImageError(f"{name} holds fractions or negative numbers; store labels as 8-bit or 16-bit images")
    return whole


# ---------------------------------------------------------------------------------------------- encoding


def encode_jpeg(rgb: np.ndarray, quality: int = 95) -> bytes:
    """JPEG of an image uint8 (H, W, 3) RGB or (H, W) grey."""
    bgr = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2BGR) if rgb.ndim == 3 else rgb
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def encode_png(image: np.ndarray, compression: int = 1) -> bytes:
    """PNG of uint8 (H, W, 3) RGB, or of a label map uint8 or uint16 (H, W)."""
    bgr = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    return cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, compression])[1].tobytes()


def thumbnail(source: str | os.PathLike[str] | bytes, name: str = "", size: tuple[int, int] = (144, 96)) -> bytes:
    """A JPEG at most `size` = (width, height) of a picture, upright.

    Raises:
        ImageError: as `read_photo` does.
    """
    pixels = read_photo(source, name).pixels
    scale = min(1.0, size[0] / pixels.shape[1], size[1] / pixels.shape[0])
    small = [max(1, round(side * scale)) for side in pixels.shape[1::-1]]
    return encode_jpeg(cv2.resize(pixels, small, interpolation=cv2.INTER_AREA), quality=80)


