"""The folder of pictures, and reading one of them without trusting it."""
from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from utils import images
from utils.files import digest, inside, shown_name
from utils.folders import Listing
from utils.folders import list_pictures as list_folder
from utils.images import ImageError, Photo, read_photo

from .errors import AnnotationError, UnreadableError

MAX_PIXELS = 100_000_000
MAX_KEY_BYTES = 200  # file names may have 255, and ours get a suffix


@dataclass(frozen=True)
class Picture:
    """A file of the folder. `id` stands for it in addresses, so that no file name ever is part of one.

    Attributes:
        id: of its name.
        path: of the file.
        name: its path in the folder with forward slashes; bytes that are not UTF-8 are surrogates in it.
        home: the folder, out of which no link may lead.
    """

    id: str
    path: Path
    name: str
    home: Path

    @property
    def shown_name(self) -> str:
        """The name as text that can be sent."""
        return shown_name(self.name)

    def version(self) -> str:
        """Changes when the file does.

        Raises:
            UnreadableError: the file is gone.
        """
        try:
            found = self.path.stat()
        except OSError as error:
            raise _unreadable(self, f"{self.shown_name} can't be read: {error.strerror}.") from error
        return f"{found.st_mtime_ns:x}-{found.st_size:x}"

    @property
    def key(self) -> str:
        """The name of what belongs to the picture in the output folder: readable where that is safe."""
        is_plain = self.name == self.shown_name and len(os.fsencode(self.name)) <= MAX_KEY_BYTES
        return self.name if is_plain and self.name.isprintable() and "/" not in self.name else f"picture-{self.id}"

    def read(self) -> bytes:
        """The bytes of the file, if it still is a file of the folder: no link out of it, no pipe.

        Raises:
            UnreadableError: it isn't, is too large or can't be read.
        """
        try:
            if not inside(self.path, self.home):
                raise _unreadable(self, f"{self.shown_name} is a link that leads out of the folder now; it isn't read.")
            descriptor = os.open(self.path.resolve(), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) |
                                 getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
            with os.fdopen(descriptor, "rb") as file:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode):
                    raise _unreadable(self, f"{self.shown_name} is no file any more; replace it or leave it out.")
                if found.st_size > images.MAX_FILE_BYTES:
                    raise _unreadable(self, f"{self.shown_name} has more than {images.MAX_FILE_BYTES >> 20} MiB; make "
                                      "it smaller first.")
                return file.read()
        except OSError as error:
            raise _unreadable(self, f"{self.shown_name} can't be read: {error.strerror}.") from error


def _unreadable(picture: Picture, sentence: str) -> UnreadableError:
    return UnreadableError(sentence, "unreadable_picture", picture=picture.shown_name)


def list_pictures(folder: Path, recursive: bool = False) -> Listing:
    """The pictures of a folder, in natural order, and what else is there; links that lead out of it are left out.

    Raises:
        AnnotationError: it is not a folder that can be read.
    """
    try:
        return list_folder(folder, recursive, follow_links=False)
    except ImageError as error:
        raise AnnotationError(f"The pictures' folder {shown_name(folder)} can't be read; {error}.") from error


def pictures_of(folder: Path, paths: Iterable[Path]) -> list[Picture]:
    """The pictures of these files of a folder."""
    names = [path.relative_to(folder).as_posix() for path in paths]
    return [Picture(digest(os.fsencode(name))[:16], folder / name, name, folder) for name in names]


def read_picture(picture: Picture) -> Photo:
    """A picture as uint8 (H, W, 3) RGB, turned as its camera says, with notes on what a person should know.

    Raises:
        UnreadableError: it can't be read.
    """
    try:
        return read_photo(picture.read(), picture.shown_name, max_pixels=MAX_PIXELS)
    except ImageError as error:
        raise _unreadable(picture, f"{error}.") from error


def thumbnail(picture: Picture) -> bytes:
    """A small JPEG of a picture.

    Raises:
        UnreadableError: it can't be read.
    """
    try:
        return images.thumbnail(picture.read(), picture.shown_name)
    except ImageError as error:
        raise _unreadable(picture, f"{error}.") from error


