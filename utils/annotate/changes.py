"""Reads what the page asks for, and refuses in a sentence what it can't mean."""
from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from .document import Document, Settings, Step
from .errors import AnnotationError, ConflictError
from .project import MAX_LABEL_LENGTH
from .session import Session

Change = dict[str, Any]

MAX_POINTS = 20_000  # of a stroke or a polygon
MAX_RADIUS = 500
LIMITS = {"threshold": (0.01, 0.99), "expand_ratio": (1.0, 4.0), "working_size": (64, 1024)}


def check_change(change: Any, session: Session, project: str) -> Change:
    """A change with an id, made on the present revision and, if it names one, in the project of this key.

    Raises:
        ConflictError: it was made on another revision, or in another project that this address served before.
        AnnotationError: it is no change at all.
    """
    if not isinstance(change, dict) or not isinstance(change.get("op"), str):
        raise AnnotationError("The request is not a change to a picture; reload the page.")
    if not (isinstance(change.get("id"), str) and re.fullmatch(r"[0-9A-Za-z-]{8,64}", change["id"])):
        raise AnnotationError("The change has no id; reload the page.")
    if change.get("project", project) != project:
        raise ConflictError("Another project is served here now; the page loads it.")
    if change.get("revision") != session.revision:
        raise ConflictError("This picture was changed in another tab; it has been loaded again.")
    return change


def as_step(change: Change, session: Session) -> Step:
    """The step that a change describes, still without the masks that it leads to.

    Raises:
        AnnotationError: a value is missing or wrong, or the step makes no sense in the present document.
    """
    if change["op"] not in _READERS:
        raise AnnotationError(f"The page asked for {change['op']!r}, which this server doesn't know; reload the page.")
    return {"op": change["op"], **_READERS[change["op"]](change, session)}


# ---------------------------------------------------------------------------------------------- values


def _number(change: Change, name: str, low: float, high: float) -> float:
    value = change.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise AnnotationError(f"{name} must be a number from {low:g} to {high:g}.")
    return value


def _integer(change: Change, name: str, low: int, high: int) -> int:
    value = _number(change, name, low, high)
    if value != int(value):
        raise AnnotationError(f"{name} must be a whole number.")
    return int(value)


def _flag(change: Change, name: str) -> bool:
    if not isinstance(change.get(name), bool):
        raise AnnotationError(f"{name} must be true or false.")
    return change[name]


def _label(change: Change) -> str:
    label = change.get("label")
    if not isinstance(label, str) or not label.strip() or len(label) > MAX_LABEL_LENGTH or not label.isprintable():
        raise AnnotationError(f"The label must be 1 to {MAX_LABEL_LENGTH} printable characters.")
    return label.strip()


def _points(change: Change, session: Session, least: int) -> list[list[float]]:
    points = change.get("points")
    if not isinstance(points, list) or not least <= len(points) <= MAX_POINTS:
        raise AnnotationError(f"A line needs {least} to {MAX_POINTS} points.")
    reach = 2.0 * max(session.width, session.height)
    for point in points:
        is_pair = isinstance(point, list) and len(point) == 2
        if not is_pair or not all(type(value) in (int, float) and abs(value) <= reach for value in point):
            raise AnnotationError("A point of the line is not a pair of numbers near the picture.")
    return [[round(value, 2) for value in point] for point in points]


def _settings(change: Change) -> dict[str, Any]:
    """Settings of the model, those that were given."""
    given = change.get("settings", {})
    if not isinstance(given, dict) or not set(given) <= set(Settings().__dict__):
        raise AnnotationError("The settings have names that this server doesn't know; reload the page.")
    settings: dict[str, Any] = {name: _number(given, name, *LIMITS[name]) for name in LIMITS if name in given}
    if "working_size" in settings:
        settings["working_size"] = _integer(given, "working_size", *LIMITS["working_size"])
    if "zoom_in" in given:
        settings["zoom_in"] = _flag(given, "zoom_in")
    return settings


