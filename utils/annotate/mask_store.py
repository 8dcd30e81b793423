"""The masks of one picture on the disk: files that never change, named by their content."""
from __future__ import annotations

import contextlib
import os
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

    def __init__(self, folder: Path, trash: Path, cache: ByteCache) -> None:
        self.folder, self.trash = folder, trash
        self._cache = cache

    def put(self, mask: np.ndarray) -> str | None:
        """Puts a mask bool (H, W) on the disk; gives its name, None for an empty one."""
        return self._put(masks.encode_mask(mask), mask) if mask.any() else None

    def put_edits(self, edits: np.ndarray) -> str | None:
        """Puts a map of manual edits uint8 (H, W) on the disk; gives its name, None for an empty one."""
        return self._put(masks.encode_edits(edits), edits) if edits.any() else None

    def _put(self, png: bytes, content: np.ndarray) -> str:
        name = masks.file_name(png)
        if not (self.folder / name).exists():
            write_whole(self.folder / name, png, durable=True)
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

    def union(self, names: tuple[str, ...]) -> np.ndarray:
        """All pixels of some masks, at least one: bool (H, W). Not to be changed."""
        if len(names) == 1:
            return self.mask(names[0])
        key, known = (self.folder.name, names), (self.folder.name, names[:-1])
        if known in self._cache:  # one more was finished; else not one at a time, which is slow for thousands
            return self._cache.get(key, lambda: self._cache.get(known, dict) | self.mask(names[-1]))
        return self._cache.get(key, lambda: self._united(names))

    def _united(self, names: tuple[str, ...]) -> np.ndarray:
        whole = self.mask(names[0]).copy()
        for name in names[1:]:
            whole |= self.mask(name)
        return whole

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
