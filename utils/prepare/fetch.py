"""Downloads a file over connections that break, and unpacks archives that a stranger made."""
from __future__ import annotations

import errno
import gzip
import hashlib
import http.client
import json
import lzma
import os
import shutil
import struct
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from utils.files import UserError, format_size, os_error_sentence, require_space, write_json

TIMEOUT = 60  # seconds without a byte
TRIES = 6  # in a row that bring nothing new
PAUSE = 1.0  # seconds before the second try, doubled before each further one
CHUNK = 1 << 18  # bytes
PASSING = {408, 425, 429, 500, 502, 503, 504}  # answers after which asking again makes sense
UNFIT = {errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL}  # errors of names that don't fit together
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, struct.error, EOFError,
          ValueError, NotImplementedError, RuntimeError)  # what the libraries raise of damaged and encrypted archives


class NotThereError(UserError):
    """The server does not have the file, or does not give it."""


class ArchiveRefusedError(UserError):
    """The archive is damaged or hostile; nothing of it was put in place."""


def fetch(url: str, path: Path, max_size: int, md5: str = "") -> None:
    """Downloads a file; what a broken connection or a killed run left as NAME.part is gone on from.

    Args:
        url: http or https.
        path: of the file; its folder exists.
        max_size: bytes beyond which it is refused.
        md5: published checksum, if there is one.

    Raises:
        NotThereError: the server does not give it.
        UserError: it is too large, its checksum is another, the disk is full or the connection keeps failing.
    """
    part, furthest, failures = path.with_name(path.name + ".part"), 0, 0
    while True:
        try:
            _receive(url, part, max_size)
            break
        except (http.client.HTTPException, OSError) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise UserError(os_error_sentence(error)) from error
            reason = str(error) or type(error).__name__
        size = part.stat().st_size if part.exists() else 0
        failures = 0 if size > furthest else failures + 1
        furthest = max(furthest, size)
        if failures >= TRIES:
            raise UserError(f"{url} broke off {TRIES} times without bringing more ({reason}); {format_size(size)} are "
                            "kept: give the same command later, or use --mirror")
        time.sleep(PAUSE * 2**failures)
    found = _md5(part) if md5 else ""
    _notes_of(part).unlink(missing_ok=True)
    if found != md5:
        part.unlink()
        raise UserError(f"{url} has the MD5 {found}, published is {md5}; it was removed: fetch it elsewhere")
    part.replace(path)


def _notes_of(part: Path) -> Path:
    """Beside the growing file: the address it came from, and by what the server knows its version."""
    return part.with_name(part.name + ".json")


def _receive(url: str, part: Path, max_size: int) -> None:
    """One connection; OSError if it ends early."""
    headers = {"User-Agent": "python-urllib", "Accept-Encoding": "identity"}
    start, validator = _state(part, url)
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": validator}
    with _open(urllib.request.Request(url, headers=headers)) as response:
        span = response.headers.get("Content-Range", "").removeprefix("bytes ")
        if response.status == 206 and not span.startswith(f"{start}-"):
            part.unlink()
            raise OSError("the server's part of the file does not follow on what is here")
        if response.status != 206:
            start, etag = 0, response.headers.get("ETag") or "W/"
            validator = response.headers.get("Last-Modified") if etag.startswith("W/") else etag
            write_json(_notes_of(part), [url, validator])
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else None
        if total is not None and total > max_size:
            raise UserError(f"{url} has {format_size(total)}, more than the {format_size(max_size)} that it can have; "
                            "is it the right file?")
        require_space(part.parent, (total or start) - start, f"download {part.stem}")
        _copy(response, part, start, total, max_size)


