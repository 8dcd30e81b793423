"""Taking in objects from the page: of a file in the served folder, or of one that the browser sends."""
from __future__ import annotations

import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath
from typing import Any

from utils.files import inside, require_space

from .errors import AnnotationError
from .import_objects import KINDS, PLANS, import_objects
from .project import Project

MOST_SENT, MOST_UNPACKED = 256 * 2**20, 2 * 2**30  # bytes of a file, and of an archive's files
UPLOADS = ".upload-"  # folders of files that were sent
OF_ONE_FILE = ("coco", "via")  # formats whose source is a file


def read_request(given: Any) -> tuple[str, str]:
    """(format, kind) of a request.

    Raises:
        AnnotationError: there are no such ones.
    """
    kind = given.get("kind", "objects") if isinstance(given, dict) else None
    if kind not in KINDS or given.get("format") not in PLANS:
        raise AnnotationError(f"The format must be one of {', '.join(PLANS)}, taken as {' or '.join(KINDS)}.",
                              "import_format")
    return given["format"], kind


def path_within(project: Project, name: Any) -> Path:
    """A file or folder of the served folder.

    Raises:
        AnnotationError: there is none of this name, or it leads out of the folder.
    """
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise AnnotationError("The import names no file.", "import_missing", file="")
    path = project.images / PurePosixPath(name.strip())
    if not inside(path, project.images):
        raise AnnotationError("Only what lies in the folder of pictures can be taken in by name; send it, or use the "
                              "command `python -m utils.annotate import`.", "import_outside")
    if not path.exists():
        raise AnnotationError(f"{name} is not in the folder of pictures.", "import_missing", file=name)
    return path


async def received(chunks: AsyncIterator[bytes], name: str, folder: Path) -> Path:
    """A file that a browser sends, in a new folder of its own in `folder`, which the caller removes.

    Raises:
        AnnotationError: it is too large.
        OSError: it can't be kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=UPLOADS, dir=folder))
    path = place / (re.sub(r"[^\w. -]", "_", Path(name).name)[-100:].lstrip(".") or "file")
    try:
        size = 0
        with path.open("wb") as file:
            async for chunk in chunks:
                size += len(chunk)
                if size > MOST_SENT:
                    raise AnnotationError(f"More than {MOST_SENT >> 20} MB can't be sent; use the command `python -m "
                                          "utils.annotate import`.", "import_too_large", megabytes=MOST_SENT >> 20)
                file.write(chunk)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return path


def copied(path: Path, folder: Path) -> Path:
    """A file of the served folder, as if it had been sent: formats that are folders take all that is beside a file."""
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(path, tempfile.mkdtemp(prefix=UPLOADS, dir=folder)))


def opened_upload(path: Path, format_name: str) -> Path:
    """What an import reads of a file that was sent: itself, its folder, or an archive's files.

    Raises:
        AnnotationError: the archive is damaged, or too large.
    """
    source = _unzipped(path) if zipfile.is_zipfile(path) else path
    return source.parent if source.is_file() and format_name not in OF_ONE_FILE else source


def _unzipped(archive: Path) -> Path:
    """The only folder of an archive, or the folder that it was unpacked to; zipfile keeps names inside of it."""
    target = archive.parent / "unpacked"
    target.mkdir()
    try:
        with zipfile.ZipFile(archive) as file:
            size = sum(member.file_size for member in file.infolist())
            if size > MOST_UNPACKED:
                raise AnnotationError(f"{archive.name} has more than {MOST_UNPACKED >> 20} MB when it is unpacked.",
                                      "import_too_large", megabytes=MOST_UNPACKED >> 20)
            require_space(archive.parent, size, f"unpack {archive.name}")
            file.extractall(target)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise AnnotationError(f"{archive.name} can't be unpacked ({error}); pack it again.", "import_damaged",
                              file=archive.name) from error
    archive.unlink()
    while len(inner := [path for path in target.iterdir() if path.name != "__MACOSX"]) == 1:
        target = inner[0]
        if target.is_file():
            break
    return target


def take_in(project: Project, source: Path, format_name: str, kind: str) -> dict[str, Any]:
    """Imports, and says what came of it: {"objects", "pictures", "notes", "text"}.

    Raises:
        AnnotationError: nothing could be taken; its values have the notes.
    """
    def shown(text: str) -> str:
        """Without the places of this machine, which mean nothing to who sent a file."""
        places = sorted({source, source.parent, project.images, project.images.resolve()}, key=lambda p: -len(str(p)))
        for place in places:
            text = text.replace(f"{place}{os.sep}", "").replace(str(place), place.name)
        return text

    try:
        found = import_objects(project, source, format_name, kind)
    except AnnotationError as error:
        raise AnnotationError(shown(str(error)), "import_nothing", notes=[shown(str(error))]) from error
    return {"objects": found.objects, "pictures": found.pictures, "notes": list(map(shown, found.notes)),
            "text": found.text}


def forget_uploads(folder: Path) -> None:
    """Removes what a killed server left of files that were sent."""
    for path in folder.glob(f"{UPLOADS}*"):
        shutil.rmtree(path, ignore_errors=True)
