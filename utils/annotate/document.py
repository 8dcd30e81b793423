"""What a picture's annotation is, and how each step changes it. Nothing here reads a file or asks the model.

A document is the result of its steps, one after the other: `replay`. A step is a plain dict, as it stands in the
session file; it names the masks that came out of it, so that undo and redo need neither model nor arithmetic.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

Step = dict[str, Any]


@dataclass(frozen=True)
class Click:
    """A click on pixel (y, x), positive on the object, negative off it."""

    y: int
    x: int
    is_positive: bool


@dataclass(frozen=True)
class Settings:
    """How the model is asked about one object; None is the model's own value.

    Attributes:
        threshold: probabilities above it are the object.
        zoom_in: look at the object only.
        expand_ratio: of the zoom-in box about its centre.
        working_size: network inputs have about working_size**2 pixels.
    """

    threshold: float | None = None
    zoom_in: bool | None = None
    expand_ratio: float | None = None
    working_size: int | None = None

    def given(self) -> dict[str, Any]:
        """The settings that are not the model's own."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Start:
    """The mask (a file's name) that the clicks from number `clicks` on start from."""

    mask: str
    clicks: int


@dataclass(frozen=True)
class Target:
    """One object, finished or in work.

    Attributes:
        id: 1, 2, ... in the order of beginning; never used twice in a picture.
        label: its class.
        clicks: all clicks that shaped it, in order.
        mask: file of the present mask; None while there is none.
        start: what the clicks start from, if not from nothing.
        hand: file of the map of what was painted and erased by hand.
        is_brushed: the hand was at work since the last click, which the model hasn't seen.
        settings: how the model is asked.
        proposal: number of the proposal that it began with.
    """

    id: int
    label: str
    clicks: tuple[Click, ...] = ()
    mask: str | None = None
    start: Start | None = None
    hand: str | None = None
    is_brushed: bool = False
    settings: Settings = Settings()
    proposal: int | None = None

    @property
    def clicks_before_start(self) -> int:
        """How many clicks the model needn't be asked about, because a mask replaced what they gave."""
        return self.start.clicks if self.start else 0


@dataclass(frozen=True)
class Document:
    """The annotation of one picture.

    Attributes:
        objects: the finished objects, by id.
        active: the object in work.
        protects: the mask of the object in work leaves out the pixels of finished ones.
        is_done: the person is through with the picture.
        next_id: for the next object.
        spent: clicks made so far, those included that were deleted later.
    """

    objects: tuple[Target, ...] = ()
    active: Target | None = None
    protects: bool = True
    is_done: bool = False
    next_id: int = 1
    spent: int = 0

    def find(self, object_id: int) -> Target | None:
        """The object of this id, finished or in work."""
        everything = (*self.objects, *([self.active] if self.active else []))
        return next((target for target in everything if target.id == object_id), None)


# ---------------------------------------------------------------------------------------------- steps


def begun(document: Document, step: Step) -> Document:
    """The document with an object in work, the one there is or a new one."""
    if document.active:
        return document
    active = Target(document.next_id, step["label"], settings=Settings(**step.get("settings", {})))
    return replace(document, active=active, next_id=document.next_id + 1)


def _changed(document: Document, **changes: Any) -> Document:
    """Another state of the object in work; touching one takes back that the picture is done."""
    return replace(document, active=replace(document.active, **changes), is_done=False)


def _click(document: Document, step: Step) -> Document:
    document = begun(document, step)
    active = document.active
    click = Click(step["y"], step["x"], step["positive"])
    start = active.start
    if active.mask and (active.is_brushed or not (active.clicks or start)):
        start = Start(active.mask, len(active.clicks))  # the model shall see what the hand did
    document = _changed(document, clicks=(*active.clicks, click), mask=step["mask"], start=start,
                        hand=step.get("hand", active.hand), is_brushed=False)
    return replace(document, spent=document.spent + 1)


def _delete_click(document: Document, step: Step) -> Document:
    active, index = document.active, step["index"]
    start = active.start
    if start and index < start.clicks:
        start = replace(start, clicks=start.clicks - 1)
    clicks = active.clicks[:index] + active.clicks[index + 1 :]
    return _changed(document, clicks=clicks, start=start, mask=step["mask"])


def _clear(document: Document, step: Step) -> Document:
    return _changed(document, clicks=(), mask=None, start=None, hand=None, is_brushed=False, proposal=None)


def _brush(document: Document, step: Step) -> Document:
    return _changed(begun(document, step), mask=step["mask"], hand=step["hand"], is_brushed=True)


def _region(document: Document, step: Step) -> Document:
    document = begun(document, step)
    start = Start(step["mask"], len(document.active.clicks)) if step["mask"] else None
    return _changed(document, mask=step["mask"], start=start, hand=step["hand"], is_brushed=False)


def _take(document: Document, step: Step) -> Document:
    document = begun(_put_away(document), step)
    return _changed(document, mask=step["mask"], start=Start(step["mask"], 0), proposal=step["proposal"])


def _accept(document: Document, step: Step) -> Document:
    for proposal in step["proposals"]:
        document = _put_away(_take(document, {**step, **proposal}))
    return document


def _set(document: Document, step: Step) -> Document:
    return _changed(document, settings=Settings(**step["settings"]), mask=step["mask"])


def _protect(document: Document, step: Step) -> Document:
    document = replace(document, protects=step["on"])
    return _changed(document, mask=step["mask"]) if document.active else document


def _relabel(document: Document, step: Step) -> Document:
    def rename(target: Target) -> Target:
        return replace(target, label=step["label"]) if target.id == step["object"] else target

    active = document.active and rename(document.active)
    return replace(document, objects=tuple(map(rename, document.objects)), active=active)


def _put_away(document: Document, step: Step | None = None) -> Document:
    """The object in work is finished; one without a mask vanishes."""
    active = document.active
    if active is None or active.mask is None:
        return replace(document, active=None)
    objects = sorted((*document.objects, active), key=lambda target: target.id)
    return replace(document, objects=tuple(objects), active=None)


def _edit(document: Document, step: Step) -> Document:
    document = _put_away(document)
    chosen = document.find(step["object"])
    others = tuple(target for target in document.objects if target is not chosen)
    return replace(document, objects=others, active=chosen, is_done=False)


def _delete(document: Document, step: Step) -> Document:
    objects = tuple(target for target in document.objects if target.id != step["object"])
    is_active = document.active is not None and document.active.id == step["object"]
    return replace(document, objects=objects, active=None if is_active else document.active)


def _mark(document: Document, step: Step) -> Document:
    return replace(_put_away(document) if step["done"] else document, is_done=step["done"])


OPERATIONS: dict[str, Callable[[Document, Step], Document]] = {
    "click": _click,
    "delete click": _delete_click,
    "clear": _clear,
    "brush": _brush,
    "region": _region,
    "take proposal": _take,
    "accept proposals": _accept,
    "settings": _set,
    "protect": _protect,
    "relabel": _relabel,
    "finish": _put_away,
    "edit": _edit,
    "delete": _delete,
    "mark": _mark,
}


def apply(document: Document, step: Step) -> Document:
    """The document after one more step."""
    return OPERATIONS[step["op"]](document, step)


def replay(steps: Iterable[Step]) -> Document:
    """The document that these steps make from nothing."""
    document = Document()
    for step in steps:
        document = apply(document, step)
    return document