def _state(part: Path, url: str) -> tuple[int, str]:
    """How many bytes are here that the server can go on from, and the validator that it gave for them."""
    try:
        known, validator = json.loads(_notes_of(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0, ""
    is_usable = known == url and validator and part.exists()
    return (part.stat().st_size, validator) if is_usable else (0, "")


def _open(request: urllib.request.Request) -> Any:
    """The server's answer, whole or from the byte asked for."""
    try:
        return _OPENER.open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # the file has another length now: from the beginning
            request.remove_header("Range")
            return _OPENER.open(request, timeout=TIMEOUT)
        if error.code in PASSING:
            raise OSError(f"the server answered {error.code} {error.reason}") from error
        raise NotThereError(f"{request.full_url} answered {error.code} {error.reason}; use --mirror or put the file "
                            "into OUT/archives by hand") from error


def _copy(response: Any, part: Path, start: int, total: int | None, max_size: int) -> None:
    bar = tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=part.stem, disable=None, leave=False)
    with bar, part.open("ab" if start else "wb") as file:
        size = start
        while chunk := response.read(CHUNK):
            size += len(chunk)
            if size > max_size:
                raise UserError(f"{response.url} goes on beyond the {format_size(max_size)} that it can have; it was "
                                "left")
            file.write(chunk)
            bar.update(len(chunk))
    if total is not None and size != total:
        raise OSError(f"{format_size(size)} of {format_size(total)} came")


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req, fp, code, msg, headers, newurl):  # noqa: ANN001, ANN201 (urllib's own signature)
        if not newurl.startswith("https:") and (req.full_url.startswith("https:") or not newurl.startswith("http:")):
            raise NotThereError(f"{req.full_url} leads to {newurl}, which is less safe, and was not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_Redirects)


def _md5(path: Path) -> str:
    state = hashlib.new("md5", usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            state.update(chunk)
    return state.hexdigest()


# ---------------------------------------------------------------------------------------------- archives


def unpack(archive: Path, target: Path, max_unpacked: int) -> None:
    """Unpacks a .zip, .tar.gz or .tgz file into a folder by the standard library's safe ways.

    Args:
        archive: the file.
        target: appears when everything has been unpacked; until then the files lie in TARGET.part.
        max_unpacked: bytes that they may have together.

    Raises:
        ArchiveRefusedError: it is damaged, leads out of the folder, or is larger; says why.
        UserError: the disk is full.
    """
    if target.exists():
        return
    room = target.with_name(target.name + ".part")
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir(parents=True)
    try:
        (_unzip if archive.suffix == ".zip" else _untar)(archive, room, max_unpacked)
    except (ArchiveRefusedError, OSError, *DAMAGE) as error:
        if isinstance(error, OSError) and not (isinstance(error, DAMAGE) or error.errno in UNFIT):
            raise
        shutil.rmtree(room)
        raise ArchiveRefusedError(f"{archive} was not unpacked: {error}") from error
    os.replace(room, target)


def _unzip(archive: Path, room: Path, max_unpacked: int) -> None:
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
        total = sum(member.file_size for member in members)
        _check_size(total, max_unpacked)
        require_space(room, total, f"unpack {archive.name}")
        for member in tqdm(members, desc=f"unpack {archive.name}", unit="file", disable=None, leave=False):
            _check_name(member.filename)
            opened.extract(member, room)


def _untar(archive: Path, room: Path, max_unpacked: int) -> None:
    total = 0

    def checked(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
        nonlocal total
        total += member.size
        _check_size(total, max_unpacked)
        _check_name(member.name)
        if not (member.isreg() or member.isdir()):
            raise ArchiveRefusedError(f"{member.name!r} is a link or a device")
        return tarfile.data_filter(member, folder)

    with tarfile.open(archive, "r:gz") as opened:
        opened.extractall(room, filter=checked)
        while opened.fileobj.read(CHUNK):  # to the end, where the check sum is
            pass


def _check_name(name: str) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise ArchiveRefusedError(f"{name!r} would land outside its folder")


def _check_size(total: int, max_unpacked: int) -> None:
    if total > max_unpacked:
        raise ArchiveRefusedError(f"it holds more than {format_size(max_unpacked)}, far more than it should")
