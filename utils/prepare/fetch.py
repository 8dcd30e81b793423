"""Downloads a file over connections that break, and unpacks archives that a stranger made."""
from __future__ import annotations

import errno
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
from pathlib import Path
from typing import Any

from tqdm import tqdm

from utils.files import UserError, format_size, os_error_sentence, require_space, write_json

TIMEOUT = 60  # seconds without a byte
TRIES = 6  # in a row that bring nothing new
PAUSE = 1.0  # seconds before the second try, doubled before each further one
CHUNK = 1 << 18  # bytes
PASSING = {408, 425, 429, 500, 502, 503, 504}  # answers after which asking again makes sense
FULL = {errno.ENOSPC, errno.EDQUOT}
UNFIT = {errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL, None}  # errors of names, not of the disk
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, ValueError,
          NotImplementedError, RuntimeError)  # what the libraries raise of damaged and encrypted archives


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
    while reason := _receive(url, part, max_size):
        size = part.stat().st_size if part.exists() else 0
        failures = 0 if size > furthest else failures + 1
        furthest = max(furthest, size)
        if failures >= TRIES:
            raise UserError(f"{url} broke off {TRIES} times without bringing more ({reason}); {format_size(size)} are "
                            "kept: give the same command later, or use --mirror")
        time.sleep(PAUSE * 2**failures)
    found = _md5(part) if md5 else ""
    _origin_of(part).unlink(missing_ok=True)
    if found != md5:
        part.unlink()
        raise UserError(f"{url} has the MD5 {found}, published is {md5}; it was removed: fetch it elsewhere")
    part.replace(path)


def _origin_of(part: Path) -> Path:
    """Beside the growing file: the address it came from, and by what the server knows its version."""
    return part.with_name(part.name + ".json")


def _receive(url: str, part: Path, max_size: int) -> str:
    """One connection: why it ended early, "" if the file is whole."""
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "python-urllib", "Accept-Encoding": "identity"})
        start = _ask_for_rest(request, part)
        with _OPENER.open(request, timeout=TIMEOUT) as response:
            span = response.headers.get("Content-Range", "").removeprefix("bytes ")
            if response.status != 206:
                start = 0
                write_json(_origin_of(part), [url, response.headers.get("ETag") or response.headers["Last-Modified"]])
            elif not span.startswith(f"{start}-"):
                part.unlink()
                return "the server's part of the file does not follow on what is here"
            return _copy(response, part, start, max_size)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # the file has another length now: from the beginning
            part.unlink(missing_ok=True)
        elif error.code not in PASSING:
            raise NotThereError(f"{url} answered {error.code} {error.reason}; use --mirror or put the file into "
                                "OUT/archives by hand") from error
        return f"the server answered {error.code} {error.reason}"
    except (http.client.HTTPException, OSError) as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise UserError(os_error_sentence(error)) from error
        return str(error) or type(error).__name__


def _ask_for_rest(request: urllib.request.Request, part: Path) -> int:
    """Asks only for what is missing, if the server can tell that its file is still the same: from which byte on."""
    try:
        url, validator = json.loads(_origin_of(part).read_text(encoding="utf-8"))
        start = part.stat().st_size
    except (OSError, ValueError):
        return 0
    if url != request.full_url or not validator or not start:
        return 0
    request.add_header("Range", f"bytes={start}-")
    request.add_header("If-Range", validator)
    return start


def _copy(response: Any, part: Path, start: int, max_size: int) -> str:
    """Appends an answer to the file; see _receive."""
    length = response.headers.get("Content-Length", "")
    total = start + int(length) if length.isdigit() else None
    if (total or 0) > max_size:
        raise UserError(f"{response.url} has {format_size(total or 0)}, more than the {format_size(max_size)} that it "
                        "can have; is it the right file?")
    require_space(part.parent, (total or start) - start, f"download {part.stem}")
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
    return "" if total in (None, size) else f"{format_size(size)} of {format_size(total or 0)} came"


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req, fp, code, msg, headers, newurl):  # noqa: ANN001, ANN201 (urllib's own signature)
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise NotThereError(f"{req.full_url} leads to {newurl}, which is less safe, and was not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_Redirects)


def _md5(path: Path) -> str:
    state = hashlib.new("md5", usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            state.update(chunk)
    return state.hexdigest()


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
        if isinstance(error, OSError) and error.errno not in UNFIT:
            raise
        shutil.rmtree(room)
        raise ArchiveRefusedError(f"{archive} was not unpacked: {error}") from error
    os.replace(room, target)


def _unzip(archive: Path, room: Path, max_unpacked: int) -> None:
    """`extract` leaves ".." and absolute places out of names, and writes links as files."""
    with zipfile.ZipFile(archive) as opened:
        total = sum(member.file_size for member in opened.infolist())
        _check_size(total, max_unpacked)
        require_space(room, total, f"unpack {archive.name}")
        for member in tqdm(opened.infolist(), desc=f"unpack {archive.name}", unit="file", disable=None, leave=False):
            opened.extract(member, room)


def _untar(archive: Path, room: Path, max_unpacked: int) -> None:
    total = 0

    def checked(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
        nonlocal total
        total += member.size
        _check_size(total, max_unpacked)
        if not (member.isreg() or member.isdir()):  # what a link leads to changes when the files are put in place
            raise ArchiveRefusedError(f"{member.name!r} is a link or a device")
        return tarfile.data_filter(member, folder)

    with tarfile.open(archive, "r:gz") as opened:
        opened.extractall(room, filter=checked)
        while opened.fileobj.read(CHUNK):  # to the end, where the check sum is
            pass


def _check_size(total: int, max_unpacked: int) -> None:
    if total > max_unpacked:
        raise ArchiveRefusedError(f"it holds more than {format_size(max_unpacked)}, far more than it should")
