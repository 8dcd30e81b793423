"""What a step leads to: each function gives the step with the masks that come out of it.

They are the `complete` of a row in `operations.OPERATIONS`, and work on an OpenPicture.
"""
from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from . import masks
from .document import InitialMask, Step, begin, finish, prompt_of
from .errors import AnnotationError
from .prompts import as_clicks

if TYPE_CHECKING:
    from .open_picture import OpenPicture


def prompted(work: OpenPicture, step: Step) -> Step:
    """A prompt: the model's mask, and the manual edits without what the prompt contradicts."""
    active = work.document.active
    if "proposal" in step:
        step = _on_proposal(work, step, "initial")
    if active and active.edits:
        kept = edits = work.masks.edits(active.edits)
        for y, x, is_positive in as_clicks(prompt_of(step), work.shape):
            kept = masks.without_edit_at(kept, y, x, is_positive)
        step = step if kept is edits else {**step, "edits": work.masks.put_edits(kept)}
    return {**step, "mask": work.masks.put(work.render(work.draft(step)))}


def _on_proposal(work: OpenPicture, step: Step, field: str) -> Step:
    """A step that begins an object with a proposal: its mask's name in a field, and its own label if it has one."""
    mask = work.protected(finish(work.document), work.proposal(step["proposal"]))
    name = work.masks.put(mask)
    if name is None:
        raise AnnotationError("Nothing is left of this proposal: finished objects cover it.", "covered_proposal")
    return {**step, **work.label_of(step["proposal"]), field: name}


def without_prompt(work: OpenPicture, step: Step) -> Step:
    """The object in work without one of its prompts; what was merged into a proposal is merged anew without it."""
    active = work.document.work
    begun = work.session.beginning_of(active)
    if begun is None:
        return rendered(work, step)
    prompts = active.prompts[: step["index"]] + active.prompts[step["index"] + 1 :]
    name: str | None = begun
    before = name
    for count, prompt in enumerate(prompts):
        before = name
        initial = InitialMask(name, count) if name else None
        name = work.masks.put(work.render(work.with_active(replace(active, prompts=(*prompts[:count], prompt),
                                                                   initial=initial))))
    return {**step, "mask": name, "initial": before}


def rendered(work: OpenPicture, step: Step) -> Step:
    """Anything else that changes how the object in work comes out; none needs to be there."""
    if work.document.active is None:
        return {**step, "mask": None}
    return {**step, "mask": work.masks.put(work.render(work.draft(step)))}


def drawn(work: OpenPicture, step: Step) -> Step:
    """A stroke of the brush or a region: added to the mask of the object in work, or taken away."""
    document, is_brush = begin(work.document, step), step["op"] == "brush"
    pixels = masks.stroke(work.shape, step["points"], step["radius"]) if is_brush else \
        masks.polygon(work.shape, step["points"])
    active = document.work
    mask = work.masks.mask(active.mask) if active.mask else np.zeros(work.shape, bool)
    mask = work.protected(document, mask | pixels if step["adds"] else mask & ~pixels)
    edits = work.masks.edits(active.edits) if active.edits else np.zeros(work.shape, np.uint8)
    decided = (masks.PAINTED if step["adds"] else masks.ERASED) if is_brush else masks.UNTOUCHED
    edits = np.where(pixels, np.uint8(decided), edits)
    return {**step, "mask": work.masks.put(mask), "edits": work.masks.put_edits(edits)}


def proposed(work: OpenPicture, step: Step) -> Step:
    """A proposal as the beginning of an object."""
    return _on_proposal(work, step, "mask")


def rejected(work: OpenPicture, step: Step) -> Step:
    """Proposals that there are."""
    for number in step["rejected"]:
        work.proposal(number)
    return step


def all_proposed(work: OpenPicture, step: Step) -> Step:
    """Several proposals as finished objects, without those that finished objects cover."""
    protection, taken = work.protection(finish(work.document)), []
    protection = None if protection is None else protection.copy()  # the masks that are put are counted meanwhile
    with work.masks.at_once():
        for done, proposal in enumerate(step["proposals"]):
            work.progress("Taking proposals", done, len(step["proposals"]))
            mask = masks.without(work.proposal(proposal["proposal"]), protection)
            name = work.masks.put(mask)
            if name is not None:
                work.masks.expect(name, mask)
                taken.append({**proposal, **work.label_of(proposal["proposal"]), "mask": name})
    return {**step, "proposals": taken}
