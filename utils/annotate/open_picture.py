"""A picture that is being worked on: its session, its masks, the model's answers, and what the page sees of it."""
from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import numpy as np

from utils.assisted import merged

from . import masks
from .assist.assistant import Assistant
from .assist.guesses import Guesses
from .cache import ByteCache
from .changes import Change
from .document import Document, Prompt, Step, Target
from .engine import Engine
from .errors import AnnotationError, UnreadableError, saving
from .operations import OPERATIONS, apply, read
from .pictures import Picture
from .project import Project
from .prompts import as_clicks, native
from .proposals import Proposals
from .session import Session

Progress = Callable[[str, int, int], None]


class OpenPicture:
    """One picture with everything that a change of it needs. For one thread at a time.

    Args:
        project: the folders.
        picture: the file.
        image: gives its pixels, uint8 (H, W, 3) RGB, not to be changed.
        shape: its (H, W).
        engine: the model.
        proposals: masks to start from.
        outlines: cache of what the page draws, shared by all pictures.
        progress: told (what happens, how many are done, of how many) by a change that takes long.
        notes: about the file, for the person.
        assistant: gives what a concept model proposes.

    Raises:
        UnreadableError: the picture or its session can't be read, or they don't fit each other.
    """

    def __init__(self, project: Project, picture: Picture, image: Callable[[], np.ndarray], shape: tuple[int, int],
                 engine: Engine, proposals: Proposals, outlines: ByteCache[dict[str, Any]], progress: Progress,
                 notes: Iterable[str] = (), assistant: Assistant | None = None) -> None:
        self.project, self.picture, self.image, self.shape = project, picture, image, shape
        self.engine, self._proposals, self._outlines, self.progress = engine, proposals, outlines, progress
        self._notes = tuple(notes)
        self._assistant, self.guesses = assistant, Guesses()
        self._covered: int | None = None  # the answer to the last change says so, once
        self.masks = project.masks(picture)
        self.session = self._read()
        self.masks.delete_unreferenced(self.session.mask_files())
        self.renew_guesses()

    def renew_guesses(self) -> None:
        """Takes the concept model's present proposals, as long as nothing was done on the picture."""
        if self._assistant is not None:
            is_untouched = all(step["op"] == "import" for step in self.session.steps)
            self.guesses = self._assistant.guesses(self.picture, self.shape, is_untouched)

    def _read(self) -> Session:
        height, width = self.shape
        session = self.project.read_session(self.picture)
        if session is not None and (session.height, session.width) != self.shape:
            then, now = f"{session.width}x{session.height}", f"{width}x{height}"
            raise UnreadableError(f"{self.picture.shown_name} is {now} now, but {then} when it was annotated.",
                                  "picture_changed", picture=self.picture.shown_name, now=now, then=then)
        return session or Session(self.picture.name, width, height)

    @property
    def document(self) -> Document:
        """The annotation as it is now."""
        return self.session.document

    # ------------------------------------------------------------------------------------------ changing

    def change(self, change: Change) -> None:
        """Carries out a checked change. When this returns it is on the disk.

        Raises:
            AnnotationError: it can't be done; nothing has changed.
        """
        with saving("The step"):
            if change["op"] in ("undo", "redo"):
                after = self.session.moved(-1 if change["op"] == "undo" else 1, change["id"])
            else:
                after = self._with_step(change)
            before, self.session = self.session, self._written(after)
        self._covered = self._covered_by(change)
        if after.position == len(after.steps) and len(before.steps) > before.position:
            self.masks.delete_unreferenced(after.mask_files())  # undone steps are gone, their masks with them

    def _with_step(self, change: Change) -> Session:
        step = read(change, self.document, self.shape)
        operation = OPERATIONS[step["op"]]
        if "label" in step:
            step = {**step, "label": self.project.label_key(step["label"])}
        if operation.complete:
            step = operation.complete(self, step)
        stamp = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        after = self.session.with_step({**step, "time": stamp}, change["id"])
        active = after.document.active
        if operation.needs_model and active and active.needs_model:
            vars(after)["checkpoint"] = self.engine.checkpoint()
        return after

    def _written(self, session: Session) -> Session:
        self.project.write_session(self.picture, session)
        return session

    def draft(self, step: Step) -> Document:
        """The document after a step whose mask isn't known yet."""
        return apply(self.document, {**step, "mask": None})

    def with_active(self, target: Target) -> Document:
        """The document with another object in work."""
        return replace(self.document, active=target)

    def render(self, document: Document) -> np.ndarray:
        """The mask bool (H, W) of the object in work: the model's or the initial one, edited, the others protected."""
        active = document.work
        if active.needs_model:
            mask = self.ask(self.engine.mask, active)
            if active.merges:
                before = self.masks.mask(active.initial.mask) if active.initial else np.zeros(self.shape, bool)
                mask = merged(before, mask, as_clicks(active.prompts[-1], self.shape))
        elif active.initial:
            mask = self.masks.mask(active.initial.mask)
        else:
            mask = np.zeros(self.shape, bool)
        edits = self.masks.edits(active.edits) if active.edits else None
        return self.protected(document, masks.with_edits(mask, edits))

    def ask(self, question: Callable[..., np.ndarray], target: Target) -> np.ndarray:
        """The answer of `Engine.mask` or `Engine.probability` for an object."""
        initial = self.masks.mask(target.initial.mask) if target.initial else None
        answer = question(self.picture.id, self.image, target, initial)
        if answer.shape != self.shape:
            raise AnnotationError("The model answered with a map of another size than the picture.")
        return answer

    def protected(self, document: Document, mask: np.ndarray) -> np.ndarray:
        """A mask without the pixels of finished objects, if they are protected."""
        return masks.without(mask, self.protection(document))

    def protection(self, document: Document) -> np.ndarray | None:
        """How many finished objects protect each pixel, uint16 (H, W); None if none does. Not to be changed."""
        if not document.protects or not document.objects:
            return None
        return self.masks.cover(_masks_of(document))

    def proposal(self, number: int) -> np.ndarray:
        """A proposed mask, bool (H, W).

        Raises:
            NotFoundError: there is no such proposal.
        """
        part, (top, left, bottom, right) = self._proposed(number)
        mask = np.zeros(self.shape, bool)
        mask[top:bottom, left:right] = part
        return mask

    def _proposed(self, number: int) -> tuple[np.ndarray, tuple[int, int, int, int]]:
        guess = self.guesses.objects.get(number)
        return (guess.part(), guess.box) if guess else self._proposals.part(self.picture, number, self.shape)

    def label_of(self, number: int) -> dict[str, str]:
        """{"label": key} of a concept model's proposal; others have none of their own."""
        guess = self.guesses.objects.get(number)
        return {"label": guess.label} if guess else {}

    # ------------------------------------------------------------------------------------------ what the page gets

    def state(self) -> dict[str, Any]:
        """Everything that the page shows of the picture, but for the outlines that it fetches itself."""
        session, document = self.session, self.document
        proposals, notice = self._proposals_left()
        return {
            "id": self.picture.id,
            "width": session.width,
            "height": session.height,
            "revision": session.revision,
            "status": session.status,
            "note": document.note,
            "protects": document.protects,
            "spent": document.spent,
            "undo": session.steps[session.position - 1]["op"] if session.position else None,
            "redo": session.steps[session.position]["op"] if session.position < len(session.steps) else None,
            "active": self._active_state(document.active),
            "objects": [self._object_state(target) for target in document.objects],
            "proposals": proposals,
            "guesses": {str(number): {"label": self.project.label_name(guess.label), "sure": round(guess.sure, 3)}
                        for number, guess in self.guesses.objects.items() if number in proposals},
            "gated": 0 if document.is_done else self.guesses.hidden,
            "notice": " ".join([*self._notes, *([notice] if notice else [])]) or None,
            "covered_by": self._covered,
        }

    def _proposals_left(self) -> tuple[list[int], str | None]:
        """Proposals that weren't taken; or why there are none, which doesn't stop work on the picture."""
        settled = self.document.settled
        guesses = [number for number in self.guesses.visible if number not in settled]
        if self.document.is_done:
            guesses = []  # whoever marks a picture as done has seen them
        try:
            numbers = self._proposals.numbers(self.picture, self.shape)
        except AnnotationError as error:
            return guesses, str(error)
        return [*(number for number in numbers if number not in settled), *guesses], None

    def _object_state(self, target: Target) -> dict[str, Any]:
        return {"id": target.id, "label": self.project.label_name(target.label), "mask": target.mask,
                "count": len(target.prompts)}

    def _active_state(self, active: Target | None) -> dict[str, Any] | None:
        if active is None:
            return None
        return {
            **self._object_state(active),
            "clicks": [click for number, prompt in enumerate(active.prompts) for click in self._clicks(number, prompt)],
            "prompts": [_prompt_state(prompt) for prompt in active.prompts],
            "settings": active.settings.given(),
            "hasProbability": active.needs_model,
            "outline": self._outline_if_whole(active.mask) if active.mask else None,
        }

    def _clicks(self, number: int, prompt: Prompt) -> list[list[Any]]:
        """The clicks that the model is given for a prompt: [y, x, positive, number of the prompt]."""
        if native(prompt, self.shape, self.engine.understands):
            return []
        return [[y, x, positive, number] for y, x, positive in as_clicks(prompt, self.shape)]

    def _outline_if_whole(self, name: str) -> dict[str, Any] | None:
        """None for a mask that can't be read: the picture opens all the same, and the step can be undone."""
        try:
            return self.mask_outline(name)
        except AnnotationError:
            return None

    def mask_outline(self, name: str) -> dict[str, Any]:
        """A mask as the page draws it."""
        return self._outlines.get((self.picture.id, name), lambda: masks.describe(self.masks.mask(name)))

    def proposal_outline(self, number: int) -> dict[str, Any]:
        """A proposal as the page draws it."""
        part, (top, left, _, _) = self._proposed(number)
        return masks.describe(part, (top, left))

    def outlines(self, names: Iterable[str], numbers: Iterable[int]) -> dict[str, Any]:
        """Many outlines at once, without those that can't be read."""
        return {"masks": _found(self.mask_outline, names), "proposals": _found(self.proposal_outline, numbers)}

    def _covered_by(self, change: Change) -> int | None:
        """The protected object under a click, which can't get anything there."""
        if change["op"] != "click" or not change["positive"] or not self.document.protects:
            return None
        name = self.masks.at(_masks_of(self.document), change["y"], change["x"])
        return next((target.id for target in self.document.objects if target.mask == name), None)

    def preview(self, step: Step) -> np.ndarray:
        """The mask bool (H, W) that a click would give, by a quick model; nothing is saved. For a thread of its own."""
        document = self.draft(step)
        target, before = document.work, self.document.active
        mask = self.masks.mask(before.mask) if before and before.mask else None
        if "proposal" in step:
            mask = self.proposal(step["proposal"])
        found = self.engine.preview(self.picture.id, self.image, self.shape, target, mask)
        if target.merges:
            empty = np.zeros(self.shape, bool)
            found = merged(empty if mask is None else mask, found, as_clicks(target.prompts[-1], self.shape))
        is_protected = document.protects and document.objects
        return masks.without(found, self.masks.cover_if_known(_masks_of(document)) if is_protected else None)


def _masks_of(document: Document) -> list[str]:
    return [target.mask for target in document.objects if target.mask]


def _found(get: Callable[[Any], dict[str, Any]], keys: Iterable[Any]) -> dict[str, Any]:
    found = {}
    for key in keys:
        try:
            found[str(key)] = get(key)
        except AnnotationError:
            continue
    return found


def _prompt_state(prompt: Prompt) -> dict[str, Any]:
    state = {"kind": prompt.kind, "points": [list(point) for point in prompt.points], "positive": prompt.is_positive}
    return {**state, "box": [*prompt.points[0], *prompt.points[1]]} if prompt.kind == "box" else state
