"""An export that runs behind the page, and its files as a download."""
from __future__ import annotations

import threading
import zipfile
from pathlib import Path
from typing import Any

from utils.files import shown_name

from .errors import AnnotationError, NotFoundError
from .export import export
from .formats import FORMATS
from .formats.base import MANIFEST, manifest_of
from .project import Project


class ExportJob:
    """One export at a time of the project in a folder.

    Attributes:
        state: for the page: {"state": "running" | "done" | "failed", ...}, None before the first one.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.formats = FORMATS
        self.state: dict[str, Any] | None = None

    def start(self, request: Any) -> None:
        """Begins an export: {"format", "only_done", "only_approved", "polygons"}.

        Raises:
            AnnotationError: there is no such format, or an export is running.
        """
        kind = request.get("format") if isinstance(request, dict) else None
        if kind not in FORMATS:
            raise AnnotationError(f"The format must be one of {', '.join(FORMATS)}.")
        if self.state and self.state["state"] == "running":
            raise AnnotationError("An export is running already; wait for it.", "export_running")
        only = "approved" if request.get("only_approved") else "done" if request.get("only_done") else "all"
        self._tell(kind, 0, 0)
        threading.Thread(target=self._run, args=(kind, only, bool(request.get("polygons"))), daemon=True).start()

    def _tell(self, kind: str, done: int, total: int) -> None:
        self.state = {"state": "running", "done": done, "total": total, "format": kind}

    def _run(self, kind: str, only: str, polygons: bool) -> None:
        to = self.out / "export" / kind
        try:
            # A project of its own: reading for the export must not push the masks in work out of their cache.
            result = export(Project(self.out), to, kind, only, polygons,
                            progress=lambda done, total: self._tell(kind, done, total))
            self.state = {"state": "done", "text": result.text(to.resolve()), "code": "exported",
                          "values": {"pictures": result.pictures, "objects": result.objects,
                                     "folder": shown_name(to.resolve())},
                          "notes": list(result.notes), "format": kind, "download": f"/api/export/{kind}.zip"}
        except AnnotationError as error:
            self.state = {"state": "failed", "text": str(error), "format": kind}
        except Exception as error:  # a thread's error would be seen by nobody
            self.state = {"state": "failed", "text": f"The export failed: {error!r}", "format": kind}

    def archive(self, name: str) -> Path:
        """The files of the last export as a zip file, made now.

        Raises:
            NotFoundError: there is no such export.
        """
        kind = name.removesuffix(".zip")
        folder = self.out / "export" / kind
        names = manifest_of(folder) if kind in FORMATS else set()
        if not names:
            raise NotFoundError("There is no such export; make it first.", "no_export")
        archive = self.out / "export" / f"{kind}.zip"
        part = archive.with_name(f".{kind}.part")
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
            for each in sorted(names - {MANIFEST}):
                if (folder / each).is_file():
                    file.write(folder / each, shown_name(each))
        part.replace(archive)
        return archive
