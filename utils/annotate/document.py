"""What a picture's annotation is, and how each step changes it. Nothing here reads a file or asks the model.

A document is the result of its steps, one after the other. A step is a plain dict, as it stands in the session file; it
names the masks that came out of it, so that undo and redo need neither model nor arithmetic.
"""
from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

Step = dict[str, Any]


@dataclass(frozen=True)
class Prompt:
    """What a person showed the model about an object.

    Attributes:
        kind: "click", "box", "stroke" or "lasso".
        points: (y, x), pixel centres at whole numbers: the pixel of a click, two opposite corners of a box, the line of
            a stroke, the corners of a loose contour round the object.
        is_positive: on the object; negative ones are off it.
    """

    kind: str
    points: tuple[tuple[float, float], ...]
    is_positive: bool = True


@dataclass(frozen=True)
class Settings:
    """How the model predicts one object; None is the model's own value.

    Attributes:
        threshold: probabilities above it are the object.
        zoom_in: predict on a box about the object only.
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
class InitialMask:
    """The mask (a file's name) that the prompts from number `prompts` on start from."""

    mask: str
    prompts: int


@dataclass(frozen=True)
class Target:
    """One object, finished or in work.

    Attributes:
        id: 1, 2, ... in the order of beginning; never used twice in a picture.
        label: the key of its class.
        prompts: all prompts that shaped it, in order.
        mask: file of the present mask; None while there is none.
        initial: what the prompts start from, if not from nothing.
        edits: file of the map of manual edits, see `masks.with_edits`.
        is_edited: it was edited by hand since the last prompt; the model hasn't seen that.
        settings: how the model predicts it.
        proposal: number of the proposal that it began with.
    """

    id: int
    label: str
    prompts: tuple[Prompt, ...] = ()
    mask: str | None = None
    initial: InitialMask | None = None
    edits: str | None = None
    is_edited: bool = False
    settings: Settings = Settings()
    proposal: int | None = None

    @property
    def prompts_before_initial(self) -> int:
        """How many prompts the model needn't be given, because a mask replaced what they led to."""
        return self.initial.prompts if self.initial else 0

    @property
    def needs_model(self) -> bool:
        """Whether the mask is the model's answer to prompts."""
        return len(self.prompts) > self.prompts_before_initial

    @property
    def merges(self) -> bool:
        """Of the model's answer to the last prompt only the connected change under it counts, see `assisted.merged`."""
        return self.proposal is not None and self.needs_model and self.prompts[-1].kind in ("click", "stroke")


@dataclass(frozen=True)
class Document:
    """The annotation of one picture.

    Attributes:
        objects: the finished objects, by id.
        active: the object in work.
        protects: the mask of the object in work leaves out the pixels of finished ones.
        is_done: the person is through with the picture.
        review: "approved", "sent back" or "" by who looked at it afterwards.
        note: what the reviewer wrote.
        next_id: for the next object.
        spent: prompts made so far, those included that were deleted later.
        rejected: numbers of the proposals that the person doesn't want.
    """

    objects: tuple[Target, ...] = ()
    active: Target | None = None
    protects: bool = True
    is_done: bool = False
    review: str = ""
    note: str = ""
    next_id: int = 1
    spent: int = 0
    rejected: tuple[int, ...] = ()

    @property
    def settled(self) -> set[int]:
        """The numbers of the proposals that were taken or rejected."""
        taken = (target.proposal for target in (*self.objects, self.active) if target)
        return {*self.rejected, *(number for number in taken if number is not None)}

    @property
    def work(self) -> Target:
        """The object in work.

        Raises:
            ValueError: there is none.
        """
        if self.active is None:
            raise ValueError("there is no object in work")
        return self.active

    def find(self, object_id: int) -> Target | None:
        """The object of this id, finished or in work."""
        everything = (*self.objects, *([self.active] if self.active else []))
        return next((target for target in everything if target.id == object_id), None)


# ---------------------------------------------------------------------------------------------- steps


def begin(document: Document, step: Step) -> Document:
    """The document with an object in work, the one there is or a new one."""
    if document.active:
        return document
    active = Target(document.next_id, step["label"], settings=Settings(**step.get("settings", {})))
    return replace(document, active=active, next_id=document.next_id + 1)


def _changed(document: Document, **changes: Any) -> Document:
    """Another state of the object in work; touching one takes back that the picture is done."""
    return replace(document, active=replace(document.work, **changes), is_done=False, review="")


def prompt_of(step: Step) -> Prompt:
    """The prompt that a step makes."""
    if step["op"] == "click":
        return Prompt("click", ((step["y"], step["x"]),), step["positive"])
    if step["op"] == "box":
        top, left, bottom, right = step["box"]
        return Prompt("box", ((top, left), (bottom, right)))
    return Prompt(step["op"], tuple((y, x) for y, x in step["points"]), step["positive"])


def add_prompt(document: Document, step: Step) -> Document:
    """A click, box, stroke or lasso; on the object in work, a new one, or a proposal."""
    document = begin(document, step)
    active = document.work
    if "proposal" in step:
        active = replace(active, mask=step.get("initial"), proposal=step["proposal"])
        document = replace(document, active=active)
    initial = active.initial
    if active.mask and (active.is_edited or not (active.prompts or initial)):
        initial = InitialMask(active.mask, len(active.prompts))  # the model shall see the manual edits
    elif active.proposal is not None:  # each prompt is merged into the mask before it
        initial = InitialMask(active.mask, len(active.prompts)) if active.mask else None
    document = _changed(document, prompts=(*active.prompts, prompt_of(step)), mask=step["mask"], initial=initial,
                        edits=step.get("edits", active.edits), is_edited=False)
    return replace(document, spent=document.spent + 1)


def delete_prompt(document: Document, step: Step) -> Document:
    """The object without one of its prompts."""
    active, index = document.work, step["index"]
    initial = active.initial
    prompts = active.prompts[:index] + active.prompts[index + 1 :]
    if "initial" in step:
        initial = InitialMask(step["initial"], max(0, len(prompts) - 1)) if step["initial"] else None
    elif initial and index < initial.prompts:
        initial = replace(initial, prompts=initial.prompts - 1)
    return _changed(document, prompts=prompts, initial=initial, mask=step["mask"])


def clear(document: Document, step: Step) -> Document:
    """The object in work from the beginning."""
    return _changed(document, prompts=(), mask=None, initial=None, edits=None, is_edited=False, proposal=None)


def brush(document: Document, step: Step) -> Document:
    """Pixels painted or erased."""
    return _changed(begin(document, step), mask=step["mask"], edits=step["edits"], is_edited=True)


def region(document: Document, step: Step) -> Document:
    """A polygon added or cut out, which the next prompts start from."""
    document = begin(document, step)
    initial = InitialMask(step["mask"], len(document.work.prompts)) if step["mask"] else None
    return _changed(document, mask=step["mask"], initial=initial, edits=step["edits"], is_edited=False)


def take_proposal(document: Document, step: Step) -> Document:
    """A proposal as the beginning of an object."""
    document = begin(finish(document), step)
    return _changed(document, mask=step["mask"], initial=InitialMask(step["mask"], 0), proposal=step["proposal"])


def reject_proposals(document: Document, step: Step) -> Document:
    """Proposals that aren't wanted."""
    return replace(document, rejected=(*document.rejected, *step["rejected"]))


def accept_proposals(document: Document, step: Step) -> Document:
    """Proposals as finished objects; each may have a label of its own."""
    document = finish(document)
    objects = tuple(
        Target(number, proposal.get("label", step["label"]), mask=proposal["mask"],
               initial=InitialMask(proposal["mask"], 0), proposal=proposal["proposal"])
        for number, proposal in enumerate(step["proposals"], start=document.next_id))
    return replace(document, objects=(*document.objects, *objects), next_id=document.next_id + len(objects),
                   is_done=document.is_done and not objects, review="" if objects else document.review)


def change_settings(document: Document, step: Step) -> Document:
    """Other settings for the object in work."""
    return _changed(document, settings=Settings(**step["settings"]), mask=step["mask"])


def protect(document: Document, step: Step) -> Document:
    """Finished objects are protected from now on, or not."""
    document = replace(document, protects=step["on"])
    return _changed(document, mask=step["mask"]) if document.active else document


def relabel(document: Document, step: Step) -> Document:
    """Another class for an object."""
    def rename(target: Target) -> Target:
        return replace(target, label=step["label"]) if target.id == step["object"] else target

    active = document.active and rename(document.active)
    return replace(document, objects=tuple(map(rename, document.objects)), active=active)


def finish(document: Document, step: Step | None = None) -> Document:
    """The object in work is finished; one without a mask vanishes."""
    active = document.active
    if active is None or active.mask is None:
        return replace(document, active=None)
    objects = sorted((*document.objects, active), key=lambda target: target.id)
    return replace(document, objects=tuple(objects), active=None)


def edit(document: Document, step: Step) -> Document:
    """A finished object in work again."""
    document = finish(document)
    chosen = document.find(step["object"])
    others = tuple(target for target in document.objects if target is not chosen)
    return replace(document, objects=others, active=chosen, is_done=False, review="")


def delete(document: Document, step: Step) -> Document:
    """The picture without an object."""
    objects = tuple(target for target in document.objects if target.id != step["object"])
    is_active = document.active is not None and document.active.id == step["object"]
    return replace(document, objects=objects, active=None if is_active else document.active, review="")


def mark(document: Document, step: Step) -> Document:
    """The picture is done, or not."""
    return replace(finish(document) if step["done"] else document, is_done=step["done"], review="")


def review(document: Document, step: Step) -> Document:
    """What a reviewer says about the picture: approved and sent back imply that it was done."""
    state = "" if step["state"] == "open" else step["state"]
    document = finish(document) if state == "approved" else document
    return replace(document, review=state, note=step["note"], is_done=document.is_done or state == "approved")
