"""The two folders of an annotation project: the pictures, which are only read, and everything that is written."""
from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import masks
from .cache import ByteCache
from .errors import AnnotationError, NotFoundError
from .pictures import Picture, list_pictures
from .session import Session, from_json, to_json, write_whole

try:
    import fcntl
except ImportError:  # Windows, where two servers on one folder aren't noticed
    fcntl = None

FORMAT = "click annotation project 1"
DEFAULT_LABEL = "object"
# Bright and well apart, also for colour-blind eyes (after Okabe and Ito 2008 and Tol's bright scheme)
COLOURS = ("#56b4e9", "#e69f00", "#cc79a7", "#f0e442", "#00d098", "#ff7a59", "#b39ddb", "#9be564", "#4dd0e1", "#f48fb1")
MASK_CACHE_BYTES = 128 * 2**20
MAX_LABEL_LENGTH = 60


@dataclass(frozen=True)
class Label:
    """A class of objects and its colour, #rrggbb."""

    name: str
    colour: str


@dataclass(frozen=True)
class Summary:
    """What the picture list says about a picture."""

    status: str = "untouched"
    objects: int = 0
    clicks: int = 0


class Project:
    """The pictures of a folder and what was annotated on them.

    Args:
        out: the folder that is written: project.json, sessions/, masks/; made if missing.
        images: the folder of pictures; the one that `out` remembers, if left out.
        labels: names of classes, added to those that the project has.

    Raises:
        AnnotationError: a folder can't be used, or another server works on it.
    """

    def __init__(self, out: Path, images: Path | None = None, labels: Iterable[str] = ()) -> None:
        self.out = Path(out)
        self._lock = None
        remembered = self._read_settings()
        if images is None and "images" not in remembered:
            raise AnnotationError(f"{self.out} is not the output folder of an annotation project.")
        self.images = Path(images) if images is not None else (self.out / remembered["images"])
        self.labels = [Label(**label) for label in remembered.get("labels", [])]
        for name in labels:
            self.add_label(name, save=False)
        if not self.labels:
            self.add_label(DEFAULT_LABEL, save=False)
        self.summaries: dict[str, Summary] = {}
        self.rescan()
        self._masks = ByteCache(MASK_CACHE_BYTES, size=lambda mask: mask.nbytes)

    # ------------------------------------------------------------------------------------------ the project's file

    def _read_settings(self) -> dict:
        path = self.out / "project.json"
        try:
            settings = json.loads(path.read_text("utf-8", "surrogateescape"))
            if settings["format"] != FORMAT:
                raise AnnotationError(f"{path} has the format {settings['format']!r}; this version reads {FORMAT!r}.")
            return settings
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, AnnotationError):
                raise
            raise AnnotationError(f"{path} can't be read ({error}); mend it or move it away.") from error

    def save(self) -> None:
        """Writes project.json."""
        settings = {
            "format": FORMAT,
            "images": str(self.images.resolve()),
            "labels": [vars(label) for label in self.labels],
        }
        text = json.dumps(settings, indent=1, ensure_ascii=False)
        write_whole(self.out / "project.json", text.encode("utf-8", "surrogateescape"))

    @property
    def key(self) -> str:
        """Tells this project from others, which may have pictures of the same names."""
        return hashlib.sha256(os.fsencode(self.out.resolve())).hexdigest()[:16]

    def lock(self) -> None:
        """Takes the output folder for this process; the system lets go of it when the process ends, however it ends.

        Raises:
            AnnotationError: another server has it.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        if fcntl is None:
            return
        self._lock = open(self.out / ".lock", "w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise AnnotationError(f"Another annotation server works on {self.out}; end it first.") from error

    def add_label(self, name: str, colour: str | None = None, save: bool = True) -> Label:
        """Adds a class, or finds the one of this name.

        Raises:
            AnnotationError: the name is empty, too long or has control characters, or the colour isn't #rrggbb.
        """
        name = name.strip()
        if not name or len(name) > MAX_LABEL_LENGTH or not name.isprintable():
            raise AnnotationError(f"A label has 1 to {MAX_LABEL_LENGTH} printable characters.")
        colour = colour or COLOURS[len(self.labels) % len(COLOURS)]
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", colour):
            raise AnnotationError("A colour is written #rrggbb.")
        known = next((label for label in self.labels if label.name == name), None)
        if known is None:
            known = Label(name, colour)
            self.labels.append(known)
        if save:
            self.save()
        return known

    # ------------------------------------------------------------------------------------------ pictures and sessions

    def rescan(self) -> None:
        """Looks for new pictures, and reads what is known about each."""
        self.pictures = {picture.id: picture for picture in list_pictures(self.images)}
        for picture in self.pictures.values():
            if picture.id not in self.summaries:
                self.summaries[picture.id] = self._read_summary(picture)

    def _read_summary(self, picture: Picture) -> Summary:
        try:
            session = self.read_session(picture)
        except AnnotationError:
            return Summary("unreadable")
        return summary(session) if session else Summary()

    def picture(self, picture_id: str) -> Picture:
        """The picture of this id.

        Raises:
            NotFoundError: there is none.
        """
        if picture_id not in self.pictures:
            raise NotFoundError("There is no such picture in the folder (any more).")
        return self.pictures[picture_id]

    def session_path(self, picture: Picture) -> Path:
        """Where a picture's session is kept."""
        return self.out / "sessions" / f"{picture.key}.json"

    def read_session(self, picture: Picture) -> Session | None:
        """A picture's session from the disk, None if nothing was done on it.

        Raises:
            AnnotationError: the file is damaged or can't be read.
        """
        path = self.session_path(picture)
        try:
            return from_json(path.read_text("utf-8", "surrogateescape"), path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise AnnotationError(f"{path} can't be read: {error.strerror}.") from error

    def write_session(self, picture: Picture, session: Session) -> None:
        """Puts a session on the disk."""
        write_whole(self.session_path(picture), to_json(session).encode("utf-8", "surrogateescape"))
        self.summaries[picture.id] = summary(session)

    # ------------------------------------------------------------------------------------------ masks

    def mask_folder(self, picture: Picture) -> Path:
        """Where a picture's masks are kept."""
        return self.out / "masks" / picture.key

    def put_map(self, picture: Picture, png: bytes, content: np.ndarray) -> str:
        """Puts a mask or a hand's map on the disk; gives its name."""
        name = masks.file_name(png)
        path = self.mask_folder(picture) / name
        if not path.exists():
            write_whole(path, png)
        self._masks.put((picture.id, name), content)
        return name

    def mask(self, picture: Picture, name: str) -> np.ndarray:
        """A mask that was put, bool (H, W). Not to be changed."""
        return self._masks.get((picture.id, name), lambda: self._read_map(picture, name) > 0)

    def hand(self, picture: Picture, name: str) -> np.ndarray:
        """A hand's map that was put, uint8 (H, W). Not to be changed."""
        return self._masks.get((picture.id, name), lambda: self._read_map(picture, name))

    def union(self, picture: Picture, names: tuple[str, ...]) -> np.ndarray:
        """All pixels of some masks, at least one: bool (H, W). Not to be changed."""
        if len(names) == 1:
            return self.mask(picture, names[0])
        make = lambda: self.union(picture, names[:-1]) | self.mask(picture, names[-1])  # noqa: E731
        return self._masks.get((picture.id, names), make)

    def _read_map(self, picture: Picture, name: str) -> np.ndarray:
        if not re.fullmatch(r"[0-9a-f]{20}\.png", name):
            raise NotFoundError("There is no such mask.")
        path = self.mask_folder(picture) / name
        try:
            content = masks.decode_map(path.read_bytes())
        except OSError as error:
            raise NotFoundError(f"The mask {path} is missing.") from error
        if content is None:
            raise AnnotationError(f"The mask {path} is damaged; undo the steps that need it.")
        return content

    def sweep(self, picture: Picture, session: Session) -> None:
        """Removes masks that the history doesn't name: of undone steps, or written just before a crash."""
        folder = self.mask_folder(picture)
        if folder.is_dir():
            needed = session.mask_files()
            for path in folder.iterdir():
                if path.name not in needed:
                    with contextlib.suppress(OSError):  # a leftover does no harm; a step that was saved must not fail
                        path.unlink()


def summary(session: Session) -> Summary:
    """A session in the picture list."""
    return Summary(session.status, len(session.document.objects), session.document.spent)
