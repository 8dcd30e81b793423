"""What all formats share: the pictures that are written, the folder that is written to, what is read."""
from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils.files import digest, inside, write_json, write_whole

from ..document import Target
from ..mask_store import MaskStore
from ..pictures import Picture
from ..session import Session

MANIFEST = ".exported"  # in the folder of an export: the names of its files
MAX_STEM_BYTES = 248  # file names have 255 at most, and get a suffix


@dataclass(frozen=True)
class Annotated:
    """A picture with its finished objects, as they were when the export began.

    Attributes:
        picture: the file.
        session: its snapshot.
        masks: of the picture.
        names: of classes, by key.
        stem: of the files that are written for it, unique in the project; may lie in subfolders.
    """

    picture: Picture
    session: Session
    masks: MaskStore
    names: dict[str, str]
    stem: str

    @property
    def objects(self) -> tuple[Target, ...]:
        """The finished objects, by id; where masks overlap the later one lies on top."""
        return self.session.document.objects

    def label(self, target: Target) -> str:
        """The name of an object's class."""
        return self.names.get(target.label, target.label)

    def mask(self, target: Target) -> np.ndarray:
        """Mask bool (H, W) of an object."""
        return self.masks.mask(target.mask or "")

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.session.height, self.session.width


def unique_stems(pictures: Sequence[Picture]) -> dict[str, str]:
    """A stem for each picture, by id, that no other picture's files have, on any file system.

    cat.jpg is "cat", unless there is cat.png or a picture whose whole name is "cat"; then it is "cat.jpg". What is too
    long, or no UTF-8, ends in letters of the id.
    """
    short = {picture.id: str(Path(picture.shown_name).with_suffix("")).replace(os.sep, "/") for picture in pictures}
    claims = Counter(stem.casefold() for stem in short.values())
    whole = {picture.shown_name.casefold() for picture in pictures}
    stems, used = {}, set()
    for picture in pictures:
        stem = short[picture.id]
        if claims[stem.casefold()] > 1 or stem.casefold() in whole:
            stem = picture.shown_name
        folder, _, last = stem.rpartition("/")
        if len(last.encode()) > MAX_STEM_BYTES or stem.casefold() in used or picture.shown_name != picture.name:
            last = last.encode()[: MAX_STEM_BYTES - 9].decode("utf-8", "ignore") + "-" + picture.id[:8]
        stems[picture.id] = f"{folder}/{last}" if folder else last
        used.add(stems[picture.id].casefold())
    return stems


class Writer:
    """A folder of exported files, which remembers what it wrote.

    Args:
        to: the folder.
        labels: classes by name, numbered from 1.
        polygons: COCO: polygons instead of RLE.
        link: pictures as hard links in place of copies; who edits one edits the original.
    """

    title = ""  # for people
    description = ""

    def __init__(self, to: Path, labels: dict[str, int], polygons: bool = False, link: bool = False) -> None:
        self.to, self.labels, self.polygons, self.link = to, labels, polygons, link
        self.names: list[str] = []
        self.notes: list[str] = []
        self.begin()

    def begin(self) -> None:
        """What a format needs before its first picture."""

    def add(self, picture: Annotated) -> None:
        """Writes one picture."""
        raise NotImplementedError

    def close(self) -> None:
        """Writes what belongs to all pictures."""

    def write(self, name: str, content: bytes) -> None:
        """A file of the folder; name may have subfolders."""
        write_whole(self.to / name, content)
        self.names.append(name)

    def write_json(self, name: str, content: Any) -> None:
        """As `write`, as JSON for people to read."""
        self.write(name, json.dumps(content, ensure_ascii=False, indent=1).encode("utf-8", "replace"))

    def copy(self, source: Path, name: str) -> None:
        """The picture itself: a copy, since who edits an export must not edit the original."""
        target = self.to / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        if self.link:
            os.link(source.resolve(), target)
        else:
            shutil.copyfile(source, target)
        self.names.append(name)

    def remove_old(self) -> int:
        """Removes what an earlier export wrote and this one didn't; gives the number of files."""
        old = sorted(manifest_of(self.to) - set(self.names))
        removed = [self.to / name for name in old if inside((self.to / name).parent, self.to)]
        for path in removed:
            path.unlink(missing_ok=True)
        write_json(self.to / MANIFEST, sorted(self.names), indent=0)
        return len(removed)


def manifest_of(folder: Path) -> set[str]:
    """The file names of an earlier export; none if there was none or its list is damaged."""
    try:
        names = json.loads((folder / MANIFEST).read_text("utf-8-sig", "surrogateescape"))
    except (OSError, ValueError, RecursionError):
        return set()
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()


def content_id(text: str) -> str:
    """Eight letters that tell names apart."""
    return digest(text.encode("utf-8", "surrogateescape"))[:8]
