"""What every part of data preparation shares: its two errors, files written whole, sizes in words, free space."""
from __future__ import annotations

import os
import shutil
from pathlib import Path


class PrepareError(Exception):
    """Something failed while working; the message is one sentence that names the file and says what to do."""


class WrongCall(Exception):
    """The arguments can't be right (a folder that is none, for example); the message says which."""


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file beside its place and renames it, so that there is never half a file under the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def existing_folder(path: str | os.PathLike[str]) -> Path:
    """The path, if it is a folder.

    Raises:
        WrongCall: it is not.
    """
    if not Path(path).is_dir():
        raise WrongCall(f"{path} is not a folder; name one that exists")
    return Path(path)


def existing_file(path: str | os.PathLike[str]) -> Path:
    """The path, if it is a file.

    Raises:
        WrongCall: it is not.
    """
    if not Path(path).is_file():
        raise WrongCall(f"{path} is not a file; name one that exists")
    return Path(path)


def in_words(size: float) -> str:
    """A number of bytes as people say it: 950 B, 11.4 MB, 18.0 GB (powers of 1000)."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def require_space(folder: Path, needed: int, purpose: str) -> None:
    """Checks the disk before a long work, not after it.

    Args:
        folder: an existing folder on the disk in question.
        needed: bytes.
        purpose: what they are for, as "unpack DAVIS.zip".

    Raises:
        PrepareError: fewer bytes are free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise PrepareError(
            f"{folder} has {in_words(free)} free, but to {purpose} takes {in_words(needed)}; free some or choose "
            "another --out"
        )


def inside(path: Path, folder: Path) -> bool:
    """Whether a path, with its links and dots resolved, lies in a folder."""
    return path.resolve().is_relative_to(folder.resolve())
