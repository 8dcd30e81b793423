"""The photo as training reads it, a JPEG in the frame of its masks; and finding photos by the names in annotations."""
from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils.files import PathLike, inside, read_bytes, shown_name
from utils.images import Frame, ImageError, encode_jpeg, read_photo, turn

TURNED = "photos that EXIF data turn were read as {} (--frame {} reads them the other way)"
WAYS: dict[Frame, str] = {"upright": "viewers show them", "stored": "they are stored"}


@dataclass(frozen=True)
class Photo:
    """A photo in the frame of its masks.

    Attributes:
        pixels: uint8 (H, W, 3) RGB.
        original: the bytes of its file, if that is a JPEG in this frame without an orientation of its own.
        remark: what to say of how it was turned, "" if its size left no choice.
        notes: what else a person should be told of it.
    """

    pixels: np.ndarray
    original: bytes = b""
    remark: str = ""
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.pixels.shape[:2]

    @property
    def jpeg(self) -> bytes:
        """The bytes of a JPEG without an orientation; one that needs no change is not encoded anew."""
        return self.original or encode_jpeg(self.pixels)


def framed_photo(source: PathLike | bytes, name: str, size: tuple[int, int] | None, frame: Frame | None) -> Photo:
    """Brings a photo into the frame of its masks.

    Args:
        source: of any format that utils.images reads.
        name: of the file, for errors.
        size: (H, W) of the masks. Where it fits one frame only, that one is taken.
        frame: which one is meant where the size leaves it open (square photos, half turns), which is then remarked;
            None for annotations that are drawn on upright photos by definition.

    Raises:
        ImageError: it is no image, or its size is another.
    """
    content = source if isinstance(source, bytes) else read_bytes(source)
    photo = read_photo(content, name, "stored")
    pixels: dict[Frame, np.ndarray] = {"upright": turn(photo.pixels, photo.orientation), "stored": photo.pixels}
    fitting = [each for each, image in pixels.items() if size is None or image.shape[:2] == tuple(size)]
    if size is not None and not fitting:
        (height, width), (mask_height, mask_width) = pixels["upright"].shape[:2], size
        raise ImageError(f"{name} is {width}x{height} pixels, but its annotation {mask_width}x{mask_height}; they must "
                         "be equal")
    wanted: Frame = frame or "upright"
    chosen = wanted if wanted in fitting else fitting[0]
    other: Frame = "stored" if chosen == "upright" else "upright"
    is_open = frame is not None and photo.orientation != 1 and len(fitting) == 2
    remark = TURNED.format(WAYS[chosen], other) if is_open else ""
    original = content if photo.is_plain_jpeg and photo.orientation == 1 else b""
    return Photo(pixels[chosen], original, remark, tuple(f"{name}: {note}" for note in photo.notes))


class PhotoFolders:
    """Finds photos by the names in annotation files, never outside some folders, never one photo for two names.

    Args:
        folders: listed once.
        names: every name that will be asked for.
        skip_missing: counts photos that are in no folder, which are failures otherwise.
    """

    def __init__(self, folders: Sequence[Path], names: Collection[str], skip_missing: bool = False) -> None:
        self._folders, self._skip_missing, self._skipped = folders, skip_missing, 0
        self._listed: dict[str, list[Path]] = defaultdict(list)
        for folder in folders:
            for path in sorted(folder.iterdir()):
                self._listed[shown_name(path.name)].append(path)
        self._claims: dict[Path, set[str]] = defaultdict(set)
        for name in set(names):
            for path in self._candidates(name)[:2]:
                self._claims[path].add(plain(name))

    def _candidates(self, name: str) -> list[Path]:
        """The files that share the longest end of the path."""
        parts = Path(plain(name)).parts
        relative = Path(*parts) if parts else Path()
        for folder in self._folders if len(parts) > 1 else ():
            for path in (folder / name, folder / relative):  # a backslash may be part of a name
                if inside(path, folder) and path.is_file():
                    return [path]
        listed = self._listed.get(shown_name(relative.name), ())
        found = {path: _common_end(path.resolve().parts, parts) for path in listed}
        return [path for path, length in found.items() if length == max(found.values())]

    def find(self, name: str) -> tuple[Path | None, str]:
        """The photo of a name or relative path, or None and a sentence why there is none; "" if it was skipped."""
        found = self._candidates(name)
        if not found:
            self._skipped += self._skip_missing
            return None, "" if self._skip_missing else (
                f"{shown_name(name)} is in none of the photo folders; fetch it or add --skip-missing")
        if len(found) > 1:
            return None, f"{shown_name(name)} fits both {found[0]} and {found[1]}; name the folder that holds both"
        rivals = self._claims[found[0]] - {plain(name)}
        parts = Path(plain(name)).parts
        if rivals and _common_end(found[0].resolve().parts, parts) < len(parts):
            return None, f"{shown_name(name)} and {shown_name(min(rivals))} both fit {found[0]}; name all photo folders"
        return found[0], ""

    def notes(self) -> list[str]:
        """How many photos were skipped, if any were."""
        where = " or ".join(map(str, self._folders))
        return [f"{self._skipped} pictures are not in {where} and were left out"] if self._skipped else []


def stated_name(value: Any) -> str:
    """A file name that JSON states; halves of characters, which no file has in its name, are replaced."""
    return re.sub("[\ud800-\udc7f\udd00-\udfff]", "?", str(value))


def plain(name: str) -> str:
    """A path with slashes, as it may be written with backslashes."""
    return name.replace("\\", "/")


def _common_end(first: Sequence[str], second: Sequence[str]) -> int:
    count = 0
    for a, b in zip(reversed(first), reversed(second), strict=False):
        if a != b:
            break
        count += 1
    return count
