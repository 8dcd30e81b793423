"""Unpacks archives that a stranger made: everything is looked at first, and nothing lands outside the target.

Refused are paths that lead out of the target, links and devices, names that two systems read differently, names given
twice, encrypted members, and more bytes or files than the set can have (archive bombs).
"""
from __future__ import annotations

import gzip
import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from tqdm import tqdm

from utils.prepare.files import PrepareError, in_words, require_space

MAX_MEMBERS = 1_000_000
MAX_NAME = 240  # characters of one folder's or file's name
MAX_READ = 1 << 24  # bytes that reading a tar file's headers may ask for at once
# What the libraries raise of damaged archives
DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, struct.error, EOFError,
    ValueError, NotImplementedError,
)
FORBIDDEN = set('\\:*?"<>|') | {chr(code) for code in range(32)}


class ArchiveRefused(PrepareError):
    """The archive is damaged or hostile; nothing of it was put in place."""


@dataclass(frozen=True)
class Member:
    """A file in an archive: its path in parts, its size in bytes, and the archive's own handle of it."""

    parts: tuple[str, ...]
    size: int
    handle: Any


class _Archive(Protocol):
    def members(self) -> Iterator[tuple[str, int, bool, Any]]:
        """Name, size, whether it is a folder, and handle of each member; raises ArchiveRefused."""

    def open(self, handle: Any) -> IO[bytes]:
        """A member's content."""


def unpack(archive: Path, target: Path, max_unpacked: int) -> None:
    """Unpacks a .zip, .tar.gz or .tgz file into a folder; files that a killed call finished are not read again.

    Args:
        archive: the file.
        target: made when everything has been unpacked. Until then the files lie in TARGET.part.
        max_unpacked: bytes that they may have together.

    Raises:
        ArchiveRefused: it is damaged or hostile; says why.
        PrepareError: the disk is full.
    """
    if target.exists():
        return
    room = target.with_name(target.name + ".part")
    room.mkdir(parents=True, exist_ok=True)
    try:
        with _opened(archive, max_unpacked) as opened:
            members = _checked(opened.members(), max_unpacked)
            missing = [member for member in members if not _is_there(room.joinpath(*member.parts), member.size)]
            require_space(room, sum(member.size for member in missing), f"unpack {archive.name}")
            for member in tqdm(missing, desc=f"unpack {archive.name}", unit="file", disable=None, leave=False):
                with opened.open(member.handle) as content:
                    _write(content, room.joinpath(*member.parts), member.size)
    except (ArchiveRefused, *DAMAGE) as error:
        shutil.rmtree(room)
        raise ArchiveRefused(f"{archive} was not unpacked: {error}") from error
    os.replace(room, target)


def _is_there(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _write(content: IO[bytes], path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".tmp")
    with part.open("wb") as file:
        shutil.copyfileobj(content, file)
    if part.stat().st_size != size:
        raise ArchiveRefused(f"{path.name} has {part.stat().st_size} bytes, not the {size} that the archive states")
    os.replace(part, path)


def _checked(members: Iterator[tuple[str, int, bool, Any]], max_unpacked: int) -> list[Member]:
    """All files of the archive, if every one may be unpacked."""
    files: dict[tuple[str, ...], Member] = {}
    folders: set[tuple[str, ...]] = set()
    total = 0
    for count, (name, size, is_folder, handle) in enumerate(members):
        parts = _safe_parts(name)
        total += size
        if count >= MAX_MEMBERS or total > max_unpacked:
            raise ArchiveRefused(
                f"it holds more than {MAX_MEMBERS} files or {in_words(max_unpacked)}, far more than it should"
            )
        key = tuple(part.casefold() for part in parts)
        if not is_folder:
            if key in files:
                raise ArchiveRefused(f"it names {name!r} twice")
            files[key] = Member(parts, size, handle)
        folders.update(key[:i] for i in range(1, len(key) + is_folder))
    if clash := folders & files.keys():
        raise ArchiveRefused(f"it has {'/'.join(min(clash))!r} both as a file and as a folder")
    return list(files.values())


def _safe_parts(name: str) -> tuple[str, ...]:
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/") or ".." in parts:
        raise ArchiveRefused(f"{name!r} would land outside its folder")
    if FORBIDDEN & set(name) or any(len(part) > MAX_NAME or part.endswith((" ", ".")) for part in parts):
        raise ArchiveRefused(f"{name[:MAX_NAME]!r} is not a name that every system reads alike")
    return parts


@contextmanager
def _opened(archive: Path, max_unpacked: int) -> Iterator[_Archive]:
    if archive.name.endswith(".zip"):
        with zipfile.ZipFile(archive) as opened:
            yield _Zip(opened)
    else:
        with gzip.open(archive) as stream, tarfile.open(fileobj=_Bounded(stream, max_unpacked), mode="r:") as opened:
            yield _Tar(opened)


@dataclass
class _Zip:
    opened: zipfile.ZipFile

    def members(self) -> Iterator[tuple[str, int, bool, Any]]:
        for info in self.opened.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ArchiveRefused(f"{info.filename!r} is a link or a device")
            if info.flag_bits & 1:
                raise ArchiveRefused(f"{info.filename!r} is encrypted")
            yield info.orig_filename, info.file_size, info.is_dir(), info

    def open(self, handle: zipfile.ZipInfo) -> IO[bytes]:
        return self.opened.open(handle)


@dataclass
class _Tar:
    opened: tarfile.TarFile

    def members(self) -> Iterator[tuple[str, int, bool, Any]]:
        for info in self.opened:
            if not (info.isdir() or info.isreg()) or info.issparse():
                raise ArchiveRefused(f"{info.name!r} is a link or a device")
            yield info.name, info.size, info.isdir(), info
        while self.opened.fileobj.read(MAX_READ):  # to the end, where the check sum is
            pass

    def open(self, handle: tarfile.TarInfo) -> IO[bytes]:
        return self.opened.extractfile(handle)


class _Bounded:
    """A stream, as far as it goes: neither a header nor the whole may be larger than a sane archive's."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self.stream = stream
        # a tar file has a header of 512 bytes and some padding for every member
        self.limit = limit + 2048 * MAX_MEMBERS

    def tell(self) -> int:
        return self.stream.tell()

    def seek(self, position: int) -> int:
        self._check(position)
        return self.stream.seek(position)

    def read(self, count: int = -1) -> bytes:
        if not 0 <= count <= MAX_READ:
            raise ArchiveRefused(f"a header of it asks for {in_words(count)}")
        self._check(self.stream.tell() + count)
        return self.stream.read(count)

    def _check(self, position: int) -> None:
        if position > self.limit:
            raise ArchiveRefused(f"it unpacks to more than {in_words(self.limit)}")
