"""The two folders of an annotation project: the pictures, which are only read, and everything that is written."""
from __future__ import annotations

import colorsys
import contextlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from utils.files import UserError, digest, folder_lock, os_error_sentence, shown_name, write_json, write_whole

from .cache import ByteCache
from .changes import label_name
from .errors import AnnotationError, NotFoundError, UnreadableError, saving
from .mask_store import MaskStore
from .pictures import Picture, list_pictures, pictures_of
from .session import Session, from_json, to_json

FORMAT = "click annotation project 1"
DEFAULT_LABEL = "object"
# Bright and well apart, also for colour-blind eyes (after Okabe and Ito 2008 and Tol's bright scheme)
COLOURS = ("#56b4e9", "#e69f00", "#cc79a7", "#f0e442", "#00d098", "#ff7a59", "#b39ddb", "#9be564", "#4dd0e1", "#f48fb1")
GOLDEN_ANGLE = 0.381966  # of a turn: hues that never repeat and lie apart
MASK_CACHE_BYTES = 128 * 2**20


@dataclass(frozen=True)
class Label:
    """A class of objects.

    Attributes:
        name: as people read it.
        colour: #rrggbb.
        key: by which sessions know it; stays when it is renamed.
        separate: each connected component of what a concept model proposes is an object of its own.
    """

    name: str
    colour: str
    key: str
    separate: bool = False


@dataclass(frozen=True)
class Summary:
    """What the picture list says about a picture, and statistics need of it."""

    status: str = "untouched"
    objects: int = 0
    clicks: int = 0
    by_label: dict[str, tuple[int, int]] = field(default_factory=dict)  # key: (objects, clicks)


