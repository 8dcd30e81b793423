"""All that can be done to a project, one change after the other."""
from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from utils.images import Photo, encode_png

from . import masks
from .assist.assistant import Assistant
from .cache import ByteCache
from .changes import Change
from .engine import Engine
from .errors import AnnotationError, ConflictError, NotFoundError, UnreadableError, saving
from .import_job import take_in
from .open_picture import OpenPicture
from .operations import read
from .pictures import Picture, read_picture
from .project import Project
from .proposals import Proposals
from .session import Session

IMAGE_CACHE_BYTES = 80 * 2**20
OUTLINE_CACHE_BYTES = 32 * 2**20
KEPT_PICTURES = 4
PROBABILITY_SIDE = 1024  # the page's probability map has sides of at most so many pixels
MAX_OUTLINES = 500  # asked for at once
IMPORTED = "proposals"  # in the output folder: label maps of proposals that were taken in
CHANGE_ID = re.compile(r"[0-9A-Za-z-]{8,64}")


class Editor:
    """Opens pictures and changes them. Its methods are for one thread at a time, but for `image` and `revision`.

    Args:
        project: the folders.
        engine: the model.
        proposals: masks to start from.
        assistant: learns from finished pictures and proposes masks.
    """

    def __init__(self, project: Project, engine: Engine, proposals: Proposals | None = None,
                 assistant: Assistant | None = None) -> None:
        self.project = project
        self.engine = engine
        self.proposals = proposals or Proposals()
        self.assistant = assistant
        self._reading = threading.Lock()
        self._images: ByteCache[Photo] = ByteCache(IMAGE_CACHE_BYTES, size=lambda photo: photo.pixels.nbytes)
        self._outlines: ByteCache[dict[str, Any]] = ByteCache(
            OUTLINE_CACHE_BYTES, size=lambda outline: len(outline["path"]) + 200)
        self._open: OrderedDict[str, OpenPicture] = OrderedDict()
        self.work: dict[str, Any] | None = None  # {"text", "done", "total"} of a change that takes long; for any thread
        self.problems = self.proposals.pair(project.pictures.values())

    # ------------------------------------------------------------------------------------------ reading

    def rescan(self) -> None:
        """Looks for new pictures and their masks."""
        self.project.rescan()
        if self.assistant is not None:
            self.assistant.renew()
        self.problems = self.proposals.pair(self.project.pictures.values())

    def image(self, picture: Picture) -> np.ndarray:
        """The picture, uint8 (H, W, 3) RGB. Not to be changed.

        Raises:
            UnreadableError: it can't be read, which the picture list says from now on.
        """
        return self._photo(picture).pixels

    def _photo(self, picture: Picture) -> Photo:
        try:
            with self._reading:  # whoever comes second waits, and doesn't decode it again
                return self._images.get((picture.id, picture.version()), lambda: read_picture(picture))
        except UnreadableError:
            self.project.mark_unreadable(picture)
            raise

    def opened(self, picture_id: str) -> OpenPicture:
        """A picture to work on, opened now if it isn't open.

        Raises:
            NotFoundError: there is none of this id.
            UnreadableError: it or its session can't be read.
        """
        picture = self.project.picture(picture_id)
        if picture_id not in self._open:
            try:
                photo = self._photo(picture)
                self._open[picture_id] = OpenPicture(
                    self.project, picture, lambda: self.image(picture), photo.pixels.shape[:2], self.engine,
                    self.proposals, self._outlines, self._progress, photo.notes, self.assistant)
            except UnreadableError as error:
                self.project.mark_unreadable(picture)
                error.values["backup"] = error.code == "damaged_session" and bool(self.project.read_backup(picture))
                raise
            self.project.remember(picture, self._open[picture_id].session)  # it may have been unreadable before
        self._open.move_to_end(picture_id)
        while len(self._open) > KEPT_PICTURES:
            self._open.popitem(last=False)
        return self._open[picture_id]

    def open(self, picture_id: str, coming: Sequence[str] = ()) -> dict[str, Any]:
        """The state of a picture, and the model ready for clicks on it; `coming` are the ids of the next pictures."""
        work = self.opened(picture_id)
        work.renew_guesses()
        if self.assistant is not None:
            self.assistant.look_ahead(picture_id, coming)
        self.engine.prepare(work.picture.id, work.image)
        return work.state()

    def revision(self, picture_id: str) -> int | None:
        """The present revision of a picture, None if it isn't open. For any thread."""
        work = self._open.get(picture_id)
        return work.session.revision if work else None

    def mask_outline(self, picture_id: str, name: str) -> dict[str, Any]:
        """A mask as the page draws it."""
        return self.opened(picture_id).mask_outline(name)

    def proposal_outline(self, picture_id: str, number: int) -> dict[str, Any]:
        """A proposal as the page draws it."""
        return self.opened(picture_id).proposal_outline(number)

    def outlines(self, picture_id: str, wanted: Any) -> dict[str, Any]:
        """Many of both: wanted is {"masks": [names], "proposals": [numbers]}."""
        names, numbers = (wanted.get(kind, []) if isinstance(wanted, dict) else None for kind in ("masks", "proposals"))
        if not isinstance(names, list) or not isinstance(numbers, list) or len(names) + len(numbers) > MAX_OUTLINES:
            raise AnnotationError(f"At most {MAX_OUTLINES} outlines can be asked for at once.")
        return self.opened(picture_id).outlines([name for name in names if isinstance(name, str)],
                                                [each for each in numbers if type(each) is int])

    def probability_png(self, picture_id: str) -> bytes:
        """The model's present probability map as grey PNG, made small enough to send.

        Raises:
            AnnotationError: no clicks have been made on the object in work.
        """
        work = self.opened(picture_id)
        active = work.document.active
        if active is None or not active.needs_model:
            raise AnnotationError("There is no probability map yet: it needs a click on the object in work.")
        probability = work.ask(self.engine.probability, active)
        scale = min(1.0, PROBABILITY_SIDE / max(probability.shape))
        size = [max(1, round(side * scale)) for side in probability.shape[::-1]]
        small = cv2.resize(probability, size, interpolation=cv2.INTER_AREA)
        return encode_png(np.round(small * 255).astype(np.uint8))

    def preview(self, picture_id: str, change: Change, is_wanted: Callable[[], bool]) -> dict[str, Any] | None:
        """The outline of the mask that a click would give; None if it isn't wanted any more. For a thread of its own.

        Args:
            picture_id: of the picture.
            change: as for `change`, without id and revision.
            is_wanted: asked before and after the model answers.

        Raises:
            AnnotationError: it is no click on the picture.
        """
        work = self._open.get(picture_id)
        if work is None or not self.engine.is_ready or not is_wanted():
            return None
        step = read({"label": "preview", **change}, work.document, work.shape)
        mask = work.preview(step)
        return masks.describe(mask) if is_wanted() else None

    # ------------------------------------------------------------------------------------------ changing

    def change(self, picture_id: str, change: Change) -> dict[str, Any]:
        """Carries out one change. When this returns it is on the disk.

        Args:
            picture_id: of the picture.
            change: {"id", "revision", "op", ...}; op is "undo", "redo" or one of operations.OPERATIONS. One of the last
                hundred ids changes nothing when it comes again.

        Returns:
            The picture's new state, with "milliseconds" that it took.

        Raises:
            AnnotationError: it can't be done; nothing has changed.
        """
        started = time.perf_counter()
        work = self.opened(picture_id)
        if not (isinstance(change, dict) and change.get("id") in work.session.changes):
            try:
                work.change(check_change(change, work.session, self.project.key))
            finally:
                self.work = None
            if self.assistant is not None:
                self.assistant.changed(work.picture, work.session, work.guesses)
        return {**work.state(), "milliseconds": round((time.perf_counter() - started) * 1000)}

    def _progress(self, text: str, done: int, total: int) -> None:
        self.work = {"text": text, "done": done, "total": total}

    def import_objects(self, source: Path, format_name: str, kind: str) -> dict[str, Any]:
        """Takes in objects or proposals of a file or folder; see import_job.take_in."""
        imported = self.project.out / IMPORTED
        if kind == "proposals" and self.proposals.folder not in (None, imported):
            raise AnnotationError("Proposals come from the folder that was given by --masks; start without it to take "
                                  "in others.", "other_masks")
        self._progress("Taking in objects", 0, 0)
        try:
            found = take_in(self.project, source, format_name, kind)
        finally:
            self.work = None
            self._open.clear()  # their sessions may have changed
        if kind == "proposals":
            self.proposals = Proposals(imported)
        self.rescan()
        return found

    def restore(self, picture_id: str) -> dict[str, Any]:
        """Puts the last good session in the place of a damaged one, which goes to the trash."""
        picture = self.project.picture(picture_id)
        backup = self.project.read_backup(picture)
        if backup is None:
            raise NotFoundError("There is no earlier session of this picture that can be read.", "no_backup")
        with saving("The session"):
            self.project.discard_session(picture)
            self.project.write_session(picture, backup)
        self._open.pop(picture_id, None)
        return self.open(picture_id)


def check_change(change: Any, session: Session, project: str) -> Change:
    """A change with an id, made on the present revision and, if it names one, in the project of this key.

    Raises:
        ConflictError: it was made on another revision, or in another project that this address served before.
        AnnotationError: it is no change at all.
    """
    if not isinstance(change, dict) or not isinstance(change.get("op"), str):
        raise AnnotationError("The request is not a change to a picture; reload the page.")
    if not (isinstance(change.get("id"), str) and CHANGE_ID.fullmatch(change["id"])):
        raise AnnotationError("The change has no id; reload the page.")
    if change.get("project", project) != project:
        raise ConflictError("Another project is served here now; the page loads it.", "other_project")
    if change.get("revision") != session.revision:
        raise ConflictError("This picture was changed in another tab; it has been loaded again.", "other_tab")
    return change