def _newborn(change: Change, document: Document) -> dict[str, Any]:
    """What a new object needs, if the step begins one."""
    return {} if document.active else {"label": _label(change), "settings": _settings(change)}


def _existing(change: Change, document: Document) -> int:
    object_id = _integer(change, "object", 1, document.next_id)
    if document.find(object_id) is None:
        raise AnnotationError("This object doesn't exist any more.")
    return object_id


def _need_active(document: Document, what: str) -> None:
    if document.active is None:
        raise AnnotationError(f"There is no object in work to {what}; click on one first.")


# ---------------------------------------------------------------------------------------------- operations


def _read_click(change: Change, session: Session) -> Step:
    return {
        "y": _integer(change, "y", 0, session.height - 1),
        "x": _integer(change, "x", 0, session.width - 1),
        "positive": _flag(change, "positive"),
        **_newborn(change, session.document),
    }


def _read_delete_click(change: Change, session: Session) -> Step:
    _need_active(session.document, "delete a click of")
    count = len(session.document.active.clicks)
    if count == 0:
        raise AnnotationError("The object has no clicks to delete.")
    return {"index": _integer(change, "index", 0, count - 1)}


def _read_clear(change: Change, session: Session) -> Step:
    _need_active(session.document, "clear")
    return {}


def _read_brush(change: Change, session: Session) -> Step:
    return {
        "adds": _flag(change, "adds"),
        "radius": _number(change, "radius", 0.5, MAX_RADIUS),
        "points": _points(change, session, least=1),
        **_newborn(change, session.document),
    }


def _read_region(change: Change, session: Session) -> Step:
    adds, points = _flag(change, "adds"), _points(change, session, least=3)
    return {"adds": adds, "points": points, **_newborn(change, session.document)}


def _proposal(change: Change, session: Session) -> int:
    number = _integer(change, "proposal", 0, 65_535)
    targets = (*session.document.objects, session.document.active)
    if any(target is not None and target.proposal == number for target in targets):
        raise AnnotationError("This proposal has been taken already.")
    return number


def _read_take(change: Change, session: Session) -> Step:
    return {"proposal": _proposal(change, session), "label": _label(change), "settings": _settings(change)}


def _read_accept(change: Change, session: Session) -> Step:
    numbers = change.get("proposals")
    if not isinstance(numbers, list) or not 1 <= len(numbers) <= 1000:
        raise AnnotationError("There are no proposals to accept.")
    proposals = [{"proposal": _proposal({"proposal": number}, session)} for number in numbers]
    if len({proposal["proposal"] for proposal in proposals}) < len(proposals):
        raise AnnotationError("A proposal can be accepted once only.")
    return {"label": _label(change), "proposals": proposals}


def _read_set(change: Change, session: Session) -> Step:
    _need_active(session.document, "change the settings of")
    return {"settings": _settings(change)}


def _read_protect(change: Change, session: Session) -> Step:
    return {"on": _flag(change, "on")}


def _read_relabel(change: Change, session: Session) -> Step:
    if "object" in change:
        return {"object": _existing(change, session.document), "label": _label(change)}
    _need_active(session.document, "label")
    return {"object": session.document.active.id, "label": _label(change)}


def _read_finish(change: Change, session: Session) -> Step:
    _need_active(session.document, "finish")
    if session.document.active.mask is None:
        raise AnnotationError("The object in work has no pixels yet; click on it, or clear it.")
    return {}


def _read_chosen(change: Change, session: Session) -> Step:
    return {"object": _existing(change, session.document)}


def _read_mark(change: Change, session: Session) -> Step:
    return {"done": _flag(change, "done")}


_READERS: dict[str, Callable[[Change, Session], Step]] = {
    "click": _read_click,
    "delete click": _read_delete_click,
    "clear": _read_clear,
    "brush": _read_brush,
    "region": _read_region,
    "take proposal": _read_take,
    "accept proposals": _read_accept,
    "settings": _read_set,
    "protect": _read_protect,
    "relabel": _read_relabel,
    "finish": _read_finish,
    "edit": _read_chosen,
    "delete": _read_chosen,
    "mark": _read_mark,
}

