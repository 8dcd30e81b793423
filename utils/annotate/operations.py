"""The one table of what can be done to a picture. Server, session file and page all go by it.

A further operation is a row here: how its change is read (changes), what it does to the document (document), which
masks come out of it (completions).
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import changes, completions, document
from .changes import Change, Limit, Shape
from .document import Document, Step
from .errors import AnnotationError

if TYPE_CHECKING:
    from .open_picture import OpenPicture


@dataclass(frozen=True)
class Operation:
    """One row of the table.

    Attributes:
        label: what the page calls it ("Undo: brush stroke").
        read: the step's own fields from a change, or a refusal.
        apply: the document after the completed step.
        complete: adds the masks that come out of it; None where there are none.
        needs_model: it may ask the model, and waits until that is loaded.
        limits: of the change's numbers.
    """

    label: str
    read: Callable[[Change, Document, Shape], Step]
    apply: Callable[[Document, Step], Document]
    complete: Callable[[OpenPicture, Step], Step] | None = None
    needs_model: bool = False
    limits: Mapping[str, Limit] = field(default_factory=dict)


_LINE = {"points": changes.POINTS}
_DELETE_PROMPT = Operation("deletion of a click", changes.read_delete_prompt, document.delete_prompt,
                           completions.without_prompt, needs_model=True)

OPERATIONS: dict[str, Operation] = {
    "click": Operation("click", changes.read_click, document.add_prompt, completions.prompted, needs_model=True),
    "box": Operation("box", changes.read_box, document.add_prompt, completions.prompted, needs_model=True),
    "stroke": Operation("stroke", changes.read_stroke, document.add_prompt, completions.prompted, needs_model=True,
                        limits=_LINE),
    "lasso": Operation("lasso", changes.read_lasso, document.add_prompt, completions.prompted, needs_model=True,
                       limits=_LINE),
    "delete prompt": _DELETE_PROMPT,
    "delete click": _DELETE_PROMPT,  # its name in session files of before there were other prompts
    "clear": Operation("clearing", changes.read_clear, document.clear),
    "brush": Operation("brush stroke", changes.read_brush, document.brush, completions.drawn,
                       limits={**_LINE, "radius": changes.RADIUS}),
    "region": Operation("region", changes.read_region, document.region, completions.drawn, limits=_LINE),
    "take proposal": Operation("proposal", changes.read_take_proposal, document.take_proposal, completions.proposed),
    "accept proposals": Operation("accepted proposals", changes.read_accept_proposals, document.accept_proposals,
                                  completions.all_proposed, limits={"proposals": changes.PROPOSALS}),
    "reject proposals": Operation("rejected proposals", changes.read_reject_proposals, document.reject_proposals,
                                  completions.rejected, limits={"proposals": changes.PROPOSALS}),
    "import": Operation("import", changes.read_nothing, document.accept_proposals),
    "settings": Operation("model settings", changes.read_settings, document.change_settings, completions.rendered,
                          needs_model=True, limits=changes.SETTINGS),
    "protect": Operation("protection", changes.read_protect, document.protect, completions.rendered, needs_model=True),
    "relabel": Operation("label", changes.read_relabel, document.relabel),
    "finish": Operation("finishing", changes.read_finish, document.finish),
    "edit": Operation("editing again", changes.read_object, document.edit),
    "delete": Operation("deletion", changes.read_object, document.delete),
    "mark": Operation("mark of done", changes.read_mark, document.mark),
    "review": Operation("review", changes.read_review, document.review, limits={"note": changes.NOTE_LENGTH}),
}


def read(change: Change, now: Document, shape: Shape) -> Step:
    """The step that a change describes, still without the masks that it leads to.

    Raises:
        AnnotationError: the operation is unknown, a value is missing or wrong, or it makes no sense in this document.
    """
    name = change.get("op")
    if not isinstance(name, str) or name not in OPERATIONS:
        raise AnnotationError(f"The page asked for {name!r}, which this server doesn't know; reload the page.")
    return {"op": name, **OPERATIONS[name].read(change, now, shape)}


def apply(now: Document, step: Step) -> Document:
    """The document after one more completed step."""
    return OPERATIONS[step["op"]].apply(now, step)


def replay(steps: Iterable[Step]) -> Document:
    """The document that these steps make from nothing."""
    now = Document()
    for step in steps:
        now = apply(now, step)
    return now


def described() -> dict[str, Any]:
    """The table as the page gets it: {op: {"label", "needs_model", "limits"}}."""
    return {name: {"label": row.label, "needs_model": row.needs_model, "limits": _pairs(row.limits)}
            for name, row in OPERATIONS.items()}


def limits() -> dict[str, list[float]]:
    """All limits of the table by name: [low, high]."""
    merged = {"label_length": changes.LABEL_LENGTH}
    for row in OPERATIONS.values():
        merged |= row.limits
    return _pairs(merged)


def _pairs(limits: Mapping[str, Limit]) -> dict[str, list[float]]:
    return {name: [limit.low, limit.high] for name, limit in limits.items()}
