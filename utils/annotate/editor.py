"""Carries out changes, one after the other: what the page asks for becomes a step, masks and a saved session."""
from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import cv2
import numpy as np

from . import masks
from .cache import ByteCache
from .changes import Change, as_step, check_change
from .document import Document, Step, Target, apply, begun
from .engine import Engine
from .errors import AnnotationError, UnavailableError
from .pictures import Picture, read_picture
from .project import Project
from .proposals import Proposals
from .session import Session

IMAGE_CACHE_BYTES = 80 * 2**20
OUTLINE_CACHE_BYTES = 32 * 2**20
KEPT_SESSIONS = 8
PROBABILITY_SIDE = 1024  # the page's probability map has sides of at most so many pixels


class Editor:
    """All that can be done to a project. Its methods are for one thread at a time, but for `image` and `revision`.

    Args:
        project: the folders.
        engine: the model.
        proposals: masks to start from.
    """

    def __init__(self, project: Project, engine: Engine, proposals: Proposals | None = None) -> None:
        self.project = project
        self.engine = engine
        self.proposals = proposals or Proposals()
        self._reading = threading.Lock()
        self._images = ByteCache(IMAGE_CACHE_BYTES, size=lambda image: image.nbytes)
        self._outlines = ByteCache(OUTLINE_CACHE_BYTES, size=lambda outline: len(outline["path"]) + 200)
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self.work: dict[str, Any] | None = None  # {"text", "done", "total"} of a change that takes long; for any thread

    # ------------------------------------------------------------------------------------------ looking

    def image(self, picture: Picture) -> np.ndarray:
        """The picture, uint8 (H, W, 3) RGB. Not to be changed."""
        with self._reading:  # whoever comes second waits, and doesn't decode it again
            return self._images.get((picture.id, picture.version()), lambda: read_picture(picture.path))

    def open(self, picture_id: str) -> dict[str, Any]:
        """The state of a picture, and the model ready for clicks on it."""
        picture = self.project.picture(picture_id)
        session = self._session(picture)
        self.engine.prepare(picture.id, lambda: self.image(picture))
        return self._state(picture, session)

    def revision(self, picture_id: str) -> int | None:
        """The present revision of a picture, None if it isn't open. For any thread."""
        session = self._sessions.get(picture_id)
        return session.revision if session else None

    def mask_outline(self, picture_id: str, name: str) -> dict[str, Any]:
        """A mask as the page draws it."""
        picture = self.project.picture(picture_id)
        return self._outline(picture, name, lambda: self.project.mask(picture, name))

    def proposal_outline(self, picture_id: str, number: int) -> dict[str, Any]:
        """A proposal as the page draws it."""
        picture = self.project.picture(picture_id)
        session = self._session(picture)
        make = lambda: self.proposals.mask(picture, number, session.height, session.width)  # noqa: E731
        return self._outline(picture, number, make)

    def probability_png(self, picture_id: str) -> bytes:
        """The model's present probability map as grey PNG, made small enough to send.

        Raises:
            AnnotationError: no clicks have been made on the object in work.
        """
        picture = self.project.picture(picture_id)
        active = self._session(picture).document.active
        if active is None or len(active.clicks) == active.clicks_before_start:
            raise AnnotationError("There is no probability map yet: it needs a click on the object in work.")
        probability = self._asked(self.engine.probability, picture, active)
        scale = min(1.0, PROBABILITY_SIDE / max(probability.shape))
        size = [max(1, round(side * scale)) for side in probability.shape[::-1]]
        small = cv2.resize(probability, size, interpolation=cv2.INTER_AREA)
        return masks.encode_map(np.round(small * 255).astype(np.uint8))

    # ------------------------------------------------------------------------------------------ changing

    def change(self, picture_id: str, change: Change) -> dict[str, Any]:
        """Carries out one change. When this returns it is on the disk.

        Args:
            picture_id: of the picture.
            change: {"id", "revision", "op", ...}; op is "undo", "redo" or a step's. A repeated id changes nothing.

        Returns:
            The picture's new state, with "milliseconds" that it took.

        Raises:
            AnnotationError: it can't be done; nothing has changed.
        """
        started = time.perf_counter()
        picture = self.project.picture(picture_id)
        session = self._session(picture)
        if not (isinstance(change, dict) and session.last_change and change.get("id") == session.last_change):
            try:
                session = self._changed(picture, session, check_change(change, session, self.project.key))
            finally:
                self.work = None
        state = self._state(picture, session)
        return {**state, "milliseconds": round((time.perf_counter() - started) * 1000)}

    def _changed(self, picture: Picture, session: Session, change: Change) -> Session:
        try:
            if change["op"] in ("undo", "redo"):
                new = session.moved(-1 if change["op"] == "undo" else 1, change["id"])
            else:
                step = self._completed(picture, session, as_step(change, session))
                asked = step.pop("asked", False)
                stamp = {"time": datetime.now(timezone.utc).isoformat(timespec="milliseconds")}
                new = session.with_step({**step, **stamp}, change["id"], self.engine.checkpoint() if asked else None)
            self.project.write_session(picture, new)
        except OSError as error:
            raise UnavailableError(f"The step could not be saved: {error.strerror}. Nothing was changed.") from error
        self._keep(picture, new)
        if new.position == len(new.steps) and len(session.steps) > session.position:
            self.project.sweep(picture, new)  # undone steps are gone, their masks with them
        return new

    def _completed(self, picture: Picture, session: Session, step: Step) -> Step:
        """The step with the masks that come out of it."""
        document = session.document
        if step["op"] in ("brush", "region"):
            return self._drawn(picture, session, step)
        if step["op"] in ("take proposal", "accept proposals"):
            return self._proposed(picture, session, step)
        if step["op"] == "click":
            step = {**step, **self._released_hand(picture, document.active, step)}
        if step["op"] in ("click", "delete click", "settings") or (step["op"] == "protect" and document.active):
            draft = apply(document, {**step, "mask": None})
            mask = self._render(picture, session, draft)
            return {**step, "mask": self._put_mask(picture, mask), "asked": _needs_model(draft.active)}
        return {**step, "mask": None} if step["op"] == "protect" else step

    def _released_hand(self, picture: Picture, active: Target | None, step: Step) -> Step:
        if active is None or active.hand is None:
            return {}
        hand = self.project.hand(picture, active.hand)
        kept = masks.released(hand, step["y"], step["x"], step["positive"])
        return {} if kept is hand else {"hand": self._put_hand(picture, kept)}

    def _render(self, picture: Picture, session: Session, document: Document) -> np.ndarray:
        """The mask of the object in work: the model's or the start's, the hand's work on it, the others protected."""
        active = document.active
        if _needs_model(active):
            mask = self._asked(self.engine.mask, picture, active)
        elif active.start:
            mask = self.project.mask(picture, active.start.mask)
        else:
            mask = np.zeros((session.height, session.width), bool)
        hand = self.project.hand(picture, active.hand) if active.hand else None
        return self._protected(picture, document, masks.under_hand(mask, hand))

    def _asked(self, question: Callable[..., np.ndarray], picture: Picture, target: Target) -> np.ndarray:
        """The answer of `Engine.mask` or `Engine.probability` for an object."""
        start = self.project.mask(picture, target.start.mask) if target.start else None
        answer = question(picture.id, lambda: self.image(picture), target, start)
        session = self._session(picture)
        if answer.shape != (session.height, session.width):
            raise AnnotationError("The model answered with a map of another size than the picture.")
        return answer

    def _protected(self, picture: Picture, document: Document, mask: np.ndarray) -> np.ndarray:
        """A mask without the pixels of finished objects, if they are protected."""
        others = tuple(target.mask for target in document.objects)
        if not document.protects or not others:
            return mask
        top, left, bottom, right = masks.bounding_box(mask) or (0, 0, 0, 0)
        box, kept = np.s_[top:bottom, left:right], np.zeros_like(mask)
        kept[box] = mask[box] & ~self.project.union(picture, others)[box]
        return kept

    def _drawn(self, picture: Picture, session: Session, step: Step) -> Step:
        """A stroke of the brush or a region: added to the mask of the object in work, or taken away."""
        document = begun(session.document, step)
        shape = (session.height, session.width)
        points, is_brush = step["points"], step["op"] == "brush"
        drawn = masks.stroke(shape, points, step["radius"]) if is_brush else masks.polygon(shape, points)
        active = document.active
        mask = self.project.mask(picture, active.mask) if active.mask else np.zeros(shape, bool)
        mask = self._protected(picture, document, mask | drawn if step["adds"] else mask & ~drawn)
        hand = self.project.hand(picture, active.hand) if active.hand else np.zeros(shape, np.uint8)
        decided = (masks.PAINTED if step["adds"] else masks.ERASED) if is_brush else masks.UNTOUCHED
        hand = np.where(drawn, np.uint8(decided), hand)
        return {**step, "mask": self._put_mask(picture, mask), "hand": self._put_hand(picture, hand)}

    def _proposed(self, picture: Picture, session: Session, step: Step) -> Step:
        """A proposal as the beginning of an object, or several as finished ones."""
        document = apply(session.document, {"op": "finish"})
        taken, proposals = [], step.get("proposals", [step])
        for done, proposal in enumerate(proposals):
            self.work = {"text": "Taking proposals", "done": done, "total": len(proposals)}
            mask = self.proposals.mask(picture, proposal["proposal"], session.height, session.width)
            name = self._put_mask(picture, self._protected(picture, document, mask))
            if name is None and "proposals" not in step:
                raise AnnotationError("Nothing is left of this proposal: finished objects cover it.")
            if name is not None:
                taken.append({"proposal": proposal["proposal"], "mask": name})
        if "proposals" not in step:
            return {**step, **taken[0]}
        return {**step, "proposals": taken}

    def _put_mask(self, picture: Picture, mask: np.ndarray) -> str | None:
        return self.project.put_map(picture, masks.encode_mask(mask), mask) if mask.any() else None

    def _put_hand(self, picture: Picture, hand: np.ndarray) -> str | None:
        return self.project.put_map(picture, masks.encode_hand(hand), hand) if hand.any() else None

    # ------------------------------------------------------------------------------------------ sessions

    def _session(self, picture: Picture) -> Session:
        if picture.id not in self._sessions:
            self._keep(picture, self._read_session(picture))
        self._sessions.move_to_end(picture.id)
        return self._sessions[picture.id]

    def _keep(self, picture: Picture, session: Session) -> None:
        self._sessions[picture.id] = session
        while len(self._sessions) > KEPT_SESSIONS:
            self._sessions.popitem(last=False)

    def _read_session(self, picture: Picture) -> Session:
        height, width = self.image(picture).shape[:2]
        session = self.project.read_session(picture)
        if session is None:
            return Session(picture.name, width, height)
        if (session.width, session.height) != (width, height):
            then = f"{session.width}x{session.height}"
            raise AnnotationError(f"{picture.shown_name} is {width}x{height} now, but {then} when it was annotated.")
        self.project.sweep(picture, session)
        return session

    # ------------------------------------------------------------------------------------------ what the page gets

    def _state(self, picture: Picture, session: Session) -> dict[str, Any]:
        document = session.document
        proposals, notice = self._proposals_left(picture, session)
        return {
            "id": picture.id,
            "width": session.width,
            "height": session.height,
            "revision": session.revision,
            "status": session.status,
            "protects": document.protects,
            "spent": document.spent,
            "undo": session.steps[session.position - 1]["op"] if session.position else None,
            "redo": session.steps[session.position]["op"] if session.position < len(session.steps) else None,
            "active": self._active_state(picture, document.active),
            "objects": [_object_state(target) for target in document.objects],
            "proposals": proposals,
            "notice": notice,
        }

    def _proposals_left(self, picture: Picture, session: Session) -> tuple[list[int], str | None]:
        """Proposals that weren't taken; or why there are none, which doesn't stop work on the picture."""
        document = session.document
        used = {target.proposal for target in (*document.objects, document.active) if target}
        try:
            numbers = self.proposals.numbers(picture, session.height, session.width)
        except AnnotationError as error:
            return [], str(error)
        return [number for number in numbers if number not in used], None

    def _active_state(self, picture: Picture, active: Target | None) -> dict[str, Any] | None:
        if active is None:
            return None
        make = lambda: self.project.mask(picture, active.mask)  # noqa: E731
        return {
            **_object_state(active),
            "clicks": [[click.y, click.x, click.is_positive] for click in active.clicks],
            "settings": active.settings.given(),
            "hasProbability": _needs_model(active),
            "outline": self._outline_if_whole(picture, active.mask, make) if active.mask else None,
        }

    def _outline_if_whole(self, picture: Picture, name: str, make: Any) -> dict[str, Any] | None:
        """None for a mask that can't be read: the picture opens all the same, and the step can be undone."""
        try:
            return self._outline(picture, name, make)
        except AnnotationError:
            return None

    def _outline(self, picture: Picture, key: str | int, make: Any) -> dict[str, Any]:
        return self._outlines.get((picture.id, key), lambda: masks.describe(make()))


def _needs_model(target: Target) -> bool:
    """Whether the object's mask is the model's answer to clicks."""
    return len(target.clicks) > target.clicks_before_start


def _object_state(target: Target) -> dict[str, Any]:
    return {"id": target.id, "label": target.label, "mask": target.mask, "count": len(target.clicks)}
