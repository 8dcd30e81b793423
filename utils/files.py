"""What every package shares about files: errors for the user, whole writes, UTF-8 text, digests, names and locks."""
from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PathLike = str | os.PathLike[str]

LOCK_NAME = ".lock"


class UserError(Exception):
    """Something went wrong that the user can mend: the message is one sentence that names the file and what to do."""


class UsageError(UserError):
    """The arguments of a call can't be right; the message says which one (exit status 2)."""


def os_error_sentence(error: OSError) -> str:
    """An error of the operating system as one sentence that says what to do."""
    place = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{place}the disk is full; free some space and give the same command again"
    if error.errno == errno.EROFS or isinstance(error, PermissionError):
        return f"{place}no permission to read or write there; choose another place or ask for the right"
    return f"{place}{error.strerror or error}"


# ---------------------------------------------------------------------------------------------- writing


def write_whole(path: PathLike, content: bytes, durable: bool = False) -> None:
    """Writes a file beside its place and renames it, so that there is never half a file under the name.

    Args:
        path: of the file; its folder is made if need be.
        content: what the file holds afterwards.
        durable: return only when the disk has it, so that a power cut right afterwards loses nothing.

    Raises:
        OSError: the file can't be written; an earlier one is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # a short name of its own: the file's may already be as long as the disk allows
    descriptor, part = tempfile.mkstemp(prefix=".part-", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.chmod(part, _mode_of(path))
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
    if durable:
        _sync_folder(path.parent)


def _mode_of(path: Path) -> int:
    """Permissions of the file that is replaced, else those that a new file gets (mkstemp's are private)."""
    with contextlib.suppress(OSError):
        return path.stat().st_mode & 0o777
    return 0o666 & ~_UMASK


_UMASK = os.umask(0)  # reading it means setting it, which is safe only before there are threads
os.umask(_UMASK)


def _sync_folder(folder: Path) -> None:
    """Makes a rename durable; not every system lets a folder be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: PathLike, text: str, durable: bool = False) -> None:
    """`write_whole` for text in UTF-8; what can't be encoded (file names of any bytes) is kept as it was."""
    write_whole(path, text.encode("utf-8", "surrogateescape"), durable)


def write_json(path: PathLike, value: Any, durable: bool = False, indent: int | None = None) -> None:
    """`write_whole` for JSON."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=indent) + "\n", durable)


# ---------------------------------------------------------------------------------------------- reading


def read_bytes(path: PathLike) -> bytes:
    """A file's bytes.

    Raises:
        UserError: it can't be read; names it.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}); fetch it again or leave it out") from error


def read_text(path: PathLike) -> str:
    """A text file in UTF-8, with or without a byte-order mark; odd bytes become surrogates, as in file names.

    Raises:
        UserError: it can't be read.
    """
    return read_bytes(path).decode("utf-8-sig", "surrogateescape")


def read_json(path: PathLike) -> Any:
    """The value of a JSON file.

    Raises:
        UserError: it can't be read, is no JSON, or is nested too deeply.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no JSON that can be read ({error or 'nested too deeply'}); mend or replace it") \
            from error


def digest(content: bytes) -> str:
    """SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def file_digest(path: PathLike) -> str:
    """SHA-256 of a file's content, in hexadecimal, without holding the file in memory.

    Raises:
        UserError: it can't be read.
    """
    result = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                result.update(block)
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}); fetch it again or leave it out") from error
    return result.hexdigest()


# ---------------------------------------------------------------------------------------------- places and names


def existing_folder(path: PathLike) -> Path:
    """The path, if it is a folder.

    Raises:
        UsageError: it is not.
    """
    if not Path(path).is_dir():
        raise UsageError(f"{path} is not a folder; name one that exists")
    return Path(path)


def existing_file(path: PathLike) -> Path:
    """The path, if it is a file.

    Raises:
        UsageError: it is not.
    """
    if not Path(path).is_file():
        raise UsageError(f"{path} is not a file; name one that exists")
    return Path(path)


def inside(path: Path, folder: Path) -> bool:
    """Whether a path, with its links and dots resolved, lies in a folder."""
    return path.resolve().is_relative_to(folder.resolve())


def format_size(size: float) -> str:
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
        UserError: fewer bytes are free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder} has {format_size(free)} free, but to {purpose} takes {format_size(needed)}; free some or choose "
            "another --out"
        )


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sorts names as people do: picture 2 before picture 10."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return [(0, int(part), "") if part.isdecimal() and part.isascii() else (1, 0, part) for part in parts], name


def is_system_file(name: str) -> bool:
    """Whether a file is one that systems leave beside pictures: hidden, .DS_Store, Thumbs.db, desktop.ini."""
    return name.startswith(".") or name.lower() in ("thumbs.db", "desktop.ini")


def shown_name(name: PathLike) -> str:
    """A file name as text that can be printed and sent; bytes that are not UTF-8 are replaced."""
    return os.fsencode(os.fspath(name)).decode("utf-8", "replace")


@contextlib.contextmanager
def folder_lock(folder: PathLike, purpose: str) -> Iterator[None]:
    """Keeps a second process from writing into a folder; a killed process holds no lock.

    Args:
        folder: made if need be; the lock is its file LOCK_NAME.
        purpose: what is being done there, as "conversion".

    Raises:
        UserError: another process holds it.
        OSError: the folder can't be made or written to.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK_NAME, "a", encoding="utf-8") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    f"another {purpose} is writing to {folder}; wait until it has ended or choose another folder"
                ) from error
        yield


def tolerant_output() -> None:
    """What the terminal can't show is replaced, never an error (CP1251, CP1252, C)."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
