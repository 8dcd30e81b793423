"""The masks of one picture on the disk: files that never change, named by their content."""
from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from utils.files import write_whole

from . import masks
from .cache import ByteCache
from .errors import AnnotationError, NotFoundError
from .session import MASK_NAME


class MaskStore:
    """Puts and gives the masks and maps of manual edits of one picture.

    What is no longer needed goes to a trash folder, from where it is still given: a snapshot that an export reads, an
    older session that is put back. Only a command empties it.

    Args:
        folder: of the masks.
        trash: folder for what isn't needed any more.
        cache: shared by all pictures; arrays by (folder's name, file's name).
    """

    def __init__(self, folder: Path, trash: Path, cache: ByteCache[np.ndarray]) -> None:
        self.folder, self.trash = folder, trash
        self._cache = cache
        self._cover, self._covering = np.zeros((0, 0), np.uint16), Counter[str]()
        self._boxes: dict[str, tuple[int, int, int, int]] = {}
        self._is_durable = True

    def put(self, mask: np.ndarray) -> str | None:
        """Puts a mask bool (H, W) on the disk; gives its name, None for an empty one."""
        return self._put(masks.encode_mask(mask), mask) if mask.any() else None

    def put_edits(self, edits: np.ndarray) -> str | None:
        """Puts a map of manual edits uint8 (H, W) on the disk; gives its name, None for an empty one."""
        return self._put(masks.encode_edits(edits), edits) if edits.any() else None

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Masks that are put meanwhile reach the disk together, at the end: one by one thousands take minutes."""
        self._is_durable = not hasattr(os, "sync")  # Windows
        try:
            yield
        finally:
            self._is_durable = True
        if hasattr(os, "sync"):
            os.sync()

    def _put(self, png: bytes, content: np.ndarray) -> str:
        name = masks.file_name(png)
        if not (self.folder / name).exists():
            write_whole(self.folder / name, png, durable=self._is_durable)
        self._cache.put((self.folder.name, name), content)
        return name

    def mask(self, name: str) -> np.ndarray:
        """A mask that was put, bool (H, W). Not to be changed.

        Raises:
            NotFoundError: there is none of this name.
            AnnotationError: the file is damaged.
        """
        return self._cache.get((self.folder.name, name), lambda: self._read(name) > 0)

    def edits(self, name: str) -> np.ndarray:
        """A map of manual edits that was put, uint8 (H, W). Not to be changed. Raises as `mask` does."""
        return self._cache.get((self.folder.name, name), lambda: self._read(name))

    def cover(self, names: Iterable[str]) -> np.ndarray:
        """How many of some masks hold each pixel: uint16 (H, W), empty if there are none. Not to be changed.

        What was there at the last call is kept, so that one object more or less costs one mask.
        """
        wanted = Counter(names)
        for changes, sign in ((wanted - self._covering, 1), (self._covering - wanted, -1)):
            for name in changes.elements():
                self._count(name, sign)
        self._covering = wanted
        return self._cover

    def cover_if_known(self, names: Iterable[str]) -> np.ndarray | None:
        """As `cover` for another thread: nothing is counted, and None given where it would have to be."""
        return self._cover if self._covering == Counter(names) else None

    def expect(self, name: str, mask: np.ndarray) -> None:
        """Counts a mask for the next `cover` while it is at hand; reading thousands again takes long."""
        self._count(name, 1, mask)
        self._covering[name] += 1

    def _count(self, name: str, sign: int, mask: np.ndarray | None = None) -> None:
        mask = self.mask(name) if mask is None else mask
        if self._cover.shape != mask.shape:
            self._cover = np.zeros(mask.shape, np.uint16)
        top, left, bottom, right = self._boxes[name] = masks.box_of(mask)
        part = self._cover[top:bottom, left:right]
        np.add(part, mask[top:bottom, left:right], out=part, dtype=np.uint16) if sign > 0 else \
            np.subtract(part, mask[top:bottom, left:right], out=part, dtype=np.uint16)

    def at(self, names: Iterable[str], y: int, x: int) -> str | None:
        """The first of some masks that holds a pixel; they have been in `cover`."""
        for name in names:
            top, left, bottom, right = self._boxes.get(name, (0, 0, 0, 0))
            if top <= y < bottom and left <= x < right and self.mask(name)[y, x]:
                return name
        return None

    def _read(self, name: str) -> np.ndarray:
        if not MASK_NAME.fullmatch(name):
            raise NotFoundError("There is no such mask.")
        for place in (self.folder, self.trash):
            with contextlib.suppress(OSError):
                content = masks.decode_map((place / name).read_bytes())
                if content is None:
                    raise AnnotationError(f"The mask {place / name} is damaged; undo the steps that need it.",
                                          "damaged_mask", file=name)
                return content
        raise NotFoundError(f"The mask {self.folder / name} is missing.", "missing_mask", file=name)

    def delete_unreferenced(self, needed: set[str]) -> None:
        """Moves masks that no step names to the trash, and back from there those that one does."""
        for source, target, is_moved in ((self.folder, self.trash, lambda name: name not in needed),
                                         (self.trash, self.folder, lambda name: name in needed)):
            for path in [path for path in _files(source) if is_moved(path.name)]:
                with contextlib.suppress(OSError):  # a leftover does no harm; a step that was saved must not fail
                    if path.suffix == ".png":
                        target.mkdir(parents=True, exist_ok=True)
                        os.replace(path, target / path.name)
                    elif source == self.folder:
                        path.unlink()  # half a file, of a crash


def _files(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