class Project:
    """The pictures of a folder and what was annotated on them.

    Args:
        out: the folder that is written: project.json, sessions/, masks/, trash/; made if missing.
        images: the folder of pictures; the one that `out` remembers, if left out.
        labels: names of classes, added to those that the project has.
        recursive: pictures of subfolders too; as `out` remembers, if left out.

    Raises:
        AnnotationError: a folder can't be used.
    """

    def __init__(self, out: Path, images: Path | None = None, labels: Iterable[str] = (),
                 recursive: bool | None = None) -> None:
        self.out = Path(out)
        self._lock = contextlib.ExitStack()
        remembered = self._read_settings()
        if images is None and "images" not in remembered:
            raise AnnotationError(f"{shown_name(self.out)} is not the output folder of an annotation project.")
        self.images = Path(images) if images is not None else (self.out / remembered["images"])
        self.is_recursive = remembered.get("recursive", False) if recursive is None else recursive
        self.labels = [Label(label["name"], label["colour"], label.get("key", label["name"]),
                             bool(label.get("separate", False))) for label in remembered.get("labels", [])]
        self.merged: dict[str, str] = dict(remembered.get("merged", {}))
        for name in labels:
            self._add_label(name)
        if not self.labels:
            self._add_label(DEFAULT_LABEL)
        self._summaries: dict[str, Summary] = {}
        self.rescan()
        self._masks: ByteCache[np.ndarray] = ByteCache(MASK_CACHE_BYTES, size=lambda mask: mask.nbytes)

    # ------------------------------------------------------------------------------------------ the project's file

    def _read_settings(self) -> dict[str, Any]:
        path = self.out / "project.json"
        try:
            settings = json.loads(path.read_text("utf-8-sig", "surrogateescape"))
            if settings["format"] != FORMAT:
                raise AnnotationError(f"{path} has the format {settings['format']!r}; this version reads {FORMAT!r}.")
            is_whole = isinstance(settings["images"], str) and all(
                isinstance(label["name"], str) and isinstance(label["colour"], str) for label in settings["labels"])
            if not is_whole:
                raise ValueError("it names no folder or labels")
            return settings
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise AnnotationError(f"{path} can't be read ({error}); mend it or move it away.") from error

    def save(self) -> None:
        """Writes project.json.

        Raises:
            UnavailableError: it can't be written.
        """
        settings = {
            "format": FORMAT,
            "images": str(self.images.resolve()),
            "recursive": self.is_recursive,
            "labels": [vars(label) for label in self.labels],
            "merged": self.merged,
        }
        with saving("The project"):
            write_json(self.out / "project.json", settings, durable=True, indent=1)

    @property
    def key(self) -> str:
        """Tells this project from others, which may have pictures of the same names."""
        return digest(os.fsencode(self.out.resolve()))[:16]

    def lock(self) -> None:
        """Takes the output folder for this process; the system lets go of it when the process ends, however it ends.

        Raises:
            AnnotationError: another server has it, or it can't be made.
        """
        try:
            self._lock.enter_context(folder_lock(self.out, "annotation server"))
        except OSError as error:
            raise AnnotationError(f"The output folder {shown_name(self.out)} can't be written "
                                  f"({error.strerror or error}); name another with --out.") from error
        except UserError as error:
            raise AnnotationError(f"{str(error)[0].upper()}{str(error)[1:]}.") from error

    def unlock(self) -> None:
        """Lets go of the output folder."""
        self._lock.close()

    # ------------------------------------------------------------------------------------------ labels

    def add_label(self, name: str, colour: str | None = None) -> Label:
        """Adds a class and saves it, or finds the one of this name.

        Raises:
            AnnotationError: the name or the colour can't be used.
            UnavailableError: it can't be saved; then it isn't added.
        """
        with self._all_or_nothing():
            return self._add_label(name, colour)

    @contextlib.contextmanager
    def _all_or_nothing(self) -> Any:
        """Saves what was changed about labels, or takes it back."""
        before = list(self.labels), dict(self.merged)
        try:
            yield
            if (self.labels, self.merged) != before:
                self.save()
        except BaseException:
            self.labels, self.merged = before
            raise

    def _add_label(self, name: str, colour: str | None = None) -> Label:
        name = label_name(name)
        known = self._named(name)
        if known:
            return known
        keys = {label.key for label in self.labels} | set(self.merged)
        key = next(key for key in (name, *(f"{name} ({n})" for n in range(2, len(keys) + 3))) if key not in keys)
        label = Label(name, _colour(colour) if colour else self._free_colour(), key)
        self.labels = [*self.labels, label]
        return label

    def _named(self, name: str) -> Label | None:
        return next((label for label in self.labels if label.name == name), None)

    def _free_colour(self) -> str:
        used = {label.colour for label in self.labels}
        turns = ((0.13 + GOLDEN_ANGLE * n) % 1 for n in range(len(used) + 1))
        more = ("#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hsv_to_rgb(turn, 0.55, 0.95))
                for turn in turns)
        return next(colour for colour in (*COLOURS, *more) if colour not in used)

    def change_label(self, name: str, to: str | None = None, colour: str | None = None,
                     separate: bool | None = None) -> None:
        """Renames a class, merges it into another whose name it gets, gives it another colour, or sets `separate`.

        Sessions know classes by their keys, so this is one file, and undo goes on as before.

        Raises:
            AnnotationError: there is no such class, or the name or colour can't be used.
            UnavailableError: it can't be saved; then nothing is changed.
        """
        label = self._known(name)
        with self._all_or_nothing():
            new = replace(label, colour=_colour(colour) if colour else label.colour,
                          separate=label.separate if separate is None else separate)
            other = self._named(label_name(to)) if to is not None else None
            if to is not None and other is None:
                new = replace(new, name=label_name(to))
            if other is not None and other != label:
                self.merged = {**self.merged, label.key: other.key}
            kept = [new if known == label else known for known in self.labels]
            self.labels = [known for known in kept if other in (None, label) or known != new]

    def delete_label(self, name: str, to: str | None = None) -> None:
        """Removes a class that no object has, or whose objects become another's.

        Raises:
            AnnotationError: objects have it and no other class is named, or it is the last one.
        """
        label = self._known(name)
        if to is not None:
            return self.change_label(name, to=self._known(to).name)
        objects = sum(self.summary(picture).by_label.get(label.key, (0, 0))[0] for picture in self.pictures.values())
        if objects:
            raise AnnotationError(f"{objects} objects have the label {name}; merge it into another one.", "label_used",
                                  objects=objects, label=name)
        if len(self.labels) == 1:
            raise AnnotationError("The last label can't be deleted; rename it.", "last_label", label=name)
        with self._all_or_nothing():
            self.labels = [known for known in self.labels if known != label]

    def _known(self, name: str) -> Label:
        label = self._named(name)
        if label is None:
            raise NotFoundError(f"There is no label {name}.", "no_label", label=name)
        return label

    def label_key(self, name: str) -> str:
        """The key of the class of this name, which is added if there is none."""
        known = self._named(name)
        return known.key if known else self.add_label(name).key

    def label_name(self, key: str) -> str:
        """The name of the class of a key; the key itself for one that was deleted."""
        seen = set()
        while key in self.merged and key not in seen:
            seen.add(key)
            key = self.merged[key]
        return next((label.name for label in self.labels if label.key == key), key)

    # ------------------------------------------------------------------------------------------ pictures and sessions

    def rescan(self) -> None:
        """Looks for new pictures."""
        listing = list_pictures(self.images, self.is_recursive)
        found = pictures_of(self.images, listing.pictures)
        if not found and self.sample_folder.is_dir():
            found = pictures_of(self.sample_folder, list_pictures(self.sample_folder).pictures)
        self.left_out = listing.remark()
        self.pictures = {picture.id: picture for picture in found}

    @property
    def sample_folder(self) -> Path:
        """Where a picture to try is put while there are no others."""
        return self.out / "sample"

    def add_sample(self, source: Path) -> None:
        """Puts a picture to try into a project without pictures."""
        if not self.pictures:
            with saving("The sample"):
                self.sample_folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, self.sample_folder / source.name)
            self.rescan()

    def summary(self, picture: Picture) -> Summary:
        """What is known about a picture; its session is read when this is asked for the first time."""
        if picture.id not in self._summaries:
            try:
                self.remember(picture, self.read_session(picture))
            except UnreadableError:
                self.mark_unreadable(picture)
        return self._summaries[picture.id]

    def remember(self, picture: Picture, session: Session | None) -> None:
        """Keeps what the picture list says about a session."""
        self._summaries[picture.id] = summarise(session) if session else Summary()

    def mark_unreadable(self, picture: Picture) -> None:
        """The picture or its session can't be read."""
        self._summaries[picture.id] = Summary("unreadable")

    def picture(self, picture_id: str) -> Picture:
        """The picture of this id.

        Raises:
            NotFoundError: there is none.
        """
        if picture_id not in self.pictures:
            raise NotFoundError("There is no such picture in the folder (any more).", "no_picture")
        return self.pictures[picture_id]

    def session_path(self, picture: Picture) -> Path:
        """Where a picture's session is kept."""
        return self.out / "sessions" / f"{picture.key}.json"

    def backup_path(self, picture: Picture) -> Path:
        """Where the session before the last step is kept."""
        return self.out / "sessions" / f"{picture.key}.json.bak"

    def read_session(self, picture: Picture) -> Session | None:
        """A picture's session from the disk, None if nothing was done on it.

        Raises:
            UnreadableError: the file is damaged or can't be read.
        """
        return _read_session(self.session_path(picture))

    def read_backup(self, picture: Picture) -> Session | None:
        """The last good session, if there is one that can be read."""
        with contextlib.suppress(UnreadableError):
            return _read_session(self.backup_path(picture))
        return None

    def write_session(self, picture: Picture, session: Session) -> None:
        """Puts a session on the disk, and keeps the one before."""
        path = self.session_path(picture)
        if path.exists():
            _keep_as(path, self.backup_path(picture))
        write_whole(path, to_json(session).encode("utf-8", "surrogateescape"), durable=True)
        self.remember(picture, session)

    def discard_session(self, picture: Picture) -> None:
        """Moves a picture's session to the trash."""
        stamp = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S-%f")
        self.trash_folder(picture).mkdir(parents=True, exist_ok=True)
        os.replace(self.session_path(picture), self.trash_folder(picture) / f"session-{stamp}.json")
        self._summaries.pop(picture.id, None)

    # ------------------------------------------------------------------------------------------ masks

    def masks(self, picture: Picture) -> MaskStore:
        """A picture's masks."""
        return MaskStore(self.out / "masks" / picture.key, self.trash_folder(picture), self._masks)

    def trash_folder(self, picture: Picture) -> Path:
        """Where a picture's masks and sessions go that aren't needed any more."""
        return self.out / "trash" / picture.key

    def empty_trash(self) -> int:
        """Deletes what is in the trash, but what a session still names; gives the number of files.

        Raises:
            UnreadableError: a session can't be read, so nobody knows what it needs.
        """
        for picture in self.pictures.values():
            sessions = filter(None, (self.read_session(picture), self.read_backup(picture)))
            needed = set().union(*(session.mask_files() for session in sessions))
            self.masks(picture).delete_unreferenced(needed)
        trash = self.out / "trash"
        count = sum(path.is_file() for path in trash.rglob("*"))
        shutil.rmtree(trash, ignore_errors=True)
        return count


def _colour(text: str) -> str:
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        raise AnnotationError("A colour is written #rrggbb.", "bad_colour")
    return text


def _read_session(path: Path) -> Session | None:
    try:
        return from_json(path.read_text("utf-8-sig", "surrogateescape"), path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnreadableError(f"{os_error_sentence(error)}.", "damaged_session", file=path.name) from error


def _keep_as(path: Path, backup: Path) -> None:
    """Keeps a file under a second name; by a link, since the file is replaced and never changed."""
    part = backup.with_name(backup.name + "-part")
    with contextlib.suppress(OSError):
        part.unlink(missing_ok=True)
        try:
            os.link(path, part)
        except OSError:
            shutil.copyfile(path, part)
        os.replace(part, backup)


def summarise(session: Session) -> Summary:
    """A session in the picture list."""
    document = session.document
    objects: Counter[str] = Counter()
    clicks: Counter[str] = Counter()
    for target in document.objects:
        objects[target.label] += 1
        clicks[target.label] += len(target.prompts)
    by_label = {key: (count, clicks[key]) for key, count in objects.items()}
    return Summary(session.status, len(document.objects), document.spent, by_label)
