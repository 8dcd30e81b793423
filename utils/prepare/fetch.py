"""Downloads one file over connections that break: with range requests, on from where the last try or run stopped."""
from __future__ import annotations

import errno
import hashlib
import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from utils.prepare.files import PrepareError, in_words, require_space, write_whole

TIMEOUT = 60  # seconds without a byte
TRIES = 6  # in a row that bring nothing new
PAUSE = 1.0  # seconds before the second try, doubled before each further one
CHUNK = 1 << 18  # bytes
PASSING = {408, 425, 429, 500, 502, 503, 504}  # answers after which asking again makes sense


class NotThere(PrepareError):
    """The server does not have the file, or does not give it."""


class _BrokenOff(Exception):
    """This try failed in a way that another may not."""


class _Part:
    """The file that grows, NAME.part, and beside it what the server said of it, NAME.part.json."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path.with_name(path.name + ".part")
        self.notes_path = path.with_name(path.name + ".part.json")
        self.url = url
        self.validator: str | None = None  # ETag or date by which the server knows the version of the file
        self.total: int | None = None  # bytes
        self._read_notes()

    def _read_notes(self) -> None:
        try:
            notes = json.loads(self.notes_path.read_text())
        except (OSError, ValueError):
            notes = {}
        if notes.get("url") == self.url:
            self.validator, self.total = notes["validator"], notes["total"]
        else:
            self.discard()

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def whole(self) -> bool:
        return self.total is not None and self.size == self.total

    def begin(self, validator: str | None, total: int | None) -> None:
        """Empties the part and notes what the server says."""
        self.discard()
        self.validator, self.total = validator, total
        write_whole(self.notes_path, json.dumps({"url": self.url, "validator": validator, "total": total}).encode())

    def discard(self) -> None:
        self.validator = self.total = None
        self.path.unlink(missing_ok=True)
        self.notes_path.unlink(missing_ok=True)


def fetch(url: str, path: Path, max_size: int, md5: str = "") -> None:
    """Downloads a file, if it is not there; what a broken connection or a killed run left is gone on from.

    Args:
        url: http or https.
        path: of the file; its folder exists. Until it is whole it is called NAME.part.
        max_size: bytes beyond which it is refused.
        md5: published checksum, if there is one.

    Raises:
        NotThere: the server does not give it.
        PrepareError: it is too large, its checksum is another, the disk is full or the connection keeps failing.
    """
    part = _Part(path, url)
    furthest, failures = part.size, 0
    while not part.whole:
        try:
            _fetch_on(part, max_size)
            break
        except (_BrokenOff, http.client.HTTPException, OSError) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise PrepareError(f"the disk of {part.path} is full; free some and give the same command") from error
            reason = str(error) or type(error).__name__
        failures = 0 if part.size > furthest else failures + 1
        furthest = max(furthest, part.size)
        if failures >= TRIES:
            kept = in_words(part.size)
            raise PrepareError(
                f"{url} broke off {TRIES} times without bringing more ({reason}); {kept} are kept: give the same "
                "command later, or use --mirror"
            )
        time.sleep(PAUSE * 2**failures)
    if md5 and (found := digest(part.path, "md5")) != md5:
        part.discard()
        raise PrepareError(f"{url} has the MD5 {found}, published is {md5}; it was removed: fetch it elsewhere")
    part.path.replace(path)
    part.discard()


def digest(path: Path, algorithm: str) -> str:
    """A file's digest in hexadecimal."""
    state = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            state.update(chunk)
    return state.hexdigest()


def _fetch_on(part: _Part, max_size: int) -> None:
    """One connection: returns when the file is whole."""
    headers = {"User-Agent": "python-urllib", "Accept-Encoding": "identity"}
    if part.size:
        headers["Range"] = f"bytes={part.size}-"
        if part.validator:
            headers["If-Range"] = part.validator
    try:
        response = _OPENER.open(urllib.request.Request(part.url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        _refuse_status(error, part)
        return
    except urllib.error.URLError as error:
        raise _BrokenOff(str(error.reason)) from error
    with response:
        _agree_on_start(part, response.status, response.headers)
        if part.total is not None and part.total > max_size:
            raise PrepareError(
                f"{part.url} has {in_words(part.total)}, more than the {in_words(max_size)} that it can have; is it "
                "the right file?"
            )
        require_space(part.path.parent, (part.total or part.size) - part.size, f"download {part.path.stem}")
        _receive(part, response, max_size)


def _refuse_status(error: urllib.error.HTTPError, part: _Part) -> None:
    """Returns if the answer says that the part is the whole file."""
    if error.code == 416:  # nothing lies behind what is here: it is all of it, or of another version
        if error.headers.get("Content-Range", "") == f"bytes */{part.size}":
            return
        part.discard()
        raise _BrokenOff("what was here is not the beginning of the server's file") from error
    if error.code in PASSING:
        raise _BrokenOff(f"the server answered {error.code} {error.reason}") from error
    raise NotThere(
        f"{part.url} answered {error.code} {error.reason}; use --mirror or put the file into {part.path.parent} by hand"
    ) from error


def _agree_on_start(part: _Part, status: int, headers: Mapping[str, Any]) -> None:
    """Makes the part the beginning of what the server is about to send."""
    if status == 206:
        stated = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", ""))
        if not stated or not part.size or [int(n) for n in stated.groups()] != [part.size, part.total]:
            part.discard()
            raise _BrokenOff("the server's part of the file does not follow on what is here")
        return
    length = headers.get("Content-Length") or ""
    etag = headers.get("ETag", "")
    validator = headers.get("Last-Modified") if etag.startswith("W/") or not etag else etag
    part.begin(validator, int(length) if length.isdigit() else None)


def _receive(part: _Part, response: Any, max_size: int) -> None:
    bar = tqdm(
        total=part.total, initial=part.size, unit="B", unit_scale=True, desc=part.path.stem, disable=None, leave=False
    )
    with bar, part.path.open("ab") as file:
        size = file.tell()
        while chunk := response.read(CHUNK):
            size += len(chunk)
            if size > max_size:
                raise PrepareError(f"{part.url} goes on beyond the {in_words(max_size)} that it can have; it was left")
            file.write(chunk)
            bar.update(len(chunk))
    if part.total is not None and size != part.total:
        raise _BrokenOff(f"{in_words(size)} of {in_words(part.total)} came")


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req, fp, code, msg, headers, newurl):  # noqa: ANN001, ANN201 (urllib's own signature)
        if not newurl.startswith("https:") and (req.full_url.startswith("https:") or not newurl.startswith("http:")):
            raise NotThere(f"{req.full_url} leads to {newurl}, which is less safe, and was not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_Redirects)
